//! What one call of the reconciler did, and what it could not do.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backend::BackendError;
use crate::conntrack::FlowError;
use crate::journal::JournalError;
use crate::model::rule::{BackendKind, Name};

/// What keeps the kernel from matching what is desired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The kernel's rules could not be listed with certainty; nothing was changed.
    #[error("the kernel's rules cannot be listed")]
    Listing(#[source] BackendError),
    /// Some rules could not be removed.
    #[error("{count} rules could not be removed")]
    Removal {
        /// How many are still there.
        count: usize,
        /// The last failure.
        #[source]
        last: BackendError,
    },
    /// Some rules could not be inserted.
    #[error("{count} rules could not be inserted")]
    Insertion {
        /// How many are missing.
        count: usize,
        /// The last failure.
        #[source]
        last: BackendError,
    },
    /// Another backend, in which an earlier run may have left rules, cannot be listed or emptied.
    #[error("rules of an earlier run may be left in the other {backend}")]
    Elsewhere {
        /// Where.
        backend: BackendKind,
        /// The failure.
        #[source]
        last: BackendError,
    },
    /// Connections that have outlived their rules may go on.
    #[error("connections that outlive their rules cannot be cut")]
    Flows(#[source] FlowError),
    /// The journal cannot be written: nothing is inserted until it can.
    #[error("the journal cannot be written, so nothing is inserted")]
    Journal(#[source] JournalError),
}

/// What one call did, and what it could not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Rules inserted.
    pub inserted: usize,
    /// Rules removed, surplus copies included.
    pub removed: usize,
    /// Rules of ours that another program had removed, altered, moved or doubled.
    pub drift: usize,
    /// Why the kernel does not match; empty when it does.
    pub troubles: Vec<Trouble>,
    /// The same insertions and removals by kind, and those that failed.
    pub(crate) changes: BTreeMap<Change, u64>,
    /// How long the kernel took for each batch.
    pub(crate) batches: Vec<(Operation, Duration)>,
}

/// Changes of rules that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    /// What was done, or tried.
    pub(crate) operation: Operation,
    /// The name of the rule's kind, as `dump` shows it; empty where only the kernel knew the rule.
    pub(crate) kind: Name,
    /// Whether the kernel has taken it.
    pub(crate) succeeded: bool,
}

/// What is done to rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// They are inserted.
    Insert,
    /// They are removed.
    Remove,
    /// Of batches: some take the place of others.
    Replace,
}

impl Operation {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Remove => "remove",
            Self::Replace => "replace",
        }
    }
}

impl Report {
    /// Counts a change of one rule.
    pub(super) fn count(&mut self, operation: Operation, kind: Name, succeeded: bool) {
        let change = Change {
            operation,
            kind,
            succeeded,
        };
        *self.changes.entry(change).or_default() += 1;
    }

    /// Whether the kernel and the journal match what was desired.
    pub fn is_converged(&self) -> bool {
        self.troubles.is_empty()
    }

    /// Whether the kernel matches what was desired, even if the journal is behind.
    pub fn is_kernel_settled(&self) -> bool {
        let journal = |t: &Trouble| matches!(t, Trouble::Journal(_));
        self.troubles.iter().all(journal)
    }

    /// Whether the backend in use holds the rules that were desired, even if connections that do not
    /// follow them could not be cut.
    pub fn has_the_rules(&self) -> bool {
        let others = |t: &Trouble| matches!(t, Trouble::Elsewhere { .. } | Trouble::Flows(_));
        self.troubles.iter().all(others)
    }

    /// Whether the backend in use matches what was desired, even if another still holds rules.
    pub fn is_in_step(&self) -> bool {
        let elsewhere = |t: &Trouble| matches!(t, Trouble::Elsewhere { .. });
        self.troubles.iter().all(elsewhere)
    }
}
