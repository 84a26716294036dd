//! What is sent to nf_tables, and what it answers: requests, and batches of changes.
//!
//! The socket that makes the table owns it, so [`Session`] keeps one as long as the process lives.
//! A crash in the middle of a commit leaves the batch in the kernel whole or not at all.

use std::time::{Duration, Instant};

use super::error::Fault;
use super::outcome::Outcome;
use super::render::{self, Encoded, Step};
use crate::netlink::NetlinkError;
use crate::netlink::message::{Malformed, NFGENMSG_IPV6, Writer, find};
use crate::netlink::nf_tables::{GEN_ID, message};
use crate::netlink::request::{self, Channel, Ended, Fill};
use crate::netlink::socket::Socket;
use crate::netlink::watch::OwnPorts;
use crate::sys::progress::{self, Worker};

/// From so many elements on, a batch is carried out while the watch of rules pauses: the kernel takes some
/// 10 µs to announce each, and 20 µs for the pause.
const UNHEARD_FROM: usize = 64;

/// Opens what carries the messages.
pub(super) type Opener = Box<dyn FnMut() -> Result<Box<dyn Channel>, NetlinkError> + Send>;

/// Opens a socket in the network namespace of the calling thread.
pub(super) fn open() -> Result<Box<dyn Channel>, NetlinkError> {
    Ok(Box::new(Socket::netfilter()?))
}

/// The one socket, opened when it is needed first.
pub(super) struct Session {
    open: Opener,
    pub(super) channel: Option<Box<dyn Channel>>,
    /// Longest wait for the kernel.
    deadline: Duration,
    pub(super) own_ports: OwnPorts,
}

impl Session {
    pub(super) fn new(open: Opener, deadline: Duration) -> Self {
        Self {
            open,
            channel: None,
            deadline,
            own_ports: OwnPorts::default(),
        }
    }

    /// Its port id, by which the kernel names the table's owner.
    pub(super) fn port(&mut self) -> Result<u32, Fault> {
        Ok(self.channel()?.port())
    }

    fn channel(&mut self) -> Result<&mut dyn Channel, Fault> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => {
                let channel = (self.open)()?;
                self.own_ports.add(channel.port());
                channel
            }
        };
        Ok(self.channel.insert(channel).as_mut())
    }

    /// Begins what is to end within the deadline.
    pub(super) fn call(&mut self) -> Result<Call<'_>, Fault> {
        let deadline = Instant::now() + self.deadline;
        Ok(Call::new(self.channel()?, deadline))
    }

    /// Carries out steps on a table of this name as one batch.
    pub(super) fn commit(&mut self, steps: &[Step], table: &str) -> Result<(), Fault> {
        self.attempt(steps, table, |outcome| outcome.result())?
    }

    /// Tries the same, and hands out what came of it.
    pub(super) fn attempt<T>(
        &mut self,
        steps: &[Step],
        table: &str,
        read: impl FnOnce(&Outcome<'_>) -> T,
    ) -> Result<T, Fault> {
        let own_ports = self.own_ports.clone();
        let mut call = self.call()?;
        let first = call.channel.take_seq(render::count(steps));
        let batch = render::batch(steps, table, first);
        let outcome = match render::elements(steps) < UNHEARD_FROM {
            true => call.commit(&batch)?,
            false => call.commit_unheard(&batch, &own_ports)?,
        };
        Ok(read(&outcome))
    }
}

/// A series of requests with one deadline.
pub(super) struct Call<'c> {
    channel: &'c mut dyn Channel,
    deadline: Instant,
}

impl<'c> Call<'c> {
    pub(super) fn new(channel: &'c mut dyn Channel, deadline: Instant) -> Self {
        Self { channel, deadline }
    }

    /// Asks for one object of the family ip6; `None` where it is not there.
    pub(super) fn get(
        &mut self,
        kind: u16,
        fill: &Fill<'_>,
    ) -> Result<Option<Vec<u8>>, NetlinkError> {
        let got = request::get(self.channel, self.deadline, kind, &of_ip6(fill))?;
        progress::made(Worker::Writer);
        Ok(got)
    }

    /// Asks for all objects of a kind in the family ip6.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        fill: &Fill<'_>,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<Ended, NetlinkError> {
        let each = &mut |payload: &[u8]| {
            progress::made(Worker::Writer);
            each(payload)
        };
        request::dump(self.channel, self.deadline, kind, &of_ip6(fill), each)
    }

    /// The number of the last change of any table in this network namespace.
    pub(super) fn generation(&mut self) -> Result<u32, Fault> {
        let answer = self.get(message::GET_GENERATION, &|_| {})?;
        let attributes = answer.as_deref().and_then(|a| a.get(NFGENMSG_IPV6.len()..));
        let id = find(attributes.unwrap_or_default(), GEN_ID);
        let id = id.and_then(|id| id.try_into().ok());
        id.map(u32::from_be_bytes)
            .ok_or_else(|| Fault::uncertain("no generation id"))
    }

    /// As [`Call::commit`], while the watch of rules pauses.
    fn commit_unheard<'e>(
        &mut self,
        batch: &'e Encoded,
        own_ports: &OwnPorts,
    ) -> Result<Outcome<'e>, NetlinkError> {
        // Before the pause: what others change from here on shows in the number, or is announced.
        let before = self.generation();
        let Some((before, pause)) = before.ok().zip(own_ports.pause_watch()) else {
            return self.commit(batch);
        };
        let outcome = self.commit(batch)?;
        let expected = match outcome.result() {
            Ok(()) => next_generation(before),
            Err(_) => before,
        };
        pause.end(|| self.generation().is_ok_and(|now| now == expected));
        Ok(outcome)
    }

    /// Sends a batch and reads every answer to it.
    fn commit<'e>(&mut self, batch: &'e Encoded) -> Result<Outcome<'e>, NetlinkError> {
        let mut outcome = Outcome::new(batch.first, &batch.labels);
        self.channel.send(&batch.bytes)?;
        while !outcome.is_decided() {
            outcome.take(self.channel.receive(self.deadline)?)?;
            progress::made(Worker::Writer);
        }
        while let Some(datagram) = self.channel.pending()? {
            outcome.take(datagram)?;
        }
        Ok(outcome)
    }
}

/// The generation that a change makes of this one (`nft_base_seq`: never 0).
pub(super) fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

fn of_ip6<'f>(fill: &'f Fill<'_>) -> impl Fn(&mut Writer) + 'f {
    move |writer| {
        writer.raw(&NFGENMSG_IPV6);
        fill(writer);
    }
}
