//! Keeps what each container comes to, from one snapshot to the next: a container that has not changed
//! is not computed again, however many ports it has.
//!
//! What a container opens depends on itself, the networks, the bounds, and on other containers in two
//! ways. Two may show one address ([`Holders`]): then, and in the next snapshot, all are computed again. Two
//! may publish one host port: the one that started last has it, and only their forwards are compared
//! each time. A container that comes to the same as before keeps the same [`Group`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::holders::{Holders, order};
use super::part::{Bounds, Context, Resolved, part, skipped};
use super::served;
use super::skipped::{Reason, Skipped};
use crate::model::container::{Container, Network, Snapshot};
use crate::model::forward::{Forward, Owner, Proto};
use crate::model::forwards::Group;
use crate::model::published::Published;
use crate::model::shared::Shared;
use crate::model::table;

/// Host side of a forward: protocol, address, port.
type HostKey = (Proto, Option<Ipv6Addr>, u16);

fn key(forward: &Forward) -> HostKey {
    (forward.proto, forward.host_addr, forward.host_port)
}

/// A group, or the one of the last time if it is equal: who compares groups by their places in memory
/// then sees that nothing has changed.
fn kept(before: Option<&Group>, now: Group) -> Group {
    let before = before.filter(|before| **before == now);
    before.cloned().unwrap_or(now)
}

/// What the containers of the last snapshot come to.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// By the containers' ids.
    known: BTreeMap<String, Known>,
    networks: BTreeMap<String, Network>,
    bounds: Bounds,
    /// Whether the last snapshot showed an address of two containers.
    contested: bool,
    /// What is left to those that have lost a host port to another, by the containers' ids.
    reduced: BTreeMap<String, Group>,
    /// How many forwards there are for each host port.
    claims: HashMap<HostKey, u32>,
    /// Host ports with more than one.
    rivals: usize,
    published: Arc<Published>,
    /// The containers that were refused for their number of rules, by full id.
    refused: BTreeSet<String>,
    /// Counts the changes of the published ports, and of which of them are refused.
    changes: u64,
}

/// What one container comes to.
#[derive(Debug)]
struct Known {
    container: Shared<Container>,
    group: Group,
    skipped: Vec<Skipped>,
    /// Where Docker's own NAT leads its ports.
    target: Option<Ipv6Addr>,
}

impl Parts {
    /// Maps a snapshot to forwards.
    pub(super) fn resolve(&mut self, snapshot: &Snapshot, bounds: &Bounds) -> Resolved {
        self.follow(snapshot, bounds);
        let mut known: Vec<&Known> = self.known.values().collect();
        // The last start first: where Docker shows two containers with one port, the older one is
        // ending.
        known.sort_by_key(|known| Reverse(order(&known.container)));
        let mut taken = HashMap::new();
        let mut resolved = Resolved::default();
        let mut reduced = BTreeMap::new();
        for known in known {
            resolved.skipped.extend(known.skipped.iter().cloned());
            let mut group = self.without_rivals(known, &mut taken, &mut resolved.skipped);
            if !group.is_same(&known.group) {
                let id = &known.container.id;
                group = kept(self.reduced.get(id), group);
                reduced.insert(id.clone(), group.clone());
            }
            resolved.forwards.push(group);
        }
        self.reduced = reduced;
        resolved.forwards.sort();
        resolved
    }

    /// What Docker publishes; see [`super::published`].
    pub(super) fn published(
        &mut self,
        snapshot: &Snapshot,
        grace_over: bool,
    ) -> Option<Arc<Published>> {
        let published = Arc::make_mut(&mut self.published);
        published.partial = !snapshot.unanswered.is_empty();
        let is_answered = |c: &&Shared<Container>| !snapshot.unanswered.contains_key(&c.id);
        let answered = snapshot.containers.values().filter(is_answered);
        let addresses = answered
            .flat_map(|c| &c.endpoints)
            .filter_map(|e| e.address);
        published.answered = addresses.collect();
        let knows = grace_over || !published.partial || !published.forwards.is_empty();
        knows.then(|| self.published.clone())
    }

    /// These containers are refused for their number of rules now, by full id.
    pub(super) fn refuse(&mut self, refused: BTreeSet<String>) {
        if self.refused != refused {
            self.refused = refused;
            self.changes += 1;
        }
    }

