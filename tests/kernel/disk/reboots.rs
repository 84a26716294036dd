//! Power cuts under the whole daemon, and the machine's next boot.
//!
//! Daemons live with their state directory on a device that remembers what reached it, while the
//! kernel's rules are listed all the time. A rule that was there was first recorded: whenever the
//! power is cut, its record is on the disk. Then another boot finds that disk, and a kernel that
//! is empty, or one in which somebody has put back the rules that he had saved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use docker_nat66::journal::recover::{OpenError, snapshot_copy};

use super::device::Device;
use super::power::{Cut, History, Mounted};
use super::victim::names;
use crate::life::{self, Orders, STAGES};
use crate::support::backend::Backend;
use crate::support::daemon::End;
use crate::support::draw::Draw;
use crate::support::namespace;
use crate::support::scene::{self, Scene};
use crate::support::score::Score;
use crate::support::shell::sh;
use crate::support::strace::Injected;
use crate::support::torture::{CUTS, SEED, number};

/// Cuts where nobody says how many.
const SAMPLE: u64 = 10;

/// Cuts for each life that is lived before them.
const CUTS_PER_LIFE: u64 = 4;

/// What the kernel tells a process of its boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Notes to the device.
const BEGUN: usize = 0;
const ENDED: usize = 1;
const STAGE: usize = 2;

/// A listing of the kernel's rules.
struct Look {
    /// After this many of the device's events it was about to begin.
    begun: usize,
    /// After this many it had ended.
    ended: usize,
    /// Ids of our rules.
    seen: BTreeSet<String>,
    text: String,
}

/// Looks at the kernel again and again.
struct Watch<'d> {
    device: &'d Device,
    backend: Backend,
    looks: Mutex<Vec<Look>>,
}

impl Watch<'_> {
    fn look(&self) -> BTreeSet<String> {
        let begun = self.device.note(BEGUN);
        let text = listing(self.backend);
        let ended = self.device.note(ENDED);
        let marks = text.split("docker-nat66:").skip(1);
        let ids = marks.filter_map(|rest| rest.get(..16));
        let is_id = |id: &&str| id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let seen: BTreeSet<String> = ids.filter(is_id).map(str::to_owned).collect();
        self.looks.lock().expect("no panic").push(Look {
            begun,
            ended,
            seen: seen.clone(),
            text,
        });
        seen
    }
}

/// Nothing where there is no table.
fn listing(backend: Backend) -> String {
    let mut command = match backend {
        Backend::Ip6tables => Command::new("ip6tables-save"),
        Backend::Nftables => {
            let mut nft = Command::new("nft");
            nft.args(["list", "table", "ip6", "docker_nat66"]);
            nft
        }
    };
    let output = command.output().expect("the tool is installed");
    String::from_utf8(output.stdout).expect("text")
}

/// What somebody does at boot who has saved the rules.
fn put_back(backend: Backend, text: &str) {
    let (program, words, text) = match backend {
        Backend::Ip6tables => ("ip6tables-restore", &[][..], text.to_owned()),
        // nft does not load the flags that it lists.
        Backend::Nftables => {
            let loads = |line: &&str| !line.trim_start().starts_with("flags 0x");
            let lines: Vec<&str> = text.lines().filter(loads).collect();
            ("nft", &["-f", "-"][..], lines.join("\n") + "\n")
        }
    };
    let mut tool = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the tool is installed");
    let mut input = tool.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    assert!(tool.wait().expect("wait").success(), "{text}");
}

/// Shows this namespace's processes another boot id, as long as the value lives.
fn next_boot(dir: &Path) -> Mounted {
    let id = dir.join("boot_id");
    fs::write(&id, "6d2e4b1c-0000-4000-8000-000000000000\n").expect("writes");
    Mounted::file(&id, Path::new(BOOT_ID))
}

/// Ends the watch when it is dropped.
struct Until<'b>(&'b AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lives that were watched.
struct Lived {
    history: History,
    looks: Vec<Look>,
    /// After how many events each stage was complete.
    stages: Vec<(usize, usize)>,
}

