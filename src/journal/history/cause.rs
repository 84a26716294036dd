//! Why forwards end: from what the firewall writer was doing when it removed their rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::closing::EndReason;
use crate::journal::record::{Record, State};
use crate::model::boot::BootId;
use crate::model::forward::{Forward, Owner};
use crate::model::forwards::Forwards;
use crate::model::intent::Intent;
use crate::model::rule::{ContainerPort, HostPort};

/// What the firewall writer is doing.
#[derive(Debug, Clone, Default)]
pub enum Cause {
    /// Nothing that is known.
    #[default]
    Unknown,
    /// Starting from what an earlier run left.
    Recovery {
        /// The present boot.
        boot_id: BootId,
    },
    /// Making the kernel match.
    Round {
        /// What is to be open.
        intent: Arc<Intent>,
        /// Whether Docker's own NAT serves, so that nothing is to be.
        stands_by: bool,
    },
    /// Removing everything, because the daemon leaves.
    Leaving,
}

/// After so many searches for a container among the forwards, all containers are put into a set; so are
/// the ports.
const SEARCHES: usize = 8;

/// Finds the reasons of one change of the journal.
pub(crate) struct Reasons<'c> {
    cause: &'c Cause,
    /// Whether containers publish anything, as far as that was asked for.
    found: BTreeMap<&'c str, bool>,
    searches: usize,
    all: Option<BTreeSet<&'c str>>,
    /// Ports that were searched for.
    port_searches: usize,
    by_port: Option<BTreeMap<HostPort, &'c Forward>>,
}

impl<'c> Reasons<'c> {
    pub(crate) fn new(cause: &'c Cause) -> Self {
        Self {
            cause,
            found: BTreeMap::new(),
            searches: 0,
            all: None,
            port_searches: 0,
            by_port: None,
        }
    }

    /// Why what this record was for is over for this container.
    pub(crate) fn of(&mut self, record: &'c Record, container: Option<&'c Owner>) -> EndReason {
        let (intent, stands_by) = match self.cause {
            Cause::Unknown => return EndReason::RuleGone,
            Cause::Leaving => return EndReason::DaemonLeft,
            Cause::Recovery { boot_id } => {
                let is_earlier = !record.boot_id.as_str().is_empty() && record.boot_id != *boot_id;
                return match record.state {
                    _ if is_earlier => EndReason::Rebooted,
                    State::Removing => EndReason::DaemonKilled,
                    State::Intended | State::Applied => EndReason::RuleGone,
                };
            }
            Cause::Round { intent, stands_by } => (intent, *stands_by),
        };
        if stands_by {
            return EndReason::DockerNat;
        }
        let Some(forwards) = &intent.forwards else {
            return EndReason::Unconfirmed;
        };
        let Some((port, target)) = record.owned.rule.dnat() else {
            return EndReason::Changed;
        };
        let id = container.map(|container| container.container_id.as_str());
        match (self.published(forwards, port), id) {
            (Some(now), Some(id)) if now.owner.container_id != id => EndReason::TakenOver,
            (Some(now), _) if ContainerPort::of(now) == target => EndReason::Changed,
            (Some(_), Some(_)) => EndReason::Moved,
            (Some(_), None) => EndReason::TakenOver,
            (None, Some(id)) if !self.publishes(forwards, id) => EndReason::ContainerEnded,
            (None, _) => EndReason::Unpublished,
        }
    }

    /// Whether a container has any forward. A batch may close the ports of very many.
    fn publishes(&mut self, forwards: &'c Forwards, id: &'c str) -> bool {
        if let Some(all) = &self.all {
            return all.contains(id);
        }
        let searches = &mut self.searches;
        let publishes = *self.found.entry(id).or_insert_with(|| {
            *searches += 1;
            forwards.iter().any(|it| it.owner.container_id == id)
        });
        if self.searches > SEARCHES {
            let ids = forwards.iter().map(|it| it.owner.container_id.as_str());
            self.all = Some(ids.collect());
        }
        publishes
    }

