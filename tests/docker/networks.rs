//! Networks, as they come and go, and when their list fails.

use super::*;
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
