//! Disks that refuse for a while: removals go on, nothing is inserted, the daemon says so, and
//! when the disk is well again all is made up for by itself.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use docker_nat66::control::status::{DaemonState, Status};
use rustix::process::Signal;

use super::power::Mounted;
use crate::life::{self, Orders, STAGES};
use crate::running::{Running, container, engine};
use crate::support::backend::Backend;
use crate::support::daemon::{Daemon, End, keeps};
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::namespace;
use crate::support::scene::{self, Scene};
use crate::support::score::Score;
use crate::support::shell::sh;
use crate::support::strace::Injected;
use crate::support::torture::{STRIDE, number};

/// Ports of a container whose every change of name fills the disk a little more.
const MANY: u16 = 60;

/// Not fewer than the syncs by which a journal is built anew.
const HEALING_SYNCS: u64 = 16;

/// Makes the disk fail; what it returns makes it good.
type Breaks<'b> = &'b dyn Fn(&Scene, &Daemon) -> Box<dyn FnOnce()>;

/// What comes of one kind of fault that takes hold of a running daemon.
fn refuses_and_heals(fault: &str, scene: &Scene, breaks: Breaks) {
    let mut score = Score::new(&format!("{fault}, {:?}", scene.backend()));
    let stages = [
        &[(3, 8081), (8, 8088)][..],
        &[(3, 8081)],
        &[(3, 8081), (4, 8082)],
    ];
    let [broken, later, healed] = stages.map(|open| kernel_with(scene, open));
    for is_killed in [false, true] {
        let engine = engine_with(&[(2, 8080), (3, 8081), (8, 8088)]);
        let mut daemon = Daemon::ready(scene, &engine, &[]);
        let heal = breaks(scene, &daemon);
        until_refused(scene, &engine, &mut daemon);
        engine.run(container(4, 8082));
        engine.die(&container(2, 8080).id);
        daemon.shows("without the rule of who is gone", |_, _| {
            scene.ours() == broken
        });
        // However often it tries, it inserts nothing.
        engine.die(&container(8, 8088).id);
        daemon.shows("without the next one's", |_, _| scene.ours() == later);
        let status = daemon.status().expect("answers");
        assert_eq!(status.state, DaemonState::Degraded, "{status:?}");

        let begun = Instant::now();
        if is_killed {
            daemon.kill();
            heal();
            daemon = Daemon::start(scene, &engine, &[]);
        } else {
            heal();
        }
        daemon.shows("well again", |status, _| {
            status.state == DaemonState::Running
        });
        score.recovered(begun.elapsed());
        agrees(scene, &daemon, &healed, &mut score);

        // What it has written since then is whole.
        fs::remove_file(scene.log_path()).expect("removes");
        daemon.kill();
        daemon = Daemon::ready(scene, &engine, &[]);
        agrees(scene, &daemon, &healed, &mut score);
        let log = scene.log();
        assert!(!log.contains("could not be used"), "{log}");
        daemon.leaves();
        scene.has(&mut score, "left behind", &[], &scene.ours());
        scene.spares_others(&mut score, "at the end");
    }
}

/// The kernel has what it should, and the journal the same.
#[track_caller]
fn agrees(scene: &Scene, daemon: &Daemon, expected: &[String], score: &mut Score) {
    let ours = scene.ours();
    scene.has(score, "kernel", expected, &ours);
    scene.has(score, "journal", &scene::ids(&ours), &daemon.journal());
}

/// Has the daemon write until the disk refuses: where it is full, there may be room left in what
/// the journal has already.
fn until_refused(scene: &Scene, engine: &FakeEngine, daemon: &mut Daemon) {
    for round in 0.. {
        assert!(round < 200, "never refused: {}", scene.log());
        let written = daemon.status().map(|status| status.journal.generation);
        let many = many(&format!("many{round}"));
        let id = many.id.clone();
        engine.put(many);
        engine.emit("rename", &id);
        let refused = |status: &Status| status.state == DaemonState::Degraded;
        daemon.shows("written or refused", |status, _| {
            refused(status) || Some(status.journal.generation) != written
        });
        if daemon.status().is_some_and(|status| refused(&status)) {
            break;
        }
    }
    let says = |text: &String| text.contains("the journal cannot be written, so nothing is");
    daemon.shows("saying why", |status, _| status.troubles.iter().any(says));
}