    /// The forward of this port.
    fn published(&mut self, forwards: &'c Forwards, port: HostPort) -> Option<&'c Forward> {
        self.port_searches += 1;
        if self.port_searches <= SEARCHES {
            return forwards.iter().find(|it| HostPort::of(it) == port);
        }
        let all = || forwards.iter().map(|it| (HostPort::of(it), it)).collect();
        self.by_port.get_or_insert_with(all).get(&port).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::record;
    use crate::model::forward::{Proto, Sources};
    use crate::model::intent::Policy;

    fn forward(port: u16, addr: &str, owner: Owner) -> Forward {
        Forward {
            proto: Proto::Tcp,
            host_addr: None,
            host_port: port,
            container_addr: addr.parse().expect("an address"),
            container_port: 80,
            sources: Sources::Any,
            owner,
        }
    }

    fn round(forwards: Option<Vec<Forward>>, stands_by: bool) -> Cause {
        let intent = Arc::new(Intent::new(Policy::default(), forwards));
        Cause::Round { intent, stands_by }
    }

    /// The address that the records of the tests lead to.
    const HERE: &str = "fdfd:5898:4917:1::2";

    #[test]
    fn the_reason_follows_from_what_docker_publishes_then() {
        let record = Record {
            state: State::Applied,
            ..record(80)
        };
        let own = record.owned.owners.first().expect("an owner");
        let other = || Owner::new("other", "other", "bridge");
        let cases = [
            (Cause::Unknown, EndReason::RuleGone),
            (Cause::Leaving, EndReason::DaemonLeft),
            (round(Some(vec![]), true), EndReason::DockerNat),
            (round(None, false), EndReason::Unconfirmed),
            (round(Some(vec![]), false), EndReason::ContainerEnded),
            (
                round(Some(vec![forward(81, HERE, own.clone())]), false),
                EndReason::Unpublished,
            ),
            (
                round(Some(vec![forward(80, HERE, own.clone())]), false),
                EndReason::Changed,
            ),
            (
                round(Some(vec![forward(80, "fd00::9", own.clone())]), false),
                EndReason::Moved,
            ),
            (
                round(Some(vec![forward(80, HERE, other())]), false),
                EndReason::TakenOver,
            ),
        ];
        for (cause, expected) in cases {
            let reason = Reasons::new(&cause).of(&record, Some(own));
            assert_eq!(reason, expected, "{cause:?}");
        }
    }

    #[test]
    fn a_start_tells_a_reboot_from_a_kill() {
        let boot_id = record(80).boot_id;
        let next_boot = BootId::new("another");
        let cases = [
            (State::Applied, &boot_id, EndReason::RuleGone),
            (State::Removing, &boot_id, EndReason::DaemonKilled),
            (State::Applied, &next_boot, EndReason::Rebooted),
            (State::Removing, &next_boot, EndReason::Rebooted),
        ];
        for (state, boot_id, expected) in cases {
            let boot_id = boot_id.clone();
            let cause = Cause::Recovery { boot_id };
            let record = Record {
                state,
                ..record(80)
            };
            assert_eq!(Reasons::new(&cause).of(&record, None), expected);
        }
    }

    #[test]
    fn very_many_containers_are_told_apart_too() {
        let owners: Vec<Owner> = (0..40)
            .map(|n| Owner::new(format!("c{n}"), "x", "bridge"))
            .collect();
        let forwards = owners.iter().step_by(2).zip(1000..);
        let forwards = forwards.map(|(owner, port)| forward(port, HERE, owner.clone()));
        let cause = round(Some(forwards.collect()), false);
        let record = record(80);
        let mut reasons = Reasons::new(&cause);
        for (n, owner) in owners.iter().enumerate() {
            let expected = match n % 2 {
                0 => EndReason::Unpublished,
                _ => EndReason::ContainerEnded,
            };
            assert_eq!(reasons.of(&record, Some(owner)), expected, "{n}");
        }
    }
}
