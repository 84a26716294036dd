//! Every name that the daemon gives in its state directory is synced with its parent before
//! anything relies on it.
//!
//! ext4 makes all names durable with the first file that is synced, so no power cut there proves anything;
//! the order of the calls does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::trace::{Act, Tracing, acts, unsynced};
use crate::life::engine_after;
use crate::running::container;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::fake_engine::FakeEngine;
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::shell::sh;

/// Everything below a directory.
fn tree(dir: &Path) -> BTreeSet<PathBuf> {
    let found = sh(&format!("find {}", dir.display()));
    found.lines().map(PathBuf::from).collect()
}

/// A daemon that finds what `before` leaves, lives through `during`, and leaves: all that it did
/// is in order, and would not be without the syncs of any one directory.
fn in_order(
    what: &str,
    synced: &[&str],
    before: impl FnOnce(&Scene),
    during: impl FnOnce(&Scene, &FakeEngine, &mut Daemon<'_>),
) {
    let scene = Scene::new(Backend::Ip6tables);
    let engine = engine_after(1);
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    daemon.leaves();
    drop(daemon);
    before(&scene);
    let state = scene.state_dir();
    let root = state.parent().expect("not the root").to_owned();
    let there = tree(&root);
    let tracing = Tracing::new(&root);
    let scene = scene.behind(tracing.wrapper());
    let mut daemon = Daemon::start(&scene, &engine, &[]);
    assert!(daemon.is_ready(), "{what}: {}", scene.log());
    during(&scene, &engine, &mut daemon);
    daemon.leaves();
    let trace = tracing.end();
    let done = acts(&trace);
    assert!(done.contains(&Act::Change), "{what}: {trace}");
    let faults = unsynced(&state, &there, &done);
    assert!(faults.is_empty(), "{what}: {faults:#?}\n{trace}");
    // The proof that it would have been seen.
    for dir in synced {
        let dir = root.join(dir);
        let mut without = acts(&trace);
        without.retain(|act| *act != Act::Sync(dir.clone()));
        let faults = unsynced(&state, &there, &without);
        assert!(!faults.is_empty(), "{what}: {dir:?} need not be synced");
    }
}

/// Has the daemon insert something, and waits until it has.
fn inserts(scene: &Scene, engine: &FakeEngine, daemon: &mut Daemon<'_>) {
    let ours = scene.ours().len();
    engine.run(container(4, 8082));
    daemon.shows("inserted", |_, _| scene.ours().len() > ours);
}

fn nothing(_: &Scene, _: &FakeEngine, _: &mut Daemon<'_>) {}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn names_given_by_a_start_are_synced_before_a_rule_relies_on_them() {
    namespace::fresh(|| {
        let first = [".", "state", "state/journal.new"];
        let remove = |scene: &Scene| fs::remove_dir_all(scene.state_dir()).expect("removes");
        in_order("first start", &first, remove, nothing);
        in_order("a start like any", &["state/journal"], |_| {}, nothing);
        let replaced = ["state", "state/journal.new"];
        in_order("damaged", &replaced, Scene::damage_journal, nothing);
        let vanished = |scene: &Scene| {
            fs::remove_dir_all(scene.state_dir().join("journal")).expect("removes");
        };
        in_order("vanished", &replaced, vanished, nothing);
        let interrupted = |scene: &Scene| {
            let dir = scene.state_dir();
            fs::rename(dir.join("journal"), dir.join("journal.old")).expect("renames");
        };
        in_order("interrupted", &["state"], interrupted, nothing);
        let unmarked = |scene: &Scene| {
            fs::remove_file(scene.state_dir().join("journal.marker")).expect("removes");
        };
        in_order("without a marker", &["state"], unmarked, nothing);
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn names_given_while_it_runs_are_synced_before_a_rule_relies_on_them() {
    namespace::fresh(|| {
        let synced = ["state", "state/journal.new", "state/journal"];
        in_order(
            "journal removed",
            &synced,
            |_| {},
            |scene, engine, daemon| {
                fs::remove_dir_all(scene.state_dir().join("journal")).expect("removes");
                inserts(scene, engine, daemon);
            },
        );
        in_order(
            "journal replaced",
            &synced,
            |_| {},
            |scene, engine, daemon| {
                let database = scene.state_dir().join("journal/db");
                fs::remove_file(&database).expect("removes");
                fs::write(&database, "another").expect("writes");
                inserts(scene, engine, daemon);
            },
        );
        let synced = [".", "state", "state/journal.new", "state/journal"];
        in_order(
            "all removed",
            &synced,
            |_| {},
            |scene, engine, daemon| {
                fs::remove_dir_all(scene.state_dir()).expect("removes");
                inserts(scene, engine, daemon);
            },
        );
    });
}
