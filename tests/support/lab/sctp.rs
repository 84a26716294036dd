//! SCTP without SCTP sockets, which not every kernel has: the client sends an INIT, and the
//! container receives it, both through raw sockets. The kernel between them knows the protocol, and
//! does not track a packet with a wrong checksum.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, recvfrom, sendto, socket,
};

use super::engine::Engine;
use super::{HOST, Lab};
use crate::support::wait::{SOON, eventually};

/// IP protocol 132 (RFC 9260, 14.5).
const SCTP: Protocol = Protocol::from_raw(std::num::NonZeroU32::new(132).expect("not 0"));

/// The client's port.
const FROM: u16 = 7132;

/// How long one INIT may take to arrive.
const PATIENCE: Duration = Duration::from_millis(500);

fn raw() -> OwnedFd {
    let socket = socket(AddressFamily::INET6, SocketType::RAW, Some(SCTP));
    let socket = socket.expect("a raw socket (root is needed)");
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).expect("set");
    socket
}

/// Builds a packet with an INIT chunk for this port (RFC 9260, 3.3.2).
fn init(to: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(FROM.to_be_bytes());
    packet.extend(to.to_be_bytes());
    // The verification tag, which is 0 here, and room for the checksum.
    packet.extend([0; 8]);
    // INIT, no flags, 20 bytes: tag, window, streams out and in, first sequence number.
    packet.extend([1, 0, 0, 20]);
    packet.extend(7_u32.to_be_bytes());
    packet.extend(65_536_u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(1_u32.to_be_bytes());
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

/// Castagnoli's checksum (RFC 9260, appendix A), bit by bit.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let odd = crc & 1 == 1;
            crc = (crc >> 1) ^ if odd { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

/// How an INIT for the host's `port` arrives at the container `name`: from which source, and at
/// which port of the container.
#[track_caller]
pub(crate) fn arrives(lab: &Lab, engine: &Engine<'_>, name: &str, port: u16) -> (IpAddr, u16) {
    let ear = engine.inside(name, raw);
    let mouth = lab.client().enter(raw);
    let host: Ipv6Addr = HOST.parse().expect("an address");
    eventually(SOON, &format!("{name} to get an INIT"), || {
        let to = SocketAddr::from((host, 0));
        sendto(&mouth, &init(port), SendFlags::empty(), &to).map_err(|e| e.to_string())?;
        let mut buffer = [0; 64];
        let heard = recvfrom(&ear, &mut buffer, RecvFlags::empty());
        let (_, length, from) = heard.map_err(|e| e.to_string())?;
        let from = from.and_then(|from| SocketAddr::try_from(from).ok());
        match (length, from) {
            (32, Some(from)) => Ok((from.ip(), u16::from_be_bytes([buffer[2], buffer[3]]))),
            other => Err(format!("{other:?}")),
        }
    })
}
