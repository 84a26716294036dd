//! One question from its packet to its report.

use std::net::Ipv6Addr;

use super::container::{Fault, Inside};
use super::diagnosis::{BackSeen, Case, stop_of};
use super::error::ExplainError;
use super::facts::EndingFacts;
use super::inject;
use super::knock::{self, Knock};
use super::legacy::{Log, Logged};
use super::log_setting;
use super::packet::Packet;
use super::probe::{Followed, Probe};
use super::published::Publication;
use super::report::Report;
use super::verdict::{self, Course, Ending, Endpoint, ending};
use super::way::{TraceStep, shown, steps, untracking};
use super::way_back::{Back, try_back};
use super::words::Words;
use crate::model::forward::Proto;
use crate::netlink::interface::{self, Link};
use crate::sys::causes::chain;

/// What came of the way back.
enum Tried {
    NoNeighbour,
    Answer(Ending, Vec<TraceStep>),
}

/// How the way back is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WayBack {
    /// Not at all.
    None,
    /// By an answer such as the container would give. Nobody sees a packet.
    Mirror,
    /// By that, and then by a packet that the container's kernel answers.
    Knock,
}

/// Asks the Engine for the first process of a container.
pub(crate) type PidOf = Box<dyn Fn(&str) -> Result<Option<u32>, String>>;

/// What is asked.
pub(crate) struct Question {
    pub(crate) proto: Proto,
    /// The host's address and the published port.
    pub(crate) sent: Endpoint,
    pub(crate) from: Ipv6Addr,
    /// The interface at which the packet arrives.
    pub(crate) device: String,
    /// What Docker says.
    pub(crate) publication: Publication,
    /// Finds the first process of a container by the container's id.
    pub(crate) pid_of: PidOf,
    /// How to try the way back.
    pub(crate) way_back: WayBack,
    /// Whether to show every rule that matched.
    pub(crate) verbose: bool,
    /// What was noticed before.
    pub(crate) notes: Vec<String>,
}

impl Question {
    /// Sends the packet, follows it, and puts what became of it into words.
    ///
    /// # Errors
    /// A capability or a feature of the kernel is missing, or the kernel did not answer.
    pub(crate) fn answer(mut self) -> Result<Report, ExplainError> {
        match log_setting::put_back_left() {
            Ok(false) => {}
            Ok(true) => self.notes.push(
                "net.netfilter.nf_log.10 was put back, which an explain that was killed had left"
                    .to_owned(),
            ),
            Err(error) => self.notes.push(format!(
                "net.netfilter.nf_log.10 may be as an explain that was killed has left it: {}",
                chain(&error)
            )),
        }
        let link = self.link()?;
        if link.has_native_xdp {
            let name = shown(&link.name);
            self.notes.push(format!(
                "an XDP program in the driver of {name} sees packets before the kernel does: what \
                 it does to them is not seen here"
            ));
        }
        let packet = Packet::draw(self.proto, self.from, self.sent)?;
        let probe = Probe { packet, link };
        let Followed {
            course,
            sent,
            lacks,
        } = probe.follow()?;
        self.notes.extend(lacks.into_iter().map(str::to_owned));
        let link = probe.link;
        let injected_by = sent.by;
        if let Some(errno) = sent.refused {
            self.notes.push(inject::note(errno));
        }
        drop(sent);
        let ending = ending(&course);
        let steps = steps(&course, self.verbose)?;
        let last = verdict::destination(&course).unwrap_or(self.sent);
        let facts = EndingFacts::read(&ending, self.proto, (self.from, self.sent), last, &link)?;
        let rewriter = verdict::rewriter(&course, self.sent);
        let rewritten = rewriter.and_then(|spot| {
            let at = steps.iter().position(|step| step.spot == spot)?;
            Some((at, last))
        });
        let untracked = self.untracked(&course, &ending, last)?;
        let fault = self.fault(&ending)?;
        let legacy = match &ending {
            Ending::Vanished(_) if !facts.legacy.is_empty() => self.legacy(&link),
            _ => None,
        };
        let back = match fault {
            None => self.back(&packet, &ending, &link, &facts)?,
            Some(_) => None,
        };
        let knock = match (&fault, &back) {
            (None, None | Some(Tried::Answer(Ending::Out(..), _))) => {
                self.knock(&packet, &ending, &link, &facts)?
            }
            _ => None,
        };
        let (back_seen, back_steps) = match &back {
            Some(Tried::Answer(ending, steps)) => {
                let stop = stop_of(steps, ending);
                (Some(BackSeen::Answer(ending, stop)), &steps[..])
            }
            Some(Tried::NoNeighbour) => (Some(BackSeen::NoNeighbour), &[][..]),
            None => (None, &[][..]),
        };
        let stop = stop_of(&steps, &ending);
        let case = Case {
            proto: self.proto,
            from: self.from,
            sent: self.sent,
            link: &link,
            ending: &ending,
            stop,
            rewriter: rewritten.map(|(at, _)| &steps[at]),
            untracked: untracked.as_ref(),
            facts: &facts,
            publication: &self.publication,
            legacy: legacy.as_ref(),
            fault: fault.as_ref(),
            back: back_seen.as_ref(),
            knock,
        };
        let diagnosis = case.diagnose();
        let is_back_shown = self.verbose || !diagnosis.is_reachable;
        let back_steps = match is_back_shown {
            true => back_steps.to_vec(),
            false => Vec::new(),
        };
        let stop = stop.and_then(|stop| steps.iter().rposition(|step| step.spot == stop.spot));
        Ok(Report {
            proto: self.proto,
            from: self.from,
            sent: self.sent,
            device: link.name,
            publication: self.publication,
            steps,
            stop,
            rewritten,
            back_steps,
            diagnosis,
            injected_by,
            notes: self.notes,
        })
    }

