//! Asking the server in a container who it is and whom it sees.
//!
//! A connection proves nothing: docker-proxy, and the socket that the Engine holds without it,
//! accept too. Only what is read counts.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::space::Place;

/// How long one attempt may take: a round trip takes microseconds, a container's first answer
/// may wait for neighbour discovery. Attempts are repeated where an answer is expected.
const PATIENCE: Duration = Duration::from_millis(500);

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
    let addr = parse(to);
    let answer = place.enter(|| match proto {
        Proto::Tcp => ask_tcp(addr),
        Proto::Udp => ask_udp(addr),
    });
    let text = answer.map_err(|e| e.to_string())?;
    let (name, peer) = text.trim().split_once(' ').ok_or("no answer")?;
    Ok(Answer {
        name: name.to_owned(),
        peer: peer.parse().map_err(|_| format!("answer {text:?}"))?,
    })
}

fn ask_tcp(addr: SocketAddr) -> std::io::Result<String> {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

fn ask_udp(addr: SocketAddr) -> std::io::Result<String> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
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

fn parse(to: &str) -> SocketAddr {
    to.parse().unwrap_or_else(|e| panic!("{to:?}: {e}"))
}
