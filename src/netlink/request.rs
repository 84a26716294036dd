//! Requests over netlink and what the kernel answers: one object ([`get`]), all of a kind
//! ([`dump`]), or many requests that it acknowledges one by one ([`send_each`]).
//!
//! Each request has its own sequence number; messages with another number answer something else
//! and are passed over ([`answers`]). Nothing is repeated here. After an error the channel should
//! be dropped, unless it owns something: what is still on its way would be read as the answer to
//! something else, once the sequence numbers have wrapped around.

use std::time::Instant;

use rustix::io::Errno;

use super::error::NetlinkError;
use super::message::{
    DONE, DUMP, DUMP_INTERRUPTED, ERROR, FIRST_OF_SUBSYSTEMS, Malformed, Messages, OVERRUN,
    REQUEST, Writer,
};

/// Requests in one datagram of [`send_each`]. An answer occupies up to 1 KiB of the receive
/// buffer, which has 208 KiB by default and may be set as low as some 32 KiB
/// (net.core.rmem_default).
const AT_ONCE: usize = 32;

/// What carries datagrams to the kernel and back: a socket, or what a test puts in its place.
pub(crate) trait Channel: Send {
    /// Its port id, by which the kernel names the sender of a change and the owner of a table.
    fn port(&self) -> u32;
    /// Takes sequence numbers, and returns the first.
    fn take_seq(&mut self, count: usize) -> u32;
    /// Sends one datagram, however long.
    fn send(&mut self, bytes: &[u8]) -> Result<(), NetlinkError>;
    /// Waits for the next datagram.
    fn receive(&mut self, deadline: Instant) -> Result<&[u8], NetlinkError>;
    /// The next datagram, if it is there already.
    fn pending(&mut self) -> Result<Option<&[u8]>, NetlinkError>;
}

/// Appends a request's payload: its family header, and its attributes.
pub(crate) type Fill<'f> = dyn Fn(&mut Writer) + 'f;

/// What a message means for the request that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// The payload of an object that was asked for.
    Object(&'a [u8]),
    /// The end of a dump, or why it broke off.
    Done(Result<(), Errno>),
    /// An acknowledgement, or why the kernel refused.
    Ack(Result<(), Errno>),
    /// Of no interest: `NLMSG_NOOP` and types that are reserved.
    Nothing,
}

/// One message that answers one of several requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered<'a> {
    /// Which of the requests it answers, counted from 0.
    pub(crate) place: usize,
    /// Whether a dump that it belongs to was interrupted by a change.
    interrupted: bool,
    pub(crate) answer: Answer<'a>,
}

/// The messages of a datagram that answer one of `count` requests with consecutive sequence
/// numbers. Of an answer that cannot be read, or that says others were lost, there is the error.
pub(crate) fn answers(
    datagram: &[u8],
    first: u32,
    count: usize,
) -> impl Iterator<Item = Result<Answered<'_>, NetlinkError>> {
    Messages::new(datagram).filter_map(move |message| {
        let message = match message {
            Ok(message) => message,
            Err(malformed) => return Some(Err(malformed.into())),
        };
        let place = message.seq.wrapping_sub(first) as usize;
        if place >= count {
            return None;
        }
        let code = || message.code().map(|errno| errno.map_or(Ok(()), Err));
        let answer = match message.kind {
            OVERRUN => Err(NetlinkError::Overrun),
            ERROR => code().map(Answer::Ack).map_err(NetlinkError::from),
            DONE => code().map(Answer::Done).map_err(NetlinkError::from),
            FIRST_OF_SUBSYSTEMS.. => Ok(Answer::Object(message.payload)),
            _ => Ok(Answer::Nothing),
        };
        Some(answer.map(|answer| Answered {
            place,
            interrupted: message.flags & DUMP_INTERRUPTED != 0,
            answer,
        }))
    })
}

/// Sends one request and returns its sequence number.
fn send(
    channel: &mut dyn Channel,
    kind: u16,
    flags: u16,
    fill: &Fill<'_>,
) -> Result<u32, NetlinkError> {
    let seq = channel.take_seq(1);
    let mut writer = Writer::default();
    writer.message(kind, REQUEST | flags, seq, fill);
    channel.send(writer.bytes())?;
    Ok(seq)
}

/// Asks for one object and returns its payload; `None` where it is not there (ENOENT, or of
/// interfaces ENODEV).
pub(crate) fn get(
    channel: &mut dyn Channel,
    deadline: Instant,
    kind: u16,
    fill: &Fill<'_>,
) -> Result<Option<Vec<u8>>, NetlinkError> {
    let seq = send(channel, kind, 0, fill)?;
    loop {
        for answered in answers(channel.receive(deadline)?, seq, 1) {
            return match answered?.answer {
                Answer::Object(payload) => Ok(Some(payload.to_vec())),
                Answer::Ack(Ok(()) | Err(Errno::NOENT | Errno::NODEV)) | Answer::Done(_) => {
                    Ok(None)
                }
                Answer::Ack(Err(errno)) => Err(NetlinkError::Refused(errno)),
                Answer::Nothing => continue,
            };
        }
    }
}

