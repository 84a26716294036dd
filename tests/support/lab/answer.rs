//! The server in the lab's containers: says who it is and whom it sees.
//!
//! Not a module of the tests: the lab compiles it by itself, without any library, and puts it
//! into the image. `answer tcp:80 udp:53` answers each TCP connection and each datagram with
//! `HOSTNAME PEER-ADDRESS`, and echoes the lines that follow on a connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::{env, fs, thread};

fn main() {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname");
    let name = name.trim().to_owned();
    let workers: Vec<_> = env::args()
        .skip(1)
        .map(|arg| {
            let (proto, port) = arg.split_once(':').expect("PROTO:PORT");
            let port = port.parse().expect("a port");
            let name = name.clone();
            match proto {
                "tcp" => thread::spawn(move || serve_tcp(&name, port)),
                "udp" => thread::spawn(move || serve_udp(&name, port)),
                _ => panic!("unknown protocol {proto}"),
            }
        })
        .collect();
    for worker in workers {
        worker.join().expect("a server ended");
    }
}

fn serve_tcp(name: &str, port: u16) {
    let listener = TcpListener::bind(("::", port)).expect("bind");
    for stream in listener.incoming().flatten() {
        let Ok(peer) = stream.peer_addr() else {
            continue;
        };
        let greeting = format!("{name} {}\n", plain(peer.ip()));
        thread::spawn(move || converse(stream, &greeting));
    }
}

fn converse(mut stream: TcpStream, greeting: &str) {
    let Ok(reader) = stream.try_clone() else {
        return;
    };
    if stream.write_all(greeting.as_bytes()).is_err() {
        return;
    }
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        if writeln!(stream, "{line}").is_err() {
            return;
        }
    }
}

fn serve_udp(name: &str, port: u16) {
    let socket = UdpSocket::bind(("::", port)).expect("bind");
    let mut buffer = [0; 2048];
    while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(format!("{name} {}\n", plain(peer.ip())).as_bytes(), peer);
    }
}

/// An IPv4 peer is shown as such: docker-proxy and Docker's own IPv4 rules come from there.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
