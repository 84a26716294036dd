//! TCP connections that the host itself has accepted, by docker-proxy as a rule, whether they are
//! tracked or not: the kernel's sockets, by sock_diag (linux/inet_diag.h).

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Instant;

use rustix::io::Errno;

use super::FlowError;
use super::answer::{Dump, Progress};
use super::entry::Accepted;
use crate::netlink::SocketError;
use crate::netlink::message::{DUMP, IPV6, Message, REQUEST, Writer};
use crate::netlink::socket::Socket;

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h): the request, and what it is answered with.
const BY_FAMILY: u16 = 20;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// `TCPF_ESTABLISHED | TCPF_FIN_WAIT1 | TCPF_FIN_WAIT2 | TCPF_CLOSE_WAIT` (net/tcp_states.h): data
/// may still come.
const STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8;

const OPENING: &str = "opening a socket for the list of connections";
const LISTING: &str = "listing the host's connections";

/// Those on the given ports, whoever has begun them.
pub(super) fn accepted(
    ports: &BTreeSet<u16>,
    deadline: Instant,
) -> Result<Vec<Accepted>, FlowError> {
    let mut socket = Socket::sock_diag().map_err(|error| match error {
        // Not what it would mean of flows.
        SocketError::Failed { errno, .. } => failed(OPENING, errno),
        error => error.into(),
    })?;
    let seq = socket.take_seq(1);
    socket.send(&request(seq))?;
    let mut found = Vec::new();
    let mut answer = listing(seq);
    while read(&mut answer, socket.receive(deadline)?, ports, &mut found)? == Progress::More {}
    Ok(found)
}

fn failed(operation: &'static str, errno: Errno) -> FlowError {
    FlowError::Failed { operation, errno }
}

/// `struct inet_diag_req_v2`: family u8, protocol u8, extensions u8, padding u8, states u32, and
/// 48 bytes to find one socket by, which a dump leaves empty.
fn request(seq: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(BY_FAMILY, REQUEST | DUMP, seq, |writer| {
        writer.raw(&[IPV6, TCP, 0, 0]);
        writer.raw(&STATES.to_ne_bytes());
        writer.raw(&[0; 48]);
    });
    writer.into_bytes()
}

fn listing(seq: u32) -> Dump {
    Dump::of(seq, BY_FAMILY, |errno| failed(LISTING, errno))
}

fn read(
    answer: &mut Dump,
    datagram: &[u8],
    ports: &BTreeSet<u16>,
    found: &mut Vec<Accepted>,
) -> Result<Progress, FlowError> {
    answer.take_messages(datagram, &mut |message| {
        found.extend(connection(message).filter(|a| ports.contains(&a.server.1)));
        Ok(())
    })
}

/// `struct inet_diag_msg`: family u8, state u8, timer u8, retransmissions u8, source port and
/// destination port, both big-endian, source and destination, and more. An IPv4 client of a socket
/// for both families has a mapped address.
fn connection(message: &Message<'_>) -> Option<Accepted> {
    let [IPV6, _, _, _, s0, s1, d0, d1, rest @ ..] = message.payload else {
        return None;
    };
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, _) = rest.split_first_chunk::<16>()?;
    let end = |address: &[u8; 16], port| (Ipv6Addr::from(*address), u16::from_be_bytes(port));
    let server = end(source, [*s0, *s1]);
    let client = end(destination, [*d0, *d1]);
    let is_v4 = client.0.to_ipv4_mapped().is_some();
    (!is_v4).then_some(Accepted { client, server })
}

/// What must hold of any answer to a dump.
#[cfg(any(test, fuzzing))]
pub(super) fn judge(bytes: &[u8]) {
    use crate::netlink::message::Messages;
    let all: BTreeSet<u16> = (0..=u16::MAX).collect();
    let seqs = Messages::new(bytes).flatten().map(|message| message.seq);
    for seq in seqs.collect::<BTreeSet<u32>>() {
        let mut found = Vec::new();
        let _ = read(&mut listing(seq), bytes, &all, &mut found);
        // 40 bytes tell of one.
        assert!(found.len() * 40 <= bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(family: u8, server: (&str, u16), client: (&str, u16)) -> Vec<u8> {
        let octets = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
        let mut writer = Writer::default();
        writer.message(BY_FAMILY, 0, 7, |writer| {
            writer.raw(&[family, 1, 0, 0]);
            writer.raw(&[server.1.to_be_bytes(), client.1.to_be_bytes()].concat());
            writer.raw(&[octets(server.0), octets(client.0)].concat());
            writer.raw(&[0; 32]);
        });
        writer.into_bytes()
    }

    #[test]
    fn connections_of_ipv6_clients_on_these_ports_are_told_from_others() {
        let taken = |bytes: &[u8]| {
            let mut found = Vec::new();
            let progress = read(&mut listing(7), bytes, &BTreeSet::from([80]), &mut found);
            assert_eq!(progress, Ok(Progress::More));
            found
        };
        let (server, client) = (("2001:db8::1", 80), ("2001:db8::2", 40_000));
        let end = |(text, port): (&str, u16)| (text.parse().expect("an address"), port);
        let accepted = Accepted {
            client: end(client),
            server: end(server),
        };
        assert_eq!(taken(&told(IPV6, server, client)), [accepted]);
        assert_eq!(taken(&told(2, server, client)), []);
        assert_eq!(taken(&told(IPV6, client, server)), []);
        assert_eq!(taken(&told(IPV6, server, ("::ffff:192.0.2.1", 40_000))), []);
    }
}
