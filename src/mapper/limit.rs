//! ip6tables gets no more rules than it can give back.

use std::collections::{BTreeMap, BTreeSet};

use super::forwards::Resolved;
use super::labels::MAX_ENTRIES;
use super::rules::{Hairpin, Layout, of_forward};
use super::skipped::{Reason, Skipped};
use crate::model::container::{Container, Snapshot};
use crate::model::forward::Forward;
use crate::model::rule::BackendKind;

/// Most rules for forwards with ip6tables. Its tool lists 45,000 rules in 6 s and takes them out
/// within 20 s to a minute; both grow faster than the rules. With 60,000 each look at the tables
/// takes 20 s, and the writer does nothing else.
const MOST_RULES: usize = 50_000;

/// Leaves out whole containers for which there is no room, the last created first: who was there
/// before is not closed by who comes, nor by a new start. One that needs less may still get in.
/// A hairpin counts for every port that may get one, lest the answer depend on itself: which ports
/// do is looked up for those that are open.
pub(super) fn keep_within(layout: &Layout, snapshot: &Snapshot, resolved: &mut Resolved) {
    // One rule at most for each interface and source, one for the host, and one for each prefix.
    let each = layout.devices.len() * MAX_ENTRIES + 1 + layout.prefixes.len();
    let few = resolved.forwards.len() * each <= MOST_RULES;
    if layout.backend == BackendKind::Nftables || few {
        return;
    }
    let layout = &Layout {
        hairpin: match layout.hairpin {
            Hairpin::Off => Hairpin::Off,
            Hairpin::On | Hairpin::Only(_) => Hairpin::On,
        },
        ..layout.clone()
    };
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for forward in &resolved.forwards {
        let specs = of_forward(layout, forward);
        let own = specs.iter().filter(|spec| !spec.is_shared()).count();
        *rules.entry(&forward.owner.container_id).or_default() += own;
    }
    let mut containers: Vec<&Container> = snapshot.containers.values().collect();
    containers.sort_by_key(|c| (c.created, &c.id));
    let mut used = 0;
    let mut refused: BTreeSet<String> = BTreeSet::new();
    for container in containers {
        let Some(&own) = rules.get(container.id.as_str()) else {
            continue;
        };
        if used + own <= MOST_RULES {
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
                most: MOST_RULES,
            },
        });
    }
    let stays = |forward: &Forward| !refused.contains(&forward.owner.container_id);
    resolved.forwards.retain(stays);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::forwards::samples;
    use crate::mapper::plan::{Choice, HairpinMode, Heard, Plan, Surroundings};
    use crate::mapper::rules::{Outgoing, Unpublished};

    /// The container of the sample, as another, with so many ports from `first` on.
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
    fn the_last_created_is_closed_where_ip6tables_could_not_give_its_rules_back() {
        let mut snapshot = samples::snapshot();
        publish(&mut snapshot, "old", 1, 1, 16_000);
        publish(&mut snapshot, "new", 3, 20_000, 1_000);
        publish(&mut snapshot, "late", 2, 40_000, 600);
        snapshot.containers.remove("c1");
        let made = |backend, hairpin| {
            let plan = Plan {
                backend,
                devices: Choice::Fixed(vec!["eth0".parse().expect("a name")]),
                prefixes: Choice::Auto,
                unpublished: Unpublished::Drop,
                outgoing: Outgoing::Accept,
                hairpin,
            };
            let planned = plan.make(Heard::Snapshot(&snapshot), &Surroundings::default());
            let refused = planned.resolved.skipped.into_iter();
            let refused: Vec<String> = refused
                .filter(|s| s.reason.is_too_many())
                .map(|s| s.container_id)
                .collect();
            (planned.resolved.forwards.len(), refused)
        };
        let all = 17_600;
        assert_eq!(made(BackendKind::Nftables, HairpinMode::On), (all, vec![]));
        assert_eq!(
            made(BackendKind::Ip6tables, HairpinMode::Off),
            (all, vec![])
        );
        let (open, refused) = made(BackendKind::Ip6tables, HairpinMode::On);
        assert_eq!((open, refused), (16_600, vec!["new".to_owned()]));
        // Whatever has been found out of docker-proxy so far, none of which is known here.
        let (open, refused) = made(BackendKind::Ip6tables, HairpinMode::Auto);
        assert_eq!((open, refused), (16_600, vec!["new".to_owned()]));
    }
}
