//! What is asked about a container, and what comes of it.

use crate::docker::convert::Inspected;
use crate::model::text::Untrusted;

/// Times that a question is asked before it is given up.
pub const MAX_ATTEMPTS: u32 = 5;

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

/// What is to be done about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it was taken in, or is void.
    Done,
    /// Call [`View::retry`] after a while; so many attempts have failed.
    Retry(u32),
    /// It was given up: the container stands as it was known before, if it was; else it is
    /// unanswered. A later list or event asks again.
    GaveUp,
}

/// How far the last question about a container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// In the queue.
    Wanted,
    /// On its way; `overtaken`: an event makes its answer void.
    Asked { overtaken: bool },
    /// Failed; waits for [`View::retry`].
    Failed,
}

/// A question that is not settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) number: u64,
    pub(super) asking: Asking,
    pub(super) failures: u32,
}
