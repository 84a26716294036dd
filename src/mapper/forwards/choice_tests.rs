//! Which of a container's addresses is chosen: the production code against a reference that
//! knows no sorting. An endpoint is the answer if and only if it is eligible and no other
//! eligible one beats it.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::samples::{container, row};
use super::*;
use crate::model::container::{Claim, Container, Endpoint, GatewayMode, Network, Snapshot, Start};

/// Names whose order differs by bytes, by letters and by length; a container has each once.
const NAMES: [&str; 7] = ["a", "a-b", "ab", "B", "net", "net2", "é"];

/// Two prefixes, of which the first has two hosts that a container must not be.
fn bounds() -> Bounds {
    Bounds {
        prefixes: vec!["fd00::/64".parse().unwrap(), "fd01::/112".parse().unwrap()],
        host_addrs: ["fd00::1".parse().unwrap(), "fd00::6".parse().unwrap()].into(),
    }
}

/// Inside, just outside, forbidden and missing ones.
const ADDRESSES: [&str; 13] = [
    "",
    "fd00::",
    "fd00::1",
    "fd00::2",
    "fd00::3",
    "fd00::6",
    "fd00::ffff:0:0:1",
    "fd00:0:0:1::2",
    "fd01::",
    "fd01::2",
    "fd01::ffff",
    "fd01::1:0",
    "2001:db8::2",
];

fn any_network() -> impl Strategy<Value = Network> {
    use GatewayMode::{Isolated, Nat, NatUnprotected, Routed, Unknown};
    let modes = [
        Nat,
        Nat,
        NatUnprotected,
        Routed,
        Isolated,
        Unknown("new".into()),
    ];
    (select(modes.to_vec()), prop::bool::weighted(0.2)).prop_map(|(gateway_mode, internal)| {
        Network {
            id: String::new(),
            name: "".into(),
            driver: "bridge".into(),
            internal,
            subnets: Vec::new(),
            gateway_mode,
            masquerade: true,
            host_ipv6: None,
            bridge: None,
            ingress: false,
        }
    })
}

/// What an endpoint says of its network: nothing, its id, or the id of one that is not listed.
#[derive(Debug, Clone)]
enum Says {
    Nothing,
    Listed(Network),
    Unlisted,
}

fn any_says() -> impl Strategy<Value = Says> {
    prop_oneof![
        1 => Just(Says::Nothing),
        6 => any_network().prop_map(Says::Listed),
        1 => Just(Says::Unlisted),
    ]
}

/// A container with up to seven endpoints, in any order, and the networks.
fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let names = subsequence(NAMES.to_vec(), 0..=NAMES.len()).prop_shuffle();
    let facts = (
        any_says(),
        select(ADDRESSES.to_vec()),
        select(vec![-1i64, 0, 0, 0, 7]),
        prop::bool::weighted(0.1),
    );
    let endpoints = (names, prop::collection::vec(facts, NAMES.len()));
    let mode = prop_oneof![
        20 => Just("bridge"),
        1 => select(vec!["host", "none", "container:0123"]),
    ];
    (endpoints, mode).prop_map(|((names, facts), mode)| {
        let mut snapshot = Snapshot::default();
        let mut c = container("c1");
        c.network_mode = mode.into();
        c.endpoints.clear();
        for (name, (says, address, gw_priority, is_gateway)) in names.into_iter().zip(facts) {
            let id = format!("id-{name}");
            let address: Option<Ipv6Addr> = address.parse().ok();
            c.endpoints.push(Endpoint {
                network: name.into(),
                network_id: match &says {
                    Says::Nothing => String::new(),
                    Says::Listed(_) | Says::Unlisted => id.clone(),
                },
                address,
                mac: None,
                gateway: address.filter(|_| is_gateway),
                gw_priority,
                left: false,
            });
            if let Says::Listed(network) = says {
                let name = name.into();
                let network = Network {
                    id,
                    name,
                    ..network
                };
                snapshot.networks.insert(network.id.clone(), network);
            }
        }
        snapshot.containers.insert(c.id.clone(), c.into());
        snapshot
    })
}

/// The reference: the network and address that the container's ports lead to.
fn reference(snapshot: &Snapshot) -> Option<(&str, Ipv6Addr)> {
    let c = snapshot.containers.values().next()?;
    if !["default", "bridge"].contains(&c.network_mode.raw()) {
        return None;
    }
    let eligible: HashMap<&str, &Endpoint> = c
        .endpoints
        .iter()
        .filter(|e| in_a_prefix(e) && forwards(snapshot, e))
        .map(|e| (e.network.raw(), e))
        .collect();
    let best = |one: &&Endpoint| eligible.values().all(|other| !beats(other, one));
    let mut best = eligible.values().copied().filter(best);
    let answer = best.next()?;
    assert!(best.next().is_none(), "there is one best at most");
    let addr = answer.address?;
    // What must not be a target is not passed over for the next: the port stays closed.
    let forbidden = ["fd00::", "fd00::1", "fd00::6", "fd01::"];
    let usable = !forbidden.contains(&addr.to_string().as_str()) && answer.gateway != Some(addr);
    usable.then_some((answer.network.raw(), addr))
}

