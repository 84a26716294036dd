//! The netlink socket: sends requests, receives answers within a deadline.
//!
//! After any error the socket must be dropped: what is still on its way would be read as the
//! answer to something else (sequence numbers forbid that, but not for ever).

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force,
};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect,
    getsockname, recvfrom, send, socket_with,
};

use super::message::Malformed;
use super::watch::ROUTE;
use crate::sys::failpoint;

/// Bytes for one datagram: the kernel fills 32 KiB at most when it dumps
/// (`netlink_recvmsg`, net/netlink/af_netlink.c).
const BUFFER: usize = 64 * 1024;

/// What any socket can send: the default of net.core.wmem_default is 208 KiB, a part of which
/// the kernel takes for itself; it may be set lower.
const ROOM_AT_FIRST: usize = 32 * 1024;

/// The kernel's port id, and "choose one" for our own.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// Why nothing can be said or heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// No answer within the deadline.
    #[error("the kernel did not answer in time")]
    TimedOut,
    /// The kernel's answer could not be read.
    #[error("the kernel's answer is malformed")]
    Malformed(#[from] Malformed),
    /// A system call failed.
    #[error("{operation} failed")]
    Failed {
        /// Which one.
        operation: &'static str,
        /// How.
        #[source]
        errno: Errno,
    },
}

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
    pub(crate) fn netfilter() -> Result<Self, SocketError> {
        Self::open(Some(NETFILTER))
    }

    /// One to links, neighbours and routes.
    pub(crate) fn route() -> Result<Self, SocketError> {
        Self::open(ROUTE)
    }

    /// One to the list of sockets.
    pub(crate) fn sock_diag() -> Result<Self, SocketError> {
        Self::open(Some(SOCK_DIAG))
    }

    fn open(protocol: Option<Protocol>) -> Result<Self, SocketError> {
        let failed = |errno| SocketError::Failed {
            operation: OPEN,
            errno,
        };
        let flags = SocketFlags::CLOEXEC;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let fd = socket_with(family, kind, flags, protocol).map_err(failed)?;
        bind(&fd, &KERNEL).map_err(failed)?;
        let port = getsockname(&fd)
            .and_then(SocketAddrNetlink::try_from)
            .map_err(failed)?
            .pid();
        // From then on nobody but the kernel can send to it.
        connect(&fd, &KERNEL).map_err(failed)?;
        Ok(Self {
            fd,
            seq: 1,
            buffer: vec![0; BUFFER],
            port,
            room: ROOM_AT_FIRST,
        })
    }

    /// The kernel's name for this socket.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Makes room for a datagram of this many bytes, beyond the system's limit where that is
    /// permitted (CAP_NET_ADMIN outside of user namespaces), else up to it; and as much for
    /// the answers.
    pub(crate) fn make_room(&mut self, bytes: usize) -> Result<(), SocketError> {
        if bytes <= self.room {
            return Ok(());
        }
        let or_within = |forced, within: &dyn Fn() -> rustix::io::Result<()>| match forced {
            Err(Errno::PERM) => within(),
            forced => forced,
        };
        let fd = &self.fd;
        or_within(set_socket_send_buffer_size_force(fd, bytes), &|| {
            set_socket_send_buffer_size(fd, bytes)
        })
        .and_then(|()| {
            or_within(set_socket_recv_buffer_size_force(fd, bytes), &|| {
                set_socket_recv_buffer_size(fd, bytes)
            })
        })
        .map_err(|errno| SocketError::Failed {
            operation: ROOM,
            errno,
        })?;
        self.room = bytes;
        Ok(())
    }

    /// Takes `count` sequence numbers and returns the first.
    pub(crate) fn take_seq(&mut self, count: usize) -> u32 {
        let first = self.seq;
        self.seq = first.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
        first
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, requests: &[u8]) -> Result<(), SocketError> {
        failpoint::crash("before netlink is told");
        loop {
            match send(&self.fd, requests, SendFlags::empty()) {
                // A datagram goes whole or not at all.
                Ok(_) => {
                    failpoint::crash("after netlink was told");
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(SocketError::Failed {
                        operation: SEND,
                        errno,
                    });
                }
            }
        }
    }

    /// The next datagram from the kernel.
    pub(crate) fn receive(&mut self, deadline: Instant) -> Result<&[u8], SocketError> {
        let length = loop {
            // Looked at each time, for a peer that never stops talking.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SocketError::TimedOut);
            }
            match self.read()? {
                Read::Datagram(length) => break length,
                Read::Foreign => {}
                Read::Nothing => {
                    let left = Timespec::try_from(left).ok();
                    let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
                    match poll(&mut fds, left.as_ref()) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(errno) => {
                            return Err(SocketError::Failed {
                                operation: RECEIVE,
                                errno,
                            });
                        }
                    }
                }
            }
        };
        Ok(&self.buffer[..length])
    }

    /// The next datagram from the kernel, if there is one already.
    pub(crate) fn pending(&mut self) -> Result<Option<&[u8]>, SocketError> {
        loop {
            match self.read()? {
                Read::Datagram(length) => return Ok(Some(&self.buffer[..length])),
                Read::Foreign => {}
                Read::Nothing => return Ok(None),
            }
        }
    }

    fn read(&mut self) -> Result<Read, SocketError> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        match recvfrom(&self.fd, &mut self.buffer[..], flags) {
            Ok((received, whole, _)) if whole > received => {
                Err(Malformed("a datagram longer than any of the kernel's").into())
            }
            Ok((received, _, Some(from)))
                if SocketAddrNetlink::try_from(from.clone()) == Ok(KERNEL) =>
            {
                Ok(Read::Datagram(received))
            }
            Ok(_) | Err(Errno::INTR) => Ok(Read::Foreign),
            Err(Errno::AGAIN) => Ok(Read::Nothing),
            Err(errno) => Err(SocketError::Failed {
                operation: RECEIVE,
                errno,
            }),
        }
    }
}

/// What one attempt to read gives.
enum Read {
    Datagram(usize),
    /// Something that does not count.
    Foreign,
    Nothing,
}
