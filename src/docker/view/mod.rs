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
//!   in time, a `start` among them: one that died long ago and is listed is asked about.
//! - A `die` that the Engine tells from memory, when we begin to listen, makes its container
//!   doubtful and no more: it may have started again before the list was asked for.
//! - An event after the list was asked for makes that container's row void.
//! - Nothing is published between the loss of the stream and the next list: that of the
//!   containers and that of the networks, or what was known of those before. A row that has to be
//!   inspected holds up its own container and no other: it is published as unanswered until then.
//! - Two rows with one address are both inspected: one of them is in its teardown, and the inspect
//!   of that one comes back when it is over.
//! - A container that has left a network is published as having left it before it is asked about.
//! - When a container that is not known to run joins a network, that network is asked who has
//!   which address on it ([`holders`]): the container may be given that of one whose end is yet to
//!   be announced.
//! - What was learned by an inspect (`HostConfig`, and which ports are routed) is kept when a
//!   later list brings a row without it and with the same ports. So a relist costs two requests.
//! - Networks are listed with the containers, when one is created, and when one is named that
//!   is not known ([`networks`]): a container's start on a known network lists nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::convert::Inspected;
use super::event::{Event, EventKind};
use crate::model::container::{Container, Snapshot};
use crate::model::interface::MacAddr;
use holders::Holders;
use networks::Networks;
use question::{Asking, Open};

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

pub use question::{Answer, MAX_ATTEMPTS, Question, Verdict};

/// Most containers remembered as dead. A teardown takes under a second; to push one out,
/// this many others must die within it.
const MAX_DEAD: usize = 4096;

/// Calls of [`View::grow_old`] after which a container that died and is listed all the same is
/// no longer taken to be in its teardown. One may come right after the death.
const ERAS_OF_TEARDOWN: u64 = 2;

/// What Docker said so far. See the module's head.
#[derive(Debug, Default)]
pub struct View {
    /// What is published when the view is complete.
    shown: Arc<Snapshot>,
    /// Open questions, by container.
    open: BTreeMap<String, Open>,
    /// Those of them that wait to be asked, by number.
    queue: BTreeMap<u64, String>,
    last_number: u64,
    /// What was heard since the list was asked for; `None` while none is asked.
    meanwhile: Option<Meanwhile>,
    /// Containers that died, with the era in which they did, and their order.
    dead: BTreeMap<String, u64>,
    dead_order: VecDeque<String>,
    /// Counts the losses of the stream, twice each, and the calls of [`View::grow_old`].
    era: u64,
    networks: Networks,
    holders: Holders,
    /// Counts what is heard of starts and of joining, since the stream was lost last.
    heard: u64,
    /// The number of each `start` that was heard, by container.
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
    /// A view that knows nothing.
    pub fn new() -> Self {
        Self {
            // So that there is an era before all others, for deaths of before.
            era: ERAS_OF_TEARDOWN,
            ..Self::default()
        }
    }

    /// The stream of events broke: whatever happened meanwhile was not seen.
    pub fn lost(&mut self) {
        self.era += ERAS_OF_TEARDOWN;
        self.open.clear();
        self.queue.clear();
        self.meanwhile = None;
        self.networks.lost();
        self.holders = Holders::default();
        self.forget_starts();
        self.listed = false;
        self.changed = false;
    }

    /// Some time has passed, much longer than a teardown takes.
    pub fn grow_old(&mut self) {
        self.era += 1;
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
        self.touch(id);
        match kind {
            EventKind::Start => {
                self.forget_dead(id);
                self.heard += 1;
                self.starts.insert(id.to_owned(), self.heard);
                self.holders.ended(id);
                self.want(id);
            }
            EventKind::Die | EventKind::Destroy => {
                self.drop_container(id);
                self.remember_dead(id, self.era);
            }
            // Told from memory: it may have started again since, and its start be told next. Its
            // row in the list, or what is shown of it, is put to the question.
            EventKind::DiedEarlier => {
                if self.meanwhile.is_some() {
                    self.remember_dead(id, self.era.saturating_sub(ERAS_OF_TEARDOWN));
                } else if self.shown.containers.contains_key(id) {
                    self.want(id);
                }
            }
            // Of a container that is not known to run, a connect precedes its start, when an
            // inspect would block until then, and a disconnect follows its end.
            EventKind::Rename | EventKind::Connect | EventKind::Disconnect => {
                if self.shown.containers.contains_key(id) || self.open.contains_key(id) {
                    self.want(id);
                }
            }
        }
    }

