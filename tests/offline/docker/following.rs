//! An Engine in good health: what is said, when, and what is asked for it.

use super::*;

#[test]
fn the_first_snapshots_come_after_the_connection_and_end_complete() {
    let engine = FakeEngine::start();
    engine.put(FakeContainer::new(1, "plain").publish(8080, 80));
    engine.put(FakeContainer::new(2, "doubtful").bind("0.0.0.0", &["0.0.0.0"], 8081, 80));
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        let snapshot = follower.complete().await;
        assert_eq!(shown(&snapshot), BTreeSet::from(["plain", "doubtful"]));
        let bindings: Vec<_> = snapshot.containers.values().map(|c| &c.bindings).collect();
        assert_eq!(bindings[0], &Bindings::Unknown);
        assert!(matches!(bindings[1], Bindings::Known { .. }));
    });
    let plain = Route::Inspect(FakeContainer::new(1, "").id);
    assert_eq!(engine.count(&plain), 0, "its row says all");
}

#[test]
fn a_start_is_inspected_once_and_an_end_never() {
    let engine = FakeEngine::start();
    let web = FakeContainer::new(1, "web").publish(8080, 80);
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        assert!(follower.snapshot().await.containers.is_empty());
        engine.run(web.clone());
        let snapshot = follower.snapshot().await;
        let container = &snapshot.containers[&web.id];
        assert_eq!(container.endpoints[0].address, web.address);
        let looked = engine.count(&Route::Inspect(web.id.clone()));
        assert_eq!(looked, 1, "and not at its connect");
        engine.die(&web.id);
        assert!(follower.snapshot().await.containers.is_empty());
        // What comes next shows that nothing came in between.
        engine.run(FakeContainer::new(2, "next"));
        follower.until_names(&["next"]).await;
        assert_eq!(engine.count(&Route::Inspect(web.id.clone())), looked);
        assert_eq!(engine.count(&Route::List), 1);
    });
}

#[test]
fn a_resync_during_a_teardown_does_not_bring_a_container_back() {
    let engine = FakeEngine::start();
    let web = FakeContainer::new(1, "web").publish(8080, 80);
    engine.put(web.clone());
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.until_names(&["web"]).await;
        // The list goes on showing it.
        engine.emit("die", &web.id);
        follower.until_names(&[]).await;
        for _ in 0..3 {
            follower
                .commands
                .send(Command::Resync)
                .await
                .expect("taken");
            assert!(follower.snapshot().await.containers.is_empty());
        }
        engine.emit("start", &web.id);
        follower.until_names(&["web"]).await;
    });
}

#[test]
fn slow_inspects_are_bounded_and_hold_up_nobody_else() {
    let engine = FakeEngine::start();
    let all: Vec<_> = (1..=100)
        .map(|n| FakeContainer::new(n, &format!("c{n}")))
        .collect();
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.snapshot().await;
        let begun = Instant::now();
        for container in &all {
            let slow = Fault::Delay(Duration::from_millis(20));
            engine.fault(Route::Inspect(container.id.clone()), slow, 1);
            engine.run(container.clone());
        }
        let mut snapshots = 0;
        while follower.snapshot().await.containers.len() < all.len() {
            snapshots += 1;
        }
        assert!(engine.inspects_peak() <= 16, "{}", engine.inspects_peak());
        // One per 2 ms at most, and far fewer where the machine is free.
        let most = begun.elapsed().as_millis() / 2 + 1;
        assert!(snapshots <= most, "{snapshots} snapshots, not {most}");
        // One that hangs.
        let stuck = FakeContainer::new(200, "stuck");
        engine.fault(Route::Inspect(stuck.id.clone()), Fault::Hang, 1);
        engine.run(stuck);
        let begun = Instant::now();
        engine.run(FakeContainer::new(201, "swift"));
        while !shown(&*follower.snapshot().await).contains("swift") {}
        assert!(
            begun.elapsed() < Duration::from_millis(400),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn a_flood_of_events_asks_once_per_container() {
    let engine = FakeEngine::start();
    let web = FakeContainer::new(1, "web");
    engine.put(web.clone());
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.until_names(&["web"]).await;
        let delay = Duration::from_millis(20);
        let slow = Fault::Delay(delay);
        engine.fault(Route::Inspect(web.id.clone()), slow, usize::MAX);
        let begun = Instant::now();
        for _ in 0..5000 {
            engine.emit("rename", &web.id);
        }
        let mut renamed = web.clone();
        renamed.name = "renamed".to_owned();
        engine.put(renamed);
        engine.emit("rename", &web.id);
        follower.until_names(&["renamed"]).await;
        let asked = engine.count(&Route::Inspect(web.id.clone()));
        let one_by_one = begun.elapsed().as_millis() / delay.as_millis() + 1;
        assert!(asked as u128 <= one_by_one, "{asked} inspects");
    });
}

