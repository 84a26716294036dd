//! Engines that go, fall silent, or talk nonsense.

use super::fake_engine::{events, network};
use super::*;

#[test]
fn a_loss_is_said_once_for_each_reason_and_followed_by_a_new_list() {
    let engine = FakeEngine::start();
    let old = FakeContainer::new(1, "old");
    engine.put(old.clone());
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.until_names(&["old"]).await;
        engine.stop();
        // Its stream ends first; then nobody answers where it was.
        let first = follower.lost().await;
        assert!(!first.contains("no such file"), "{first}");
        while !follower.lost().await.contains("no such file") {}
        engine.remove(&old.id);
        engine.put(FakeContainer::new(2, "new"));
        // Several attempts fail meanwhile: silently.
        let silence = tokio::time::timeout(Duration::from_millis(200), follower.update()).await;
        assert!(silence.is_err(), "{silence:?}");
        engine.start_again();
        follower.connected().await;
        assert_eq!(shown(&*follower.snapshot().await), BTreeSet::from(["new"]));
        engine.drop_streams();
        follower.lost().await;
        follower.connected().await;
        assert_eq!(shown(&*follower.snapshot().await), BTreeSet::from(["new"]));
    });
}

#[test]
fn an_engine_that_comes_later_is_waited_for() {
    let engine = FakeEngine::start();
    engine.stop();
    run(async {
        let mut follower = Follower::of(settings(&engine));
        let reason = follower.lost().await;
        assert!(reason.contains("no such file"), "{reason}");
        engine.put(FakeContainer::new(1, "web"));
        engine.start_again();
        follower.connected().await;
        follower.until_names(&["web"]).await;
    });
}

#[test]
fn a_silent_engine_is_found() {
    let engine = FakeEngine::start();
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.snapshot().await;
        engine.freeze();
        let reason = follower.lost().await;
        assert!(reason.contains("/_ping"), "{reason}");
        engine.heal();
        follower.connected().await;
        follower.snapshot().await;
    });
}

#[test]
fn an_engine_that_stops_is_heard_to_its_end() {
    let engine = FakeEngine::start();
    let web = FakeContainer::new(1, "web");
    engine.put(web.clone());
    run(async {
        let interval = Duration::from_millis(500);
        let mut follower = Follower::of(FollowSettings {
            ping_interval: interval,
            ..settings(&engine)
        });
        follower.connected().await;
        follower.until_names(&["web"]).await;
        requested(&engine, &Route::Ping).await;
        engine.close_socket();
        // Over the next ping, and long before the third.
        tokio::time::sleep(interval + interval / 4).await;
        engine.emit("die", &web.id);
        follower.until_names(&[]).await;
        let reason = follower.lost().await;
        assert!(reason.contains("no such file"), "{reason}");
    });
}

#[test]
fn a_quiet_engine_is_not_lost() {
    let engine = FakeEngine::start();
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.snapshot().await;
        // Longer than the limit of a request, with several pings.
        let quiet = tokio::time::timeout(Duration::from_millis(1200), follower.update()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        assert!(engine.count(&Route::Ping) > 3);
    });
}

#[test]
fn events_that_the_engine_has_dropped_show_at_the_next_list() {
    let engine = FakeEngine::start();
    let [ends, web] = [(1, "ends"), (2, "web")].map(|(number, name)| {
        let container = FakeContainer::new(number, name);
        engine.put(container.clone());
        container
    });
    run(async {
        let mut follower = Follower::of(FollowSettings {
            list_interval: Duration::from_millis(100),
            ..settings(&engine)
        });
        follower.connected().await;
        follower.until_names(&["ends", "web"]).await;
        // Neither is announced, and the stream of events stands.
        engine.remove(&ends.id);
        engine.put(FakeContainer::new(3, "new"));
        follower.until_names(&["new", "web"]).await;
        // What is known is not asked about again.
        assert_eq!(engine.count(&Route::Inspect(web.id)), 0);
        assert_eq!(engine.count(&Route::Events), 1);
    });
}

#[test]
fn a_list_that_fails_later_loses_no_event() {
    let engine = FakeEngine::start();
    run(async {
        let mut follower = Follower::of(FollowSettings {
            list_interval: Duration::from_millis(50),
            ..settings(&engine)
        });
        follower.connected().await;
        follower.snapshot().await;
        engine.fault(Route::List, Fault::Status(500), 1);
        let before = engine.count(&Route::List);
        while engine.count(&Route::List) < before + 2 {
            follower.snapshot().await;
        }
        engine.run(FakeContainer::new(1, "web").publish(8080, 80));
        follower.until_names(&["web"]).await;
        assert_eq!(engine.count(&Route::Events), 1);
    });
}

