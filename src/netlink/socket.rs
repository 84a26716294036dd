//! The netlink socket: sends datagrams, and receives them within a deadline.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::{NETFILTER, SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force,
};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect,
    getsockname, recvfrom, send, socket_with,
};

use super::error::NetlinkError;
use super::message::Malformed;
use super::request::Channel;
use crate::sys::failpoint;

/// No protocol is protocol 0, `NETLINK_ROUTE` (uapi/linux/netlink.h).
pub(super) const ROUTE: Option<Protocol> = None;

/// Bytes for one datagram: the kernel fills 32 KiB at most when it dumps or announces
/// (`netlink_recvmsg`, net/netlink/af_netlink.c).
pub(super) const BUFFER: usize = 64 * 1024;

/// What every socket can send: the default of net.core.wmem_default is 208 KiB, a part of which
/// the kernel takes for itself; it may be set lower.
const ROOM_AT_FIRST: usize = 32 * 1024;

/// The kernel's port id, and "choose one" for our own.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

const OPEN: &str = "opening a netlink socket";
const ROOM: &str = "making room for netlink messages";
const SEND: &str = "sending to netlink";
const RECEIVE: &str = "receiving from netlink";

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    /// The next request's sequence number.
    seq: u32,
    buffer: Vec<u8>,
    port: u32,
    /// Bytes that can be sent at once.
    room: usize,
}

impl Socket {
    /// One to netfilter's subsystems.
    pub(crate) fn netfilter() -> Result<Self, NetlinkError> {
        Self::open(Some(NETFILTER), 0)
    }

    /// One that also receives what netfilter announces to these groups, with room for this many
    /// bytes of it.
    pub(crate) fn netfilter_groups(groups: u32, room: usize) -> Result<Self, NetlinkError> {
        let mut socket = Self::open(Some(NETFILTER), groups)?;
        socket.make_room(room)?;
        Ok(socket)
    }

    /// One to links, neighbours and routes.
    pub(crate) fn route() -> Result<Self, NetlinkError> {
        Self::open(ROUTE, 0)
    }

    /// One to the list of sockets.
    pub(crate) fn sock_diag() -> Result<Self, NetlinkError> {
        Self::open(Some(SOCK_DIAG), 0)
    }

    fn open(protocol: Option<Protocol>, groups: u32) -> Result<Self, NetlinkError> {
        let failed = |errno| NetlinkError::failed(OPEN, errno);
        let flags = SocketFlags::CLOEXEC;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let fd = socket_with(family, kind, flags, protocol).map_err(failed)?;
        bind(&fd, &SocketAddrNetlink::new(0, groups)).map_err(failed)?;
        let port = getsockname(&fd)
            .and_then(SocketAddrNetlink::try_from)
            .map_err(failed)?
            .pid();
        // From then on only the kernel can send to it.
        connect(&fd, &KERNEL).map_err(failed)?;
        Ok(Self {
            fd,
            seq: 1,
            buffer: vec![0; BUFFER],
            port,
            room: ROOM_AT_FIRST,
        })
    }

    /// Makes room for a datagram of this many bytes and as much for the answers: beyond the
    /// system's limit where that is permitted (CAP_NET_ADMIN outside of user namespaces), else up
    /// to it.
    fn make_room(&mut self, bytes: usize) -> Result<(), NetlinkError> {
        if bytes <= self.room {
            return Ok(());
        }
        let made = match set_socket_send_buffer_size_force(&self.fd, bytes) {
            Err(Errno::PERM) => set_socket_send_buffer_size(&self.fd, bytes),
            forced => forced,
        };
        made.and_then(|()| make_room_to_receive(&self.fd, bytes))
            .map_err(|errno| NetlinkError::failed(ROOM, errno))?;
        self.room = bytes;
        Ok(())
    }

    fn read(&mut self) -> Result<Read, NetlinkError> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        match recvfrom(&self.fd, &mut self.buffer[..], flags) {
            Ok((received, whole, _)) if whole > received => {
                Err(Malformed("a datagram longer than any of the kernel's").into())
            }
            // What goes to a group names that beside the sender.
            Ok((received, _, Some(from)))
                if SocketAddrNetlink::try_from(from.clone())
                    .is_ok_and(|from| from.pid() == KERNEL.pid()) =>
            {
                Ok(Read::Datagram(received))
            }
            Ok(_) | Err(Errno::INTR) => Ok(Read::Foreign),
            Err(Errno::AGAIN) => Ok(Read::Nothing),
            Err(errno) => Err(NetlinkError::failed(RECEIVE, errno)),
        }
    }
}

impl Channel for Socket {
    fn port(&self) -> u32 {
        self.port
    }

    fn take_seq(&mut self, count: usize) -> u32 {
        let first = self.seq;
        self.seq = first.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
        first
    }

    fn send(&mut self, requests: &[u8]) -> Result<(), NetlinkError> {
        self.make_room(requests.len())?;
        failpoint::crash("before netlink is sent a request");
        // A datagram goes whole or not at all.
        retry_on_intr(|| send(&self.fd, requests, SendFlags::empty()))
            .map_err(|errno| NetlinkError::failed(SEND, errno))?;
        failpoint::crash("after netlink was sent a request");
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<&[u8], NetlinkError> {
        let length = loop {
            // Checked each time, in case the peer never stops talking.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NetlinkError::TimedOut);
            }
            match self.read()? {
                Read::Datagram(length) => break length,
                Read::Foreign => {}
                Read::Nothing => {
                    let left = Timespec::try_from(left).ok();
                    let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
                    match poll(&mut fds, left.as_ref()) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(errno) => return Err(NetlinkError::failed(RECEIVE, errno)),
                    }
                }
            }
        };
        Ok(&self.buffer[..length])
    }

    fn pending(&mut self) -> Result<Option<&[u8]>, NetlinkError> {
        loop {
            match self.read()? {
                Read::Datagram(length) => return Ok(Some(&self.buffer[..length])),
                Read::Foreign => {}
                Read::Nothing => return Ok(None),
            }
        }
    }
}

/// Makes room for so many bytes that have not been received; without the privilege, for as many of
/// them as the host allows.
pub(super) fn make_room_to_receive(socket: &OwnedFd, bytes: usize) -> rustix::io::Result<()> {
    match set_socket_recv_buffer_size_force(socket, bytes) {
        Err(Errno::PERM) => set_socket_recv_buffer_size(socket, bytes),
        forced => forced,
    }
}

/// A socket that receives what the kernel announces to these groups.
pub(super) fn subscribe(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// What one attempt to read gives.
enum Read {
    Datagram(usize),
    /// Not from the kernel, or an interrupted call: try again.
    Foreign,
    Nothing,
}
