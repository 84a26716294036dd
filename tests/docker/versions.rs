//! Each version of the API, in the shapes that `fake_engine/recorded` holds: what is read from
//! them, and which forwards follow.

use docker_nat66::mapper::forwards::{Bounds, resolve};
use docker_nat66::model::container::GatewayMode;

use super::*;
use fake_engine::fixture;

/// What one directory of shapes must give.
struct Case {
    dir: &'static str,
    api: (u32, u32),
    /// Containers in the snapshot.
    containers: &'static [&'static str],
    /// Which of them are asked about although the list has a row: it does not say enough.
    inspected: &'static [&'static str],
    networks: &'static [&'static str],
    forwards: &'static [&'static str],
}

const CASES: [Case; 6] = [
    Case {
        dir: "api-1.40-documented",
        api: (1, 40),
        containers: &["all", "four", "front", "hosted", "open"],
        inspected: &["all", "four", "front", "open"],
        networks: &[
            "bridge bridge nat masquerade fdfd:5898:4917:1::/64",
            "front bridge nat masquerade fdfd:5898:4917:2::/64",
            "host host nat masquerade",
            "none null nat masquerade",
        ],
        forwards: &[
            "all/bridge udp :32768 [fdfd:5898:4917:1::4]:53",
            "front/front tcp :8082 [fdfd:5898:4917:2::2]:80",
            "open/bridge tcp :8080 [fdfd:5898:4917:1::2]:80",
        ],
    },
    Case {
        dir: "api-1.41",
        api: (1, 41),
        containers: &[
            "all", "any", "fixed", "hostnet", "loop4", "naked", "range", "two", "v4any", "v6one",
        ],
        inspected: &["v4any"],
        networks: &[
            "bridge bridge nat masquerade fdfd:5898:4917:1::/64",
            "host host nat masquerade",
            "inside bridge internal nat masquerade fdfd:5898:4917:3::/64",
            "none null nat masquerade",
            "plain bridge nat fdfd:5898:4917:4::/64",
            "second bridge nat masquerade fdfd:5898:4917:2::/64",
            "v4 bridge nat masquerade",
        ],
        forwards: &[
            "all/bridge tcp :32771 [fdfd:5898:4917:1:0:242:ac11:7]:7000",
            "all/bridge udp :32769 [fdfd:5898:4917:1:0:242:ac11:7]:7001",
            "any/bridge tcp :32770 [fdfd:5898:4917:1:0:242:ac11:2]:80",
            "fixed/bridge tcp :8080 [fdfd:5898:4917:1:0:242:ac11:3]:80",
            "range/bridge udp :9000 [fdfd:5898:4917:1:0:242:ac11:8]:9000",
            "range/bridge udp :9001 [fdfd:5898:4917:1:0:242:ac11:8]:9001",
            "range/bridge udp :9002 [fdfd:5898:4917:1:0:242:ac11:8]:9002",
            "two/bridge tcp :8084 [fdfd:5898:4917:1:0:242:ac11:a]:80",
            "two/bridge udp :5353 [fdfd:5898:4917:1:0:242:ac11:a]:53",
        ],
    },
    Case {
        dir: "api-1.44-documented",
        api: (1, 44),
        containers: &["inside", "loop", "open", "six", "sourced"],
        inspected: &[],
        networks: &[
            "bridge bridge nat masquerade fdfd:5898:4917:1::/64",
            "host host nat masquerade",
            "inside bridge internal nat masquerade fdfd:5898:4917:3::/64",
            "none null nat masquerade",
            "sourced bridge nat masquerade from 2001:db8::25 fdfd:5898:4917:2::/64",
        ],
        forwards: &[
            "open/bridge tcp :8080 [fdfd:5898:4917:1::2]:80",
            "six/bridge tcp 2001:db8::10:8082 [fdfd:5898:4917:1::3]:80",
            "sourced/sourced udp :5353 [fdfd:5898:4917:2::2]:53",
        ],
    },
    Case {
        dir: "api-1.47-documented",
        api: (1, 47),
        containers: &["four", "open", "plain", "routed"],
        inspected: &["four"],
        networks: &[
            "bridge bridge nat masquerade fdfd:5898:4917:1::/64",
            "host host nat masquerade",
            "none null nat masquerade",
            "plain bridge nat fdfd:5898:4917:3::/64",
            "routed bridge routed masquerade fdfd:5898:4917:2::/64",
        ],
        forwards: &[
            "open/bridge tcp :8080 [fdfd:5898:4917:1::2]:80",
            "plain/plain tcp :8082 [fdfd:5898:4917:3::2]:80",
        ],
    },
    Case {
        dir: "api-1.52-documented",
        api: (1, 52),
        containers: &["alone", "open", "six", "two"],
        inspected: &[],
        networks: &[
            "alone bridge internal isolated masquerade fdfd:5898:4917:3::/64",
            "bridge bridge nat masquerade fdfd:5898:4917:1::/64",
            "front bridge nat-unprotected masquerade fdfd:5898:4917:2::/64",
            "host host nat masquerade",
            "none null nat masquerade",
            "six bridge nat masquerade fdfd:5898:4917:4::/64",
        ],
        forwards: &[
            "open/bridge tcp :8080 [fdfd:5898:4917:1::2]:80",
            "six/six tcp :8082 [fdfd:5898:4917:4::2]:80",
            "two/front tcp :8081 [fdfd:5898:4917:2::2]:80",
        ],
    },
    Case {
        dir: "api-1.53-documented",
        api: (1, 53),
        containers: &["four", "open", "quic"],
        inspected: &["four", "odd"],
        networks: &[
            "bridge bridge nat masquerade fdfd:5898:4917:1::/64",
            "host host nat masquerade",
            "later bridge unknown masquerade fdfd:5898:4917:2::/64",
            "none null nat masquerade",
            "quantum quantum nat masquerade fdfd:5898:4917:3::/64",
        ],
        forwards: &[
            "open/bridge tcp :8080 [fdfd:5898:4917:1::2]:80",
            "quic/bridge tcp :8081 [fdfd:5898:4917:1::3]:80",
        ],
    },
];