#[test]
fn a_container_that_cannot_be_read_hides_no_other() {
    let engine = FakeEngine::start();
    let mut odd = FakeContainer::new(1, "odd");
    odd.raw_row = Some(serde_json::json!({"Id": odd.id, "Ports": 7, "State": {"No": []}}));
    odd.raw_inspect = Some("{\"Id\": [".to_owned());
    engine.put(odd);
    let mut nameless = FakeContainer::new(2, "nameless");
    nameless.raw_row = Some(serde_json::json!([null]));
    engine.put(nameless);
    let mut failing = FakeContainer::new(3, "failing").bind("", &["0.0.0.0"], 8081, 80);
    failing.ports[0].asked = "0.0.0.0".to_owned();
    let inspect = Route::Inspect(failing.id.clone());
    engine.fault(inspect.clone(), Fault::Status(500), usize::MAX);
    engine.put(failing);
    engine.put(FakeContainer::new(4, "web").publish(8080, 80));
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        // The web is not held up by the others.
        let first = follower.snapshot().await;
        assert_eq!(shown(&first), BTreeSet::from(["failing", "web"]));
        assert_eq!(first.odd.len(), 1, "{:?}", first.odd);
        assert!(first.odd[0].raw().ends_with("without an id: [null]"));
        assert!(
            first
                .unanswered
                .values()
                .any(|name| name.raw() == "failing")
        );
        // By the time that another was asked about in vain, the first would have been asked again.
        requested_times(&engine, &inspect, 5).await;
        let [odd, id, late] = [1, 3, 5].map(|n| FakeContainer::new(n, "").id);
        let inspect_late = Route::Inspect(late.clone());
        engine.fault(inspect_late.clone(), Fault::Status(500), usize::MAX);
        engine.run(FakeContainer::new(5, "late").publish(8082, 80));
        let snapshot = follower.complete_but(&[&odd, &id, &late]).await;
        assert_eq!(shown(&snapshot), BTreeSet::from(["failing", "web"]));
        assert_eq!(snapshot.containers[&id].bindings, Bindings::Unknown);
        for inspect in [&inspect, &inspect_late] {
            assert_eq!(engine.count(inspect), 5, "and then it was given up");
        }
    });
}

#[test]
fn an_event_that_cannot_be_read_costs_a_reconnection_and_no_more() {
    let engine = FakeEngine::start();
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.snapshot().await;
        engine.put(FakeContainer::new(1, "web"));
        engine.emit_raw("{\"Type\":\"teapot\",\"Action\":\"start\"}");
        let reason = follower.lost().await;
        assert!(reason.contains("cannot be read"), "{reason}");
        follower.connected().await;
        assert_eq!(shown(&*follower.snapshot().await), BTreeSet::from(["web"]));
    });
}

#[test]
fn a_failed_inspect_is_asked_again() {
    let engine = FakeEngine::start();
    let web = FakeContainer::new(1, "web");
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.snapshot().await;
        engine.fault(Route::Inspect(web.id.clone()), Fault::Close, 2);
        engine.run(web.clone());
        follower.until_names(&["web"]).await;
        assert_eq!(engine.count(&Route::Inspect(web.id.clone())), 3);
    });
}

/// An Engine replays, after the first list, that a container left the network on which the list
/// shows it: nothing of it closes while the Engine is asked.
#[test]
fn a_replayed_departure_closes_no_port() {
    let engine = FakeEngine::start();
    let web = FakeContainer::new(1, "web").publish(8080, 80);
    engine.put(web.clone());
    let inspect = Route::Inspect(web.id.clone());
    engine.fault(inspect.clone(), Fault::Hang, 1);
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.until_names(&["web"]).await;
        let mut departure = events::member("disconnect", network::BRIDGE.1, &web.id);
        departure["timeNano"] = serde_json::json!(1);
        engine.emit_raw(&departure.to_string());
        requested(&engine, &inspect).await;
        engine.run(FakeContainer::new(2, "next"));
        let snapshot = follower.until_names(&["web", "next"]).await;
        let endpoint = &snapshot.containers[&web.id].endpoints[0];
        assert!(!endpoint.left, "the list is younger");
    });
}
