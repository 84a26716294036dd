//! The state directory removed under the daemon: it is made again, with its lock.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use docker_nat66::control::status::DaemonState;
use docker_nat66::sys::locks::{self, Holder, Lock};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::life::engine_after;
use crate::running::container;
use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::namespace;
use crate::support::scene::{self, Scene};
use crate::support::score::Score;

/// The lock names the daemon, and it holds it.
fn is_locked_by(scene: &Scene, pid: u32) -> bool {
    let holder = locks::inspect(&locks::state_path(&scene.state_dir()));
    holder.is_ok_and(|held| held.flatten().is_some_and(|holder| holder.pid == pid))
}

fn rename_exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("exchanges");
}

/// Removes the state directory under a daemon of either backend.
fn removed(backend: Backend) {
    let scene = Scene::new(backend);
    let mut score = Score::new(&format!("state directory removed, {backend:?}"));
    let engine = engine_after(1);
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    let dir = scene.state_dir();

    // Nothing happens, and yet it is noticed.
    let ours = scene.ours();
    fs::remove_dir_all(&dir).expect("removes");
    let begun = Instant::now();
    let pid = daemon.id();
    daemon.shows("at home again", |status, _| {
        status.state == DaemonState::Running
            && is_locked_by(&scene, pid)
            && dir.join("journal/db").exists()
    });
    score.recovered(begun.elapsed());
    scene.has(&mut score, "kernel", &ours, &scene.ours());
    assert_eq!(daemon.journal(), scene::ids(&ours));
    assert!(scene.log().contains("removed or replaced, taking it again"));
    // Commands find the daemon.
    let dump = Command::new(PROGRAM)
        .args(["dump", "--json", "--state-dir"])
        .arg(&dir)
        .output()
        .expect("runs");
    let rows = String::from_utf8(dump.stdout).expect("text");
    assert!(ours.iter().all(|line| rows.contains(&line[..16])), "{rows}");

    // Something happens at once: an insertion has its intent on the disk.
    fs::remove_dir_all(&dir).expect("removes");
    let begun = Instant::now();
    engine.run(container(4, 8082));
    daemon.shows("inserted", |_, _| scene.ours().len() > ours.len());
    daemon.shows("running", |status, _| status.state == DaemonState::Running);
    score.recovered(begun.elapsed());
    assert!(is_locked_by(&scene, pid));
    let ours = scene.ours();
    daemon.kill();
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    scene.has(&mut score, "kernel", &ours, &scene.ours());
    assert!(
        !scene.log().contains("could not be used"),
        "{}",
        scene.log()
    );

    // Removed while no daemon runs: the kernel shows what is ours.
    daemon.kill();
    fs::remove_dir_all(&dir).expect("removes");
    engine.die(&container(4, 8082).id);
    let begun = Instant::now();
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    score.recovered(begun.elapsed());
    assert_eq!(scene.ours().len() + 1, ours.len(), "{}", scene.log());
    assert_eq!(daemon.journal(), scene::ids(&scene.ours()));

    // It leaves though its directory is gone.
    fs::remove_dir_all(&dir).expect("removes");
    daemon.leaves();
    scene.has(&mut score, "left behind", &[], &scene.ours());
    scene.spares_others(&mut score, "at the end");
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_removed_state_directory_is_made_again_with_its_lock() {
    namespace::fresh(|| {
        removed(Backend::Ip6tables);
        removed(Backend::Nftables);
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn what_another_daemon_has_made_of_the_state_directory_is_left_alone() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = engine_after(1);
        let mut daemon = Daemon::ready(&scene, &engine, &[]);
        let dir = scene.state_dir();
        // Theirs takes the place of ours at one blow.
        let theirs = dir.with_extension("theirs");
        fs::create_dir_all(theirs.join("journal")).expect("makes");
        fs::write(theirs.join("journal/db"), "theirs").expect("writes");
        let me = Holder {
            pid: std::process::id(),
            control: None,
        };
        let lock = Lock::acquire(&locks::state_path(&theirs), &me, Instant::now());
        let lock = lock.expect("free");
        rename_exchange(&theirs, &dir);
        let held = format!("is held by process {}", me.pid);
        daemon.shows("saying whose it is", |status, _| {
            status.state == DaemonState::Degraded
                && status.troubles.iter().any(|t| t.contains(&held))
        });
        let ours = scene.ours().len();
        engine.run(container(4, 8082));
        engine.die(&container(2, 8080).id);
        daemon.shows("without the rule of who is gone", |_, _| {
            scene.ours().len() == ours - 1
        });
        assert_eq!(fs::read(dir.join("journal/db")).expect("reads"), b"theirs");
        drop(lock);
        daemon.shows("well again", |status, _| {
            status.state == DaemonState::Running
        });
        assert_eq!(scene.ours().len(), ours);
        assert_eq!(daemon.journal(), scene::ids(&scene.ours()));
        let kept = fs::read_dir(&dir).expect("lists").flatten();
        let kept = kept.filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("journal.quarantine-")
        });
        assert_eq!(kept.count(), 1, "{}", scene.log());
        daemon.leaves();
    });
}