#[test]
fn a_slow_receiver_gets_the_newest_snapshot_and_no_backlog() {
    let engine = FakeEngine::start();
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.snapshot().await;
        for n in 1..=50 {
            engine.run(FakeContainer::new(n, &format!("c{n}")));
            requested(&engine, &Route::Inspect(FakeContainer::new(n, "").id)).await;
        }
        let mut snapshots = 1;
        while follower.snapshot().await.containers.len() < 50 {
            snapshots += 1;
        }
        // The channel's four, and the newest.
        assert!(snapshots <= 6, "{snapshots}");
    });
}

#[test]
fn following_ends_with_its_receiver() {
    let engine = FakeEngine::start();
    run(async {
        let (_commands, commands) = mpsc::channel(1);
        let (_, interfaces) = mpsc::channel(1);
        let inbox = Inbox {
            commands,
            interfaces,
        };
        let (update_tx, updates) = mpsc::channel(1);
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let task = tokio::spawn(follow(settings(&engine), log, inbox, update_tx));
        requested(&engine, &Route::Events).await;
        drop(updates);
        tokio::time::timeout(DEADLINE, task)
            .await
            .expect("in time")
            .expect("no panic");
    });
}

#[test]
fn only_get_requests_are_made() {
    let engine = FakeEngine::start();
    engine.put(FakeContainer::new(1, "doubtful").bind("", &["0.0.0.0"], 8081, 80));
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        follower.snapshot().await;
        requested(&engine, &Route::Ping).await;
    });
    for line in engine.request_lines() {
        assert!(line.starts_with("GET "), "{line}");
    }
    assert_eq!(engine.count(&Route::Other), 0);
}

#[test]
fn addresses_arrive_as_the_engine_gives_them() {
    let engine = FakeEngine::start();
    let mut bare = FakeContainer::new(1, "bare");
    bare.address = None;
    engine.put(bare.clone());
    let web = FakeContainer::new(2, "web");
    engine.put(web.clone());
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        let snapshot = follower.snapshot().await;
        assert_eq!(snapshot.containers[&bare.id].endpoints[0].address, None);
        let gateway: Ipv6Addr = "fdfd:5898:4917:1::1".parse().expect("an address");
        let endpoint = &snapshot.containers[&web.id].endpoints[0];
        assert_eq!(
            (endpoint.address, endpoint.gateway),
            (web.address, Some(gateway))
        );
    });
}

#[test]
fn an_endpoint_is_left_when_its_interface_is_back_before_docker_says_anything() {
    let engine = FakeEngine::start();
    let container = FakeContainer::new(1, "one").publish(8080, 80);
    engine.put(container.clone());
    // Docker answers about a container that is torn down only when that is over.
    engine.fault(
        Route::Inspect(container.id.clone()),
        Fault::Hang,
        usize::MAX,
    );
    run(async {
        let mut follower = Follower::of(settings(&engine));
        follower.connected().await;
        let left = |snapshot: &Snapshot| {
            let containers = snapshot.containers.values();
            containers
                .flat_map(|c| &c.endpoints)
                .map(|e| e.left)
                .collect::<Vec<_>>()
        };
        assert_eq!(left(follower.complete().await.as_ref()), [false]);
        let mac = container.mac().parse().expect("a hardware address");
        let seen = follower.interfaces.send(InterfaceNews::Seen(mac)).await;
        seen.expect("it still follows");
        assert_eq!(left(follower.snapshot().await.as_ref()), [true]);
        // What was missed may have been of any.
        let inspect = Route::Inspect(container.id.clone());
        requested(&engine, &inspect).await;
        let asked = engine.count(&inspect);
        let missed = follower.interfaces.send(InterfaceNews::Missed).await;
        missed.expect("it still follows");
        requested_times(&engine, &inspect, asked + 1).await;
    });
}
