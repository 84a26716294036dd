//! What Docker said so far, and what to ask it next. Pure: no I/O, no clock.
//!
//! One container's way through it:
//!
//! ```text
//!                start · listed and doubtful · event of a known one
//!    (unknown) ──────────────────────────────────▶ Wanted ◀────────────┐
//!        ▲                                           │                 │ retry
//!        │                                next_question               │
//!        │ die, destroy,                             ▼    failed       │
//!        │ not running, 404  ◀──── answered ────── Asked ─────────▶ Failed
//!        │ (from every state)                        │  ▲              │ too often
//!        │                              answered as  │  │ event        ▼
//!        └───────────────────────────────── running  ▼  │           (given up)         
//!                                               (settled: shown)
//! ```
//!
//! Rules, and why:
//! - Every question has a number, and an answer counts only if it answers the last question of
//!   its container. An event while a question is under way makes the answer void, and it is
//!   asked again: the answer may have been given before the event.
//! - `die` and `destroy` drop a container at once and ask nothing: Docker has cleared the
//!   addresses already, would take 0.6 s to answer, and still lists the container as running
//!   meanwhile. So a container that died is remembered until its `start`, or until a list no
//!   longer shows it; until then its row is void. But an Engine drops events that are not read
//!   in time, a `start` among them: one that died long ago and is listed is asked about, and a list
//!   is asked for now and then.
//! - A `die` that the Engine replays, when we begin to listen, makes its container doubtful and no
//!   more: it may have started again before the list was asked for.
//! - An event after the list was asked for makes that container's row void.
//! - Nothing is published between the loss of the stream and the next list: that of the
//!   containers and that of the networks, or what was known of those before. A row that has to be
//!   inspected holds up its own container and no other: it is published as unanswered until then.
//! - Two rows with one address are both inspected: one of them is in its teardown, and the inspect
//!   of that one comes back when it is over.
//! - A container that has left a network is published as having left it before it is asked about.
//!   Where the Engine replays that it left, it is asked about and no more: it may be back.
//! - When a container that is not known to run joins a network, that network is asked who has
//!   which address on it ([`holders`]): the container may be given that of one whose end is yet to
//!   be announced.
//! - What was learned by an inspect (`HostConfig`, and which ports are routed) is kept when a
//!   later list brings a row without it and with the same ports. So a relist costs two requests.
//! - Networks are listed with the containers, when one is created, and when one is named that
//!   is not known ([`networks`]): a container's start on a known network lists nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::container::Inspected;
use super::event::{Event, EventKind};
use crate::model::container::{Container, Network, Snapshot};
use crate::model::interface::MacAddr;
use dead::Dead;
use holders::Holders;
use networks::NetworkListing;
use question::Questions;
pub use question::{Answer, FollowUp, Question};

mod claims;
mod dead;
#[cfg(test)]
mod giving_up_tests;
mod holders;
#[cfg(test)]
mod holders_tests;
mod list;
#[cfg(test)]
mod model_steps;
#[cfg(test)]
mod model_test;
mod networks;
mod question;
#[cfg(test)]
mod tests;

/// What Docker said so far. See the module's head.
#[derive(Debug, Default)]
pub struct View {
    /// What is published when the view is complete.
    shown: Arc<Snapshot>,
    questions: Questions,
    /// What was received since the list was asked for; `None` while none is asked.
    meanwhile: Option<Meanwhile>,
    dead: Dead,
    networks: NetworkListing,
    holders: Holders,
    /// Counts the events of starting and of joining a network since the stream was lost last.
    sequence: u64,
    /// The number of each container's last such event.
    starts: BTreeMap<String, u64>,
    /// Whether the containers were listed since the stream was lost.
    listed: bool,
    changed: bool,
}

/// What may be newer than a list that is on its way.
#[derive(Debug, Default)]
struct Meanwhile {
    /// The containers with an event.
    touched: BTreeSet<String>,
    /// The hardware addresses that were seen in the host's namespace.
    seen: BTreeSet<MacAddr>,
}

