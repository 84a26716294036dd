//! The seam at the kernel: what a backend can do, and how it fails.
//!
//! A backend knows how rules are written down for one firewall, and nothing of Docker, the
//! journal or the order of changes. It is called from one thread only, synchronously; a call
//! may start a process and take milliseconds, and is bounded by a deadline.
//!
//! Both backends have the same files for the same jobs:
//!
//! | file | job |
//! |---|---|
//! | `compile` | from an intent to rules, for [`compile`] |
//! | `rule` | a rule's text, its parts, and the facts that they say |
//! | `render` | rules as they are sent |
//! | `parse` | rules as they are listed |
//! | `plan` | what a batch takes to carry out, given what stands in the kernel |
//! | `exec` | sends, and waits for the answer |
//! | `error` | what a failure means |
//! | `describe` | the documented log lines |
//!
//! The kinds of rules stand in `ip6tables::facts` and in `nftables::sets`, and those that both backends
//! have in `kind`. A new kind of ip6tables is a constant and its form in `facts`, and its rules in
//! `compile`; one of nftables is a constant and a set in `sets`, a rule in `chains` that uses the set, and
//! the elements in `compile`. Rules of other programs are known by the
//! names in `authors`, and `shell` writes the words of commands that are recommended to a person.

pub(crate) mod authors;
pub mod compile;
pub(crate) mod compiler;
pub mod fake;
pub mod ip6tables;
pub(crate) mod kind;
pub(crate) mod kinds;
mod makers;
pub mod nftables;
pub(crate) mod rehearsal;
pub(crate) mod shell;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub use kind::Verb;

use crate::model::rule::{BackendKind, Rule, RuleId};
use crate::netlink::watch::OwnPorts;

/// A rule of ours as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRule {
    /// The identity in the rule's comment.
    pub id: RuleId,
    /// The content, where it is what the identity says. `None`: the rule carries our comment,
    /// but its content is another's work; it is removed like a surplus copy.
    pub rule: Option<Rule>,
    /// The content, where it is a rule of ours, but not the one that the identity names: an earlier
    /// release may have named it so, which only the journal knows.
    pub altered: Option<Rule>,
    /// How the backend that listed it finds it again to remove it; opaque to everybody else.
    pub locator: Arc<str>,
    /// It stands where others' rules keep it from having its effect, or it keeps them from having
    /// theirs: it is to be removed and inserted again in one batch.
    pub is_misplaced: bool,
}

impl ObservedRule {
    /// A rule with this identity in its comment and this content, if it can be read.
    pub(crate) fn new(id: RuleId, content: Option<Rule>, locator: impl Into<Arc<str>>) -> Self {
        let (rule, altered) = match content {
            Some(rule) if rule.id() == id => (Some(rule), None),
            other => (None, other),
        };
        Self {
            id,
            rule,
            altered,
            locator: locator.into(),
            is_misplaced: false,
        }
    }

    /// The content as a rule of ours, whatever the comment says.
    pub(crate) fn content(&self) -> Option<&Rule> {
        self.rule.as_ref().or(self.altered.as_ref())
    }
}

/// One atomic change of the kernel: it succeeds whole or, per table, not at all. One that only removes
/// may be done in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Rules to remove, each from a fresh listing; one entry per copy.
    pub remove: Vec<ObservedRule>,
    /// Rules to insert, in this order.
    pub insert: Vec<Rule>,
}

impl Batch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.insert.is_empty()
    }
}

/// A firewall that holds our rules.
pub trait Backend: Send {
    /// Which one it is.
    fn kind(&self) -> BackendKind;

    /// Every rule of ours in the kernel, one entry per copy, in the kernel's order.
    ///
    /// # Errors
    /// [`ErrorKind::Uncertain`] where the answer is not complete or not certain: then nothing
    /// may be concluded from it. Any other kind: no answer. Nothing was retried.
    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError>;

    /// The same, of rules with these identities only.
    ///
    /// # Errors
    /// As [`Backend::list`].
    fn list_of(&mut self, ids: &BTreeSet<RuleId>) -> Result<Vec<ObservedRule>, BackendError> {
        let mut observed = self.list()?;
        observed.retain(|seen| ids.contains(&seen.id));
        Ok(observed)
    }

    /// Applies one batch. `Ok` means that all of it is in the kernel.
    ///
    /// # Errors
    /// After any error the whole batch is in doubt until the next [`Backend::list`]. Nothing
    /// was retried.
    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError>;

    /// How many connections each rule that forwards has taken, as far as the kernel counts them.
    ///
    /// # Errors
    /// As [`Backend::list`].
    fn connections(&mut self) -> Result<BTreeMap<RuleId, u64>, BackendError> {
        Ok(BTreeMap::new())
    }

    /// From which netlink ports its changes come; none where the kernel announces nothing.
    fn own_ports(&self) -> OwnPorts {
        OwnPorts::default()
    }

    /// Prepares what stays in the kernel for a time without a daemon. Nothing more is asked of
    /// the backend then.
    ///
    /// # Errors
    /// As [`Backend::commit`]; the rules are as they were.
    fn leave(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    /// The documented log line for a change of `rule`: `NAT66 add portfwd: COMMAND`.
    fn describe(&self, verb: Verb, rule: &Rule) -> String;
}

/// Why a call failed, as far as the caller's next step depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something that should have been there was not: a rule, a chain.
    NotFound,
    /// Something is there already.
    Exists,
    /// Somebody else holds the tables; try again.
    Busy,
    /// Privileges are missing.
    Denied,
    /// The tool or the kernel cannot do it at all.
    Unsupported,
    /// No answer within the deadline; the tool was killed.
    TimedOut,
    /// An answer that must not be believed (foreign rules that the tool cannot read).
    Uncertain,
    /// Anything else.
    Failed,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::Exists => "exists",
            Self::Busy => "busy",
            Self::Denied => "denied",
            Self::Unsupported => "unsupported",
            Self::TimedOut => "timed out",
            Self::Uncertain => "uncertain",
            Self::Failed => "failed",
        })
    }
}

/// A backend's failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {kind}: {detail}")]
pub struct BackendError {
    /// What was being done, with its object: `ip6tables-restore of 3 rules`.
    pub operation: String,
    /// What the caller may conclude.
    pub kind: ErrorKind,
    /// The tool's own words, verbatim, or what happened to it.
    pub detail: String,
}
