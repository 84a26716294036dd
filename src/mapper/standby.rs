//! Whether to stand by, because Docker's own IPv6 NAT serves the published ports.
//!
//! Its chains prove nothing: Engines leave them, their jumps and even DNAT rules behind. The ports
//! decide, and no single one: one may be without its rule because somebody has deleted it, and
//! the audit names it. Its NAT is off where none of what is published has been served for
//! [`SETTLES_AFTER`]; Docker inserts a DNAT rule before it says that a container has started, and
//! says that one has died within a second of having removed it. A DNAT rule that was not there at
//! the look before proves it on, for somebody has just put it there. While nothing is published,
//! all stays as it was judged last; at the start chains count as on until a port says otherwise,
//! for then a container that starts finds one rule for its port, and not two.
//!
//! ```text
//!               no chains
//!   (start) ───────────────────────────────▶ Off ◀──────────────────────┐
//!      │                                     │  ▲                       │ no published port
//!      │ chains; ports not known,            │  │ no chains             │ served for 3 s
//!      │ or none of them served              │  │                       │
//!      ├───────────▶ Unsettled ──────────────┼──┼───────────────────────┤
//!      │                  │ one is served,   │  │                       │
//!      │ chains; one is   │ none published,  │  │                       │
//!      │ served, or none  │ or a new rule    ▼  │                       │
//!      └─ is published ───┴────────────▶ On ────┴───────────────────────┘
//!                                        ▲ chains, or a DNAT rule, that were not there before
//! ```
//!
//! Podman's netavark has chains of its own, and a host may have them beside Docker. They count as
//! chains only once they serve what Docker's API publishes: where Podman answers there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::change::Desired;
use crate::model::native::{HostForward, LeftBehind, Native, Published};
use crate::model::rule::RuleId;

/// How long all published ports may be without Docker's DNAT rule before Docker's NAT counts as
/// off, and a difference may last before it is told. Between the end of that rule and the `die`
/// event of its container lie 0.6 s (Engine 20.10) to 0.9 s (28.5).
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

/// Docker's NAT compared with what Docker publishes: protocol, host address and port, and where
/// they lead. A difference counts once it has lasted for [`SETTLES_AFTER`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Published ports that it serves.
    pub served: BTreeSet<HostForward>,
    /// Published ports that it does not serve.
    pub unserved: BTreeSet<HostForward>,
    /// What it serves though it is not published.
    pub stray: BTreeSet<HostForward>,
    /// What it serves though a label of ours closes it, or some sources.
    pub closed: BTreeSet<HostForward>,
    /// How ports are told as closed that Podman's NAT serves: see [`Published::any_v4`].
    pub served_all_the_same: BTreeSet<String>,
    /// What of it drops our forwards while it is off.
    pub left_behind: BTreeSet<LeftBehind>,
}

/// The judge, with its memory of what it saw before.
#[derive(Debug, Clone, Default)]
pub struct Standby {
    last: Option<Stand>,
    /// What was there at the look before.
    before: Option<Native>,
    /// Whether something is published and nothing of it is served.
    dark: Since<()>,
    unserved: Since<HostForward>,
    stray: Since<HostForward>,
    closed: Since<HostForward>,
    left_behind: Since<LeftBehind>,
}

impl Standby {
    /// Judges what the kernel shows by what Docker publishes; `published` is `None` before
    /// it is known. `now` is the time since any fixed moment.
    pub fn judge(
        &mut self,
        native: &Native,
        published: Option<&Published>,
        now: Duration,
    ) -> Stand {
        self.compare(native, published, now);
        let wanted = published.map(|published| &published.forwards);
        let serves = |rules: &BTreeSet<_>| wanted.is_some_and(|w| !w.is_disjoint(rules));
        let (docker, podman) = (serves(&native.forwards), serves(&native.podman));
        let podman = podman || published.is_some_and(|p| any_v4(p, native).next().is_some());
        let kept = native.netavark && self.last == Some(Stand::On);
        let came = self.before.as_ref().is_some_and(|before| {
            native.chains && !before.chains || !native.forwards.is_subset(&before.forwards)
        });
        let is_dark = wanted.is_some_and(|w| !w.is_empty()) && !docker && !podman;
        self.dark
            .note(is_dark.then_some(()).into_iter().collect(), now);
        let nothing_served = || !self.dark.settled(now).is_empty();
        let stand = match self.last.unwrap_or(Stand::Unsettled) {
            _ if !native.chains && !podman && !kept => Stand::Off,
            Stand::Off | Stand::Unsettled if came || podman => Stand::On,
            Stand::Unsettled if docker || wanted.is_some_and(BTreeSet::is_empty) => Stand::On,
            Stand::Off => Stand::Off,
            _ if nothing_served() => Stand::Off,
            stand => stand,
        };
        if stand == Stand::On && self.last != Some(Stand::On) {
            // What was not served before is given the time to be.
            self.unserved.0.values_mut().for_each(|since| *since = now);
            self.dark.0.values_mut().for_each(|since| *since = now);
        }
        self.before = Some(native.clone());
        self.last = Some(stand);
        stand
    }

