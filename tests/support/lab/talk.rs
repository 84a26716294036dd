//! Asking the server in a container who it is and whom it sees.
//!
//! A connection proves nothing: docker-proxy, and the socket that the Engine holds without it,
//! accept too. Only what is read counts.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::support::lab::space::Place;

/// How long one attempt may take: a round trip takes microseconds, a container's first answer
/// may wait for neighbour discovery. Attempts are repeated where an answer is expected.
const PATIENCE: Duration = Duration::from_millis(500);

/// More answers than a socket's buffer holds by default.
const BACKLOG: usize = 500;

/// A transport protocol that containers serve here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proto {
    Tcp,
    Udp,
}

/// What the server in the container said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The container's host name.
    pub(crate) name: String,
    /// Who asked, as the container sees it.
    pub(crate) peer: IpAddr,
}

/// Asks once, from `place`.
///
/// # Errors
/// Refused, timed out, or an answer that is none.
pub(crate) fn ask(place: Place<'_>, proto: Proto, to: &str) -> Result<Answer, String> {
    place.enter(|| ask_here(proto, to, Ipv6Addr::UNSPECIFIED))
}

/// Asks once, from where the calling thread is, with the address `from`.
///
/// # Errors
/// As [`ask`].
pub(crate) fn ask_here(proto: Proto, to: &str, from: Ipv6Addr) -> Result<Answer, String> {
    let addr = parse(to);
    let text = match proto {
        Proto::Tcp => ask_tcp(addr, from),
        Proto::Udp => ask_udp(addr, from),
    };
    read_answer(&text.map_err(|e| e.to_string())?)
}

fn read_answer(text: &str) -> Result<Answer, String> {
    let (name, peer) = text.trim().split_once(' ').ok_or("no answer")?;
    Ok(Answer {
        name: name.to_owned(),
        peer: peer.parse().map_err(|_| format!("answer {text:?}"))?,
    })
}

fn ask_tcp(addr: SocketAddr, from: Ipv6Addr) -> std::io::Result<String> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None)?;
    // It holds for connecting too (socket(7)).
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    connect(&socket, &addr)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

fn ask_udp(addr: SocketAddr, from: Ipv6Addr) -> std::io::Result<String> {
    let socket = UdpSocket::bind((from, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(addr)?;
    socket.send(b"who\n")?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// A connection that stays open.
#[derive(Debug)]
pub(crate) struct Line {
    stream: BufReader<TcpStream>,
}

impl Line {
    /// Connects and reads the server's first line.
    pub(crate) fn open(place: Place<'_>, to: &str) -> Self {
        let addr = parse(to);
        let stream = place.enter(|| TcpStream::connect_timeout(&addr, PATIENCE));
        let stream = stream.unwrap_or_else(|e| panic!("connect to {to}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut line = Self {
            stream: BufReader::new(stream),
        };
        line.read()
            .unwrap_or_else(|e| panic!("greeting of {to}: {e}"));
        line
    }

    /// Sends a line and reads it back.
    ///
    /// # Errors
    /// The connection is dead or leads nowhere.
    pub(crate) fn echo(&mut self, text: &str) -> Result<String, String> {
        let sent = writeln!(self.stream.get_mut(), "{text}");
        sent.map_err(|e| e.to_string())?;
        self.read()
    }

    fn read(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err("end of stream".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(e) => Err(e.to_string()),
        }
    }
}

/// A UDP socket that keeps its port: to the kernel, one flow.
#[derive(Debug)]
pub(crate) struct Flow {
    socket: UdpSocket,
}

impl Flow {
    /// Makes the socket; nothing is sent yet.
    pub(crate) fn open(place: Place<'_>, to: &str) -> Self {
        let addr = parse(to);
        let socket = place.enter(|| {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
            socket.connect(addr)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            std::io::Result::Ok(socket)
        });
        let socket = socket.unwrap_or_else(|e| panic!("socket to {to}: {e}"));
        Self { socket }
    }

    /// Sends a datagram, whatever became of the one before.
    pub(crate) fn send(&self) {
        // Refused: what the last one met.
        let _ = self.socket.send(b"who\n");
    }

    /// The next answer.
    ///
    /// # Errors
    /// None came in time, or the last datagram was refused.
    pub(crate) fn hear(&self) -> Result<Answer, String> {
        let mut buffer = [0; 512];
        let length = self.socket.recv(&mut buffer).map_err(|e| e.to_string())?;
        read_answer(&String::from_utf8_lossy(&buffer[..length]))
    }

    /// The last answer of those that have come, or else the next one.
    ///
    /// # Errors
    /// As [`Flow::hear`].
    pub(crate) fn latest(&self) -> Result<Answer, String> {
        let mut last = self.hear();
        for _ in 0..BACKLOG {
            match self.hear() {
                Ok(answer) => last = Ok(answer),
                Err(_) => break,
            }
        }
        last
    }

    /// Sends a datagram and waits for the answer to it, or a late one.
    ///
    /// # Errors
    /// As [`Flow::hear`].
    pub(crate) fn ask(&self) -> Result<Answer, String> {
        self.send();
        self.hear()
    }
}

fn parse(to: &str) -> SocketAddr {
    to.parse().unwrap_or_else(|e| panic!("{to:?}: {e}"))
}
