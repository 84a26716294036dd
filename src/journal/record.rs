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
//! Every state says the same about the kernel: the rule may be there. Recovery therefore treats
//! them alike.

use crate::model::boot::BootId;
use crate::model::rule::{OwnedRule, RuleId};

/// How far the rule of a record has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Recorded, and perhaps inserted.
    Intended,
    /// Inserted.
    Applied,
    /// About to be removed, or removed.
    Removing,
}

impl State {
    /// The name shown by `dump`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Applied => "applied",
            Self::Removing => "removing",
        }
    }
}

/// One inserted rule, with all that is needed to remove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The rule and who wants it.
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
