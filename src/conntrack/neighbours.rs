//! Packets that wait for a container that has gone: lets go of them.
//!
//! While nobody answers at an address, the kernel keeps what is sent there, some 200 KiB for each
//! neighbour and up to 3 s (`__neigh_event_send`, net/core/neighbour.c). The next container that
//! gets the address would be given what was meant for the one before. So once a rule and its flows
//! are gone, the unresolved entry of its target goes, and with it what waits; the kernel makes it
//! anew for the next packet. Entries that are resolved hold nothing, and stay.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Instant;

use rustix::io::Errno;

use super::FlowError;
use super::answer::{Dump, Progress};
use super::exchange;
use crate::netlink::SocketError;
use crate::netlink::message::{ACK, DUMP, IPV6, Message, REQUEST, Writer, find};
use crate::netlink::socket::Socket;

/// `RTM_NEWNEIGH`, `RTM_DELNEIGH`, `RTM_GETNEIGH` (linux/rtnetlink.h).
const NEW: u16 = 28;
const DELETE: u16 = 29;
const GET: u16 = 30;

/// `NUD_INCOMPLETE`, the state of an entry for which packets wait (linux/neighbour.h).
const INCOMPLETE: u16 = 0x01;

/// `NDA_DST`, the neighbour's address (linux/neighbour.h).
const ADDRESS: u16 = 1;

const OPENING: &str = "opening a socket for neighbours";
const LISTING: &str = "listing neighbours";
const DELETING: &str = "deleting a neighbour's entry";

/// An entry without an answer yet: the interface on which it is asked for, and the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Unresolved {
    interface: u32,
    address: Ipv6Addr,
}

/// The kernel's table of neighbours. After an error it must be dropped, as [`Socket`] must.
#[derive(Debug)]
pub(super) struct Neighbours(Socket);

impl Neighbours {
    pub(super) fn open() -> Result<Self, FlowError> {
        Ok(Self(Socket::route().map_err(|error| match error {
            // Not what it would mean of flows.
            SocketError::Failed { errno, .. } => failed(OPENING, errno),
            error => error.into(),
        })?))
    }

    /// Lets go of all packets that wait for these addresses.
    pub(super) fn release(
        &mut self,
        addresses: &BTreeSet<Ipv6Addr>,
        deadline: Instant,
    ) -> Result<(), FlowError> {
        let socket = &mut self.0;
        let seq = socket.take_seq(1);
        socket.send(&dump(seq))?;
        let mut found = BTreeSet::new();
        let mut answer = listing(seq);
        while read(&mut answer, socket.receive(deadline)?, &mut found)? == Progress::More {}
        found.retain(|entry| addresses.contains(&entry.address));
        let found: Vec<_> = found.into_iter().collect();
        match exchange::request(socket, &found, delete, deadline, &mut 0)? {
            None => Ok(()),
            Some((_, last)) => Err(failed(DELETING, last)),
        }
    }
}

fn failed(operation: &'static str, errno: Errno) -> FlowError {
    FlowError::Failed { operation, errno }
}

/// `struct ndmsg` (linux/neighbour.h): family u8, padding, interface i32, state u16, flags u8,
/// type u8.
fn header(interface: u32) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = IPV6;
    header[4..8].copy_from_slice(&interface.to_ne_bytes());
    header
}

fn dump(seq: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(GET, REQUEST | DUMP, seq, |writer| writer.raw(&header(0)));
    writer.into_bytes()
}

fn delete(writer: &mut Writer, seq: u32, entry: &Unresolved) {
    writer.message(DELETE, REQUEST | ACK, seq, |writer| {
        writer.raw(&header(entry.interface));
        writer.attr(ADDRESS, &entry.address.octets());
    });
}

fn listing(seq: u32) -> Dump {
    Dump::of(seq, NEW, |errno| failed(LISTING, errno))
}

/// Takes one datagram of the answer to a dump.
fn read(
    answer: &mut Dump,
    datagram: &[u8],
    found: &mut BTreeSet<Unresolved>,
) -> Result<Progress, FlowError> {
    answer.take_messages(datagram, &mut |message| {
        found.extend(unresolved(message));
        Ok(())
    })
}

fn unresolved(message: &Message<'_>) -> Option<Unresolved> {
    let (header, attributes) = message.payload.split_first_chunk::<12>()?;
    let [IPV6, _, _, _, i0, i1, i2, i3, s0, s1, _, _] = *header else {
        return None;
    };
    if u16::from_ne_bytes([s0, s1]) != INCOMPLETE {
        return None;
    }
    let octets: [u8; 16] = find(attributes, ADDRESS)?.try_into().ok()?;
    Some(Unresolved {
        interface: u32::from_ne_bytes([i0, i1, i2, i3]),
        address: octets.into(),
    })
}

/// What must hold of any answer to a dump.
#[cfg(any(test, fuzzing))]
pub(super) fn judge(bytes: &[u8]) {
    use crate::netlink::message::Messages;
    let seqs = Messages::new(bytes).flatten().map(|message| message.seq);
    for seq in seqs.collect::<BTreeSet<u32>>() {
        let mut found = BTreeSet::new();
        let _ = read(&mut listing(seq), bytes, &mut found);
        let mut writer = Writer::default();
        found
            .iter()
            .for_each(|entry| delete(&mut writer, seq, entry));
        // Not more is deleted than was told of.
        assert!(writer.bytes().len() <= bytes.len().next_multiple_of(4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(family: u8, state: u16, address: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(NEW, 0, 7, |writer| {
            let mut header = header(3);
            header[0] = family;
            header[8..10].copy_from_slice(&state.to_ne_bytes());
            writer.raw(&header);
            writer.attr(ADDRESS, address);
        });
        writer.into_bytes()
    }

    #[test]
    fn only_ipv6_entries_without_an_answer_hold_packets() {
        let address: Ipv6Addr = "fd00::2".parse().expect("an address");
        let octets = address.octets();
        let taken = |bytes: &[u8]| {
            let mut found = BTreeSet::new();
            let progress = read(&mut listing(7), bytes, &mut found).expect("well-formed");
            assert_eq!(progress, Progress::More);
            found.into_iter().collect::<Vec<_>>()
        };
        let interface = 3;
        let entry = Unresolved { interface, address };
        assert_eq!(taken(&told(IPV6, INCOMPLETE, &octets)), [entry]);
        // AF_INET; NUD_REACHABLE; NUD_FAILED; an odd address.
        assert_eq!(taken(&told(2, INCOMPLETE, &octets[..4])), []);
        assert_eq!(taken(&told(IPV6, 0x02, &octets)), []);
        assert_eq!(taken(&told(IPV6, 0x20, &octets)), []);
        assert_eq!(taken(&told(IPV6, INCOMPLETE, &octets[..4])), []);
    }
}
