//! Drops the packets that wait for a container that is gone.
//!
//! While an address does not answer, the kernel keeps what is sent there, some 200 KiB for each
//! neighbour and up to 3 s (`__neigh_event_send`, net/core/neighbour.c). The next container that
//! gets the address would receive what was meant for the one before. So once a rule and its flows
//! are gone, the unresolved neighbour entry of its target is deleted, and with it the packets; the
//! kernel makes a new entry for the next packet. Resolved entries hold no packets, and stay.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Instant;

use super::flow::FlowError;
use crate::netlink::message::{ACK, IPV6, REQUEST, Writer, address, find};
use crate::netlink::request::{self, Channel};
use crate::netlink::socket::Socket;

/// `RTM_DELNEIGH`, `RTM_GETNEIGH` (linux/rtnetlink.h).
const DELETE: u16 = 29;
const GET: u16 = 30;

/// `NUD_INCOMPLETE`, the state of an entry for which packets wait (linux/neighbour.h).
const INCOMPLETE: u16 = 0x01;

/// `NDA_DST`, the neighbour's address (linux/neighbour.h).
const ADDRESS: u16 = 1;

const DELETING: &str = "deleting a neighbour's entry";

/// An entry without an answer yet: the interface on which it is asked for, and the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unresolved {
    interface: u32,
    address: Ipv6Addr,
}

/// The kernel's table of neighbours. After an error it must be dropped, as [`Socket`] must.
#[derive(Debug)]
pub(super) struct Neighbours(Socket);

impl Neighbours {
    pub(super) fn open() -> Result<Self, FlowError> {
        let socket = Socket::route().map_err(FlowError::beside("opening a socket for neighbours"));
        Ok(Self(socket?))
    }

    /// Lets go of all packets that wait for these addresses.
    pub(super) fn release(
        &mut self,
        addresses: &BTreeSet<Ipv6Addr>,
        deadline: Instant,
    ) -> Result<(), FlowError> {
        let mut found = unresolved(&mut self.0, deadline)?;
        found.retain(|entry| addresses.contains(&entry.address));
        let found: Vec<_> = found.into_iter().collect();
        let deleted = request::send_each(&mut self.0, deadline, &found, delete, &mut 0);
        match deleted.map_err(FlowError::beside(DELETING))? {
            None => Ok(()),
            Some((_, errno)) => Err(FlowError::Failed {
                operation: DELETING,
                errno,
            }),
        }
    }
}

/// Lists the entries for which packets wait.
pub(super) fn unresolved(
    channel: &mut dyn Channel,
    deadline: Instant,
) -> Result<BTreeSet<Unresolved>, FlowError> {
    let mut found = BTreeSet::new();
    let which = |writer: &mut Writer| writer.raw(&header(0));
    let listed = request::dump(channel, deadline, GET, &which, &mut |payload| {
        found.extend(read(payload));
        Ok(())
    });
    listed.map_err(FlowError::beside("listing neighbours"))?;
    Ok(found)
}

/// `struct ndmsg` (linux/neighbour.h): family u8, padding, interface i32, state u16, flags u8,
/// type u8.
fn header(interface: u32) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = IPV6;
    header[4..8].copy_from_slice(&interface.to_ne_bytes());
    header
}

pub(super) fn delete(writer: &mut Writer, seq: u32, entry: &Unresolved) {
    writer.message(DELETE, REQUEST | ACK, seq, |writer| {
        writer.raw(&header(entry.interface));
        writer.attr(ADDRESS, &entry.address.octets());
    });
}

/// Reads the payload of an `RTM_NEWNEIGH`; `None` for an entry for which no packets wait.
fn read(payload: &[u8]) -> Option<Unresolved> {
    let (header, attributes) = payload.split_first_chunk::<12>()?;
    let [IPV6, _, _, _, i0, i1, i2, i3, s0, s1, _, _] = *header else {
        return None;
    };
    if u16::from_ne_bytes([s0, s1]) != INCOMPLETE {
        return None;
    }
    Some(Unresolved {
        interface: u32::from_ne_bytes([i0, i1, i2, i3]),
        address: address(find(attributes, ADDRESS)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(family: u8, state: u16, address: &[u8]) -> Option<Unresolved> {
        let mut writer = Writer::default();
        let mut header = header(3);
        header[0] = family;
        header[8..10].copy_from_slice(&state.to_ne_bytes());
        writer.raw(&header);
        writer.attr(ADDRESS, address);
        read(writer.bytes())
    }

    #[test]
    fn only_ipv6_entries_without_an_answer_hold_packets() {
        let address: Ipv6Addr = "fd00::2".parse().expect("an address");
        let octets = address.octets();
        let interface = 3;
        let entry = Unresolved { interface, address };
        assert_eq!(shown(IPV6, INCOMPLETE, &octets), Some(entry));
        // AF_INET; NUD_REACHABLE; NUD_FAILED; an odd address.
        assert_eq!(shown(2, INCOMPLETE, &octets[..4]), None);
        assert_eq!(shown(IPV6, 0x02, &octets), None);
        assert_eq!(shown(IPV6, 0x20, &octets), None);
        assert_eq!(shown(IPV6, INCOMPLETE, &octets[..4]), None);
    }
}
