//! What the kernel answers to a dump and to other requests, datagram by datagram. Pure.
//!
//! Messages with another sequence number than those asked for are passed over: they belong to
//! nobody here.

use rustix::io::Errno;

use super::FlowError;
use super::entry::{CT_NEW, Entry};
use crate::netlink::message::{DONE, DUMP_INTERRUPTED, ERROR, Message, Messages, OVERRUN};

const DUMP: &str = "listing flows";

/// Whether more is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Done,
}

/// The answer to one dump.
#[derive(Debug)]
pub(super) struct Dump {
    seq: u32,
    /// The type of the messages that are listed.
    kind: u16,
    /// What it means that the kernel refuses.
    failed: fn(Errno) -> FlowError,
    /// Some message said that entries may be missing.
    pub(super) interrupted: bool,
}

impl Dump {
    /// That of flows.
    pub(super) fn new(seq: u32) -> Self {
        Self::of(seq, CT_NEW, |errno| FlowError::from_errno(DUMP, errno))
    }

    /// That of messages of another kind.
    pub(super) fn of(seq: u32, kind: u16, failed: fn(Errno) -> FlowError) -> Self {
        Self {
            seq,
            kind,
            failed,
            interrupted: false,
        }
    }

    /// Takes one datagram and hands out its entries.
    pub(super) fn take(
        &mut self,
        datagram: &[u8],
        each: &mut impl FnMut(&Entry<'_>),
    ) -> Result<Progress, FlowError> {
        self.take_messages(datagram, &mut |message| {
            if let Some(entry) = Entry::read(message)? {
                each(&entry);
            }
            Ok(())
        })
    }

    /// Takes one datagram and hands out what is listed in it.
    pub(super) fn take_messages(
        &mut self,
        datagram: &[u8],
        each: &mut impl FnMut(&Message<'_>) -> Result<(), FlowError>,
    ) -> Result<Progress, FlowError> {
        for message in Messages::new(datagram) {
            let message = message?;
            if message.seq != self.seq {
                continue;
            }
            self.interrupted |= message.flags & DUMP_INTERRUPTED != 0;
            match message.kind {
                kind if kind == self.kind => each(&message)?,
                // A dump that fails halfway says so in the message that ends it.
                ERROR | DONE => {
                    return match message.code()? {
                        None => Ok(Progress::Done),
                        Some(errno) => Err((self.failed)(errno)),
                    };
                }
                OVERRUN => return Err(FlowError::Overrun),
                _ => {}
            }
        }
        Ok(Progress::More)
    }
}

/// The answers to requests, to delete entries or to make them, that were sent together with
/// consecutive sequence numbers.
#[derive(Debug)]
pub(super) struct Acks {
    first: u32,
    /// By request; whether it was answered.
    answered: Vec<bool>,
    open: usize,
    /// Requests that the kernel has carried out.
    pub(super) done: usize,
    /// Requests that the kernel would not carry out, and the last reason.
    pub(super) refused: Option<(usize, Errno)>,
}

impl Acks {
    pub(super) fn new(first: u32, count: usize) -> Self {
        Self {
            first,
            answered: vec![false; count],
            open: count,
            done: 0,
            refused: None,
        }
    }

    pub(super) fn take(&mut self, datagram: &[u8]) -> Result<Progress, FlowError> {
        for message in Messages::new(datagram) {
            let message = message?;
            let index = message.seq.wrapping_sub(self.first) as usize;
            let Some(answered) = self.answered.get_mut(index) else {
                continue;
            };
            match message.kind {
                ERROR if !*answered => {
                    let code = message.code()?;
                    *answered = true;
                    self.open -= 1;
                    match code {
                        None => self.done += 1,
                        // It ended by itself, or another flow has its tuple; or the interface has
                        // gone on which a neighbour was asked for; or what is to be made is there.
                        Some(Errno::NOENT | Errno::NODEV | Errno::EXIST) => {}
                        // The kernel answers for the whole datagram with one such message.
                        Some(errno @ (Errno::PERM | Errno::ACCESS)) => {
                            return Err(FlowError::Denied(errno));
                        }
                        Some(errno) => {
                            let before = self.refused.map_or(0, |(count, _)| count);
                            self.refused = Some((before + 1, errno));
                        }
                    }
                }
                OVERRUN => return Err(FlowError::Overrun),
                _ => {}
            }
        }
        Ok(match self.open {
            0 => Progress::Done,
            _ => Progress::More,
        })
    }
}

#[cfg(test)]
mod tests;
