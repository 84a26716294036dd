//! Never wider than Docker, whatever it answers: any change of the recorded answers opens only what
//! their rows publish.

use std::net::Ipv4Addr;

use docker_nat66::model::container::{HostIp, PortRow};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::world::{World, everywhere, text};
use super::*;

const RECORDED: [&str; 4] = [
    "api-1.41",
    "engine-26.1.5",
    "engine-28.5.2",
    "engine-29.9-iptables",
];

/// What an answer may say instead of what was recorded.
#[derive(Debug, Clone)]
enum Change {
    /// A row of `Ports` is gone.
    NoRow,
    /// A row has no host port.
    NoHostPort,
    /// A row has this address.
    Address(&'static str),
    /// What was asked for has this address.
    Asked(&'static str),
    /// Nothing was asked for, or all, by `-P`.
    NothingAsked(bool),
    /// The container has this address in every network.
    Container(&'static str),
    /// The networks of this one's are in this mode.
    Mode(&'static str),
}

/// Where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    List,
    Inspect,
    Both,
}

fn change() -> impl Strategy<Value = Change> {
    let ips = [
        "",
        "0.0.0.0",
        "::",
        "127.0.0.1",
        "192.0.2.7",
        "2001:db8:9::1",
        "::1",
        "junk",
    ];
    let ip = move || prop::sample::select(ips.to_vec());
    let addresses = ["", "fdfd:5898:4917:2::7", "2001:db8::7", "::", "junk"];
    let modes = ["nat", "routed", "isolated", "nat-unprotected", "warp"];
    prop_oneof![
        2 => Just(Change::NoRow),
        4 => Just(Change::NoHostPort),
        4 => ip().prop_map(Change::Address),
        2 => ip().prop_map(Change::Asked),
        1 => any::<bool>().prop_map(Change::NothingAsked),
        1 => prop::sample::select(addresses.to_vec()).prop_map(Change::Container),
        1 => prop::sample::select(modes.to_vec()).prop_map(Change::Mode),
    ]
}

/// A row of `Ports`, in a list or an inspect, says something else.
fn change_row(ports: &mut Value, change: &Change, which: Index) {
    let lists: Vec<&mut Vec<Value>> = match ports {
        Value::Array(rows) => vec![rows],
        Value::Object(map) => map.values_mut().filter_map(Value::as_array_mut).collect(),
        _ => Vec::new(),
    };
    let mut lists: Vec<_> = lists.into_iter().filter(|l| !l.is_empty()).collect();
    if lists.is_empty() {
        return;
    }
    let at = which.index(lists.len());
    let rows = &mut lists[at];
    let at = which.index(rows.len());
    let row = &mut rows[at];
    let listed = row.get("PrivatePort").is_some();
    match change {
        Change::NoRow => drop(rows.remove(at)),
        Change::NoHostPort if listed => row["PublicPort"] = Value::Null,
        Change::NoHostPort => row["HostPort"] = json!(""),
        Change::Address(ip) => row[if listed { "IP" } else { "HostIp" }] = json!(ip),
        _ => {}
    }
}

impl World {
    fn change(&mut self, (change, side, container, row): &(Change, Side, Index, Index)) {
        let at = container.index(self.list.len());
        let id = self.list[at]["Id"].as_str().expect("an id").to_owned();
        if let Change::Mode(mode) = change {
            let network = container.index(self.networks.len());
            let key = "com.docker.network.bridge.gateway_mode_ipv6";
            self.networks[network]["Options"][key] = json!(mode);
        }
        let listed = &mut self.list[at];
        let inspected = self.inspects.get_mut(&id).expect("there");
        for (value, other) in [(&mut *listed, Side::Inspect), (&mut *inspected, Side::List)] {
            if *side == other {
                continue;
            }
            if let Change::Container(addr) = change {
                let networks = value["NetworkSettings"]["Networks"].as_object_mut();
                for network in networks.into_iter().flat_map(|n| n.values_mut()) {
                    network["GlobalIPv6Address"] = json!(addr);
                }
            }
            match value.get_mut("Ports") {
                Some(ports) => change_row(ports, change, *row),
                None => change_row(&mut value["NetworkSettings"]["Ports"], change, *row),
            }
        }
        let asked = &mut inspected["HostConfig"];
        match change {
            Change::Asked(ip) => change_row(&mut asked["PortBindings"], &Change::Address(ip), *row),
            Change::NothingAsked(all) => {
                asked["PortBindings"] = json!({});
                asked["PublishAllPorts"] = json!(all);
            }
            _ => {}
        }
    }

    /// Every forward has a row of its own container that says so, and none that says otherwise.
    fn check(&self, snapshot: &Snapshot) {
        let any_v6 = HostIp::V6(Ipv6Addr::UNSPECIFIED);
        for forward in everywhere(snapshot).forwards.iter().cloned() {
            let container = &snapshot.containers[&forward.owner.container_id];
            let port = (forward.proto, forward.container_port);
            let of_port = |rows: &[PortRow]| -> Vec<PortRow> {
                let rows = rows.iter().filter(|r| (r.proto, r.container_port) == port);
                rows.cloned().collect()
            };
            let shown = of_port(&container.ports);
            let routed = |r: &PortRow| r.host_ip == any_v6 && r.host_port.is_none();
            assert!(!shown.iter().any(routed), "{}", text(&forward));
            let says = |ip: &HostIp| {
                let host_port = Some(forward.host_port);
                shown
                    .iter()
                    .any(|r| r.host_port == host_port && r.host_ip == *ip)
            };
            if let Some(addr) = forward.host_addr {
                assert!(says(&HostIp::V6(addr)), "{}", text(&forward));
                continue;
            }
            if says(&any_v6) {
                continue;
            }
            // The rule for Engines that show no `::`: what was asked for leaves it open.
            let v4 = HostIp::V4(Ipv4Addr::UNSPECIFIED);
            assert!(says(&v4) || says(&HostIp::Empty), "{}", text(&forward));
            let bound = |r: &PortRow| r.host_ip == any_v6 && r.host_port.is_some();
            assert!(!shown.iter().any(bound), "{}", text(&forward));
            let Bindings::Known { rows, publish_all } = &container.bindings else {
                panic!("not asked about: {}", text(&forward));
            };
            let asked = of_port(rows);
            let open = |r: &PortRow| r.host_ip == HostIp::Empty;
            assert!(
                asked.iter().any(open) || asked.is_empty() && *publish_all,
                "{}",
                text(&forward)
            );
            // Not even where only an inspect said so.
            let (proto, inside) = port;
            let body = &self.inspects[&container.id];
            let inspected = &body["NetworkSettings"]["Ports"][format!("{inside}/{proto}")];
            let routed = |row: &Value| row["HostIp"] == "::" && row["HostPort"] == "";
            let inspected = inspected.as_array().into_iter().flatten();
            assert!(!inspected.clone().any(routed), "{}", text(&forward));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_recorded_answer_opens_what_no_row_publishes(
        dir in prop::sample::select(RECORDED.to_vec()),
        changes in prop::collection::vec(
            (
                change(),
                prop::sample::select(vec![Side::List, Side::Inspect, Side::Both, Side::Both]),
                any::<Index>(),
                any::<Index>(),
            ),
            0..80,
        ),
    ) {
        let mut world = World::recorded(dir);
        for change in &changes {
            world.change(change);
        }
        let first = world.listed();
        world.check(&first);
        // Another list, before and after what it leaves open was asked.
        world.list();
        if let Some(between) = world.view.take_news() {
            world.check(&between);
        }
        let last = world.listed();
        world.check(&last);
    }
}
