//! Keeps the number of rules within what the backend can remove in time.

use std::collections::{BTreeMap, BTreeSet};

use super::forwards::Resolved;
use super::skipped::{Reason, Skipped};
use crate::model::container::{Container, Snapshot};
use crate::model::forward::Forward;
use crate::model::intent::{Hairpin, Policy, RuleLimit};

/// Leaves out whole containers for which there is no room, the last created first, so that neither
/// a new container nor a restart closes an open one. A later container that needs fewer rules may
/// still fit. With [`Hairpin::Only`] every port counts as if it had a hairpin: the daemon finds out
/// only for open ports whether they need one, so the result would depend on itself.
pub(super) fn keep_within(
    limit: RuleLimit,
    policy: &Policy,
    snapshot: &Snapshot,
    resolved: &mut Resolved,
) -> BTreeSet<String> {
    let policy = &Policy {
        hairpin: match policy.hairpin {
            Hairpin::Off => Hairpin::Off,
            Hairpin::On | Hairpin::Only(_) => Hairpin::On,
        },
        ..policy.clone()
    };
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for forward in &resolved.forwards {
        let own = (limit.rules_of)(policy, forward);
        *rules.entry(&forward.owner.container_id).or_default() += own;
    }
    if rules.values().sum::<usize>() <= limit.most {
        return BTreeSet::new();
    }
    let mut containers: Vec<&Container> = snapshot.containers.values().map(|c| &**c).collect();
    containers.sort_by_key(|c| (c.created, &c.id));
    let mut used = 0;
    let mut refused: BTreeSet<String> = BTreeSet::new();
    for container in containers {
        let Some(&own) = rules.get(container.id.as_str()) else {
            continue;
        };
        if used + own <= limit.most {
            used += own;
            continue;
        }
        refused.insert(container.id.clone());
        resolved.skipped.push(Skipped {
            container_id: container.id.clone(),
            container_name: container.name.clone(),
            port: None,
            reason: Reason::TooMany {
                rules: own,
                most: limit.most,
            },
        });
    }
    let stays = |forward: &Forward| !refused.contains(&forward.owner.container_id);
    resolved.forwards.retain(stays);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::compute::{Choice, DockerState, HairpinMode, HostFacts, MapperOptions};
    use crate::mapper::forwards::samples;
    use crate::mapper::parts::Parts;
    use crate::model::intent::{Outgoing, Unpublished};

    /// Adds a copy of the sample's container with `count` ports from `first` on.
    fn publish(snapshot: &mut Snapshot, id: &str, created: i64, first: u16, count: u16) {
        let mut container = snapshot.containers["c1"].clone();
        container.id = id.to_owned();
        container.created = created;
        let ports = (first..first + count)
            .flat_map(|port| ["0.0.0.0", "::"].map(|ip| samples::row(ip, Some(port), port)));
        container.ports = ports.collect();
        let endpoint = &mut container.endpoints[0];
        endpoint.address = endpoint
            .address
            .map(|a| (u128::from(a) + created as u128).into());
        snapshot.containers.insert(id.to_owned(), container);
    }

    #[test]
    fn the_last_created_is_closed_where_the_backend_could_not_give_its_rules_back() {
        let mut snapshot = samples::snapshot();
        publish(&mut snapshot, "old", 1, 1, 16_000);
        publish(&mut snapshot, "new", 3, 20_000, 1_000);
        publish(&mut snapshot, "late", 2, 40_000, 600);
        snapshot.containers.remove("c1");
        // One interface, one prefix.
        let limit = RuleLimit {
            most: 50_000,
            rules_of: |policy, forward| match policy.hairpin.covers(forward) {
                true => 3,
                false => 1,
            },
        };
        let made = |limit, hairpin| {
            let options = MapperOptions {
                devices: Choice::Fixed(vec!["eth0".parse().expect("a name")]),
                prefixes: Choice::Auto,
                unpublished: Unpublished::Drop,
                outgoing: Outgoing::Accept,
                hairpin,
                limit,
            };
            let docker = DockerState::Snapshot(&snapshot);
            let planned = options.compute(docker, &HostFacts::default());
            let refused = planned.resolved.skipped.into_iter();
            let refused: Vec<String> = refused
                .filter(|s| s.reason.is_too_many())
                .map(|s| s.container_id)
                .collect();
            (planned.resolved.forwards.len(), refused)
        };
        let all = 17_600;
        assert_eq!(made(None, HairpinMode::On), (all, vec![]));
        assert_eq!(made(Some(limit), HairpinMode::Off), (all, vec![]));
        let (open, refused) = made(Some(limit), HairpinMode::On);
        assert_eq!((open, refused), (16_600, vec!["new".to_owned()]));
        // The same before the daemon knows which ports docker-proxy serves.
        let (open, refused) = made(Some(limit), HairpinMode::Auto);
        assert_eq!((open, refused), (16_600, vec!["new".to_owned()]));
    }

    /// With `--hairpin auto` its ports are then searched for among those that docker-proxy serves.
    #[test]
    fn a_container_that_is_let_in_when_a_device_goes_is_a_change_of_the_ports() {
        let mut snapshot = samples::snapshot();
        publish(&mut snapshot, "late", 9, 20_000, 30);
        let options = MapperOptions {
            devices: Choice::Auto,
            prefixes: Choice::Auto,
            unpublished: Unpublished::Drop,
            outgoing: Outgoing::Accept,
            hairpin: HairpinMode::Auto,
            limit: Some(RuleLimit {
                most: 50,
                rules_of: |policy, _| policy.devices.len(),
            }),
        };
        let mut parts = Parts::default();
        let mut made = |devices: &[&str]| {
            let devices = devices.iter().map(|name| name.parse().expect("a name"));
            let host = HostFacts {
                default_devices: devices.collect(),
                ..HostFacts::default()
            };
            let made = options.compute_from(&mut parts, DockerState::Snapshot(&snapshot), &host);
            (made.resolved.forwards.len(), made.changes)
        };
        let (open, refusing) = made(&["eth0", "eth1"]);
        assert_eq!(open, 1);
        assert_eq!(made(&["eth0", "eth1"]), (open, refusing));
        let (open, letting_in) = made(&["eth0"]);
        assert_eq!(open, 31);
        assert!(letting_in > refusing, "{letting_in}, {refusing}");
        assert_eq!(made(&["eth0"]), (open, letting_in));
    }
}
