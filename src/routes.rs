//! Notices changes of the host's IPv6 routes and links, over rtnetlink.
//!
//! What changed is not read: a message only says "look again". One thread of its own, which
//! waits for messages as long as the process lives and holds nothing that a crash could lose.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// Groups as bits (uapi/linux/rtnetlink.h): `RTMGRP_LINK`, `RTMGRP_IPV6_ROUTE`.
const GROUPS: u32 = 0x1 | 0x400;

/// Bytes read at once. Messages are not looked into, so a cut one does no harm.
const CHUNK: usize = 8 * 1024;

/// Calls `changed` after each change, from a thread of its own, and `ended` with the reason if
/// there is no more to be heard.
///
/// # Errors
/// The kernel gives no such socket, or no thread.
pub fn watch(
    changed: impl Fn() + Send + 'static,
    ended: impl FnOnce(io::Error) + Send + 'static,
) -> io::Result<()> {
    let socket = subscribe()?;
    let wait = move || ended(follow(&socket, changed));
    thread::Builder::new()
        .name("routes".to_owned())
        .spawn(wait)
        .map(drop)
}

fn follow(socket: &OwnedFd, changed: impl Fn()) -> io::Error {
    let mut chunk = [0_u8; CHUNK];
    loop {
        match recv(socket, &mut chunk, RecvFlags::empty()) {
            // Where more came than the socket holds, there is all the more reason to look.
            Ok(_) | Err(Errno::NOBUFS) => changed(),
            Err(Errno::INTR) => {}
            Err(error) => return error.into(),
        }
    }
}

fn subscribe() -> io::Result<OwnedFd> {
    // No protocol is protocol 0, NETLINK_ROUTE (uapi/linux/netlink.h).
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}