    /// The interface, or the bridge, bond or team whose port it is: packets arrive there.
    fn link(&mut self) -> Result<Link, ExplainError> {
        let missing = || ExplainError::NoDevice(self.device.clone());
        let link = interface::link(&self.device)?.ok_or_else(missing)?;
        let Some(master) = link.master else {
            return Ok(link);
        };
        let Some(master) = interface::link_of(master)? else {
            return Ok(link);
        };
        self.notes.push(format!(
            "{} is a port of {}: packets arrive there",
            shown(&link.name),
            shown(&master.name)
        ));
        Ok(master)
    }

    /// What is wrong in the container at which the packet arrives.
    fn fault(&mut self, ending: &Ending) -> Result<Option<Fault>, ExplainError> {
        let Ending::Out(Some(to), _) = *ending else {
            return Ok(None);
        };
        let mut targets = self.publication.targets.iter();
        let Some(target) = targets.find(|t| (t.addr, t.port) == to && !t.id.is_empty()) else {
            return Ok(None);
        };
        let inside = match (self.pid_of)(&target.id) {
            Ok(Some(pid)) => Inside::read(pid, &target.id, self.proto, to.0)?,
            Ok(None) => None,
            Err(why) => {
                self.notes
                    .push(format!("the container was not looked into: {why}"));
                return Ok(None);
            }
        };
        match &inside {
            None => self.notes.push(
                "the container's own sockets and routes cannot be seen from here".to_owned(),
            ),
            Some(inside) if !inside.knows_listeners() => self.notes.push(format!(
                "whether a program in the container listens is unknown: the kernel lists no sockets of \
                 {} here",
                self.proto
            )),
            Some(_) => {}
        }
        Ok(inside.and_then(|inside| inside.fault(to, self.from)))
    }

    /// Sends another packet and hears from the log which rule of a legacy table drops it. Where that
    /// cannot be received, the table is all that is known.
    fn legacy(&mut self, link: &Link) -> Option<(Logged, Option<String>)> {
        let asked = self.ask_legacy(link);
        asked.unwrap_or_else(|error| {
            let note = format!("which legacy rule it is, is unknown: {}", chain(&error));
            self.notes.push(note);
            None
        })
    }