    /// A number that changes whenever the published ports, or those that are refused, may have.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    fn follow(&mut self, snapshot: &Snapshot, bounds: &Bounds) {
        let holders = &Holders::of(snapshot);
        let mut before: BTreeMap<String, Group> = BTreeMap::new();
        let is_new_ground = self.networks != snapshot.networks || self.bounds != *bounds;
        if is_new_ground || self.contested || holders.contested {
            let known = std::mem::take(&mut self.known).into_iter();
            before.extend(known.map(|(id, known)| (id, known.group)));
            *self = Self {
                networks: snapshot.networks.clone(),
                bounds: bounds.clone(),
                contested: holders.contested,
                reduced: std::mem::take(&mut self.reduced),
                refused: std::mem::take(&mut self.refused),
                changes: self.changes,
                ..Self::default()
            };
        }
        let context = Context {
            snapshot,
            bounds,
            holders,
        };
        let mut changed = Vec::new();
        for (id, known) in &mut self.known {
            match snapshot.containers.get(id) {
                Some(now) if now.is_same(&known.container) => {}
                // The next time the comparison takes no time.
                Some(now) if **now == *known.container => known.container = now.clone(),
                _ => changed.push(id.clone()),
            }
        }
        for id in changed {
            if let Some(known) = self.known.remove(&id) {
                self.drop_part(&known);
                before.insert(id, known.group);
            }
        }
        for (id, container) in &snapshot.containers {
            if self.known.contains_key(id) {
                continue;
            }
            let part = part(&context, container);
            let old = before.remove(id).unwrap_or_default();
            let known = Known {
                container: container.clone(),
                group: kept(Some(&old), part.forwards.into()),
                skipped: part.skipped,
                target: served::target(snapshot, container, holders),
            };
            let has_same_ports = old.iter().map(key).eq(known.group.iter().map(key));
            self.changes += u64::from(!has_same_ports);
            self.add_part(&known);
            self.known.insert(id.clone(), known);
        }
        let gone = before.values().filter(|group| !group.is_empty());
        self.changes += gone.count() as u64;
    }

    fn add_part(&mut self, known: &Known) {
        for forward in known.group.iter() {
            let count = self.claims.entry(key(forward)).or_default();
            *count += 1;
            self.rivals += usize::from(*count == 2);
        }
        if let Some(target) = known.target {
            served::add(Arc::make_mut(&mut self.published), &known.container, target);
        }
    }

    fn drop_part(&mut self, known: &Known) {
        for forward in known.group.iter() {
            let key = key(forward);
            if let Some(count) = self.claims.get_mut(&key) {
                *count -= 1;
                self.rivals -= usize::from(*count == 1);
                if *count == 0 {
                    self.claims.remove(&key);
                }
            }
        }
        table::fit(&mut self.claims);
        if let Some(target) = known.target {
            served::remove(Arc::make_mut(&mut self.published), &known.container, target);
        }
    }

    /// The container's forwards, less those for host ports that others have.
    fn without_rivals<'k>(
        &self,
        known: &'k Known,
        taken: &mut HashMap<HostKey, (&'k Owner, Ipv6Addr, u16)>,
        skips: &mut Vec<Skipped>,
    ) -> Group {
        let mut group = known.group.clone();
        if self.rivals == 0 {
            return group;
        }
        let has_rivals = |forward: &Forward| self.claims.get(&key(forward)).is_some_and(|n| *n > 1);
        let mut lost = Vec::new();
        for forward in known.group.iter().filter(|forward| has_rivals(forward)) {
            let target = (
                &forward.owner,
                forward.container_addr,
                forward.container_port,
            );
            let holder = *taken.entry(key(forward)).or_insert(target);
            if (holder.1, holder.2) != (forward.container_addr, forward.container_port) {
                let port = Some((forward.proto, forward.host_port));
                let reason = Reason::TakenBy(holder.0.container_id.clone());
                skips.push(skipped(&known.container, port, reason));
                lost.push(forward);
            }
        }
        if !lost.is_empty() {
            group.retain(|forward| !lost.contains(&forward));
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::forwards::samples;

    #[test]
    fn a_container_that_is_listed_again_as_it_was_is_compared_once() {
        let mut snapshot = samples::snapshot();
        let mut parts = Parts::default();
        parts.resolve(&snapshot, &Bounds::default());
        for container in snapshot.containers.values_mut() {
            *container = Container::clone(container).into();
        }
        parts.resolve(&snapshot, &Bounds::default());
        let mut known = parts.known.iter();
        assert!(known.all(|(id, known)| known.container.is_same(&snapshot.containers[id])));
    }
}
