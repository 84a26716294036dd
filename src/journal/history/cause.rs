//! Why forwards end: from what the firewall writer was doing when it removed their rules.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::closing::EndReason;
use crate::journal::record::{Record, RecordState, Records};
use crate::mapper::remaining::{Obstacle, Obstacles, Presence, Remaining};
use crate::model::boot::BootId;
use crate::model::forward::{Forward, Owner};
use crate::model::forwards::Forwards;
use crate::model::intent::Intent;
use crate::model::rule::{BackendKind, ContainerPort, HostPort, RuleKey};

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
        /// What Docker still shows of containers whose ports are closed.
        remaining: Arc<Remaining>,
        /// Whether Docker's own NAT serves, so that nothing is to be.
        stands_by: bool,
        /// When it began, in seconds since the epoch: what it opens and closes counts from then.
        began: u64,
    },
    /// Removing everything, because the daemon leaves.
    Leaving,
}

/// After so many searches for a port among the forwards, all ports are put into a map.
const SEARCHES: usize = 8;

/// Finds the reasons of one change of the journal.
pub(crate) struct Reasons<'c> {
    cause: &'c Cause,
    records: &'c Records,
    /// The records for each place of a rule; made when it is asked for.
    by_place: Option<BTreeMap<(BackendKind, RuleKey<'c>), Place<'c>>>,
    obstacles: Option<Obstacles<'c>>,
    /// Ports that were searched for.
    port_searches: usize,
    by_port: Option<BTreeMap<HostPort, &'c Forward>>,
}

/// The records for one place.
struct Place<'c> {
    count: usize,
    newest: &'c Record,
}

impl<'c> Reasons<'c> {
    /// `records` are those before the change.
    pub(crate) fn new(cause: &'c Cause, records: &'c Records) -> Self {
        Self {
            cause,
            records,
            by_place: None,
            obstacles: None,
            port_searches: 0,
            by_port: None,
        }
    }

    /// Why what this record was for is over for this container. `is_put_in_again`: its rule is to be
    /// inserted as it was.
    ///
    /// Of a container whose interface is gone it is not known whether it has ended or left the network:
    /// most have ended. Docker says so up to a second later ([`Presence::EndedOrLeft`]).
    pub(crate) fn of(
        &mut self,
        record: &'c Record,
        container: Option<&'c Owner>,
        is_put_in_again: bool,
    ) -> EndReason {
        let (intent, remaining, stands_by) = match self.cause {
            Cause::Unknown => return EndReason::RuleGone,
            Cause::Leaving => return EndReason::DaemonLeft,
            Cause::Recovery { boot_id } => {
                if let Some(successor) = self.successor(record) {
                    let mut owners = successor.owned.owners.iter();
                    let id = container.map(|container| &container.container_id);
                    return match owners.any(|owner| Some(&owner.container_id) == id) {
                        true => EndReason::Moved,
                        false => EndReason::TakenOver,
                    };
                }
                let is_earlier = !record.boot_id.as_str().is_empty() && record.boot_id != *boot_id;
                return match record.state {
                    _ if is_earlier => EndReason::Rebooted,
                    RecordState::Removing => EndReason::DaemonKilled,
                    RecordState::Intended | RecordState::Applied => EndReason::RuleGone,
                };
            }
            Cause::Round {
                intent,
                remaining,
                stands_by,
                began: _,
            } => (intent, remaining, *stands_by),
        };
        if stands_by {
            return EndReason::DockerNat;
        }
        let Some((port, target)) = record.owned.rule.dnat() else {
            return EndReason::Changed;
        };
        let Some(forwards) = &intent.forwards else {
            // Before Docker has answered the daemon removes no forward.
            return match intent.known.forwards {
                true => EndReason::Unconfirmed,
                false => EndReason::RuleGone,
            };
        };
        let id = container.map(|container| container.container_id.as_str());
        match (self.published(forwards, port), container) {
            (Some(now), Some(_)) if Some(&*now.owner.container_id) != id => EndReason::TakenOver,
            (Some(now), _) if ContainerPort::of(now) == target => {
                match is_put_in_again || !self.is_removed_by_us(record) {
                    true => EndReason::RuleGone,
                    false => EndReason::Changed,
                }
            }
            (Some(_), Some(_)) => EndReason::Moved,
            (Some(_), None) => EndReason::TakenOver,
            (None, Some(owner)) => self.closed(remaining, owner, port, target.addr),
            (None, None) => EndReason::Unpublished,
        }
    }

    /// When that was, in seconds since the epoch, if the journal hears of it at the second `now`: when the
    /// round began, as for what is opened in it. The disk may be slow, and a port must not count as open
    /// for two containers at once.
    pub(crate) fn moment(&mut self, record: &'c Record, now: u64) -> u64 {
        match self.cause {
            Cause::Round { began, .. } => now.min(*began),
            Cause::Recovery { .. } => match self.successor(record) {
                Some(successor) => now.min(successor.inserted_at),
                None => now,
            },
            Cause::Unknown | Cause::Leaving => now,
        }
    }

    /// What took the rule's place in an earlier run, which was cut off before it could note that.
    fn successor(&mut self, record: &'c Record) -> Option<&'c Record> {
        let newest = self.at_place_of(record)?.newest;
        (newest.inserted_at > record.inserted_at).then_some(newest)
    }

    /// Whether the daemon has removed the rule, or replaced it by another, rather than found it gone. A
    /// removal whose mark could not be written, because the disk was full, counts as found gone.
    fn is_removed_by_us(&mut self, record: &'c Record) -> bool {
        if record.state == RecordState::Removing {
            return true;
        }
        self.at_place_of(record).is_some_and(|it| it.count > 1)
    }

    fn at_place_of(&mut self, record: &'c Record) -> Option<&Place<'c>> {
        let records = self.records;
        let by_place = self.by_place.get_or_insert_with(|| {
            let mut by_place = BTreeMap::new();
            for record in records.values() {
                let first = Place {
                    count: 0,
                    newest: record,
                };
                let place = by_place.entry(place(record)).or_insert(first);
                place.count += 1;
                if record.inserted_at > place.newest.inserted_at {
                    place.newest = record;
                }
            }
            by_place
        });
        by_place.get(&place(record))
    }

    /// Why a port is closed that nobody publishes any more, and that led to this address.
    fn closed(
        &mut self,
        remaining: &'c Remaining,
        owner: &Owner,
        port: HostPort,
        addr: Ipv6Addr,
    ) -> EndReason {
        match remaining.presence(owner, addr) {
            Presence::Ended | Presence::EndedOrLeft => return EndReason::ContainerEnded,
            Presence::LeftNetwork => return EndReason::LeftNetwork,
            Presence::Unknown => return EndReason::Unconfirmed,
            Presence::There => {}
        }
        let obstacles = self.obstacles.get_or_insert_with(|| remaining.obstacles());
        match obstacles.of(owner, port) {
            Obstacle::Unpublished => EndReason::Unpublished,
            Obstacle::NoNetwork => EndReason::LeftNetwork,
            Obstacle::Setting => EndReason::Setting,
            Obstacle::TakenOver => EndReason::TakenOver,
            Obstacle::Unknown => EndReason::Unconfirmed,
        }
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

fn place(record: &Record) -> (BackendKind, RuleKey<'_>) {
    let rule = &record.owned.rule;
    (rule.backend, rule.facts.key())
}

#[cfg(test)]
mod tests;
