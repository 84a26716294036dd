//! TCP connections that the host itself has accepted, by docker-proxy as a rule, tracked or not:
//! listed among the kernel's sockets, by sock_diag (linux/inet_diag.h).

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Instant;

use super::flow::FlowError;
use crate::model::forward::Proto;
use crate::netlink::message::{IPV6, Writer};
use crate::netlink::request::{self, Channel};
use crate::netlink::socket::Socket;

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h): the request, and what it is answered with.
const BY_FAMILY: u16 = 20;

/// `TCPF_ESTABLISHED | TCPF_FIN_WAIT1 | TCPF_FIN_WAIT2 | TCPF_CLOSE_WAIT` (net/tcp_states.h): data
/// may still come.
const STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8;

/// A TCP connection that the host itself has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Accepted {
    /// Who began it.
    pub(super) client: (Ipv6Addr, u16),
    /// The host's address and port.
    pub(super) server: (Ipv6Addr, u16),
}

/// Those on the given ports, from anywhere.
pub(super) fn accepted(
    ports: &BTreeSet<u16>,
    deadline: Instant,
) -> Result<Vec<Accepted>, FlowError> {
    let opening = FlowError::beside("opening a socket for the list of connections");
    list(&mut Socket::sock_diag().map_err(opening)?, ports, deadline)
}

/// Asks with a `struct inet_diag_req_v2`: family u8, protocol u8, extensions u8, padding u8, states
/// u32, and 48 bytes that identify one socket, which a dump leaves empty.
pub(super) fn list(
    channel: &mut dyn Channel,
    ports: &BTreeSet<u16>,
    deadline: Instant,
) -> Result<Vec<Accepted>, FlowError> {
    let which = |writer: &mut Writer| {
        writer.raw(&[IPV6, Proto::Tcp.number(), 0, 0]);
        writer.raw(&STATES.to_ne_bytes());
        writer.raw(&[0; 48]);
    };
    let mut found = Vec::new();
    let listed = request::dump(channel, deadline, BY_FAMILY, &which, &mut |payload| {
        found.extend(read(payload).filter(|a| ports.contains(&a.server.1)));
        Ok(())
    });
    listed.map_err(FlowError::beside("listing the host's connections"))?;
    Ok(found)
}

/// `struct inet_diag_msg`: family u8, state u8, timer u8, retransmissions u8, source port and
/// destination port, both big-endian, source and destination, and more. An IPv4 client of a socket
/// for both families has a mapped address.
fn read(payload: &[u8]) -> Option<Accepted> {
    let [IPV6, _, _, _, s0, s1, d0, d1, rest @ ..] = payload else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::kernel_script::KernelScript;
    use crate::netlink::message::DONE;

    fn shown(family: u8, server: (&str, u16), client: (&str, u16)) -> Option<Accepted> {
        let octets = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
        let mut payload = vec![family, 1, 0, 0];
        payload.extend([server.1.to_be_bytes(), client.1.to_be_bytes()].concat());
        payload.extend([octets(server.0), octets(client.0)].concat());
        payload.extend([0; 32]);
        read(&payload)
    }

    #[test]
    fn connections_of_ipv6_clients_are_read_and_others_passed_over() {
        let (server, client) = (("2001:db8::1", 80), ("2001:db8::2", 40_000));
        let end = |(text, port): (&str, u16)| (text.parse().expect("an address"), port);
        let accepted = Accepted {
            client: end(client),
            server: end(server),
        };
        assert_eq!(shown(IPV6, server, client), Some(accepted));
        assert_eq!(shown(2, server, client), None);
        assert_eq!(shown(IPV6, server, ("::ffff:192.0.2.1", 40_000)), None);
    }

    #[test]
    fn only_connections_on_the_given_ports_are_listed() {
        let mut kernel = KernelScript::default();
        for port in [80_u16, 81] {
            let address = Ipv6Addr::LOCALHOST.octets();
            kernel.answer(BY_FAMILY, 0, |writer| {
                writer.raw(&[IPV6, 1, 0, 0]);
                writer.raw(&[port.to_be_bytes(), [0, 1]].concat());
                writer.raw(&[address, address, [0; 16], [0; 16]].concat());
            });
        }
        kernel.answer(DONE, 0, |writer| writer.raw(&[0; 4]));
        let deadline = KernelScript::deadline();
        let found = list(&mut kernel, &BTreeSet::from([80]), deadline);
        let ports: Vec<u16> = found.expect("listed").iter().map(|a| a.server.1).collect();
        assert_eq!(ports, [80]);
    }
}
