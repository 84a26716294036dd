//! A journal record and its states.
//!
//! ```text
//!             intend            commit            removing           forget
//!   (none) ─────────▶ Intended ─────────▶ Applied ─────────▶ Removing ──────▶ (gone)
//!                        │  ▲                 │                  │               ▲
//!                        │  └──── intend ─────┴───── intend ─────┘               │
//!                        └──────────────── removing / forget ────────────────────┘
//! ```
//!
//! In every state the rule may be in the kernel, so recovery treats all states alike.

use crate::model::boot::BootId;
use crate::model::rule::{OwnedRule, RuleId};

/// How far the rule of a record has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Recorded; the rule may have been inserted.
    Intended,
    /// Inserted.
    Applied,
    /// About to be removed, or removed.
    Removing,
}

impl State {
    /// The name that `dump` shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Applied => "applied",
            Self::Removing => "removing",
        }
    }
}

/// One rule, with all that is needed to remove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The rule and its owners.
    pub owned: OwnedRule,
    /// How far it has come.
    pub state: State,
    /// When the intent was recorded, seconds since the epoch.
    pub inserted_at: u64,
    /// The boot in which it was recorded.
    pub boot_id: BootId,
}

impl Record {
    /// The record's key.
    pub fn id(&self) -> RuleId {
        self.owned.rule.id()
    }
}
