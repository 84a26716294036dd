//! What a snapshot opens, case by case, and properties over random snapshots.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::samples::{container, row};
use super::*;
use crate::backend::compile;
use crate::mapper::skipped::{Reason, Refusal};
use crate::model::change::{ChangeSet, Desired};
use crate::model::container::{
    Bindings, Container, Endpoint, GatewayMode, HostIp, Network, PortRow, Snapshot,
};
use crate::model::forward::Proto;
use crate::model::forwards::Forwards;
use crate::model::intent::{Intent, Policy, Unpublished};
use crate::model::rule::{BackendKind, OwnedRule, RuleId};

#[path = "choice_tests.rs"]
mod choice;
#[path = "kept_tests.rs"]
mod kept;

fn bounds() -> Bounds {
    Bounds {
        prefixes: vec!["fd00::/64".parse().unwrap()],
        host_addrs: ["fd00::1".parse().unwrap()].into(),
    }
}

fn snapshot(containers: Vec<Container>) -> Snapshot {
    Snapshot {
        containers: containers
            .into_iter()
            .map(|c| (c.id.clone(), c.into()))
            .collect(),
        ..Snapshot::default()
    }
}

fn only(container: Container) -> Resolved {
    resolve(&snapshot(vec![container]), &bounds())
}

fn at(network: &str, addr: &str, gw_priority: i64) -> Endpoint {
    Endpoint {
        network: network.into(),
        network_id: String::new(),
        address: addr.parse().ok(),
        mac: None,
        gateway: None,
        gw_priority,
        left: false,
    }
}

#[test]
fn a_double_binding_gives_one_forward() {
    let resolved = only(container("c1"));
    assert_eq!(resolved.forwards.len(), 1);
    let forward = &resolved.forwards[0];
    assert_eq!((forward.host_addr, forward.host_port), (None, 8080));
    assert_eq!(forward.container_addr.to_string(), "fd00::2");
}

#[test]
fn a_binding_to_loopback_opens_nothing_and_says_why() {
    let mut c = container("c1");
    c.ports = vec![row("127.0.0.1", Some(8080), 80)];
    let resolved = only(c);
    assert_eq!(resolved.forwards, []);
    assert_eq!(
        resolved.skipped[0].reason.to_string(),
        "bound to the IPv4 address 127.0.0.1 only"
    );
}

#[test]
fn a_container_without_a_network_of_its_own_opens_nothing() {
    for mode in ["host", "none", "container:0123"] {
        let mut c = container("c1");
        c.network_mode = mode.into();
        let resolved = only(c);
        assert_eq!(resolved.forwards, [], "{mode}");
        assert!(matches!(
            resolved.skipped[0].reason,
            Reason::NoOwnNetwork(_)
        ));
    }
}

#[test]
fn an_address_that_must_not_be_a_target_is_refused() {
    let cases = [
        (
            "",
            "the container has no IPv6 address; if docker-proxy serves the port, it answers for \
             the container, which then sees the bridge's address as the client's",
        ),
        (
            "2001:db8::2",
            "no address of the container lies in a --prefix, it has 2001:db8::2",
        ),
        ("fd00::1", "fd00::1 is the host's own address"),
        ("fd00::", "fd00:: is the prefix's own address"),
    ];
    for (addr, why) in cases {
        let mut c = container("c1");
        c.endpoints = vec![at("bridge", addr, 0)];
        let resolved = only(c);
        assert_eq!(resolved.forwards, [], "{addr}");
        assert_eq!(resolved.skipped[0].reason.to_string(), why);
    }
    let mut c = container("c1");
    c.endpoints[0].gateway = c.endpoints[0].address;
    assert!(matches!(
        only(c).skipped[0].reason,
        Reason::Refused(_, Refusal::Gateway)
    ));
}

#[test]
fn the_address_of_the_gateway_network_is_chosen() {
    let mut c = container("c1");
    c.endpoints = vec![
        at("zeta", "fd00::9", 5),
        at("alpha", "fd00::3", 0),
        at("beta", "2001:db8::4", 9),
    ];
    let chosen = |c: Container| only(c).forwards[0].container_addr.to_string();
    assert_eq!(chosen(c.clone()), "fd00::9");
    c.endpoints[0].gw_priority = 0;
    assert_eq!(chosen(c), "fd00::3");
}

