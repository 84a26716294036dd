//! Storms on the fake Engine: whatever happens, and however much of it at once, the end is what
//! a fresh daemon would see, and the Engine is asked a bounded number of times.
//!
//! The figures are printed: `cargo test --test offline storm -- --nocapture`.

mod schedules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use docker_nat66::docker::stream::{Command, FollowSettings, Update};
use docker_nat66::mapper::forwards::{Bounds, resolve};
use docker_nat66::model::container::Snapshot;
use docker_nat66::model::forward::Forward;
use tokio::time::timeout;

use super::{DEADLINE, host, run};
use crate::support::fake_engine::{self, FakeContainer, FakeEngine, Fault, Route};
use crate::support::process::kib;

/// A settled follower says nothing for this long.
const QUIET: Duration = Duration::from_millis(50);

struct Follower {
    inner: super::Follower,
    last: Arc<Snapshot>,
    snapshots: usize,
}

impl Follower {
    /// One that has had a snapshot with every container answered for.
    async fn of(engine: &FakeEngine) -> Self {
        let settings = FollowSettings {
            ping_interval: Duration::from_millis(20),
            shortest_backoff: Duration::from_millis(1),
            longest_backoff: Duration::from_millis(10),
            ..FollowSettings::new(host(engine))
        };
        let mut follower = Self {
            inner: super::Follower::of(settings),
            last: Arc::default(),
            snapshots: 0,
        };
        while follower.snapshots == 0 || !follower.last.unanswered.is_empty() {
            assert!(follower.update(DEADLINE).await, "all answered for");
        }
        follower
    }

    /// Whether an update came in time.
    async fn update(&mut self, limit: Duration) -> bool {
        match timeout(limit, self.inner.updates.recv()).await {
            Ok(Some(Update::Snapshot { snapshot, .. })) => {
                self.snapshots += 1;
                self.last = snapshot;
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("it follows no more"),
            Err(_) => return false,
        }
        true
    }

    /// Takes in snapshots until one is as wanted; how long that took.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Duration {
        let begun = Instant::now();
        while !wanted(&self.last) {
            let left = DEADLINE.saturating_sub(begun.elapsed());
            assert!(self.update(left).await, "{what}, in time");
        }
        begun.elapsed()
    }

    /// Waits until nothing is said any more, and compares with a fresh one.
    async fn is_what_a_fresh_one_sees(&mut self, engine: &FakeEngine) {
        // It hears of nothing that was.
        engine.forget_events();
        let fresh = Self::of(engine).await;
        let wanted = essence(&fresh.last);
        self.until("the fresh one's view", |s| essence(s) == wanted)
            .await;
        while self.update(QUIET).await {}
        assert_eq!(essence(&self.last), wanted, "and it stays so");
    }
}

/// What follows from a snapshot, and what it says of each container and network. What was asked
/// for at its start is known of a container that was inspected, and not of one that was listed.
type Essence = (Vec<Forward>, BTreeMap<String, String>, BTreeSet<String>);

fn essence(snapshot: &Snapshot) -> Essence {
    let bounds = Bounds {
        prefixes: vec!["fdfd:5898:4917:1::/64".parse().expect("a prefix")],
        ..Bounds::default()
    };
    let containers = snapshot.containers.values();
    let texts = containers.map(|c| {
        let text = format!("{} {:?} {:?}", c.name, c.endpoints, c.ports);
        (c.id.clone(), text)
    });
    let networks = snapshot.networks.keys().cloned().collect();
    (
        resolve(snapshot, &bounds)
            .forwards
            .iter()
            .cloned()
            .collect(),
        texts.collect(),
        networks,
    )
}

/// Resident memory is this process's, the fake Engine's included.
fn figures(what: &str, engine: &FakeEngine, snapshots: usize, settled: Duration) {
    println!(
        "{what}: {} events, {} inspects (at most {} at once), {} lists, {} lists of networks, \
         {snapshots} snapshots, settled after {settled:?}, RSS {} MiB",
        engine.events(),
        engine.inspects(),
        engine.inspects_peak(),
        engine.count(&Route::List),
        engine.count(&Route::Networks),
        kib(std::process::id(), "VmRSS") / 1024
    );
}

