//! Decides whether we stand by because Docker's own IPv6 NAT serves the published ports. Pure.
//!
//! Docker's chains prove nothing: Engines leave them, their jumps and even DNAT rules behind. The
//! published ports decide, all of them together: a single one may lack its rule because somebody
//! has deleted it, and then the audit names it. Docker's NAT is off once none of the published
//! ports has been served for [`SETTLES_AFTER`](super::since::SETTLES_AFTER): Docker inserts a DNAT
//! rule before it reports that a container has started, and reports that one has died within a
//! second of removing its rule. A DNAT rule that the previous observation did not show proves that
//! the NAT is on, because somebody has just inserted it. While nothing is published, the last
//! decision holds. At the start, chains count as on until a port shows otherwise: then a container
//! that starts finds one rule for its port and not two.
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
//! Podman's netavark has chains of its own, and a host may have them beside Docker's. They count as
//! chains only once they serve what Docker's API publishes: where Podman answers there.

use std::collections::BTreeSet;
use std::time::Duration;

use super::observation::DockerNat;
use super::since::Since;
use crate::model::published::Published;

/// What Docker's own NAT means for our rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandbyState {
    /// Docker's NAT is off: we set ours.
    Off,
    /// Docker's NAT is on: none of ours is in the kernel.
    On,
    /// Not known yet: our desired rules stay, and none is added.
    Unsettled,
}

/// The state machine: what it decided last, and what it compares the next observation with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    state: Option<StandbyState>,
    before: Option<DockerNat>,
    /// Since when ports have been published and none of them served.
    dark: Since<()>,
}

impl Gate {
    /// Decides by what the kernel shows and what Docker publishes; `published` is `None` before
    /// that is known. `now` is the time since any fixed moment.
    pub(crate) fn decide(
        &mut self,
        seen: &DockerNat,
        published: Option<&Published>,
        now: Duration,
    ) -> StandbyState {
        let wanted = published.map(|published| &published.forwards);
        let serves = |rules: &BTreeSet<_>| wanted.is_some_and(|w| !w.is_disjoint(rules));
        let docker = serves(&seen.forwards);
        let podman = serves(&seen.podman)
            || published.is_some_and(|p| seen.any_v4_served(p).next().is_some());
        let podman_may_return = seen.netavark && self.state == Some(StandbyState::On);
        let came = self.before.as_ref().is_some_and(|before| {
            seen.chains && !before.chains || !seen.forwards.is_subset(&before.forwards)
        });
        let is_dark = wanted.is_some_and(|w| !w.is_empty()) && !docker && !podman;
        self.dark
            .note(is_dark.then_some(()).into_iter().collect(), now);
        let nothing_served = || !self.dark.settled(now).is_empty();
        let state = match self.state.unwrap_or(StandbyState::Unsettled) {
            _ if !seen.chains && !podman && !podman_may_return => StandbyState::Off,
            StandbyState::Off | StandbyState::Unsettled if came || podman => StandbyState::On,
            StandbyState::Unsettled if docker || wanted.is_some_and(BTreeSet::is_empty) => {
                StandbyState::On
            }
            StandbyState::Off => StandbyState::Off,
            _ if nothing_served() => StandbyState::Off,
            state => state,
        };
        if state == StandbyState::On && self.state != Some(StandbyState::On) {
            // Docker gets the time to serve the ports that it has not served so far.
            self.dark.restart(now);
        }
        self.before = Some(seen.clone());
        self.state = Some(state);
        state
    }

    /// After how long the decision may change without a new event; `None`: never.
    pub(crate) fn changes_in(&self, now: Duration) -> Option<Duration> {
        match self.state {
            Some(StandbyState::Off) => None,
            _ => self.dark.settles_in(now),
        }
    }
}

#[cfg(test)]
mod tests;