impl Lived {
    /// `without_sync`: from its first stage on, no daemon's fsync reaches the disk.
    fn new(scene: &Scene, dir: &Path, lives: u64, without_sync: bool) -> Self {
        let device = Device::new(dir);
        let blank = device.content();
        let _mounted = Mounted::new(device.file(), &scene.state_dir());
        let mut stages = Vec::new();
        let watch = Watch {
            device: &device,
            backend: scene.backend(),
            looks: Mutex::default(),
        };
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _until = Until(&over);
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    watch.look();
                }
            });
            for life in 0..lives {
                let mut injected = None;
                let orders = Orders {
                    kill_at: None,
                    // Every other one leaves its rules to the next.
                    keep: life % 2 == 1,
                };
                let end = life::live(scene, orders, |stage| {
                    stages.push((device.note(STAGE), stage));
                    // Also, no rule comes back unseen that was gone.
                    let seen = watch.look();
                    assert!(seen.into_iter().eq(scene::ids(&scene.ours())));
                    if without_sync && injected.is_none() {
                        let pid = scene.status().expect("it answers").pid;
                        injected = Some(Injected::into(pid, "fsync,fdatasync:retval=0"));
                    }
                });
                assert_eq!(end, End::Left, "{}", scene.log());
                watch.look();
            }
        });
        let looks = watch.looks.into_inner().expect("no panic");
        let history = History {
            blank,
            events: device.events(),
            decisive: Vec::new(),
        };
        let mut lived = Self {
            history,
            looks,
            stages,
        };
        lived.history.decisive = lived.arrivals();
        lived
    }

    /// The first moments at which a rule was in the kernel for certain.
    fn arrivals(&self) -> Vec<usize> {
        let mut moments: Vec<usize> = self.looks.iter().map(|look| look.ended).collect();
        moments.sort_unstable();
        let mut before = BTreeSet::new();
        moments.retain(|moment| {
            let certain = self.certain(*moment);
            let is_first = !certain.is_subset(&before);
            before = certain;
            is_first
        });
        moments
    }

    /// The stage that was complete last.
    fn stage(&self, moment: usize) -> usize {
        let before = self.stages.iter().rev().find(|(at, _)| *at <= moment);
        before.map_or(1, |(_, stage)| *stage)
    }

    /// The last look that was over.
    fn last_look(&self, moment: usize) -> Option<&Look> {
        let over = self.looks.iter().filter(|look| look.ended <= moment);
        over.max_by_key(|look| look.ended)
    }

    /// Ids of rules that were in the kernel for certain: seen before and afterwards, and in every
    /// look between.
    fn certain(&self, moment: usize) -> BTreeSet<String> {
        let Some(before) = self.last_look(moment) else {
            return BTreeSet::new();
        };
        let later = self.looks.iter().filter(|look| look.begun >= moment);
        let Some(after) = later.min_by_key(|look| look.begun) else {
            return BTreeSet::new();
        };
        let between = self
            .looks
            .iter()
            .filter(|look| look.ended >= before.begun && look.begun <= after.ended);
        between.fold(before.seen.clone(), |seen, look| &seen & &look.seen)
    }

    /// Which rules that were in the kernel are not in the journal that a cut has left.
    fn lost(&self, moment: usize, state: &Path, scratch: &Path) -> Result<(), String> {
        let records = match snapshot_copy(state, scratch) {
            Ok(snapshot) => snapshot.records,
            Err(OpenError::Missing(_)) => Vec::new(),
            Err(error) => return Err(error.to_string()),
        };
        let recorded = records.iter().map(|record| record.id().to_string());
        let recorded: BTreeSet<String> = recorded.collect();
        let lost = &self.certain(moment) - &recorded;
        match lost.is_empty() {
            true => Ok(()),
            false => Err(format!("{lost:?} not among {recorded:?}")),
        }
    }
}

/// The next boot after a cut.
fn reboots(
    scene: &Scene,
    lived: &Lived,
    cut: &Cut,
    reference: &BTreeMap<usize, Vec<String>>,
    score: &mut Score,
) {
    let mut kernel = "an empty kernel";
    if cut.number % 2 == 1
        && let Some(look) = lived.last_look(cut.moment)
        && !look.seen.is_empty()
    {
        kernel = "the rules put back";
        put_back(scene.backend(), &look.text);
    }
    let _ = fs::remove_file(scene.log_path());
    let what = format!("power cut at event {}, {kernel}", cut.moment);
    life::recovers(scene, lived.stage(cut.moment), reference, score, &what);
    let log = scene.log();
    assert!(!log.contains("could not be used"), "{what}: {log}");
    let names = names(&scene.state_dir());
    let quarantined = names.iter().any(|name| name.contains("quarantine"));
    assert!(!quarantined, "{what}: {names:?}");
}

fn survives_power_cuts(backend: Backend) {
    let scene = Scene::new(backend);
    let reference = life::reference(&scene);
    sh(&format!("rm -r {}", scene.state_dir().display()));
    let mut score = Score::new(&format!("power cut under the daemon, {backend:?}"));
    // In memory: the disk below is not to be waited for.
    let dir = tempfile::tempdir_in("/run").expect("tempdir");
    let count = number(CUTS, SAMPLE);
    // An odd number: the last one takes its rules with it.
    let lives = (count / CUTS_PER_LIFE) | 1;
    let lived = Lived::new(&scene, dir.path(), lives, false);
    let _boot = next_boot(dir.path());
    let state = scene.state_dir();
    let mut asked = 0;
    let places = [dir.path(), state.as_path()];
    let mut draw = Draw(number(SEED, 66));
    let lost = lived.history.cuts(count, &mut draw, places, |cut| {
        asked += lived.certain(cut.moment).len();
        let outcome = lived.lost(cut.moment, &state, dir.path());
        reboots(&scene, &lived, &cut, &reference, &mut score);
        outcome
    });
    eprintln!("{} looks, {asked} records asked for", lived.looks.len());
    score.lost(lost.len() as u64);
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    assert!(asked > STAGES, "only {asked} records were asked for");
}

#[test]
#[ignore = "needs root, loop devices and FUSE: run by tests/run"]
fn ip6tables_has_no_rule_whose_record_a_power_cut_takes() {
    namespace::fresh(|| survives_power_cuts(Backend::Ip6tables));
}

#[test]
#[ignore = "needs root, loop devices and FUSE: run by tests/run"]
fn nftables_has_no_rule_whose_record_a_power_cut_takes() {
    namespace::fresh(|| survives_power_cuts(Backend::Nftables));
}

/// The proof that the tests above would see it.
#[test]
#[ignore = "needs root, loop devices and FUSE: run by tests/run"]
fn without_its_syncs_a_power_cut_would_take_records_of_rules() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let dir = tempfile::tempdir_in("/run").expect("tempdir");
        let mut lived = Lived::new(&scene, dir.path(), 1, true);
        let suppressed = lived.stages[0].0;
        lived.history.decisive.retain(|moment| *moment > suppressed);
        let state = scene.state_dir();
        let places = [dir.path(), state.as_path()];
        let lost = lived
            .history
            .cuts(4 * SAMPLE, &mut Draw(66), places, |cut| {
                lived.lost(cut.moment, &state, dir.path())
            });
        assert!(lost.len() > 5, "only {lost:?}");
    });
}