#[test]
fn two_hundred_started_and_killed_at_once_leave_nothing_behind() {
    let engine = FakeEngine::start();
    let all: Vec<_> = (1..=200u16)
        .map(|n| FakeContainer::new(n, &format!("c{n}")).publish(10_000 + n, 80))
        .collect();
    run(async {
        let mut follower = Follower::of(&engine).await;
        let begun = Instant::now();
        for container in &all {
            engine.run(container.clone());
        }
        follower
            .until("all of them", |s| s.containers.len() == all.len())
            .await;
        figures("200 started", &engine, follower.snapshots, begun.elapsed());
        follower.is_what_a_fresh_one_sees(&engine).await;
        assert!(engine.inspects_peak() <= 16);
        let (inspects, snapshots) = (engine.inspects(), follower.snapshots);
        assert!(inspects <= 2 * all.len(), "{inspects} inspects");
        let begun = Instant::now();
        for container in &all {
            engine.die(&container.id);
        }
        follower
            .until("none of them", |s| s.containers.is_empty())
            .await;
        let taken = follower.snapshots - snapshots;
        figures("200 killed", &engine, taken, begun.elapsed());
        follower.is_what_a_fresh_one_sees(&engine).await;
        assert_eq!(engine.inspects(), inspects, "the dead are not asked about");

        // Both at once.
        let snapshots = follower.snapshots;
        let begun = Instant::now();
        for container in &all {
            engine.run(container.clone());
            engine.die(&container.id);
        }
        let last = FakeContainer::new(300, "last").publish(300, 80);
        engine.run(last.clone());
        follower
            .until("the last alone", |s| s.containers.keys().eq([&last.id]))
            .await;
        let taken = follower.snapshots - snapshots;
        figures("200 started and killed", &engine, taken, begun.elapsed());
        follower.is_what_a_fresh_one_sees(&engine).await;
    });
}

#[test]
fn a_thousand_containers_are_one_list() {
    let engine = FakeEngine::start();
    for n in 1..=1000u16 {
        engine.put(FakeContainer::new(n, &format!("c{n}")).publish(10_000 + n, 80));
    }
    run(async {
        let begun = Instant::now();
        let mut follower = Follower::of(&engine).await;
        assert_eq!(essence(&follower.last).0.len(), 1000);
        figures("1,000 listed", &engine, follower.snapshots, begun.elapsed());
        assert_eq!((engine.inspects(), engine.count(&Route::List)), (0, 1));
        // An Engine that shows no `::` rows: all must be asked about, once.
        for n in 1..=1000u16 {
            let name = format!("c{n}");
            let old = FakeContainer::new(n, &name).bind("", &["0.0.0.0"], 10_000 + n, 80);
            engine.put(old);
        }
        let begun = Instant::now();
        let old = Follower::of(&engine).await;
        assert_eq!(essence(&old.last).0.len(), 1000);
        let what = "1,000 listed without `::` rows";
        figures(what, &engine, old.snapshots, begun.elapsed());
        assert_eq!(engine.inspects(), 1000);
        assert!(engine.inspects_peak() <= 16);
        drop(old);
        engine.drop_streams();
        follower.is_what_a_fresh_one_sees(&engine).await;
    });
}

#[test]
fn a_container_that_flaps_fifty_times_a_second_hides_no_other() {
    let engine = FakeEngine::start();
    let flapping = FakeContainer::new(1, "flapping").publish(8001, 80);
    let steady = FakeContainer::new(2, "steady").publish(8002, 80);
    let late = FakeContainer::new(3, "late").publish(8003, 80);
    engine.put(steady.clone());
    run(async {
        let mut follower = Follower::of(&engine).await;
        // What asks while the container is on its way out waits, as in the Engine.
        let inspect = Route::Inspect(flapping.id.clone());
        engine.fault(inspect, Fault::Delay(Duration::from_millis(5)), usize::MAX);
        let begun = Instant::now();
        let flaps = 100;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for n in 0..flaps {
            for up in [true, false] {
                tick.tick().await;
                if up {
                    engine.run(flapping.clone());
                } else {
                    engine.die(&flapping.id);
                }
                if n == flaps / 2 && up {
                    engine.run(late.clone());
                }
                while follower.update(Duration::ZERO).await {
                    assert!(follower.last.containers.contains_key(&steady.id));
                }
            }
        }
        let asked = begun.elapsed();
        let ended = Instant::now();
        let both = BTreeSet::from([&steady.id, &late.id]);
        follower
            .until("the two others", |s| {
                s.containers.keys().collect::<BTreeSet<_>>() == both
            })
            .await;
        let what = format!("one flapping for {} ms", asked.as_millis());
        figures(&what, &engine, follower.snapshots, ended.elapsed());
        follower.is_what_a_fresh_one_sees(&engine).await;
        assert!(engine.inspects() <= flaps + 2, "{}", engine.inspects());
    });
}