#[test]
fn networks_that_forward_nothing_open_nothing() {
    let network = |change: fn(&mut Network)| {
        let mut network = Network {
            name: "n".into(),
            ..samples::network()
        };
        change(&mut network);
        network
    };
    let open = |networks: Vec<Network>| {
        let mut c = container("c1");
        c.endpoints[0].network_id = "n".into();
        let mut snapshot = snapshot(vec![c]);
        snapshot.networks = networks.into_iter().map(|n| (n.id.clone(), n)).collect();
        resolve(&snapshot, &bounds()).forwards.len()
    };
    assert_eq!(open(vec![network(|_| {})]), 1);
    assert_eq!(open(vec![network(|n| n.internal = true)]), 0);
    assert_eq!(
        open(vec![network(|n| n.gateway_mode = GatewayMode::Routed)]),
        0
    );
    assert_eq!(open(vec![]), 0, "a network that is not listed yet");
}

#[test]
fn port_zero_is_never_forwarded() {
    let mut c = container("c1");
    c.ports = vec![row("::", Some(0), 80), row("::", Some(80), 0)];
    let resolved = only(c);
    assert_eq!(resolved.forwards, []);
    assert_eq!(resolved.skipped.len(), 2);
}

#[test]
fn a_port_shown_twice_belongs_to_the_newer_container() {
    let old = container("a");
    let mut new = container("b");
    new.created = 7;
    new.endpoints[0].address = "fd00::3".parse().ok();
    let resolved = resolve(&snapshot(vec![old, new]), &bounds());
    assert_eq!(resolved.forwards.len(), 1);
    assert_eq!(resolved.forwards[0].owner.container_id, "b");
    assert_eq!(resolved.skipped[0].reason, Reason::TakenBy("b".into()));
}

#[test]
fn two_devices_and_two_prefixes_give_every_pair() {
    let policy = Policy {
        devices: vec!["eth0".parse().unwrap(), "eth1".parse().unwrap()],
        prefixes: vec!["fd00::/64".parse().unwrap(), "fd01::/64".parse().unwrap()],
        unpublished: Unpublished::Accept,
        ..Policy::default()
    };
    let forwards = only(container("c1")).forwards;
    let desired = desired(&policy, Some(&forwards));
    let count = |kind| {
        let kinds = desired.rules.values().map(|r| &*r.rule.facts.kind);
        kinds.filter(|k| *k == kind).count()
    };
    assert_eq!(
        (count("masquerade"), count("dnat"), count("jump")),
        (4, 2, 1)
    );
    assert_eq!(
        count("guard"),
        4 * 5,
        "all but the drop of what is not published"
    );
}

fn any_row() -> impl Strategy<Value = PortRow> {
    let ips = [
        "",
        "0.0.0.0",
        "::",
        "127.0.0.1",
        "2001:db8::1",
        "::1",
        "junk",
    ];
    let ip = prop::sample::select(ips.to_vec());
    let host_port = prop::option::weighted(0.9, 1u16..6);
    (
        ip,
        host_port,
        1u16..4,
        prop::sample::select(Proto::ALL.to_vec()),
    )
        .prop_map(|(ip, host_port, container_port, proto)| PortRow {
            proto,
            container_port,
            host_ip: HostIp::parse(ip),
            host_port,
        })
}

fn any_container() -> impl Strategy<Value = Container> {
    let endpoint =
        (0u16..6, 0i64..3).prop_map(|(n, gw)| at(&format!("n{n}"), &format!("fd00::{n}"), gw));
    let bindings = prop::option::of((prop::collection::vec(any_row(), 0..3), any::<bool>()));
    (
        0u8..5,
        0i64..3,
        prop::collection::vec(endpoint, 0..3),
        prop::collection::vec(any_row(), 0..5),
        bindings,
    )
        .prop_map(|(id, created, endpoints, ports, bindings)| Container {
            created,
            endpoints,
            ports,
            bindings: match bindings {
                None => Bindings::Unknown,
                Some((rows, publish_all)) => Bindings::Known { rows, publish_all },
            },
            ..container(&format!("c{id}"))
        })
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    prop::collection::vec(any_container(), 0..6).prop_map(snapshot)
}

fn policy() -> Policy {
    Policy {
        devices: vec!["eth0".parse().unwrap()],
        prefixes: bounds().prefixes,
        unpublished: Unpublished::Accept,
        ..Policy::default()
    }
}

fn desired(policy: &Policy, forwards: Option<&Forwards>) -> Desired {
    let all = forwards.map(|all| all.iter().cloned().collect());
    let intent = Intent::new(policy.clone(), all);
    compile::desired(BackendKind::Ip6tables, &intent)
}

type Applied = BTreeMap<RuleId, OwnedRule>;

