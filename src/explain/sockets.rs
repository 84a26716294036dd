//! The sockets of a network namespace that wait for anybody, as the kernel lists them below
//! `/proc/PID/net`: one file for IPv6 and one for IPv4 of each protocol.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::verdict::Endpoint;
use crate::model::forward::Proto;
use crate::sys::host::read_optional;

/// The files of the calling thread's network namespace.
const NET: &str = "/proc/thread-self/net";

/// `TCP_LISTEN`, and what an unconnected UDP socket shows (`TCP_CLOSE`), as `/proc/net` prints
/// them (net/tcp_states.h).
const LISTENING: [&str; 2] = ["0A", "07"];

/// A socket that waits for anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Where it waits; an address of IPv4 is mapped (RFC 4291, section 2.5.5.2).
    pub(super) addr: Ipv6Addr,
    pub(super) port: u16,
    pub(super) inode: String,
}

impl Waiting {
    /// Whether it hears IPv4 only, because it is a socket of IPv4 or is bound to such an address.
    pub(super) fn is_v4(&self) -> bool {
        self.addr.to_ipv4_mapped().is_some()
    }

    /// Whether it hears the host itself only.
    pub(super) fn is_loopback(&self) -> bool {
        self.addr.to_canonical().is_loopback()
    }

    /// Whether it hears who asks at `at`.
    pub(super) fn hears(&self, (addr, port): Endpoint) -> bool {
        self.port == port && (self.addr.is_unspecified() || self.addr == addr)
    }
}

/// The names of the files that list a protocol's sockets. SCTP has others, in another form.
fn files(proto: Proto) -> Option<[&'static str; 2]> {
    match proto {
        Proto::Tcp => Some(["tcp6", "tcp"]),
        Proto::Udp => Some(["udp6", "udp"]),
        Proto::Sctp => None,
    }
}

/// The waiting sockets of a protocol, those of IPv6 first, in the files that `read` reads by their
/// names; `None` for SCTP.
///
/// # Errors
/// Those of `read`.
pub(super) fn waiting(
    proto: Proto,
    read: impl Fn(&str) -> io::Result<Option<String>>,
) -> io::Result<Option<Vec<Waiting>>> {
    let Some(files) = files(proto) else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for file in files {
        found.extend(parse(&read(file)?.unwrap_or_default()));
    }
    Ok(Some(found))
}

/// The same of this network namespace.
///
/// # Errors
/// A list of sockets is there and cannot be read.
pub(super) fn here(proto: Proto) -> io::Result<Option<Vec<Waiting>>> {
    waiting(proto, |file| read_optional(&format!("{NET}/{file}")))
}

/// The waiting sockets in one of the files. Each line: number, local address, remote address, state,
/// queues, timer, retransmissions, user, timeout, inode (net/ipv6/tcp_ipv6.c, net/ipv4/tcp_ipv4.c).
pub(super) fn parse(text: &str) -> Vec<Waiting> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (addr, port) = fields.get(1)?.split_once(':')?;
        if !LISTENING.contains(fields.get(3)?) {
            return None;
        }
        let remote = fields.get(2)?;
        if remote.bytes().any(|b| !matches!(b, b'0' | b':')) {
            return None;
        }
        Some(Waiting {
            addr: address(addr)?,
            port: u16::from_str_radix(port, 16).ok()?,
            inode: (*fields.get(9)?).to_owned(),
        })
    };
    text.lines().filter_map(read).collect()
}

/// An address: one word, or four, each in the machine's order.
fn address(hex: &str) -> Option<Ipv6Addr> {
    let word = |digits: &str| u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(hex)?).to_ipv6_mapped());
    }
    let mut bytes = [0; 16];
    for (at, place) in bytes.chunks_mut(4).enumerate() {
        place.copy_from_slice(&word(hex.get(at * 8..at * 8 + 8)?)?);
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000000000000000 100 0 0 10 0
   2: B80D0120000000000000000001000000:0051 B80D0120000000000000000002000000:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4244 1 0000000000000000 100 0 0 10 0
";

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4245 1 0000000000000000 100 0 0 10 0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4246 1 0000000000000000 100 0 0 10 0
   2: 0100007F:0051 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4247 1 0000000000000000 100 0 0 10 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_waiting_sockets_are_read_from_the_kernels_table() {
        let found = parse(TCP6);
        let expected = [
            (Ipv6Addr::UNSPECIFIED, 8080, "4242"),
            (Ipv6Addr::LOCALHOST, 80, "4243"),
        ];
        let found: Vec<_> = found
            .iter()
            .map(|socket| (socket.addr, socket.port, socket.inode.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_sockets_of_both_families_are_put_together_and_told_apart() {
        let read = |file: &str| {
            let text = match file {
                "tcp6" => TCP6,
                "tcp" => TCP,
                _ => return Ok(None),
            };
            Ok(Some(text.to_owned()))
        };
        let found = waiting(Proto::Tcp, read).expect("readable").expect("known");
        let facts: Vec<_> = found
            .iter()
            .map(|socket| (socket.port, socket.is_v4(), socket.is_loopback()))
            .collect();
        let expected = [
            (8080, false, false),
            (80, false, true),
            (22, true, false),
            (80, true, true),
        ];
        assert_eq!(facts, expected);
        let at = |addr: &str, port| (addr.parse().expect("an address"), port);
        let hears = |at| found.iter().any(|socket| socket.hears(at));
        assert!(hears(at("2001:db8::1", 8080)) && hears(at("::1", 80)));
        // No request over IPv6 is for a socket of IPv4.
        assert!(!hears(at("2001:db8::1", 22)) && !hears(at("2001:db8::1", 80)));
        let none = waiting(Proto::Udp, read).expect("readable");
        assert_eq!(none, Some(Vec::new()));
        assert_eq!(waiting(Proto::Sctp, read).expect("readable"), None);
    }
}
