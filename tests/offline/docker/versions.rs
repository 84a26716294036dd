//! Each version of the API, in the shapes that `fake_engine/recorded` holds: what is read from
//! them, and which forwards follow.

use docker_nat66::mapper::forwards::{Bounds, resolve};
use docker_nat66::model::container::GatewayMode;

use super::cases::{CASES, PREFIX};
use super::*;
use fake_engine::fixture;

fn forwards(snapshot: &Snapshot) -> Vec<String> {
    let bounds = Bounds {
        prefixes: vec![PREFIX.parse().expect("a prefix")],
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

/// The containers about which the Engine's answers cannot be read.
fn unreadable(dir: &str) -> &'static [&'static str] {
    match dir {
        "api-1.53-documented" => {
            &["7a0241201ec689d694231aa8214fb24cc256b13e5fdbf351808143e6272b6fb8"]
        }
        _ => &[],
    }
}

#[test]
fn every_version_s_shapes_give_the_forwards_that_docker_means() {
    for case in &CASES {
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
            let first = follower.complete_but(unreadable(dir)).await;
            let names: Vec<_> = shown(&first).into_iter().collect();
            assert_eq!(names, case.containers, "{dir}");
            assert_eq!(networks(&first), case.networks, "{dir}");
            assert_eq!(forwards(&first), case.forwards, "{dir}, from the list");
            for id in unreadable(dir) {
                requested_times(&engine, &Route::Inspect((*id).to_owned()), 1).await;
            }
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

/// Written ones report a network and a container that come, then of the container called "open",
/// and all go. Recorded ones report a whole scenario, from its first network on.
#[test]
fn every_version_s_events_are_understood() {
    for case in CASES.iter().filter(|c| c.dir != "api-1.41") {
        let dir = case.dir;
        let recorded = dir.starts_with("engine-");
        let gone: &[&str] = if recorded {
            &["both", "loop4"]
        } else {
            &["open"]
        };
        let engine = fixture::start(dir);
        run(async {
            let mut follower = Follower::of(settings(&engine));
            follower.connected().await;
            let first = follower.complete_but(unreadable(dir)).await;
            let lists = engine.count(&Route::Networks);
            for line in fixture::read(dir, "events.ndjson").lines() {
                engine.emit_anew(line);
            }
            let names: BTreeSet<&str> = shown(&first);
            let stay: Vec<&str> = names
                .into_iter()
                .filter(|name| !gone.contains(name))
                .collect();
            let last = follower.until_names(&stay).await;
            // The network in the written ones is not known, so the list is asked for; it does not
            // hold it either, so no snapshot shows it. Those in the recorded ones are known.
            let asked = lists + usize::from(!recorded);
            requested_times(&engine, &Route::Networks, asked).await;
            assert_eq!(last.networks, first.networks, "{dir}");
        });
    }
}

#[test]
fn every_version_s_rows_and_inspects_hold_a_known_network() {
    for case in &CASES {
        let engine = fixture::start(case.dir);
        run(async {
            let mut follower = Follower::of(settings(&engine));
            follower.connected().await;
            let snapshot = follower.complete_but(unreadable(case.dir)).await;
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
