//! What runs in the fake Engine, and what a daemon has in the kernel then.

use std::collections::BTreeSet;

use docker_nat66::control::row::Row;

use crate::support::daemon::Daemon;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::scene::Scene;

/// Number and published port of the containers that run.
pub(crate) type Running = [(u16, u16)];

/// The container of such a number and port.
pub(crate) fn container(number: u16, port: u16) -> FakeContainer {
    FakeContainer::new(number, &format!("c{number}")).publish(port, 80)
}

/// An Engine in which these run.
pub(crate) fn engine(running: &Running) -> FakeEngine {
    let engine = FakeEngine::start();
    put(&engine, running);
    engine
}

fn put(engine: &FakeEngine, running: &Running) {
    for &(number, port) in running {
        engine.put(container(number, port));
    }
}

/// Makes these run, without events.
pub(crate) fn replace(engine: &FakeEngine, running: &Running) {
    for id in engine.ids() {
        engine.remove(&id);
    }
    put(engine, running);
}

/// Ends those that are no longer in `to` and starts those that are new, with events.
pub(crate) fn change(engine: &FakeEngine, from: &Running, to: &Running) {
    for &(number, port) in from.iter().filter(|it| !to.contains(it)) {
        engine.die(&container(number, port).id);
    }
    for &(number, port) in to.iter().filter(|it| !from.contains(it)) {
        engine.run(container(number, port));
    }
}

/// The rules of an undisturbed daemon while these run; it removes them all when it leaves.
#[track_caller]
pub(crate) fn reference(scene: &Scene, running: &Running) -> Vec<String> {
    let engine = engine(running);
    let mut daemon = Daemon::ready(scene, &engine, &[]);
    let ours = scene.ours();
    daemon.leaves();
    assert_eq!(scene.ours(), Vec::<String>::new());
    ours
}

/// Whether exactly these are open.
pub(crate) fn are_open(rows: &[Row], running: &Running) -> bool {
    let open = rows
        .iter()
        .filter_map(|row| Some((row.host_port?, row.container_addr)));
    let expected = running
        .iter()
        .map(|&(number, port)| (port, container(number, port).address));
    open.collect::<BTreeSet<_>>() == expected.collect()
}
