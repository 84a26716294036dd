//! Full comparisons of Docker, journal and kernel, as `status` and the metrics report them.

use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// The last full comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastResync {
    /// When.
    pub at: Moment,
    /// What caused it.
    pub reason: ResyncReason,
    /// How many rules it put right.
    pub repaired: usize,
}

/// What causes a full comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResyncReason {
    /// Docker's first complete list.
    FirstList,
    /// The kernel's notifications begin; others may have changed rules before.
    Ready,
    /// `--verify-interval` is over.
    Timer,
    /// The kernel announced that others changed rules.
    RulesChanged,
    /// SIGHUP, or `reload`.
    Requested,
}

impl ResyncReason {
    /// All of them, with the words for them.
    pub(crate) const ALL: [(Self, &str); 5] = [
        (Self::FirstList, "first-list"),
        (Self::Ready, "ready"),
        (Self::Timer, "timer"),
        (Self::RulesChanged, "rules-changed"),
        (Self::Requested, "requested"),
    ];
}