/// By the bits, and not by the library that the production code asks.
fn in_a_prefix(endpoint: &Endpoint) -> bool {
    let Some(addr) = endpoint.address else {
        return false;
    };
    let bits = addr.to_bits();
    bits >> 64 == 0xfd00 << 48 || bits >> 16 == 0xfd01 << 96
}

fn forwards(snapshot: &Snapshot, endpoint: &Endpoint) -> bool {
    let all: Vec<&Network> = snapshot.networks.values().collect();
    let listed = all.iter().find(|n| n.id == endpoint.network_id);
    match listed {
        None => endpoint.network_id.is_empty(),
        Some(n) if n.internal => false,
        Some(n) => {
            n.gateway_mode == GatewayMode::Nat || n.gateway_mode == GatewayMode::NatUnprotected
        }
    }
}

fn beats(one: &Endpoint, other: &Endpoint) -> bool {
    if one.gw_priority != other.gw_priority {
        return one.gw_priority > other.gw_priority;
    }
    // As Go compares strings: by bytes.
    one.network.raw().as_bytes() < other.network.raw().as_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_chosen_address_is_the_one_that_no_other_eligible_one_beats(snapshot in any_snapshot()) {
        let resolved = resolve(&snapshot, &bounds());
        let chosen = resolved.forwards.first();
        let chosen = chosen.map(|f| (f.owner.network.raw(), f.container_addr));
        prop_assert_eq!(chosen, reference(&snapshot));
        prop_assert_eq!(resolved.forwards.len() + resolved.skipped.len(), 1);
    }

    #[test]
    fn the_order_in_which_docker_names_the_networks_does_not_matter(snapshot in any_snapshot()) {
        let mut turned = snapshot.clone();
        for c in turned.containers.values_mut() {
            c.endpoints.reverse();
        }
        let forwards = |s: &Snapshot| resolve(s, &bounds()).forwards;
        prop_assert_eq!(forwards(&turned), forwards(&snapshot));
    }
}

/// Whatever Docker said of two containers, at most one of them is led to at an address: the one
/// that started last, or that is about to start.
#[test]
fn an_address_that_two_containers_show_is_that_of_the_later_start() {
    let started = |id: &str, sequence: u64, at: i64| {
        let mut c = container(id);
        c.start = Start { sequence, at };
        let port = 8080 + u16::from(id.as_bytes()[0] - b'a');
        c.ports = vec![row("::", Some(port), 80)];
        c
    };
    let open = |containers: &[Container], claims: &[(&str, u64)]| {
        let claim = |(id, sequence): &(&str, u64)| {
            let claim = Claim {
                container_id: (*id).to_owned(),
                sequence: *sequence,
            };
            ("fd00::2".parse().unwrap(), claim)
        };
        let snapshot = Snapshot {
            containers: containers
                .iter()
                .map(|c| (c.id.clone(), c.clone().into()))
                .collect(),
            claims: claims.iter().map(claim).collect(),
            ..Snapshot::default()
        };
        let resolved = resolve(&snapshot, &bounds());
        let owners = resolved.forwards.iter().map(|f| &f.owner.container_id);
        owners.cloned().collect::<Vec<_>>()
    };
    assert_eq!(open(&[started("a", 1, 9), started("b", 2, 1)], &[]), ["b"]);
    assert_eq!(open(&[started("a", 0, 1), started("b", 0, 2)], &[]), ["b"]);
    assert_eq!(open(&[started("a", 3, 1), started("b", 0, 2)], &[]), ["a"]);
    assert_eq!(open(&[started("a", 3, 1)], &[("b", 4)]), [""; 0]);
    assert_eq!(open(&[started("a", 5, 1)], &[("b", 4)]), ["a"]);
    assert_eq!(open(&[started("a", 3, 1)], &[("a", 4)]), ["a"]);
    // One without a published port has its address all the same.
    let mut silent = started("b", 2, 1);
    silent.ports.clear();
    assert_eq!(open(&[started("a", 1, 1), silent.clone()], &[]), [""; 0]);
    silent.endpoints[0].left = true;
    assert_eq!(open(&[started("a", 1, 1), silent], &[]), ["a"]);
}
