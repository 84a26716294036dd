//! Compares Docker's own IPv6 NAT port by port with what Docker publishes. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::gate::StandbyState;
use super::observation::{DockerNat, LeftBehind};
use super::since::Since;
use crate::model::problem::{Problem, ProblemId};
use crate::model::published::{HostForward, Published};

/// What the comparison shows: protocol, host address and port, and the target. A difference counts
/// once it has lasted for [`super::since::SETTLES_AFTER`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Published ports that Docker's NAT serves.
    pub served: BTreeSet<HostForward>,
    /// Published ports that it does not serve.
    pub unserved: BTreeSet<HostForward>,
    /// Ports that it serves though they are not published.
    pub stray: BTreeSet<HostForward>,
    /// Ports that it serves though one of our labels closes them, or opens them to some sources
    /// only.
    pub closed: BTreeSet<HostForward>,
    /// The lines that report ports as closed which Podman's NAT serves: see [`Published::any_v4`].
    pub served_by_podman: BTreeSet<String>,
    /// Its rules that drop what we forward while it is off.
    pub left_behind: BTreeSet<LeftBehind>,
}

impl Audit {
    /// The problems that our own rules cannot solve.
    pub fn problems(&self) -> Vec<Problem> {
        let unserved = self.unserved.iter().map(|forward| {
            let what = format!("Docker's own IPv6 NAT is on, but has no rule for {forward}");
            Problem::new(ProblemId::NotServed, what)
        });
        let left_behind = self.left_behind.iter().map(|left| {
            let what = format!(
                "{} drops what is forwarded; an Engine left it when it came back without IPv6 NAT",
                left.place
            );
            Problem::new(ProblemId::LeftBehind, what).with_remedy(&left.remedy)
        });
        unserved.chain(left_behind).collect()
    }
}

/// Makes an [`Audit`] of each observation, and remembers since when each difference has lasted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Auditor {
    unserved: Since<HostForward>,
    stray: Since<HostForward>,
    closed: Since<HostForward>,
    left_behind: Since<LeftBehind>,
}

impl Auditor {
    /// Compares what the kernel shows with what Docker publishes; `published` is `None` before that
    /// is known. `now` is the time since any fixed moment.
    pub(crate) fn audit(
        &mut self,
        state: StandbyState,
        seen: &DockerNat,
        published: Option<&Published>,
        now: Duration,
    ) -> Audit {
        let none = Published::default();
        let published = published.unwrap_or(&none);
        let serving = &seen.forwards | &seen.podman;
        // When its NAT comes on, Docker gets the time to serve what it has not served so far.
        let unserved = match state {
            StandbyState::On => &published.forwards - &serving,
            StandbyState::Off | StandbyState::Unsettled => BTreeSet::new(),
        };
        self.unserved.note(unserved, now);
        let mut stray = &(&seen.forwards - &published.forwards) - &published.local;
        // A rule may belong to a container that Docker has not answered about.
        stray
            .retain(|forward| !published.partial || published.answered.contains(&forward.target.0));
        self.stray.note(stray, now);
        self.closed.note(&serving & &published.closed, now);
        self.left_behind.note(seen.left_behind.clone(), now);

        let mut audit = Audit {
            served: &published.forwards & &serving,
            ..Audit::default()
        };
        for (forward, line) in seen.any_v4_served(published) {
            audit.served.insert(*forward);
            audit.served_by_podman.insert(line.clone());
        }
        match state {
            StandbyState::On => Audit {
                unserved: self.unserved.settled(now),
                stray: self.stray.settled(now),
                closed: self.closed.settled(now),
                ..audit
            },
            StandbyState::Off => Audit {
                left_behind: self.left_behind.settled(now),
                ..audit
            },
            StandbyState::Unsettled => audit,
        }
    }

    /// After how long the audit may change without a new event; `None`: never.
    pub(crate) fn changes_in(&self, state: StandbyState, now: Duration) -> Option<Duration> {
        if state == StandbyState::Off {
            return self.left_behind.settles_in(now);
        }
        let differences = [&self.unserved, &self.stray, &self.closed];
        let settle = differences.iter().filter_map(|since| since.settles_in(now));
        settle.min()
    }
}

#[cfg(test)]
mod tests;
