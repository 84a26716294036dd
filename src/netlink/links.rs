//! Reports interfaces that come into the host's network namespace, by their hardware addresses.
//!
//! When a container leaves a network, Docker takes the container's end of their link back into the
//! host's namespace before it frees the address (130 to 150 ms before on Engine 28.5, and up to a
//! second before it says so). The kernel announces that like a new link, and the hardware address
//! says whose it was.
//!
//! One thread, which waits for messages as long as there is a listener, and remembers nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::message::{Message, Messages, find, text};
use super::socket::{BUFFER, ROUTE, make_room_to_receive, subscribe};
use crate::model::interface::{InterfaceNews, MacAddr};
use crate::sys::failpoint;

/// `RTMGRP_LINK` (linux/rtnetlink.h).
const LINKS: u32 = 0x1;

/// `RTM_NEWLINK`: a link was made or moved here, or has changed (linux/rtnetlink.h).
pub(super) const NEW_LINK: u16 = 16;

/// Length of `struct ifinfomsg` (linux/rtnetlink.h), which begins with the family as u8. Bridges
/// send the same once more, with a family other than 0.
pub(super) const LINK_HEADER: usize = 16;

/// `IFLA_ADDRESS` and `IFLA_LINKINFO`; in that, `IFLA_INFO_KIND` (linux/if_link.h).
const ADDRESS: u16 = 1;
pub(super) const LINK_INFO: u16 = 18;
const KIND: u16 = 1;

/// The kind of link whose ends a container and a bridge are given.
const VETH: &[u8] = b"veth";

/// Room for some hundred announcements, which come in bursts; the default holds some fifty.
const ROOM: usize = 1024 * 1024;

/// Calls `report` with each interface, from a thread of its own, until that returns `false`; and
/// `ended` with the reason if the kernel's announcements end.
///
/// # Errors
/// The kernel gives no such socket, or no thread.
pub fn watch(
    report: impl Fn(InterfaceNews) -> bool + Send + 'static,
    ended: impl FnOnce(io::Error) + Send + 'static,
) -> io::Result<()> {
    let socket = subscribe(ROUTE, LINKS)?;
    // As far as it is permitted: what does not fit is reported as missed.
    make_room_to_receive(&socket, ROOM)?;
    let wait = move || {
        if let Err(error) = follow(&socket, report) {
            ended(error);
        }
    };
    thread::Builder::new()
        .name("links".to_owned())
        .spawn(wait)
        .map(drop)
}

fn follow(socket: &OwnedFd, report: impl Fn(InterfaceNews) -> bool) -> io::Result<()> {
    let mut chunk = vec![0_u8; BUFFER];
    loop {
        let received = recv(socket, &mut chunk[..], RecvFlags::empty());
        failpoint::panic("links are read");
        if failpoint::stops("links") {
            return Err(io::Error::other("a test wants it to end"));
        }
        let goes_on = match received {
            Ok((length, _)) => news(&chunk[..length]).all(&report),
            Err(Errno::NOBUFS) => report(InterfaceNews::Missed),
            Err(Errno::INTR) => true,
            Err(error) => return Err(error.into()),
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// The interfaces that a datagram announces. Behind what is malformed, any may be missed.
pub(super) fn news(datagram: &[u8]) -> impl Iterator<Item = InterfaceNews> + '_ {
    Messages::new(datagram).filter_map(|message| match message {
        Ok(message) => hardware_address(&message).map(InterfaceNews::Seen),
        Err(_) => Some(InterfaceNews::Missed),
    })
}

fn hardware_address(message: &Message<'_>) -> Option<MacAddr> {
    let (header, attributes) = message.payload.split_at_checked(LINK_HEADER)?;
    if message.kind != NEW_LINK || header[0] != 0 {
        return None;
    }
    let value = find(attributes, ADDRESS)?;
    let kind = find(find(attributes, LINK_INFO)?, KIND)?;
    let is_veth = text(kind) == VETH;
    let mac = value.try_into().ok().map(MacAddr);
    mac.filter(|_| is_veth)
}

#[cfg(test)]
mod tests {
    use super::super::message::Writer;
    use super::*;

    fn announcement(kind: u16, family: u8, address: &[u8]) -> Vec<u8> {
        announcement_of("veth", kind, family, address)
    }

    fn announcement_of(link: &str, kind: u16, family: u8, address: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(kind, 0, 0, |writer| {
            writer.raw(&[family, 0, 1, 0]);
            writer.raw(&[0; LINK_HEADER - 4]);
            writer.text(3, "veth0");
            writer.attr(ADDRESS, address);
            writer.nested(LINK_INFO, |writer| writer.text(KIND, link));
        });
        writer.into_bytes()
    }

    #[test]
    fn links_that_are_made_or_changed_are_reported_by_their_hardware_address() {
        let mac = [2, 0x42, 0xac, 0x11, 0, 2];
        let read = |bytes: &[u8]| news(bytes).collect::<Vec<_>>();
        let seen = InterfaceNews::Seen(MacAddr(mac));
        assert_eq!(read(&announcement(NEW_LINK, 0, &mac)), [seen]);
        // RTM_DELLINK: of one that is handed to a container, too.
        assert_eq!(read(&announcement(17, 0, &mac)), []);
        // AF_BRIDGE.
        assert_eq!(read(&announcement(NEW_LINK, 7, &mac)), []);
        assert_eq!(read(&announcement_of("macvlan", NEW_LINK, 0, &mac)), []);
        // InfiniBand's are longer, a tunnel's are none.
        assert_eq!(read(&announcement(NEW_LINK, 0, &[0; 20])), []);
        assert_eq!(read(&announcement(NEW_LINK, 0, &[])), []);
        let cut = &announcement(NEW_LINK, 0, &mac)[..20];
        assert_eq!(read(cut), [InterfaceNews::Missed]);
    }
}