    fn compare(&mut self, native: &Native, published: Option<&Published>, now: Duration) {
        let none = Published::default();
        let published = published.unwrap_or(&none);
        let serving = &native.forwards | &native.podman;
        let all = &published.forwards | &published.local;
        self.unserved.note(&published.forwards - &serving, now);
        // It may belong to a container that Docker has not answered about.
        let is_known = |forward: &HostForward| {
            !published.partial || published.answered.contains(&forward.target.0)
        };
        let mut stray = &native.forwards - &all;
        stray.retain(is_known);
        self.stray.note(stray, now);
        self.closed.note(&serving & &published.closed, now);
        self.left_behind.note(native.left_behind.clone(), now);
    }

    /// What Docker's NAT serves, at the time of the last judgement.
    pub fn audit(&self, native: &Native, published: Option<&Published>, now: Duration) -> Audit {
        let none = Published::default();
        let published = published.unwrap_or(&none);
        let mut served = &published.forwards & &(&native.forwards | &native.podman);
        served.extend(any_v4(published, native).map(|(forward, _)| *forward));
        let told = any_v4(published, native).map(|(_, told)| told.clone());
        let on = self.last == Some(Stand::On);
        Audit {
            served,
            served_all_the_same: told.collect(),
            unserved: self.unserved.settled_if(on, now),
            stray: self.stray.settled_if(on, now),
            closed: self.closed.settled_if(on, now),
            left_behind: self
                .left_behind
                .settled_if(self.last == Some(Stand::Off), now),
        }
    }

    /// When to look again though nothing has happened; `None`: not needed.
    pub fn looks_again_in(&self, now: Duration) -> Option<Duration> {
        let next = match self.last {
            Some(Stand::Off) => self.left_behind.next(now),
            _ => [&self.unserved, &self.stray, &self.closed]
                .iter()
                .filter_map(|since| since.next(now))
                .chain(self.dark.next(now))
                .min(),
        };
        Some(next? - now)
    }
}

/// What is shown as bound to `0.0.0.0` alone and is served over IPv6.
fn any_v4<'p>(
    published: &'p Published,
    native: &Native,
) -> impl Iterator<Item = (&'p HostForward, &'p String)> {
    let shown = published.any_v4.iter();
    shown.filter(|(forward, _)| native.podman.contains(forward))
}

/// Since when something has been so.
#[derive(Debug, Clone)]
struct Since<T>(BTreeMap<T, Duration>);

impl<T> Default for Since<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone> Since<T> {
    fn note(&mut self, is_so: BTreeSet<T>, now: Duration) {
        let before = std::mem::take(&mut self.0);
        let since = |what: T| {
            let since = before.get(&what).copied().unwrap_or(now);
            (what, since)
        };
        self.0 = is_so.into_iter().map(since).collect();
    }

    fn settled(&self, now: Duration) -> BTreeSet<T> {
        let long = |since: Duration| now.saturating_sub(since) >= SETTLES_AFTER;
        let settled = self.0.iter().filter(|(_, since)| long(**since));
        settled.map(|(what, _)| what.clone()).collect()
    }

    fn settled_if(&self, counts: bool, now: Duration) -> BTreeSet<T> {
        match counts {
            true => self.settled(now),
            false => BTreeSet::new(),
        }
    }

    /// When the next will have settled.
    fn next(&self, now: Duration) -> Option<Duration> {
        let settles = self.0.values().map(|since| *since + SETTLES_AFTER);
        settles.filter(|at| *at > now).min()
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
                    published: desired.published.clone(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
