//! A kernel that answers over netlink what a script says, whatever it is asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::error::NetlinkError;
use super::message::{Messages, Writer};
use super::request::Channel;

/// The port of the socket that asks.
pub(crate) const PORT: u32 = 7;

/// Where a message has its sequence number.
const SEQ: std::ops::Range<usize> = 8..12;

/// Each answer is a datagram of one message, which gets the sequence number of the latest request.
/// After the last one, nothing more is answered.
#[derive(Debug, Default)]
pub(crate) struct KernelScript {
    answers: VecDeque<Vec<u8>>,
    /// What it was sent.
    pub(crate) sent: Vec<u8>,
    /// The latest request's sequence number, and the next.
    seq: (u32, u32),
    current: Vec<u8>,
}

impl KernelScript {
    /// Answers with these messages, up to and including the first that is malformed.
    pub(crate) fn new(messages: &[u8]) -> Self {
        let mut script = Self::default();
        for message in Messages::new(messages) {
            match message {
                Ok(message) => script.answer(message.kind, message.flags, |writer| {
                    writer.raw(message.payload);
                }),
                Err(_) => script.answers.push_back(vec![0]),
            }
        }
        script
    }

    /// Adds an answer.
    pub(crate) fn answer(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Writer)) {
        let mut writer = Writer::default();
        writer.message(kind, flags, 0, fill);
        self.answers.push_back(writer.into_bytes());
    }

    /// One that never comes: the script does not wait.
    pub(crate) fn deadline() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }
}

impl Channel for KernelScript {
    fn port(&self) -> u32 {
        PORT
    }

    fn take_seq(&mut self, count: usize) -> u32 {
        let (_, first) = self.seq;
        let count = u32::try_from(count).expect("few");
        self.seq = (first, first.wrapping_add(count));
        first
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), NetlinkError> {
        self.sent.extend(bytes);
        Ok(())
    }

    fn receive(&mut self, _: Instant) -> Result<&[u8], NetlinkError> {
        self.current = self.answers.pop_front().ok_or(NetlinkError::TimedOut)?;
        if let Some(seq) = self.current.get_mut(SEQ) {
            seq.copy_from_slice(&self.seq.0.to_ne_bytes());
        }
        Ok(&self.current)
    }

    fn pending(&mut self) -> Result<Option<&[u8]>, NetlinkError> {
        Ok(None)
    }
}
