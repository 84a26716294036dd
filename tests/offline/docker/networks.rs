//! Networks, as they come and go, and when their list fails.

use docker_nat66::mapper::forwards::{Bounds, resolve};
use docker_nat66::mapper::networks::prefixes;
use serde_json::Value;

use super::*;
use fake_engine::fixture;
use fake_engine::network::{BRIDGE, row};

const SECOND: &str = "8ee68db97065e330b67cab8a1034a4d219d5c79aab31aadf86c390d6f19eec17";

fn second() -> serde_json::Value {
    row("second", SECOND, "fdfd:5898:4917:2::/64")
}

#[test]
fn networks_are_followed_as_they_come_and_go() {
    let engine = FakeEngine::start();
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        let snapshot = follower.snapshot().await;
        assert_eq!(snapshot.networks.keys().collect::<Vec<_>>(), [BRIDGE.1]);
        engine.create_network(second());
        let snapshot = follower.snapshot().await;
        assert_eq!(snapshot.networks[SECOND].name.raw(), "second");
        let lists = engine.count(&Route::Networks);
        engine.destroy_network(SECOND);
        let snapshot = follower.snapshot().await;
        assert!(!snapshot.networks.contains_key(SECOND));
        assert_eq!(
            engine.count(&Route::Networks),
            lists,
            "it was dropped without asking"
        );
        // One whose creation was not heard of.
        engine.put_network(second());
        engine.emit_member("connect", SECOND, &FakeContainer::new(1, "").id);
        assert!(follower.snapshot().await.networks.contains_key(SECOND));
    });
    assert_eq!(engine.count(&Route::List), 1);
}

/// From Engine 27 a network can do without IPv4. This one comes while the daemon runs, and so does
/// its container.
#[test]
fn a_network_and_a_container_without_ipv4_are_served_as_others_are() {
    let dir = "engine-28.5.2";
    let engine = fixture::start(dir);
    let parse = |file: &str| -> Value {
        serde_json::from_str(&fixture::read(dir, file)).expect("it is JSON")
    };
    let rows = parse("networks.json");
    let mut rows = rows.as_array().expect("a list").iter();
    let network = rows.find(|row| row["Name"] == "six").expect("it is there");
    assert_eq!(network["EnableIPv4"], false);
    let inspect = parse("inspect-six.json");
    assert_eq!(
        inspect["NetworkSettings"]["Networks"]["six"]["IPAddress"],
        ""
    );
    let subnet: ipnet::Ipv6Net = "fdfd:5898:4917:8::/64".parse().expect("a prefix");
    let mut container = FakeContainer::new(0, "six");
    container.id = inspect["Id"].as_str().expect("an id").to_owned();
    container.raw_inspect = Some(inspect.to_string());
    let network_id = network["Id"].as_str().expect("an id");
    engine.remove(&container.id);
    engine.edit_networks(|networks| networks.remove(network_id));
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        let before = follower.snapshot().await;
        assert!(!prefixes(&before).contains(&subnet));
        engine.create_network(network.clone());
        let mut last = follower.snapshot().await;
        // With `--prefix auto`. One that was made before may still be on its way.
        while !prefixes(&last).contains(&subnet) {
            last = follower.snapshot().await;
        }
        engine.run(container.clone());
        while !shown(&last).contains("six") {
            last = follower.snapshot().await;
        }
        for prefixes in [vec![subnet], prefixes(&last)] {
            let bounds = Bounds {
                prefixes,
                ..Bounds::default()
            };
            let forwards = resolve(&last, &bounds).forwards;
            let six = forwards.iter().filter(|f| f.host_port == 8092);
            let six: Vec<_> = six.map(|f| (f.host_addr, f.container_addr)).collect();
            assert_eq!(six, [(None, "fdfd:5898:4917:8::2".parse().expect("valid"))]);
        }
        engine.die(&container.id);
        engine.destroy_network(network_id);
        while shown(&last).contains("six") || last.networks.contains_key(network_id) {
            last = follower.snapshot().await;
        }
        assert_eq!(prefixes(&last), prefixes(&before));
    });
}

#[test]
fn a_start_on_a_known_network_lists_no_networks() {
    let engine = FakeEngine::start();
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.snapshot().await;
        for n in 1..=20 {
            engine.run(FakeContainer::new(n, "web"));
            while follower.snapshot().await.containers.len() < usize::from(n) {}
        }
    });
    assert_eq!(engine.count(&Route::Networks), 1);
}

#[test]
fn a_list_of_networks_that_fails_is_tried_again_and_blinds_nobody() {
    let engine = FakeEngine::start();
    let faults = [
        Fault::Status(500),
        Fault::Close,
        Fault::Body("<html>".to_owned()),
        Fault::Hang,
    ];
    for fault in faults {
        run(async {
            let mut follower = Follower::of(settings(&engine));
            engine.fault(Route::Networks, fault.clone(), 2);
            let lists = engine.count(&Route::Networks);
            follower.connected().await;
            // Not before they are known.
            let snapshot = follower.snapshot().await;
            assert!(snapshot.networks.contains_key(BRIDGE.1), "{fault:?}");
            assert_eq!(engine.count(&Route::Networks), lists + 3, "{fault:?}");
            let told = std::mem::take(&mut follower.partial);
            let told: Vec<usize> = told.iter().map(Vec::len).collect();
            assert!(matches!(told[..], [1, 0]), "{fault:?}: {told:?}");
            // Known from before, they stay, and hold up nothing.
            engine.fault(Route::Networks, fault.clone(), usize::MAX);
            engine.drop_streams();
            follower.lost().await;
            engine.put(FakeContainer::new(1, "web"));
            follower.connected().await;
            let snapshot = follower.snapshot().await;
            assert_eq!(shown(&snapshot), BTreeSet::from(["web"]), "{fault:?}");
            assert!(snapshot.networks.contains_key(BRIDGE.1), "{fault:?}");
            engine.run(FakeContainer::new(2, "next"));
            follower.until_names(&["web", "next"]).await;
            engine.put_network(second());
            engine.heal();
            while !follower.snapshot().await.networks.contains_key(SECOND) {}
            engine.destroy_network(SECOND);
            engine.remove(&FakeContainer::new(1, "").id);
            engine.remove(&FakeContainer::new(2, "").id);
        });
    }
}

#[test]
fn a_storm_of_network_events_is_no_storm_of_requests() {
    let engine = FakeEngine::start();
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.snapshot().await;
        let delay = Duration::from_millis(20);
        engine.fault(Route::Networks, Fault::Delay(delay), usize::MAX);
        let begun = Instant::now();
        for n in 0..1000 {
            let id = format!("{n:064x}");
            engine.create_network(row("net", &id, "fdfd:5898:4917:2::/64"));
            engine.emit_member("connect", &id, &FakeContainer::new(1, "").id);
        }
        while follower.snapshot().await.networks.len() < 1001 {}
        let asked = engine.count(&Route::Networks);
        let one_by_one = begun.elapsed().as_millis() / delay.as_millis() + 2;
        assert!(asked as u128 <= one_by_one, "{asked} lists of networks");
    });
}
