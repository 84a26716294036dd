//! Sends the packet and listens to what becomes of it.
//!
//! Every listener of the kernel's trace hears everybody's traces. Ours are known by the number of
//! the packet, and that only from a report of our own table.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::error::ExplainError;
use super::inject::{self, Sent};
use super::means::Ingress;
use super::packet::Packet;
use super::place;
use super::probe_chains::{End, place_of};
use super::probe_table::ProbeTable;
use super::trace::{Decision, Event};
use super::verdict::Course;
use crate::netlink::NetlinkError;
use crate::netlink::interface::Link;
use crate::netlink::message::Messages;
use crate::netlink::nf_tables::trace::GROUP;
use crate::netlink::request::Channel as _;
use crate::netlink::socket::Socket;

/// Room for the reports: a packet's way through firewalld makes 573 of them, of up to 1 KiB.
const ROOM: usize = 2 * 1024 * 1024;

/// How often to send the packet if reports are lost, because others are traced at the same time.
const TRIES: usize = 5;

/// How long nothing may be reported, of whatever packet, before the way counts as ended. Reports
/// come while the packet is being sent, unless the processor puts its work off.
const SILENCE: Duration = Duration::from_millis(100);

/// How long all of it may take, besides that silence.
const PATIENCE: Duration = Duration::from_secs(3);

/// A packet for an interface.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) packet: Packet,
    pub(crate) link: Link,
}

/// What was seen, and how the packet was sent.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) course: Course,
    pub(crate) sent: Sent,
    /// What the probe's table did without, one sentence each.
    pub(super) lacks: Vec<&'static str>,
}

impl Probe {
    /// Sends the packet and follows it to its end. Nothing of it stays.
    ///
    /// # Errors
    /// A capability or a feature of the kernel is missing; the kernel's reports were lost time and
    /// again.
    pub(crate) fn follow(&self) -> Result<Followed, ExplainError> {
        let (followed, table) = self.follow_to(End::Inside, SILENCE)?;
        table.remove(Instant::now() + PATIENCE)?;
        Ok(followed)
    }

    /// The same, with the packet dropped there, and with the table still in place. Dropped behind
    /// connection tracking, the packet leaves an entry there, which ends soon as long as the table is
    /// in place. `silence`: how long nothing may be reported before the way counts as ended.
    pub(super) fn follow_to(
        &self,
        end: End<'_>,
        silence: Duration,
    ) -> Result<(Followed, ProbeTable), ExplainError> {
        for _ in 1..TRIES {
            match self.attempt(end, silence) {
                Err(ExplainError::Netlink(NetlinkError::Overrun)) => {}
                followed => return followed,
            }
        }
        self.attempt(end, silence)
    }

    fn attempt(
        &self,
        end: End<'_>,
        silence: Duration,
    ) -> Result<(Followed, ProbeTable), ExplainError> {
        let deadline = Instant::now() + PATIENCE + silence;
        let mut reports = Socket::netfilter_groups(GROUP, ROOM)?;
        let device = &self.link.name;
        let table = ProbeTable::make(self.packet.mark, device, end, deadline);
        let mut table = table?;
        let sent = inject::send(&self.link, &self.packet)?;
        let mut reported = PacketReports::new(table.name.clone());
        reported.listen(&mut reports, silence, deadline)?;
        let (passed, answered) = table.counted(deadline)?;
        let course = Course {
            own: reported.own,
            events: reported.events,
            passed,
            answered,
            is_wire_watched: table.means.ingress != Ingress::Nowhere,
        };
        let followed = Followed {
            course,
            sent,
            lacks: table.means.notes(),
        };
        Ok((followed, table))
    }
}

/// The reports about our packet.
struct PacketReports {
    own: String,
    /// The packet's numbers. There may be several: the kernel copies a packet that a sniffer sees.
    ids: BTreeSet<u32>,
    events: Vec<Event>,
}

impl PacketReports {
    fn new(own: String) -> Self {
        Self {
            own,
            ids: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    /// Reads reports until the packet's end is among them, or nothing comes any more.
    fn listen(
        &mut self,
        reports: &mut Socket,
        silence: Duration,
        deadline: Instant,
    ) -> Result<(), NetlinkError> {
        while !self.is_over() {
            match reports.receive((Instant::now() + silence).min(deadline)) {
                Ok(datagram) => self.take(datagram)?,
                Err(NetlinkError::TimedOut) => return Ok(()),
                Err(NetlinkError::Failed {
                    errno: Errno::AGAIN,
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, datagram: &[u8]) -> Result<(), NetlinkError> {
        for message in Messages::new(datagram) {
            let Some(event) = Event::read(&message?)? else {
                continue;
            };
            let begins = event.chain.table == self.own
                && event.handle.is_some()
                && matches!(
                    place_of(&event.chain.chain),
                    Some(place::WIRE | place::FIRST)
                );
            if begins {
                self.ids.insert(event.id);
            }
            if self.ids.contains(&event.id) {
                self.events.push(event);
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let last = self.events.last();
        last.is_some_and(|event| event.decision == Decision::Drop)
    }
}
