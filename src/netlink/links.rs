//! Tells of the interfaces in the host's network namespace by their hardware addresses.
//!
//! When a container leaves a network, Docker takes the container's end of their link back into the
//! host's namespace before it frees the address (130 to 150 ms before on Engine 28.5, and up to a
//! second before it says so). The kernel announces that as it does the making of a link, and the
//! hardware address tells whose it was.
//!
//! One thread, which waits for messages as long as somebody listens, and remembers nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{RecvFlags, recv};

use super::message::{Message, Messages, find};
use super::watch::{CHUNK, ROUTE, subscribe};
use crate::model::interface::{InterfaceNews, MacAddr};
use crate::sys::failpoint;

/// `RTMGRP_LINK` (linux/rtnetlink.h).
const LINKS: u32 = 0x1;

/// `RTM_NEWLINK`: a link was made or moved here, or has changed (linux/rtnetlink.h).
pub(super) const NEW_LINK: u16 = 16;

/// Length of `struct ifinfomsg` (linux/rtnetlink.h), which begins with the family as u8: that of
/// messages of bridges, which tell the same once more, is not 0.
pub(super) const LINK_HEADER: usize = 16;

/// `IFLA_ADDRESS` and `IFLA_LINKINFO`; in that, `IFLA_INFO_KIND` (linux/if_link.h).
const ADDRESS: u16 = 1;
pub(super) const LINK_INFO: u16 = 18;
const KIND: u16 = 1;

/// The kind of link whose ends a container and a bridge are given.
const VETH: &[u8] = b"veth";

/// Room for some hundred announcements, which come in bursts; the default holds some fifty.
const ROOM: usize = 1024 * 1024;

/// Calls `told` with what is heard, from a thread of its own, until that says that nobody listens
/// any more; and `ended` with the reason if there is no more to be heard.
///
/// # Errors
/// The kernel gives no such socket, or no thread.
pub fn watch(
    told: impl Fn(InterfaceNews) -> bool + Send + 'static,
    ended: impl FnOnce(io::Error) + Send + 'static,
) -> io::Result<()> {
    let socket = subscribe(ROUTE, LINKS)?;
    // As far as it is permitted: what does not fit is told as missed.
    if set_socket_recv_buffer_size_force(&socket, ROOM).is_err() {
        set_socket_recv_buffer_size(&socket, ROOM)?;
    }
    let wait = move || {
        if let Err(error) = follow(&socket, told) {
            ended(error);
        }
    };
    thread::Builder::new()
        .name("links".to_owned())
        .spawn(wait)
        .map(drop)
}

fn follow(socket: &OwnedFd, told: impl Fn(InterfaceNews) -> bool) -> io::Result<()> {
    let mut chunk = vec![0_u8; CHUNK];
    loop {
        let received = recv(socket, &mut chunk[..], RecvFlags::empty());
        failpoint::panic("links are read");
        if failpoint::stops("links") {
            return Err(io::Error::other("a test wants it to end"));
        }
        let goes_on = match received {
            Ok((length, _)) => news(&chunk[..length]).all(&told),
            Err(Errno::NOBUFS) => told(InterfaceNews::Missed),
            Err(Errno::INTR) => true,
            Err(error) => return Err(error.into()),
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// What a datagram tells. Of one that is malformed, the rest may have told of any.
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
    let is_veth = kind.strip_suffix(&[0]).unwrap_or(kind) == VETH;
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
    fn links_that_are_made_or_changed_are_told_of_by_their_hardware_address() {
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
