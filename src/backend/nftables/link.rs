//! Requests to nf_tables and answers, over a socket or what a test puts in its place.
//!
//! The socket that makes the table owns it, so it is kept as long as the process lives, and
//! dropped only where what it says cannot be told any more from answers to something else.

use std::time::Instant;

use rustix::io::Errno;

use super::decode::{attributes, number};
use super::encode::Encoded;
use super::fault::Fault;
use super::outcome::Outcome;
use super::wire::{GEN_ID, message};
use crate::netlink::SocketError;
use crate::netlink::message::{
    DONE, DUMP, DUMP_INTERRUPTED, ERROR, Messages, NFGENMSG_IPV6, OVERRUN, REQUEST, Writer,
};
use crate::netlink::socket::Socket;
use crate::sys::progress::{self, Worker};

/// The seam at the kernel.
pub(crate) trait Link: Send {
    /// Its port id, by which the kernel names the owner of a table.
    fn port(&self) -> u32;
    /// Takes sequence numbers, and returns the first.
    fn take_seq(&mut self, count: usize) -> u32;
    /// Sends one datagram, however long.
    fn send(&mut self, bytes: &[u8]) -> Result<(), SocketError>;
    /// The next datagram, waited for.
    fn receive(&mut self, deadline: Instant) -> Result<&[u8], SocketError>;
    /// The next datagram, if there is one.
    fn pending(&mut self) -> Result<Option<&[u8]>, SocketError>;
}

impl Link for Socket {
    fn port(&self) -> u32 {
        Self::port(self)
    }

    fn take_seq(&mut self, count: usize) -> u32 {
        Self::take_seq(self, count)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), SocketError> {
        self.make_room(bytes.len())?;
        Self::send(self, bytes)
    }

    fn receive(&mut self, deadline: Instant) -> Result<&[u8], SocketError> {
        let datagram = Self::receive(self, deadline)?;
        progress::made(Worker::Writer);
        Ok(datagram)
    }

    fn pending(&mut self) -> Result<Option<&[u8]>, SocketError> {
        Self::pending(self)
    }
}

/// Whose tables are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `ip6`.
    Ip6,
    /// `inet`, of IPv4 and IPv6 alike.
    Inet,
}

impl Family {
    /// The `struct nfgenmsg` of a message.
    fn header(self) -> [u8; 4] {
        match self {
            Self::Ip6 => NFGENMSG_IPV6,
            // `NFPROTO_INET`.
            Self::Inet => [1, 0, 0, 0],
        }
    }
}

fn request(
    family: Family,
    link: &mut dyn Link,
    kind: u16,
    flags: u16,
    fill: &Fill<'_>,
) -> Result<u32, Fault> {
    let seq = link.take_seq(1);
    let mut writer = Writer::default();
    writer.message(kind, REQUEST | flags, seq, |w| {
        w.raw(&family.header());
        fill(w);
    });
    link.send(writer.bytes())?;
    Ok(seq)
}

/// What appends the attributes of a request.
pub(crate) type Fill<'f> = dyn Fn(&mut Writer) + 'f;

/// Asks for one thing; `None` where it is not there.
pub(super) fn get(
    link: &mut dyn Link,
    deadline: Instant,
    kind: u16,
    fill: &Fill<'_>,
) -> Result<Option<Vec<u8>>, Fault> {
    let seq = request(Family::Ip6, link, kind, 0, fill)?;
    loop {
        for message in Messages::new(link.receive(deadline)?) {
            let message = message?;
            if message.seq != seq {
                continue;
            }
            match message.kind {
                OVERRUN => return Err(Fault::uncertain("answers were lost")),
                ERROR => match message.code()? {
                    None | Some(Errno::NOENT) => return Ok(None),
                    Some(errno) => return Err(Fault::asked(errno)),
                },
                _ => return Ok(Some(message.payload.to_vec())),
            }
        }
    }
}

/// How an answer to [`dump`] ended, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    /// It is complete.
    Whole,
    /// It came to its end, but some table has changed meanwhile.
    Interrupted,
    /// It broke off.
    Early,
}

/// Asks for all of a kind.
pub(super) fn dump(
    link: &mut dyn Link,
    deadline: Instant,
    kind: u16,
    fill: &Fill<'_>,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<Ended, Fault> {
    dump_of(Family::Ip6, link, deadline, kind, fill, each)
}

/// Asks for all of a kind in one family.
pub(crate) fn dump_of(
    family: Family,
    link: &mut dyn Link,
    deadline: Instant,
    kind: u16,
    fill: &Fill<'_>,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<Ended, Fault> {
    let seq = request(family, link, kind, DUMP, fill)?;
    let mut ended = Ended::Whole;
    loop {
        for message in Messages::new(link.receive(deadline)?) {
            let message = message?;
            if message.seq != seq {
                continue;
            }
            if message.flags & DUMP_INTERRUPTED != 0 {
                ended = Ended::Interrupted;
            }
            match message.kind {
                OVERRUN => return Err(Fault::uncertain("answers were lost")),
                // A dump that fails halfway says so in the message that ends it. What is not
                // there any more has gone meanwhile.
                ERROR | DONE => match message.code()? {
                    None => return Ok(ended),
                    Some(Errno::INTR | Errno::AGAIN | Errno::NOENT) => return Ok(Ended::Early),
                    Some(errno) => return Err(Fault::asked(errno)),
                },
                _ => each(message.payload)?,
            }
        }
    }
}

/// The number of the last change of any table in this network namespace.
pub(super) fn generation(link: &mut dyn Link, deadline: Instant) -> Result<u32, Fault> {
    let answer = get(link, deadline, message::GET_GENERATION, &|_| {})?;
    let answer = answer.ok_or_else(|| Fault::uncertain("no generation id"))?;
    Ok(number(&attributes(&answer)?, GEN_ID))
}

/// Sends a batch and hears all about it.
pub(super) fn carry_out<'e>(
    link: &mut dyn Link,
    deadline: Instant,
    batch: &'e Encoded,
) -> Result<Outcome<'e>, Fault> {
    let mut outcome = Outcome::new(batch.first, &batch.labels);
    link.send(&batch.bytes)?;
    while !outcome.is_decided() {
        outcome.take(link.receive(deadline)?)?;
    }
    while let Some(datagram) = link.pending()? {
        outcome.take(datagram)?;
    }
    Ok(outcome)
}