fn many(name: &str) -> FakeContainer {
    (0..MANY).fold(FakeContainer::new(9, name), |it, n| {
        it.publish(9000 + n, 80 + n)
    })
}

fn engine_with(open: &Running) -> FakeEngine {
    let engine = engine(open);
    engine.put(many("many"));
    engine
}

/// What a daemon that nothing happens to has in the kernel.
fn kernel_with(scene: &Scene, open: &Running) -> Vec<String> {
    let engine = engine_with(open);
    let mut daemon = Daemon::ready(scene, &engine, &[]);
    let ours = scene.ours();
    daemon.leaves();
    fs::remove_file(scene.log_path()).expect("removes");
    ours
}

/// Leaves no byte free.
fn fill(disk: &Path) -> PathBuf {
    let ballast = disk.join("ballast");
    let mut file = fs::File::create(&ballast).expect("creates");
    while file.write_all(&[0; 4096]).is_ok() {}
    ballast
}

/// Has the system answer `what` to a daemon of either backend.
fn with_injected(fault: &str, what: &str) {
    with_either(fault, |scene| scene, &|_, daemon| {
        let injected = Injected::into(daemon.id(), what);
        Box::new(move || drop(injected))
    });
}

/// Does it with either backend.
fn with_either(fault: &str, arrange: fn(Scene) -> Scene, breaks: Breaks) {
    for backend in [Backend::Ip6tables, Backend::Nftables] {
        refuses_and_heals(fault, &arrange(Scene::new(backend)), breaks);
    }
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_full_disk_is_waited_out() {
    namespace::fresh(|| with_injected("disk full", "pwrite64:error=ENOSPC"));
}

/// There comes a time when the journal cannot grow, and there is no room for a new one beside it.
#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn on_a_small_full_disk_the_journal_is_written_anew_in_its_own_room() {
    namespace::fresh(|| {
        for backend in [Backend::Ip6tables, Backend::Nftables] {
            let scene = Scene::new(backend);
            let _disk = Mounted::tmpfs("size=2m,mode=700", &scene.state_dir());
            let expected = kernel_with(&scene, &[(2, 8080)]);
            let mut score = Score::new(&format!("small full disk, {backend:?}"));
            let engine = engine_with(&[(2, 8080)]);
            let mut daemon = Daemon::ready(&scene, &engine, &[]);
            let mut round = 0;
            let mut grow = |daemon: &mut Daemon| {
                assert!(round < 300, "never full: {}", scene.log());
                round += 1;
                let written = daemon.status().map(|status| status.journal.generation);
                let many = many(&format!("many{round}"));
                let id = many.id.clone();
                engine.put(many);
                engine.emit("rename", &id);
                daemon.shows("the change in the journal", |status, _| {
                    let is_written = Some(status.journal.generation) != written;
                    is_written && status.state == DaemonState::Running
                });
            };
            let journal = scene.state_dir().join("journal");
            let size = || sh(&format!("du -sk {} | cut -f1", journal.display()));
            while size().trim().parse::<u32>().expect("a number") < 1_200 {
                grow(&mut daemon);
            }
            // There is no room to open it, but its own.
            daemon.kill();
            let ballast = fill(&scene.state_dir());
            daemon = Daemon::ready(&scene, &engine, &[]);
            agrees(&scene, &daemon, &expected, &mut score);
            fs::remove_file(ballast).expect("removes");
            while !scene.log().contains("the journal cannot be written") {
                grow(&mut daemon);
            }
            agrees(&scene, &daemon, &expected, &mut score);
            daemon.kill();
            daemon = Daemon::ready(&scene, &engine, &[]);
            agrees(&scene, &daemon, &expected, &mut score);
            daemon.leaves();
            scene.has(&mut score, "left behind", &[], &scene.ours());
        }
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_read_only_disk_is_waited_out() {
    namespace::fresh(|| {
        let writes = "pwrite64,mkdir,mkdirat,rename,unlink,unlinkat,ftruncate";
        with_injected("disk read-only", &format!("{writes}:error=EROFS"));
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_disk_that_fails_to_write_is_waited_out() {
    namespace::fresh(|| with_injected("EIO on write", "pwrite64:error=EIO"));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_disk_that_fails_to_sync_is_waited_out() {
    namespace::fresh(|| with_injected("EIO on fsync", "fsync,fdatasync:error=EIO"));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_disk_that_fails_to_write_back_is_waited_out() {
    namespace::fresh(|| with_injected("EIO on sync_file_range", "sync_file_range:error=EIO"));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn permissions_that_were_taken_away_are_waited_for() {
    namespace::fresh(|| {
        with_either("permission lost", Scene::confine, &|scene, _| {
            let dir = scene.state_dir();
            let set = |dir: &Path, mode| fs::set_permissions(dir, Permissions::from_mode(mode));
            set(&dir, 0).expect("sets");
            Box::new(move || set(&dir, 0o700).expect("sets"))
        });
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_file_in_the_place_of_the_state_directory_is_waited_out() {
    namespace::fresh(|| {
        let fault = "state directory replaced by a file";
        with_either(fault, |scene| scene, &|scene, _| {
            let dir = scene.state_dir();
            fs::remove_dir_all(&dir).expect("removes");
            fs::write(&dir, "").expect("writes");
            Box::new(move || fs::remove_file(dir).expect("removes"))
        });
    });
}

/// The first sync fails, and of those by which the journal is then built anew the `nth`.
fn fails_again_while_it_heals(
    scene: &Scene,
    nth: u64,
    reference: &BTreeMap<usize, Vec<String>>,
    score: &mut Score,
) {
    let what = format!("fsync,fdatasync:error=EIO:when=1..{}+{nth}", 1 + nth);
    let mut injected = None;
    let end = life::live(scene, Orders::default(), |stage| {
        if stage == 1 {
            let pid = scene.status().expect("it answers").pid;
            injected = Some(Injected::into(pid, &what));
        } else {
            let ours = scene.ours();
            scene.has(
                score,
                &format!("{what}, stage {stage}"),
                &reference[&stage],
                &ours,
            );
        }
        if stage == STAGES {
            injected = None;
        }
    });
    let log = scene.log();
    assert_eq!(end, End::Left, "{what}: {log}");
    assert!(log.contains("os error 5"), "{what}: {log}");
    assert!(!log.contains("could not be used"), "{what}: {log}");
    life::recovers(scene, STAGES, reference, score, &what);
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_sync_that_fails_while_the_journal_heals_is_waited_out() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let reference = life::reference(&scene);
        let mut score = Score::new("EIO on one fsync, and on another while it heals");
        // With STRIDE every so many of the syncs that heal the journal.
        for nth in (1..=HEALING_SYNCS).step_by(number(STRIDE, 5) as usize) {
            fails_again_while_it_heals(&scene, nth, &reference, &mut score);
        }
    });
}

/// Longer than the writer waits for the journal.
#[test]
#[ignore = "needs root: run by tests/run"]
fn a_disk_that_does_not_answer_is_waited_out() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let slow = "fsync,fdatasync:delay_enter=8000000";
        refuses_and_heals("fsync takes 8 s", &scene, &|_, daemon| {
            let injected = Injected::into(daemon.id(), slow);
            Box::new(move || drop(injected))
        });
    });
}

/// What is said of the rules is so, whatever the journal says of them.
#[test]
#[ignore = "needs root and strace: run by tests/run"]
fn a_daemon_that_cannot_close_its_journal_says_so_and_where_its_rules_are() {
    namespace::fresh(|| {
        for (keep, said) in [(true, "the rules stay"), (false, "every rule is gone")] {
            let scene = Scene::new(Backend::Nftables);
            let engine = engine_with(&[(2, 8080)]);
            let mut daemon = Daemon::ready(&scene, &engine, keeps(keep));
            let _broken = Injected::into(daemon.id(), "fsync,fdatasync:error=EIO");
            daemon.signal(Signal::TERM);
            assert_eq!(daemon.code(), Some(1), "{}", scene.log());
            let said = format!("{said}, but the journal does not say so");
            assert!(scene.log().contains(&said), "{}", scene.log());
            assert_eq!(scene.ours().is_empty(), !keep, "{}", scene.log());
        }
    });
}
