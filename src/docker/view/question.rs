//! The questions about containers: which are to be asked, which are under way, and what is to be
//! done about an answer. Pure, like all of the view.

use std::collections::BTreeMap;

use crate::docker::container::Inspected;
use crate::model::text::Untrusted;

/// Times that a question is asked before it is given up.
pub(super) const MAX_ATTEMPTS: u32 = 5;

/// A question to the Engine: inspect this container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The container.
    pub id: String,
    /// To be handed back with the answer.
    pub number: u64,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The Engine answered.
    Inspected(Inspected),
    /// There is no such container.
    Gone,
    /// No answer, this time.
    Failed,
    /// An answer that cannot be read, and will not be the next time either; why.
    Unreadable(Untrusted),
}

/// What the caller has to do about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowUp {
    /// Nothing: it was taken in, or is void.
    Done,
    /// Call [`super::View::retry`] after a while; so many attempts have failed.
    Retry(u32),
    /// It was given up: the container stands as it was known before, if it was; else it is
    /// unanswered. A later list or event asks again.
    GaveUp,
}

/// How far the last question about a container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// In the queue.
    Wanted,
    /// On its way; `overtaken`: an event makes its answer void.
    Asked { overtaken: bool },
    /// Failed; waits for [`Questions::retry`].
    Failed,
}

/// A question that is not settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    number: u64,
    asking: Asking,
    failures: u32,
}

/// All questions that are not settled: at most one for each container.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// By container.
    pub(super) open: BTreeMap<String, Open>,
    /// Those of them that wait to be asked, by number.
    pub(super) queue: BTreeMap<u64, String>,
    last_number: u64,
}

impl Questions {
    /// Asks about a container, whatever was asked before.
    pub(super) fn want(&mut self, id: &str) {
        match self.open.get_mut(id).map(|open| &mut open.asking) {
            Some(Asking::Wanted) => {}
            Some(Asking::Asked { overtaken }) => *overtaken = true,
            Some(Asking::Failed) | None => self.want_anew(id),
        }
    }

    /// Asks about a container, unless there is a question already that covers it.
    pub(super) fn want_unless_open(&mut self, id: &str) {
        if !self.is_open(id) {
            self.want_anew(id);
        }
    }

    /// Puts a new question into the queue, in the place of an older one.
    fn want_anew(&mut self, id: &str) {
        self.remove(id);
        self.last_number += 1;
        let open = Open {
            number: self.last_number,
            asking: Asking::Wanted,
            failures: 0,
        };
        self.open.insert(id.to_owned(), open);
        self.queue.insert(open.number, id.to_owned());
    }

    /// The next question, oldest first. It is under way from now on.
    pub(super) fn next(&mut self) -> Option<Question> {
        let (number, id) = self.queue.pop_first()?;
        if let Some(open) = self.open.get_mut(&id) {
            open.asking = Asking::Asked { overtaken: false };
        }
        Some(Question { id, number })
    }

    /// Whether an answer to this question counts. If an event has overtaken it, it does not, and
    /// the question is asked again.
    pub(super) fn counts(&mut self, question: &Question) -> bool {
        let open = self.open.get(&question.id);
        let open = open.filter(|open| open.number == question.number);
        match open.map(|open| open.asking) {
            Some(Asking::Asked { overtaken: false }) => true,
            Some(Asking::Asked { overtaken: true }) => {
                self.want_anew(&question.id);
                false
            }
            _ => false,
        }
    }

    /// A question failed: so many times by now, or `None` where it is asked no more.
    pub(super) fn failed(&mut self, id: &str) -> Option<u32> {
        let open = self.open.get_mut(id)?;
        if open.failures + 1 == MAX_ATTEMPTS {
            self.remove(id);
            return None;
        }
        open.failures += 1;
        open.asking = Asking::Failed;
        Some(open.failures)
    }

    /// The wait after a failure is over.
    pub(super) fn retry(&mut self, question: &Question) {
        let Question { id, number } = question;
        if let Some(open) = self.open.get_mut(id)
            && open.number == *number
            && open.asking == Asking::Failed
        {
            open.asking = Asking::Wanted;
            self.queue.insert(*number, id.clone());
        }
    }

    /// The question about this container is settled, or void.
    pub(super) fn remove(&mut self, id: &str) {
        if let Some(open) = self.open.remove(id) {
            self.queue.remove(&open.number);
        }
    }

    /// All are void.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.queue.clear();
    }

    pub(super) fn is_open(&self, id: &str) -> bool {
        self.open.contains_key(id)
    }
}
