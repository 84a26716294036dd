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

use super::FlowError;
use super::answer::{Deletions, Dump, Progress};
use super::entry::{self, Entry, Locator};
use super::message::{Malformed, Writer};

/// Bytes for one datagram: the kernel fills 32 KiB at most when it dumps
/// (`netlink_recvmsg`, net/netlink/af_netlink.c).
const BUFFER: usize = 64 * 1024;

/// Deletions in one datagram. An answer occupies up to 1 KiB of the receive buffer, which has
/// 208 KiB by default and may be set as low as some 32 KiB (net.core.rmem_default).
const AT_ONCE: usize = 32;

/// The kernel's port id, and "choose one" for our own.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

const OPEN: &str = "opening a netlink socket";
const SEND: &str = "sending to netlink";
const RECEIVE: &str = "receiving from netlink";

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// The next request's sequence number.
    seq: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(super) fn open() -> Result<Self, FlowError> {
        let failed = |errno| FlowError::from_errno(OPEN, errno);
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

    /// Hands out every IPv6 entry; `false` where some may be missing because the table changed.
    pub(super) fn dump(
        &mut self,
        deadline: Instant,
        mut each: impl FnMut(&Entry<'_>),
    ) -> Result<bool, FlowError> {
        let seq = self.next(1);
        self.send(&entry::dump(seq))?;
        let mut answer = Dump::new(seq);
        while answer.take(self.receive(deadline)?, &mut each)? == Progress::More {}
        Ok(!answer.interrupted)
    }

    /// Deletes what is still there, and adds to `deleted` what was.
    pub(super) fn delete(
        &mut self,
        stale: &[Locator],
        deadline: Instant,
        deleted: &mut usize,
    ) -> Result<(), FlowError> {
        let mut refused = None;
        for locators in stale.chunks(AT_ONCE) {
            let first = self.next(AT_ONCE);
            let mut requests = Writer::default();
            for (seq, locator) in (0..).map(|n| first.wrapping_add(n)).zip(locators) {
                entry::delete(&mut requests, seq, locator);
            }
            self.send(&requests)?;
            let mut answers = Deletions::new(first, locators.len());
            while answers.take(self.receive(deadline)?)? == Progress::More {}
            *deleted += answers.deleted;
            if let Some((count, last)) = answers.refused {
                let before = refused.map_or(0, |(count, _)| count);
                refused = Some((before + count, last));
            }
        }
        match refused {
            None => Ok(()),
            Some((left, last)) => Err(FlowError::Deletion { left, last }),
        }
    }

    /// Takes `count` sequence numbers and returns the first.
    fn next(&mut self, count: usize) -> u32 {
        let first = self.seq;
        self.seq = first.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
        first
    }

    fn send(&self, requests: &Writer) -> Result<(), FlowError> {
        loop {
            match send(&self.fd, requests.bytes(), SendFlags::empty()) {
                // A datagram goes whole or not at all.
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(FlowError::from_errno(SEND, errno)),
            }
        }
    }

    /// The next datagram from the kernel.
    fn receive(&mut self, deadline: Instant) -> Result<&[u8], FlowError> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let length = loop {
            // Looked at each time, for a peer that never stops talking.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(FlowError::TimedOut);
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
                        Err(errno) => return Err(FlowError::from_errno(RECEIVE, errno)),
                    }
                }
                Err(errno) => return Err(FlowError::from_errno(RECEIVE, errno)),
            }
        };
        Ok(&self.buffer[..length])
    }
}
