//! Whether to stand by, because Docker's own IPv6 NAT serves the published ports.
//!
//! The table `ip6 docker-bridges` proves that it is on. The chain `DOCKER` of ip6tables proves
//! nothing: Engines leave it, its jump and even its DNAT rules behind. There the ports decide.
//! Docker inserts a DNAT rule before it says that a container has started, and says that one has
//! died within a second of having removed it, so a published port without a rule for
//! [`SETTLES_AFTER`] shows that its NAT is off.
//!
//! ```text
//!               no chain, no table
//!   (start) ───────────────────────────────▶ Off ◀──────────────────────┐
//!      │                                     │  ▲                       │ a port without
//!      │ chain, ports not known              │  │ no chain, no table    │ a rule for 3 s
//!      │ or not all with a rule              │  │                       │
//!      ├───────────▶ Unsettled ──────────────┼──┼───────────────────────┤
//!      │                  │ every port       │  │                       │
//!      │ table, or chain  │ has a rule       │  │                       │
//!      │ and every port   │                  ▼  │                       │
//!      └─ has a rule ─────┴────────────▶ On ────┴───────────────────────┘
//!                                        ▲ table; chain comes; every port has a rule
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::change::{Desired, Known};
use crate::model::native::{Native, Target};
use crate::model::rule::{RuleId, RuleSpec};

/// How long a published port may be without Docker's DNAT rule before Docker's NAT counts as off.
/// Between the end of that rule and the `die` event of its container lie 0.6 s (Engine 20.10).
pub const SETTLES_AFTER: Duration = Duration::from_secs(3);

/// What becomes of our rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Docker's NAT is off: ours are set.
    Off,
    /// Docker's NAT is on: none of ours is in the kernel.
    On,
    /// Not known yet: ours that are wanted stay, and none is added.
    Unsettled,
}

/// Docker's NAT compared with what Docker publishes. A difference counts once it has lasted for
/// [`SETTLES_AFTER`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Published ports that it serves.
    pub served: BTreeSet<Target>,
    /// Published ports that it does not serve.
    pub unserved: BTreeSet<Target>,
    /// What it serves though it is not published, or closed by a label.
    pub stray: BTreeSet<Target>,
}

/// The judge, with its memory of what it saw before.
#[derive(Debug, Clone, Default)]
pub struct Standby {
    last: Option<Stand>,
    chain_before: bool,
    /// What the chain led to when it was found out that nobody keeps it, as long as it does.
    left_behind: BTreeSet<Target>,
    unserved: Since,
    stray: Since,
}

impl Standby {
    /// Judges what the kernel shows by what Docker publishes; `wanted` is `None` before the first
    /// complete list. `now` is the time since any fixed moment.
    pub fn judge(
        &mut self,
        native: &Native,
        wanted: Option<&BTreeSet<Target>>,
        now: Duration,
    ) -> Stand {
        let none = BTreeSet::new();
        let published = wanted.unwrap_or(&none);
        self.unserved
            .note(published.difference(&native.targets), now);
        self.stray.note(native.targets.difference(published), now);
        let served = self.unserved.0.is_empty();
        self.left_behind
            .retain(|target| native.targets.contains(target));
        let left_behind = published.is_subset(&self.left_behind);
        let came = native.jump && !self.chain_before;
        let stand = match (native.table, native.jump) {
            (true, _) => Stand::On,
            (false, false) => Stand::Off,
            (false, true) => match self.last.unwrap_or(Stand::Unsettled) {
                // It was not there while we were looking: an Engine has just put it there.
                Stand::Off if came => Stand::On,
                // Not by what was left behind alone: somebody keeps the chain again.
                Stand::Off if served && !left_behind => Stand::On,
                Stand::Unsettled if served && wanted.is_some() => Stand::On,
                _ if !self.unserved.settled(now).is_empty() => Stand::Off,
                stand => stand,
            },
        };
        if stand == Stand::Off && self.last != Some(Stand::Off) {
            self.left_behind.clone_from(&native.targets);
        }
        self.chain_before = native.jump;
        self.last = Some(stand);
        stand
    }

    /// What Docker's NAT serves, at the time of the last judgement.
    pub fn audit(
        &self,
        native: &Native,
        wanted: Option<&BTreeSet<Target>>,
        now: Duration,
    ) -> Audit {
        let served = wanted.map(|wanted| wanted & &native.targets);
        Audit {
            served: served.unwrap_or_default(),
            unserved: self.unserved.settled(now),
            stray: self.stray.settled(now),
        }
    }

    /// When to look again though nothing has happened; `None`: not needed.
    pub fn looks_again_in(&self, now: Duration) -> Option<Duration> {
        if self.last == Some(Stand::Off) {
            return None;
        }
        let settles = self.unserved.0.values().chain(self.stray.0.values());
        let settles = settles.map(|since| *since + SETTLES_AFTER);
        Some(settles.filter(|at| *at > now).min()? - now)
    }
}

/// Since when something has been so.
#[derive(Debug, Clone, Default)]
struct Since(BTreeMap<Target, Duration>);

impl Since {
    fn note<'a>(&mut self, is_so: impl Iterator<Item = &'a Target>, now: Duration) {
        let before = std::mem::take(&mut self.0);
        let since = |target: &Target| (*target, before.get(target).copied().unwrap_or(now));
        self.0 = is_so.map(since).collect();
    }

    fn settled(&self, now: Duration) -> BTreeSet<Target> {
        let long = |since: Duration| now.saturating_sub(since) >= SETTLES_AFTER;
        let settled = self.0.iter().filter(|(_, since)| long(**since));
        settled.map(|(target, _)| *target).collect()
    }
}

impl Stand {
    /// What of `desired` is to be in the kernel now. `applied` tells which rules are there.
    pub fn applies_to(
        self,
        desired: &Desired,
        applied: impl Fn(&RuleId) -> bool,
    ) -> Cow<'_, Desired> {
        match self {
            Self::Off => Cow::Borrowed(desired),
            Self::On => Cow::Owned(Desired::nothing()),
            Self::Unsettled => {
                let there = desired.rules.iter().filter(|(id, _)| applied(id));
                Cow::Owned(Desired {
                    rules: there.map(|(id, rule)| (*id, rule.clone())).collect(),
                    known: desired.known,
                    undecided: desired.undecided.clone(),
                })
            }
        }
    }
}

/// Where the published ports lead; `None` before Docker has been heard.
pub fn wanted(desired: &Desired) -> Option<BTreeSet<Target>> {
    let Known { forwards, .. } = desired.known;
    forwards.then(|| {
        let specs = desired.rules.values().map(|owned| &owned.rule.spec);
        let dnats = specs.filter_map(|spec| match spec {
            RuleSpec::Dnat(dnat) => Some((dnat.target, dnat.target_port)),
            _ => None,
        });
        dnats.collect()
    })
}

#[cfg(test)]
mod tests;
