//! Notices that the kernel's routes, links or rules have changed.
//!
//! What changed is not read: a message only says "look again". One thread for each watch, which
//! waits for messages as long as the process lives and holds nothing that a crash could lose.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// Bytes read at once. Messages are not looked into, so a cut one does no harm.
const CHUNK: usize = 8 * 1024;

/// What is watched, in the network namespace of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Links and IPv6 routes.
    Routes,
    /// The rules of nf_tables, those of ip6tables' nft variant included. Whatever ip6tables'
    /// legacy variant does is announced to nobody.
    Rules,
}

impl Watched {
    /// Groups as bits: `RTMGRP_LINK` and `RTMGRP_IPV6_ROUTE` (uapi/linux/rtnetlink.h), or
    /// `NFNLGRP_NFTABLES`, the seventh (uapi/linux/netfilter/nfnetlink_compat.h).
    fn groups(self) -> u32 {
        match self {
            Self::Routes => 0x1 | 0x400,
            Self::Rules => 1 << 6,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Rules => "rules",
        }
    }
}

/// Calls `changed` after each change, from a thread of its own, and `ended` with the reason if
/// there is no more to be heard. Changes that come together are one.
///
/// # Errors
/// The kernel gives no such socket, or no thread.
pub fn watch(
    what: Watched,
    changed: impl Fn() + Send + 'static,
    ended: impl FnOnce(io::Error) + Send + 'static,
) -> io::Result<()> {
    let socket = subscribe(what)?;
    let wait = move || ended(follow(&socket, changed));
    thread::Builder::new()
        .name(what.name().to_owned())
        .spawn(wait)
        .map(drop)
}

fn follow(socket: &OwnedFd, changed: impl Fn()) -> io::Error {
    let mut chunk = [0_u8; CHUNK];
    let mut news = false;
    loop {
        // What has come already is read before anybody is told.
        let flags = match news {
            true => RecvFlags::DONTWAIT,
            false => RecvFlags::empty(),
        };
        match recv(socket, &mut chunk, flags) {
            // Where more came than the socket holds, there is all the more reason to look.
            Ok(_) | Err(Errno::NOBUFS) => news = true,
            Err(Errno::AGAIN) => {
                news = false;
                changed();
            }
            Err(Errno::INTR) => {}
            Err(error) => return error.into(),
        }
    }
}

fn subscribe(what: Watched) -> io::Result<OwnedFd> {
    let protocol = match what {
        // No protocol is protocol 0, NETLINK_ROUTE (uapi/linux/netlink.h).
        Watched::Routes => None,
        Watched::Rules => Some(NETFILTER),
    };
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, what.groups()))?;
    Ok(socket)
}
