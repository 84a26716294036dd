//! Whether a batch succeeded, by the answers to it. Pure.
//!
//! ```text
//!              error for any message of the batch, its begin and end included
//!   waiting ───────────────────────────────────────────────────────────▶ failed
//!      │ the last real message is acknowledged                              ▲
//!      ▼                                                                    │
//!   acknowledged ─── an error all the same: the last may well be right ─────┘
//! ```
//!
//! The kernel carries a batch out while it is being sent: by then every answer is in the socket, and
//! "acknowledged" with nothing left to read is success.

use rustix::io::Errno;

use super::error::Fault;
use crate::netlink::NetlinkError;
use crate::netlink::request::{Answer, Answered, answers};

/// The answers to one batch so far.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    first: u32,
    labels: &'a [String],
    acknowledged: bool,
    /// The first error, by the message's place in the batch, and how many there were.
    failed: Option<(usize, Errno)>,
    errors: usize,
}

impl<'a> Outcome<'a> {
    pub(crate) fn new(first: u32, labels: &'a [String]) -> Self {
        Self {
            first,
            labels,
            acknowledged: false,
            failed: None,
            errors: 0,
        }
    }

    /// Takes one datagram. What answers no message of this batch is passed over.
    pub(crate) fn take(&mut self, datagram: &[u8]) -> Result<(), NetlinkError> {
        for answered in answers(datagram, self.first, self.labels.len()) {
            let Answered { place, answer, .. } = answered?;
            match answer {
                Answer::Ack(Ok(())) => self.acknowledged |= place + 2 == self.labels.len(),
                Answer::Ack(Err(errno)) => {
                    self.errors += 1;
                    self.failed.get_or_insert((place, errno));
                }
                Answer::Object(_) | Answer::Done(_) | Answer::Nothing => {}
            }
        }
        Ok(())
    }

    /// Whether the wait is over; there may still be answers to read.
    pub(crate) fn is_decided(&self) -> bool {
        self.acknowledged || self.failed.is_some()
    }

    /// The first error: the place of its message in the batch, and what that was for.
    pub(crate) fn failure(&self) -> Option<(usize, &'a str, Errno)> {
        let (place, errno) = self.failed?;
        Some((place, self.labels.get(place)?.as_str(), errno))
    }

    /// The result, once all has been read.
    pub(crate) fn result(&self) -> Result<(), Fault> {
        match self.failure() {
            Some((_, label, errno)) => {
                let mut fault = Fault::at(errno, label);
                if self.errors > 1 {
                    fault.detail += &format!("; {} more errors", self.errors - 1);
                }
                Err(fault)
            }
            None if self.acknowledged => Ok(()),
            None => Err(Fault::uncertain("not acknowledged")),
        }
    }
}

#[cfg(test)]
mod tests;