impl View {
    /// The stream of events broke: whatever happened meanwhile was not seen.
    pub fn lost(&mut self) {
        self.dead.end_teardowns();
        self.questions.clear();
        self.meanwhile = None;
        self.networks.lost();
        self.holders = Holders::default();
        self.forget_starts();
        self.listed = false;
        self.changed = false;
    }

    /// Some time has passed, much longer than a teardown takes.
    pub(crate) fn grow_old(&mut self) {
        self.dead.grow_old();
    }

    /// Something happened.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Container { kind, id, network } => {
                if let Some(network) = network {
                    self.networks.named(network, &self.shown.networks);
                    self.moved(*kind, id, network);
                }
                self.container_event(*kind, id);
            }
            Event::NetworkCreated { id } => self.network_created(id),
            Event::NetworkDestroyed { id } => self.network_destroyed(id),
        }
    }

    fn container_event(&mut self, kind: EventKind, id: &str) {
        let is_shown = self.shown.containers.contains_key(id);
        // A list is younger than a replay. So the row of one that is shown counts, until Docker
        // has answered about it: what was shown before may have another container's address.
        if !(is_shown && kind == EventKind::DisconnectedEarlier) {
            self.touch(id);
        }
        match kind {
            EventKind::Start => {
                self.dead.forget(id);
                self.sequence += 1;
                self.starts.insert(id.to_owned(), self.sequence);
                self.holders.ended(id);
                self.questions.want(id);
            }
            EventKind::Die | EventKind::Destroy => {
                self.drop_container(id);
                self.dead.remember(id);
            }
            // A replay: it may have started again since, and its start may be the next event. So
            // the Engine is asked about its row in the list, or about what is shown of it.
            EventKind::DiedEarlier => {
                if self.meanwhile.is_some() {
                    self.dead.remember_earlier(id);
                } else if is_shown {
                    self.questions.want(id);
                }
            }
            // Of a container that is not known to run, a connect precedes its start, when an
            // inspect would block until then, and a disconnect follows its end.
            EventKind::Rename
            | EventKind::Connect
            | EventKind::Disconnect
            | EventKind::DisconnectedEarlier => {
                if is_shown || self.questions.is_open(id) {
                    self.questions.want(id);
                }
            }
        }
    }

    /// What a list that is on its way says of this container may be older than this event.
    fn touch(&mut self, id: &str) {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.touched.insert(id.to_owned());
        }
    }

    /// The next question to ask, oldest first. It is under way from now on.
    pub fn next_question(&mut self) -> Option<Question> {
        self.questions.next()
    }

    /// What came of a question.
    pub fn answered(&mut self, question: &Question, answer: Answer) -> FollowUp {
        let id = &question.id;
        if !self.questions.counts(question) {
            return FollowUp::Done;
        }
        match answer {
            Answer::Inspected(Inspected::Running(container)) => self.runs(*container),
            Answer::Inspected(Inspected::NotRunning) | Answer::Gone => self.drop_container(id),
            Answer::Failed => {
                if let Some(failures) = self.questions.failed(id) {
                    return FollowUp::Retry(failures);
                }
                self.leave_unanswered(id);
                return FollowUp::GaveUp;
            }
            Answer::Unreadable(why) => {
                let unreadable = &mut Arc::make_mut(&mut self.shown).unreadable;
                unreadable.insert(id.clone(), why);
                self.changed = true;
                self.questions.remove(id);
                self.leave_unanswered(id);
                return FollowUp::GaveUp;
            }
        }
        FollowUp::Done
    }

    fn runs(&mut self, mut container: Container) {
        let id = container.id.clone();
        self.questions.remove(&id);
        self.dead.forget(&id);
        self.name_networks(&container);
        container.start.sequence = self.starts.get(&id).copied().unwrap_or(0);
        self.release_claims(&id);
        self.settle(&id);
        let shown = self.shown.containers.get(&id).map(|known| &**known);
        if shown != Some(&container) {
            let containers = &mut Arc::make_mut(&mut self.shown).containers;
            containers.insert(id, container.into());
            self.changed = true;
        }
    }

    /// Asks no more, until a list or an event names it again. Unless all of what it publishes was
    /// known before, it stays unanswered.
    fn leave_unanswered(&mut self, id: &str) {
        let shown = Arc::make_mut(&mut self.shown);
        let container = shown.containers.get(id);
        if container.is_none_or(|container| container.needs_answer())
            && !shown.unanswered.contains_key(id)
        {
            let name = container.map(|c| c.name.clone()).unwrap_or_default();
            shown.unanswered.insert(id.to_owned(), name);
            self.changed = true;
        }
    }

    /// The wait after [`FollowUp::Retry`] is over.
    pub(crate) fn retry(&mut self, question: &Question) {
        self.questions.retry(question);
    }

    fn is_listed(&self) -> bool {
        self.listed && self.networks.is_ready()
    }

    /// Whether there is something to publish.
    pub(crate) fn has_news(&self) -> bool {
        self.is_listed() && self.changed
    }

    /// What is to be published now, if anything.
    pub fn take_news(&mut self) -> Option<Arc<Snapshot>> {
        if !self.has_news() {
            return None;
        }
        self.changed = false;
        Some(self.shown.clone())
    }

    /// How many questions wait to be asked.
    pub fn waiting(&self) -> usize {
        self.questions.queue.len()
    }

    /// Whether the networks are to be listed; then call [`View::networks_begun`].
    pub(crate) fn wants_networks(&self) -> bool {
        self.networks.is_wanted()
    }

    /// The list of networks is asked for now.
    pub fn networks_begun(&mut self) {
        self.networks.begun();
    }

    /// The list of networks was answered.
    pub fn networks_listed(&mut self, rows: Vec<Network>) {
        if let Some(known) = self.networks.listed(rows)
            && self.shown.networks != known
        {
            Arc::make_mut(&mut self.shown).networks = known;
            self.changed = true;
        }
    }

    /// The list of networks was not answered; after a while, call [`View::retry_networks`].
    /// Those known stay.
    pub(crate) fn networks_failed(&mut self) {
        self.networks.failed();
    }

    /// The wait after [`View::networks_failed`] is over.
    pub(crate) fn retry_networks(&mut self) {
        self.networks.retry();
    }

    pub(super) fn network_created(&mut self, id: &str) {
        if !self.shown.networks.contains_key(id) {
            self.networks.want();
        }
    }

    pub(super) fn network_destroyed(&mut self, id: &str) {
        self.networks.destroyed(id);
        if self.shown.networks.contains_key(id) {
            Arc::make_mut(&mut self.shown).networks.remove(id);
            self.changed = true;
        }
    }

    /// Networks are asked for if a container is in one that is not known. While they are not
    /// known at all, their list is on its way.
    pub(super) fn name_networks(&mut self, container: &Container) {
        if self.networks.is_ready() {
            for endpoint in &container.endpoints {
                let known = &self.shown.networks;
                self.networks.named(&endpoint.network_id, known);
            }
        }
    }

    fn drop_container(&mut self, id: &str) {
        self.questions.remove(id);
        self.starts.remove(id);
        self.holders.ended(id);
        self.release_claims(id);
        if self.shown.containers.contains_key(id) {
            Arc::make_mut(&mut self.shown).containers.remove(id);
            self.changed = true;
        }
        self.settle(id);
    }

    /// Nothing is open about this container any more.
    fn settle(&mut self, id: &str) {
        let Snapshot {
            unanswered,
            unreadable,
            ..
        } = &*self.shown;
        if unanswered.contains_key(id) || unreadable.contains_key(id) {
            let shown = Arc::make_mut(&mut self.shown);
            shown.unanswered.remove(id);
            shown.unreadable.remove(id);
            self.changed = true;
        }
    }
}