fn forwards(snapshot: &Snapshot) -> Vec<String> {
    let bounds = Bounds {
        prefixes: vec!["fdfd:5898:4917::/48".parse().expect("a prefix")],
        ..Bounds::default()
    };
    let resolved = resolve(snapshot, &bounds);
    let mut texts: Vec<String> = resolved
        .forwards
        .iter()
        .map(|f| {
            let name = f.owner.container_name.raw();
            let network = f.owner.network.raw();
            let host = f.host_addr.map(|a| a.to_string()).unwrap_or_default();
            let (proto, port) = (f.proto, f.host_port);
            let (addr, inside) = (f.container_addr, f.container_port);
            format!("{name}/{network} {proto} {host}:{port} [{addr}]:{inside}")
        })
        .collect();
    texts.sort();
    texts
}

fn networks(snapshot: &Snapshot) -> Vec<String> {
    let text = |n: &docker_nat66::model::container::Network| {
        let mode = match n.gateway_mode {
            GatewayMode::Nat => "nat",
            GatewayMode::NatUnprotected => "nat-unprotected",
            GatewayMode::Routed => "routed",
            GatewayMode::Isolated => "isolated",
            GatewayMode::Unknown(_) => "unknown",
        };
        let mut words = vec![n.name.raw().to_owned(), n.driver.raw().to_owned()];
        words.extend(n.internal.then(|| "internal".to_owned()));
        words.push(mode.to_owned());
        words.extend(n.masquerade.then(|| "masquerade".to_owned()));
        words.extend(n.host_ipv6.map(|a| format!("from {a}")));
        words.extend(n.subnets.iter().map(ToString::to_string));
        words.join(" ")
    };
    let mut texts: Vec<String> = snapshot.networks.values().map(text).collect();
    texts.sort();
    texts
}

#[test]
fn every_version_s_shapes_give_the_forwards_that_docker_means() {
    for case in CASES {
        let dir = case.dir;
        let engine = fixture::start(dir);
        let ids = engine.ids();
        run(async {
            let mut follower = Follower::of(settings(&engine));
            match follower.update().await {
                Update::Connected { api_version, .. } => {
                    assert_eq!((api_version.major, api_version.minor), case.api, "{dir}");
                }
                other => panic!("a connection, not {other:?}"),
            }
            let first = follower.complete().await;
            let names: Vec<_> = shown(&first).into_iter().collect();
            assert_eq!(names, case.containers, "{dir}");
            assert_eq!(networks(&first), case.networks, "{dir}");
            assert_eq!(forwards(&first), case.forwards, "{dir}, from the list");
            let name = |id: &String| first.containers.get(id).map_or("odd", |c| c.name.raw());
            let mut asked: Vec<_> = ids
                .iter()
                .filter(|id| engine.count(&Route::Inspect((*id).clone())) > 0)
                .map(name)
                .collect();
            asked.sort_unstable();
            assert_eq!(asked, case.inspected, "{dir}");
            // The inspects say the same.
            for id in &ids {
                engine.emit("start", id);
            }
            let mut last = first.clone();
            let every = || {
                ids.iter()
                    .map(|id| engine.count(&Route::Inspect(id.clone())))
            };
            while every().any(|n| n == 0)
                || last
                    .containers
                    .values()
                    .any(|c| c.bindings == Bindings::Unknown)
            {
                last = follower.snapshot().await;
            }
            assert_eq!(forwards(&last), case.forwards, "{dir}, from inspects");
        });
    }
}

#[test]
fn every_version_s_events_are_understood() {
    for case in CASES.iter().filter(|c| c.dir.ends_with("documented")) {
        let engine = fixture::start(case.dir);
        run(async {
            let mut follower = Follower::of(settings(&engine));
            follower.connected().await;
            let first = follower.complete().await;
            let lists = engine.count(&Route::Networks);
            // A network and a container come, the container is the one called "open", and both go.
            for line in fixture::read(case.dir, "events.ndjson").lines() {
                engine.emit_raw(line);
            }
            let mut last = first.clone();
            while shown(&last).contains("open") {
                last = follower.snapshot().await;
            }
            // It changes nothing, so no snapshot tells of it.
            requested_times(&engine, &Route::Networks, lists + 1).await;
            assert_eq!(
                last.containers.len(),
                first.containers.len() - 1,
                "{}",
                case.dir
            );
            assert_eq!(last.networks, first.networks, "{}", case.dir);
        });
    }
}

#[test]
fn every_version_s_rows_and_inspects_hold_a_known_network() {
    for case in CASES {
        let engine = fixture::start(case.dir);
        run(async {
            let mut follower = Follower::of(settings(&engine));
            follower.connected().await;
            let snapshot = follower.complete().await;
            for container in snapshot.containers.values() {
                for endpoint in &container.endpoints {
                    let known = snapshot.networks.get(&endpoint.network_id);
                    let name = known.map(|n| n.name.raw());
                    assert_eq!(name, Some(endpoint.network.raw()), "{}", case.dir);
                }
            }
        });
        assert_eq!(engine.count(&Route::Networks), 1, "{}", case.dir);
    }
}