fn apply(applied: &mut Applied, change: &ChangeSet) {
    for id in &change.remove {
        assert!(
            applied.remove(id).is_some(),
            "only what is applied is removed"
        );
    }
    for replacement in &change.replace {
        assert!(applied.remove(&replacement.old).is_some());
    }
    let news = change.replace.iter().map(|r| &r.new);
    for new in news.chain(&change.insert) {
        assert!(
            applied.insert(new.rule.id(), new.clone()).is_none(),
            "nothing twice"
        );
    }
    for owned in &change.reown {
        assert!(applied.insert(owned.rule.id(), owned.clone()).is_some());
    }
}

proptest! {
    #[test]
    fn any_sequence_of_snapshots_ends_as_the_last_one_alone(
        snapshots in prop::collection::vec(any_snapshot(), 1..6)
    ) {
        let mut applied = Applied::new();
        let mut last = None;
        for snapshot in &snapshots {
            let forwards = resolve(snapshot, &bounds()).forwards;
            let wanted = desired(&policy(), Some(&forwards));
            let change = ChangeSet::between(&wanted, &applied);
            apply(&mut applied, &change);
            last = Some(wanted);
        }
        prop_assert_eq!(applied, last.unwrap().rules);
    }

    #[test]
    fn no_two_rules_contradict_each_other(snapshot in any_snapshot()) {
        let forwards = resolve(&snapshot, &bounds()).forwards;
        let wanted = desired(&policy(), Some(&forwards));
        let keys: Vec<_> = wanted.rules.values().map(|r| r.rule.facts.key()).collect();
        let unique: BTreeSet<_> = keys.iter().collect();
        prop_assert_eq!(unique.len(), keys.len());
    }

    #[test]
    fn nothing_is_open_that_no_row_publishes(snapshot in any_snapshot()) {
        let resolved = resolve(&snapshot, &bounds());
        for f in &resolved.forwards {
            let c = &snapshot.containers[&f.owner.container_id];
            prop_assert!(c.ports.iter().any(|r| r.proto == f.proto
                && r.host_port == Some(f.host_port)
                && r.container_port == f.container_port
                && !matches!(r.host_ip, HostIp::V4(v4) if !v4.is_unspecified())));
            prop_assert!(c.endpoints.iter().any(|e| e.address == Some(f.container_addr)));
            prop_assert!(!bounds().host_addrs.contains(&f.container_addr));
            prop_assert!(bounds().prefixes[0].contains(&f.container_addr));
            prop_assert!(f.container_addr.segments()[7] != 0);
        }
    }

    #[test]
    fn before_docker_answers_no_forward_comes_or_goes(snapshot in any_snapshot()) {
        let forwards = resolve(&snapshot, &bounds()).forwards;
        let earlier = desired(&policy(), Some(&forwards));
        let change = ChangeSet::between(&desired(&policy(), None), &earlier.rules);
        prop_assert_eq!(change, ChangeSet::default());
        let fresh = ChangeSet::between(&desired(&policy(), None), &Applied::new());
        let all_static = fresh.insert.iter().all(|r| r.rule.is_static());
        prop_assert!(all_static);
    }
}

#[test]
fn a_change_of_target_is_one_replacement() {
    let mut c = container("c1");
    let before = desired(&policy(), Some(&only(c.clone()).forwards));
    c.endpoints[0].address = "fd00::7".parse().ok();
    let after = desired(&policy(), Some(&only(c).forwards));
    let change = ChangeSet::between(&after, &before.rules);
    assert_eq!(
        (
            change.replace.len(),
            change.insert.len(),
            change.remove.len()
        ),
        (1, 0, 0)
    );
}

#[test]
fn another_container_at_the_same_address_changes_only_the_owner() {
    let before = desired(&policy(), Some(&only(container("c1")).forwards));
    let after = desired(&policy(), Some(&only(container("c2")).forwards));
    let change = ChangeSet::between(&after, &before.rules);
    assert_eq!(change.reown.len(), 1);
    assert!(change.insert.is_empty() && change.remove.is_empty() && change.replace.is_empty());
}

#[test]
fn what_leaves_goes_before_its_static_rules() {
    let before = desired(&policy(), Some(&only(container("c1")).forwards));
    let change = ChangeSet::between(&Desired::nothing(), &before.rules);
    let kinds: Vec<&str> = change
        .remove
        .iter()
        .map(|id| &*before.rules[id].rule.facts.kind)
        .collect();
    assert_eq!(kinds[..2], ["dnat", "masquerade"]);
    assert_eq!(kinds.last(), Some(&"jump"));
}