/// How complete a dump is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    /// It shows all there is.
    Whole,
    /// It came to its end, but something changed meanwhile: objects may be missing or twice there.
    Interrupted,
}

/// Asks for all objects of a kind, and hands out their payloads.
pub(crate) fn dump(
    channel: &mut dyn Channel,
    deadline: Instant,
    kind: u16,
    fill: &Fill<'_>,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Malformed>,
) -> Result<Ended, NetlinkError> {
    let seq = send(channel, kind, DUMP, fill)?;
    let mut ended = Ended::Whole;
    loop {
        for answered in answers(channel.receive(deadline)?, seq, 1) {
            let answered = answered?;
            if answered.interrupted {
                ended = Ended::Interrupted;
            }
            match answered.answer {
                Answer::Object(payload) => each(payload)?,
                // A dump that fails halfway says so in the message that ends it.
                Answer::Done(result) | Answer::Ack(result) => {
                    return result.map(|()| ended).map_err(NetlinkError::Refused);
                }
                Answer::Nothing => {}
            }
        }
    }
}

/// Errors that say that what was asked for is so already: an entry ended by itself, or another has
/// its name; an interface is gone, and its entries with it; what is to be made is there.
pub(crate) const SO_ALREADY: [Errno; 3] = [Errno::NOENT, Errno::NODEV, Errno::EXIST];

/// The answers to requests that were sent together. Pure.
#[derive(Debug)]
pub(crate) struct Acks {
    first: u32,
    /// By request: whether it was answered.
    answered: Vec<bool>,
    /// Requests that the kernel has carried out.
    pub(crate) done: usize,
    /// How many requests the kernel has refused, and the last reason.
    pub(crate) refused: Option<(usize, Errno)>,
}

impl Acks {
    pub(crate) fn new(first: u32, count: usize) -> Self {
        Self {
            first,
            answered: vec![false; count],
            done: 0,
            refused: None,
        }
    }

    /// Takes one datagram. Of several answers to one request the first counts.
    ///
    /// # Errors
    /// An answer is lost or malformed, or privileges are missing: then the kernel refuses the
    /// whole datagram with one message.
    pub(crate) fn take(&mut self, datagram: &[u8]) -> Result<(), NetlinkError> {
        for answered in answers(datagram, self.first, self.answered.len()) {
            let Answered { place, answer, .. } = answered?;
            let Answer::Ack(result) = answer else {
                continue;
            };
            if std::mem::replace(&mut self.answered[place], true) {
                continue;
            }
            match result {
                Ok(()) => self.done += 1,
                Err(errno) if SO_ALREADY.contains(&errno) => {}
                Err(errno @ (Errno::PERM | Errno::ACCESS)) => {
                    return Err(NetlinkError::Refused(errno));
                }
                Err(errno) => {
                    let before = self.refused.map_or(0, |(count, _)| count);
                    self.refused = Some((before + 1, errno));
                }
            }
        }
        Ok(())
    }

    /// Whether every request was answered.
    pub(crate) fn are_all_here(&self) -> bool {
        self.answered.iter().all(|answered| *answered)
    }
}

/// Sends a request for each item and waits for the acknowledgements; `write` appends the request.
/// What is so already ([`SO_ALREADY`]) is passed over. Adds to `done` what the kernel has carried
/// out, and returns how many requests it refused, and the last reason.
pub(crate) fn send_each<T>(
    channel: &mut dyn Channel,
    deadline: Instant,
    items: &[T],
    write: impl Fn(&mut Writer, u32, &T),
    done: &mut usize,
) -> Result<Option<(usize, Errno)>, NetlinkError> {
    let mut refused = None;
    for some in items.chunks(AT_ONCE) {
        let first = channel.take_seq(some.len());
        let mut requests = Writer::default();
        for (seq, item) in (0..).map(|n| first.wrapping_add(n)).zip(some) {
            write(&mut requests, seq, item);
        }
        channel.send(requests.bytes())?;
        let mut acks = Acks::new(first, some.len());
        while !acks.are_all_here() {
            acks.take(channel.receive(deadline)?)?;
        }
        *done += acks.done;
        if let Some((count, last)) = acks.refused {
            let before = refused.map_or(0, |(count, _)| count);
            refused = Some((before + count, last));
        }
    }
    Ok(refused)
}

#[cfg(test)]
mod tests;