    /// What a list that is on its way says of this container may be older than what was heard.
    fn touch(&mut self, id: &str) {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.touched.insert(id.to_owned());
        }
    }

    /// The next question to ask, oldest first. It is under way from now on.
    pub fn next_question(&mut self) -> Option<Question> {
        let (number, id) = self.queue.pop_first()?;
        if let Some(open) = self.open.get_mut(&id) {
            open.asking = Asking::Asked { overtaken: false };
        }
        Some(Question { id, number })
    }

    /// What came of a question.
    pub fn answered(&mut self, question: &Question, answer: Answer) -> Verdict {
        let Question { id, number } = question;
        let Some(open) = self.open.get_mut(id).filter(|o| o.number == *number) else {
            return Verdict::Done;
        };
        let Asking::Asked { overtaken } = open.asking else {
            return Verdict::Done;
        };
        if overtaken {
            self.want_anew(id);
            return Verdict::Done;
        }
        let verdict = match answer {
            Answer::Inspected(Inspected::Running(mut container)) => {
                self.open.remove(id);
                self.forget_dead(id);
                self.name_networks(&container);
                container.start.heard = self.starts.get(id).copied().unwrap_or(0);
                self.release_claims(id);
                if self.shown.containers.get(id) != Some(&*container) {
                    Arc::make_mut(&mut self.shown)
                        .containers
                        .insert(id.clone(), *container);
                    self.changed = true;
                }
                Verdict::Done
            }
            Answer::Inspected(Inspected::NotRunning) | Answer::Gone => {
                self.drop_container(id);
                Verdict::Done
            }
            Answer::Failed if open.failures + 1 < MAX_ATTEMPTS => {
                open.failures += 1;
                open.asking = Asking::Failed;
                return Verdict::Retry(open.failures);
            }
            Answer::Failed => {
                self.give_up(id);
                return Verdict::GaveUp;
            }
            Answer::Unreadable(why) => {
                Arc::make_mut(&mut self.shown)
                    .unreadable
                    .insert(id.clone(), why);
                self.changed = true;
                self.give_up(id);
                return Verdict::GaveUp;
            }
        };
        self.settle(id);
        verdict
    }

    /// Asks no more, until a list or an event names it again. Unless all of what it publishes was
    /// known before, it stays unanswered.
    fn give_up(&mut self, id: &str) {
        self.open.remove(id);
        let shown = Arc::make_mut(&mut self.shown);
        let container = shown.containers.get(id);
        if container.is_none_or(Container::needs_answer) && !shown.unanswered.contains_key(id) {
            let name = container.map(|c| c.name.clone()).unwrap_or_default();
            shown.unanswered.insert(id.to_owned(), name);
            self.changed = true;
        }
    }

    /// The wait after [`Verdict::Retry`] is over.
    pub fn retry(&mut self, question: &Question) {
        let Question { id, number } = question;
        if let Some(open) = self.open.get_mut(id)
            && open.number == *number
            && open.asking == Asking::Failed
        {
            open.asking = Asking::Wanted;
            self.queue.insert(*number, id.clone());
        }
    }

    /// Whether everything was listed since the last loss, and every row is answered.
    pub fn is_complete(&self) -> bool {
        self.is_listed() && self.shown.unanswered.is_empty()
    }

    fn is_listed(&self) -> bool {
        self.listed && self.networks.is_ready()
    }

    /// Whether there is something to publish.
    pub fn has_news(&self) -> bool {
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

    /// Questions that wait to be asked.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Asks about a container, whatever was asked before.
    fn want(&mut self, id: &str) {
        match self.open.get_mut(id) {
            Some(open) => match &mut open.asking {
                Asking::Wanted => {}
                Asking::Asked { overtaken } => *overtaken = true,
                Asking::Failed => self.want_anew(id),
            },
            None => self.want_anew(id),
        }
    }

    /// Asks about a container, unless there is a question already that covers it.
    fn want_unless_open(&mut self, id: &str) {
        if !self.open.contains_key(id) {
            self.want_anew(id);
        }
    }

    /// Puts a new question into the queue, in the place of an older one.
    fn want_anew(&mut self, id: &str) {
        self.last_number += 1;
        let number = self.last_number;
        let open = Open {
            number,
            asking: Asking::Wanted,
            failures: 0,
        };
        if let Some(old) = self.open.insert(id.to_owned(), open) {
            self.queue.remove(&old.number);
        }
        self.queue.insert(number, id.to_owned());
    }

    fn drop_container(&mut self, id: &str) {
        if let Some(open) = self.open.remove(id) {
            self.queue.remove(&open.number);
        }
        self.starts.remove(id);
        self.holders.ended(id);
        self.release_claims(id);
        if self.shown.containers.contains_key(id) {
            Arc::make_mut(&mut self.shown).containers.remove(id);
            self.changed = true;
        }
        self.settle(id);
    }

    fn remember_dead(&mut self, id: &str, era: u64) {
        if self.dead.insert(id.to_owned(), era).is_none() {
            self.dead_order.push_back(id.to_owned());
        }
        if self.dead_order.len() > MAX_DEAD
            && let Some(oldest) = self.dead_order.pop_front()
        {
            self.dead.remove(&oldest);
        }
    }

    fn forget_dead(&mut self, id: &str) {
        if self.dead.remove(id).is_some() {
            self.dead_order.retain(|dead| dead != id);
        }
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
