//! A journal that is damaged again and again, and the daemons that meet it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use docker_nat66::journal::recover;

use crate::life::engine_after;
use crate::running::container;
use crate::support::backend::Backend;
use crate::support::daemon::{Daemon, keeps};
use crate::support::fake_engine::FakeEngine;
use crate::support::scene::{self, Scene};
use crate::support::score::Score;
use crate::support::shell::sh;

/// What is published at every other start.
pub(crate) const STAGES: [usize; 2] = [4, 5];

/// A journal that is damaged again and again, and the daemons that meet it.
pub(crate) struct Victim {
    pub(crate) scene: Scene,
    /// As a killed daemon left it, at the first of [`STAGES`].
    sound: PathBuf,
    /// As it was before that.
    pub(crate) earlier: PathBuf,
    /// What belongs into the kernel at each of [`STAGES`].
    expected: Vec<Vec<String>>,
    pub(crate) starts: usize,
    pub(crate) quarantined: usize,
}

impl Victim {
    pub(crate) fn new(backend: Backend) -> Self {
        let scene = Scene::new(backend);
        let [sound, earlier] =
            ["sound", "earlier"].map(|name| scene.state_dir().with_extension(name));
        let expected = STAGES.map(|stage| ready(&scene, &engine_after(stage), Daemon::leaves));
        // Some history, and two kills.
        let engine = engine_after(1);
        ready(&scene, &engine, |daemon| {
            engine.run(container(4, 8082));
            daemon.shows("at the next stage", |status, _| status.forwards == 3);
            daemon.kill();
        });
        copy(&scene.state_dir(), &earlier);
        ready(&scene, &engine_after(STAGES[0]), |daemon| {
            daemon.kill();
        });
        copy(&scene.state_dir(), &sound);
        Self {
            scene,
            sound,
            earlier,
            expected: expected.to_vec(),
            starts: 0,
            quarantined: 0,
        }
    }

    /// The journal as it was, in its place.
    pub(crate) fn restore(&self) -> PathBuf {
        let dir = self.scene.state_dir();
        sh(&format!("rm -rf {}", dir.display()));
        copy(&self.sound, &dir);
        dir
    }

    /// The same file of the sound journal.
    pub(crate) fn sound_of(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix(self.scene.state_dir()).expect("in there");
        self.sound.join(inside)
    }

    /// What the next daemon makes of the state directory, as `harm` leaves it.
    #[track_caller]
    pub(crate) fn meets(&mut self, score: &mut Score, what: &str, harm: impl FnOnce(&Path)) {
        let dir = self.restore();
        harm(&dir);
        let _ = fs::remove_file(self.scene.log_path());
        let which = self.starts % STAGES.len();
        self.starts += 1;
        let engine = engine_after(STAGES[which]);
        let scene = &self.scene;
        let begun = Instant::now();
        let mut daemon = Daemon::start(scene, &engine, &[]);
        assert!(daemon.is_ready(), "{what}: {}", scene.log());
        score.recovered(begun.elapsed());
        let ours = scene.ours();
        scene.has(score, what, &self.expected[which], &ours);
        scene.has(score, what, &scene::ids(&ours), &daemon.journal());
        scene.spares_others(score, what);
        let log = scene.log();
        assert!(
            !log.contains("panic") || log.contains("sled panicked"),
            "{what}: {log}"
        );
        if let Some(said) = log.lines().find(|line| line.contains("could not be used")) {
            self.quarantined += 1;
            let kept = said.split("kept_as: ").nth(1).expect("named");
            let kept = kept.split(", ").next().expect("a name");
            let is_kept = kept == "nothing was left to keep" || fs::symlink_metadata(kept).is_ok();
            assert!(is_kept, "{what}: {said}");
        }
        daemon.kill();
    }

    /// The journal of a newer daemon is refused, and stays as it is; our rules go, unless they are
    /// to be kept.
    #[track_caller]
    pub(crate) fn refuses(&mut self, score: &mut Score, what: &str, harm: impl FnOnce(&Path)) {
        let dir = self.restore();
        harm(&dir);
        let before = fs::read(dir.join("journal.marker")).expect("reads");
        let _ = fs::remove_file(self.scene.log_path());
        let engine = engine_after(STAGES[0]);
        let left = self.scene.ours();
        for (keep, expected) in [(true, &left[..]), (false, &[])] {
            let code = Daemon::start(&self.scene, &engine, keeps(keep)).code();
            score.tried();
            assert_eq!(code, Some(4), "{what}: {}", self.scene.log());
            self.scene.has(score, what, expected, &self.scene.ours());
        }
        self.scene.spares_others(score, what);
        assert_eq!(fs::read(dir.join("journal.marker")).expect("reads"), before);
        let quarantines = names(&dir)
            .into_iter()
            .filter(|name| name.contains("quarantine"));
        assert_eq!(quarantines.count(), 0, "{what}");
        let records = recover::open(&dir, SystemTime::now()).err();
        assert!(
            matches!(records, Some(recover::OpenError::NewerVersion { .. })),
            "{what}: {records:?}"
        );
    }

    /// The last daemon leaves, and nothing is left.
    #[track_caller]
    pub(crate) fn end(&self, score: &mut Score) {
        ready(&self.scene, &engine_after(STAGES[0]), Daemon::leaves);
        self.scene
            .has(score, "left behind", &[], &self.scene.ours());
    }
}

/// Starts a daemon, looks at the kernel when it is ready, and ends it in that way.
#[track_caller]
fn ready<'s>(
    scene: &'s Scene,
    engine: &FakeEngine,
    end: impl FnOnce(&mut Daemon<'s>),
) -> Vec<String> {
    let mut daemon = Daemon::ready(scene, engine, &[]);
    let ours = scene.ours();
    end(&mut daemon);
    ours
}

pub(crate) fn copy(from: &Path, to: &Path) {
    sh(&format!("cp -a {} {}", from.display(), to.display()));
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("lists").flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(name).collect()
}