    fn ask_legacy(&self, link: &Link) -> Result<Option<(Logged, Option<String>)>, ExplainError> {
        let mut log = Log::open()?;
        let packet = Packet::draw(self.proto, self.from, self.sent)?;
        let link = link.clone();
        let followed = Probe { packet, link }.follow();
        let received = followed.and_then(|_| Ok(log.last(packet.mark)?));
        let closed = log.close();
        let Some(logged) = received? else {
            return closed.map(|()| None);
        };
        closed?;
        let line = match logged.is_policy() {
            true => None,
            false => Words::open()?.legacy(&logged),
        };
        Ok(Some((logged, line)))
    }

    /// Tries the way back of a packet that leaves by another interface than it came in by.
    fn back(
        &mut self,
        packet: &Packet,
        ending: &Ending,
        link: &Link,
        facts: &EndingFacts,
    ) -> Result<Option<Tried>, ExplainError> {
        let Some(out) = facts.out.as_ref() else {
            return Ok(None);
        };
        // An answer of SCTP would need the tag of the other side.
        if self.way_back == WayBack::None
            || self.proto == Proto::Sctp
            || !self.is_through(ending, link)
        {
            return Ok(None);
        }
        let course = match try_back(packet, link, out) {
            Ok(Back::Answer(course)) => course,
            Ok(Back::NoNeighbour) => return Ok(Some(Tried::NoNeighbour)),
            Ok(Back::Unsteady) => {
                self.notes.push(
                    "a second packet did not get as far as the first: a rule counts, limits or \
                     draws lots"
                        .to_owned(),
                );
                return Ok(None);
            }
            Err(error) if error.is_of_table() => {
                self.notes
                    .push(format!("the way back was not tried: {}", chain(&error)));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let ending = verdict::ending(&course);
        if let Ending::Out(_, Some(back)) = ending
            && back != link.index
        {
            let name = interface::link_of(back)?.map_or_else(String::new, |link| link.name);
            self.notes.push(format!(
                "answers leave by {}, and not by {}: the way is asymmetric",
                shown(&name),
                shown(&link.name)
            ));
        }
        let steps = steps(&course, self.verbose)?;
        Ok(Some(Tried::Answer(ending, steps)))
    }

    /// Whether the packet leaves for where the port leads, by another interface than it came in by.
    fn is_through(&self, ending: &Ending, link: &Link) -> bool {
        let Ending::Out(Some(to), Some(out)) = *ending else {
            return false;
        };
        let targets = &self.publication.targets;
        let is_expected = targets.is_empty() || targets.iter().any(|t| (t.addr, t.port) == to);
        out != link.index && to != self.sent && is_expected
    }

    /// Knocks at the container's port, if that is wanted and harmless.
    fn knock(
        &mut self,
        packet: &Packet,
        ending: &Ending,
        link: &Link,
        facts: &EndingFacts,
    ) -> Result<Option<Knock>, ExplainError> {
        let Some(out) = facts.out.as_ref() else {
            return Ok(None);
        };
        if self.way_back != WayBack::Knock || !self.is_through(ending, link) {
            return Ok(None);
        }
        if !knock::is_possible(self.proto) {
            self.notes.push(format!(
                "not knocked: with {} the program in the container would get the packet",
                self.proto
            ));
            return Ok(None);
        }
        let knock = match knock::knock(packet, link, out) {
            Ok(knock) => knock,
            Err(error) if error.is_of_table() => {
                self.notes.push(format!("not knocked: {}", chain(&error)));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if knock.is_left {
            let note = "the reset after the knock did not leave the host: a half-open connection ends \
                        by itself in the container within a minute";
            self.notes.push(note.to_owned());
        }
        Ok(Some(knock))
    }

    /// Looked for only where nothing else explains that nothing was rewritten.
    fn untracked(
        &self,
        course: &Course,
        ending: &Ending,
        last: Endpoint,
    ) -> Result<Option<TraceStep>, ExplainError> {
        match ending {
            Ending::Host(_) if last == self.sent => untracking(course),
            _ => Ok(None),
        }
    }
}
