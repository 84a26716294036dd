//! The netlink socket: sends requests, receives answers within a deadline.
//!
//! After any error the socket must be dropped: what is still on its way would be read as the
//! answer to something else (sequence numbers forbid that, but not for ever).

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recvfrom, send,
    socket_with,
};

use super::message::Malformed;

/// Bytes for one datagram: the kernel fills 32 KiB at most when it dumps
/// (`netlink_recvmsg`, net/netlink/af_netlink.c).
const BUFFER: usize = 64 * 1024;

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
const SEND: &str = "sending to netlink";
const RECEIVE: &str = "receiving from netlink";

/// A socket of `NETLINK_NETFILTER` in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    /// The next request's sequence number.
    seq: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens it.
    pub(crate) fn open() -> Result<Self, SocketError> {
        let failed = |errno| SocketError::Failed {
            operation: OPEN,
            errno,
        };
        let flags = SocketFlags::CLOEXEC;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let fd = socket_with(family, kind, flags, Some(NETFILTER)).map_err(failed)?;
        bind(&fd, &KERNEL).map_err(failed)?;
        // From then on nobody but the kernel can send to it.
        connect(&fd, &KERNEL).map_err(failed)?;
        Ok(Self {
            fd,
            seq: 1,
            buffer: vec![0; BUFFER],
        })
    }

    /// Takes `count` sequence numbers and returns the first.
    pub(crate) fn take_seq(&mut self, count: usize) -> u32 {
        let first = self.seq;
        self.seq = first.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
        first
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, requests: &[u8]) -> Result<(), SocketError> {
        loop {
            match send(&self.fd, requests, SendFlags::empty()) {
                // A datagram goes whole or not at all.
                Ok(_) => return Ok(()),
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
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let length = loop {
            // Looked at each time, for a peer that never stops talking.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SocketError::TimedOut);
            }
            match recvfrom(&self.fd, &mut self.buffer[..], flags) {
                Ok((received, whole, _)) if whole > received => {
                    return Err(Malformed("a datagram longer than any of the kernel's").into());
                }
                Ok((received, _, Some(from)))
                    if SocketAddrNetlink::try_from(from.clone()) == Ok(KERNEL) =>
                {
                    break received;
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
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
                Err(errno) => {
                    return Err(SocketError::Failed {
                        operation: RECEIVE,
                        errno,
                    });
                }
            }
        };
        Ok(&self.buffer[..length])
    }
}
