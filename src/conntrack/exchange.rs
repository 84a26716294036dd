//! Requests to ctnetlink and what becomes of them, within a deadline.
//!
//! After any error it must be dropped, as [`Socket`] must.

use std::time::Instant;

use rustix::io::Errno;

use super::FlowError;
use super::answer::{Acks, Dump, Progress};
use super::entry::{self, Accepted, Entry, Locator};
use crate::netlink::message::Writer;
use crate::netlink::socket::Socket;

/// Requests in one datagram. An answer occupies up to 1 KiB of the receive buffer, which has
/// 208 KiB by default and may be set as low as some 32 KiB (net.core.rmem_default).
const AT_ONCE: usize = 32;

#[derive(Debug)]
pub(super) struct Exchange(Socket);

impl Exchange {
    pub(super) fn open() -> Result<Self, FlowError> {
        Ok(Self(Socket::netfilter()?))
    }

    /// Hands out every IPv6 entry; `false` where some may be missing because the table changed.
    pub(super) fn dump(
        &mut self,
        deadline: Instant,
        mut each: impl FnMut(&Entry<'_>),
    ) -> Result<bool, FlowError> {
        let seq = self.0.take_seq(1);
        self.0.send(entry::dump(seq).bytes())?;
        let mut answer = Dump::new(seq);
        while answer.take(self.0.receive(deadline)?, &mut each)? == Progress::More {}
        Ok(!answer.interrupted)
    }

    /// Deletes what is still there, and adds to `deleted` what was.
    pub(super) fn delete(
        &mut self,
        stale: &[Locator],
        deadline: Instant,
        deleted: &mut usize,
    ) -> Result<(), FlowError> {
        match request(&mut self.0, stale, entry::delete, deadline, deleted)? {
            None => Ok(()),
            Some((left, last)) => Err(FlowError::Deletion { left, last }),
        }
    }

    /// Makes entries for connections that have none; returns how many had none.
    pub(super) fn create(
        &mut self,
        accepted: &[Accepted],
        deadline: Instant,
    ) -> Result<usize, FlowError> {
        let mut made = 0;
        match request(&mut self.0, accepted, entry::create, deadline, &mut made)? {
            None => Ok(made),
            Some((_, errno)) => Err(FlowError::Failed {
                operation: "making an entry for a connection",
                errno,
            }),
        }
    }
}

/// Sends requests, each as `write` writes it, and waits for the answers. What was asked for and is
/// so already is passed over. Adds to `done` what was carried out, and tells how many the kernel
/// would not carry out, and the last reason.
pub(super) fn request<T>(
    socket: &mut Socket,
    wishes: &[T],
    write: impl Fn(&mut Writer, u32, &T),
    deadline: Instant,
    done: &mut usize,
) -> Result<Option<(usize, Errno)>, FlowError> {
    let mut refused = None;
    for some in wishes.chunks(AT_ONCE) {
        let first = socket.take_seq(AT_ONCE);
        let mut requests = Writer::default();
        for (seq, one) in (0..).map(|n| first.wrapping_add(n)).zip(some) {
            write(&mut requests, seq, one);
        }
        socket.send(requests.bytes())?;
        let mut answers = Acks::new(first, some.len());
        while answers.take(socket.receive(deadline)?)? == Progress::More {}
        *done += answers.done;
        if let Some((count, last)) = answers.refused {
            let before = refused.map_or(0, |(count, _)| count);
            refused = Some((before + count, last));
        }
    }
    Ok(refused)
}
