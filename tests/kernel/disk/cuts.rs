//! Power cuts: a journal on an ext4 on a device that may lose what was not flushed.
//!
//! A process of its own makes changes; the device remembers every write and every flush of its
//! cache, and when each change was begun and acknowledged. Afterwards the device is made as a cut
//! would have left it, at moments drawn by lot, is mounted, and the journal opened. What was
//! intended and acknowledged is there; what was only committed or forgotten may be as before.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use docker_nat66::journal::recover;
use docker_nat66::journal::store::Store;

use super::device::{Device, Event};
use super::power::{History, Mounted};
use crate::support::again::again;
use crate::support::change::{Change, Expected, port_of};
use crate::support::draw::Draw;
use crate::support::namespace;
use crate::support::score::Score;
use crate::support::shell::sh;
use crate::support::strace::Injected;
use crate::support::torture::{CUTS, SEED, number};

/// Set for the process that writes: the state directory.
const WRITER: &str = "DOCKER_NAT66_TEST_CUTS_WRITER";

/// Cuts where nobody says how many.
const SAMPLE: u64 = 20;

/// Changes between which the cuts come.
const CHANGES: usize = 150;

/// A command for the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Close the journal and open it.
    Reopen,
    /// Make a change; `anew`: of a journal that is not in its place, and so is built anew.
    Change { change: Change, anew: bool },
}

impl Step {
    fn draw(draw: &mut Draw) -> Self {
        match draw.below(20) {
            0 => Self::Reopen,
            kind => Self::Change {
                change: Change::draw(draw),
                anew: kind == 1,
            },
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Reopen => "reopen".to_owned(),
            Self::Change { change, anew } => {
                format!("{}{}", if *anew { "anew " } else { "" }, change.line())
            }
        }
    }
}

/// The process that writes, until its input ends.
fn write(state: &Path) {
    let open = || {
        recover::open(state, SystemTime::now())
            .expect("opens")
            .store
    };
    let mut journal: Option<Store> = Some(open());
    let mut out = std::io::stdout().lock();
    // A line of its own: the test harness has begun one.
    writeln!(out, "\nack").expect("the parent reads");
    for line in std::io::stdin().lines() {
        let line = line.expect("reads");
        if line == "reopen" {
            drop(journal.take());
            journal = Some(open());
        } else {
            let (line, anew) = match line.strip_prefix("anew ") {
                Some(line) => (line, true),
                None => (line.as_str(), false),
            };
            let covered = anew.then(|| Covered::new(state));
            Change::parse(line).perform(journal.as_mut().expect("open"));
            drop(covered);
        }
        writeln!(out, "ack").expect("the parent reads");
    }
}

/// Another file mounted over the database: to the journal its own is gone, and nothing is written
/// to the disk by that.
struct Covered(PathBuf);

impl Covered {
    fn new(state: &Path) -> Self {
        let database = state.join("journal/db");
        sh(&format!(
            "mount --bind /proc/self/status {}",
            database.display()
        ));
        Self(state.to_owned())
    }
}

impl Drop for Covered {
    fn drop(&mut self) {
        // It went along with the directory.
        for entry in fs::read_dir(&self.0).expect("lists").flatten() {
            let database = entry.path().join("db");
            if database.exists() {
                let _ = Command::new("umount").arg("-q").arg(database).status();
            }
        }
    }
}

/// The writer, seen from outside; killed when it is dropped.
struct Writer {
    child: Child,
    input: ChildStdin,
    lines: Box<dyn Iterator<Item = std::io::Result<String>>>,
}

impl Writer {
    fn start(test: &impl Fn(), state: &Path) -> Self {
        let mut child = again(test)
            .env(WRITER, state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let input = child.stdin.take().expect("piped");
        Self {
            child,
            input,
            lines: Box::new(lines),
        }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the writer reads");
    }

    fn hears(&mut self) {
        let mut lines = self.lines.by_ref().map(|line| line.expect("reads"));
        assert!(lines.any(|line| line == "ack"), "the writer has ended");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was written, and what should be in the journal after each step.
struct Written {
    history: History,
    steps: Vec<Step>,
    /// After so many steps.
    states: Vec<Expected>,
}

impl Written {
    /// Notes: twice the number of a step when it is begun, and one more when it is acknowledged.
    fn new(test: &impl Fn(), dir: &Path, draw: &mut Draw, without_sync: bool) -> Self {
        let device = Device::new(dir);
        let blank = device.content();
        let _mounted = Mounted::new(device.file(), &dir.join("mounted"));
        let mut writer = Writer::start(test, &dir.join("mounted/state"));
        writer.hears();
        let without_sync =
            without_sync.then(|| Injected::into(writer.child.id(), "fsync,fdatasync:retval=0"));
        let first = device.events().len();
        let (mut steps, mut states) = (Vec::new(), vec![Expected::new()]);
        for number in 0..CHANGES {
            let step = Step::draw(draw);
            device.note(2 * number);
            writer.tell(&step.line());
            writer.hears();
            device.note(2 * number + 1);
            let mut state = states.last().expect("not empty").clone();
            if let Step::Change { change, .. } = &step {
                change.apply(&mut state);
            }
            steps.push(step);
            states.push(state);
        }
        drop(without_sync);
        drop(writer);
        let events = device.events();
        assert!(events.len() > first);
        // Right after each acknowledgement.
        let acknowledged = |event: &Event| matches!(event, Event::Note(note) if note % 2 == 1);
        let decisive = (1..=events.len()).filter(|after| acknowledged(&events[after - 1]));
        let decisive = decisive.collect();
        Self {
            history: History {
                blank,
                events,
                decisive,
            },
            steps,
            states,
        }
    }

    /// After which steps the journal may be, at the least and at the most.
    fn allowed(&self, moment: usize) -> (usize, usize) {
        let (mut durable, mut begun) = (0, 0);
        for event in &self.history.events[..moment] {
            let Event::Note(note) = event else { continue };
            let number = note / 2;
            if note % 2 == 0 {
                begun = number + 1;
                continue;
            }
            durable = match &self.steps[number] {
                Step::Reopen => number + 1,
                Step::Change { change, .. } if change.kind == "intend" => number + 1,
                // A change that changes nothing is no reason to build.
                Step::Change { anew: true, .. }
                    if self.states[number] != self.states[number + 1] =>
                {
                    number
                }
                Step::Change { .. } => durable,
            };
        }
        (durable, begun)
    }

    /// What is wrong with the journal after a cut.
    fn check(&self, moment: usize, state: &Path) -> Result<(), String> {
        let opened = recover::open(state, SystemTime::now()).map_err(|e| e.to_string())?;
        if let Some(quarantined) = opened.quarantined {
            return Err(format!("quarantined: {}", quarantined.reason));
        }
        let records = opened.records.iter();
        let found: Expected = records
            .map(|record| (port_of(record), record.state))
            .collect();
        let (durable, begun) = self.allowed(moment);
        let allowed = &self.states[durable..=begun];
        if allowed.contains(&found) {
            return Ok(());
        }
        let earlier = self.states.iter().position(|state| *state == found);
        Err(format!(
            "after step {durable} to {begun}, found what was after {earlier:?}: {found:?} instead \
             of {:?}",
            allowed[0]
        ))
    }
}

/// What cuts have done to the journal, one line for each that lost something.
fn cuts(
    test: &impl Fn(),
    count: u64,
    without_sync: bool,
    mut recovered: impl FnMut(Duration),
) -> Vec<String> {
    // In memory: the disk below is not to be waited for.
    let dir = tempfile::tempdir_in("/run").expect("tempdir");
    let mut draw = Draw(number(SEED, 66));
    let written = Written::new(test, dir.path(), &mut draw, without_sync);
    let after = dir.path().join("after");
    let places = [dir.path(), after.as_path()];
    written.history.cuts(count, &mut draw, places, |cut| {
        let begun = Instant::now();
        let outcome = written.check(cut.moment, &after.join("state"));
        recovered(begun.elapsed());
        outcome
    })
}

#[test]
#[ignore = "needs root, loop devices and FUSE: run by tests/run"]
fn no_acknowledged_record_is_lost_by_a_power_cut() {
    namespace::fresh(|| {
        if let Some(state) = std::env::var_os(WRITER) {
            return write(Path::new(&state));
        }
        let mut score = Score::new("power cut");
        let test = &no_acknowledged_record_is_lost_by_a_power_cut;
        let lost = cuts(test, number(CUTS, SAMPLE), false, |took| {
            score.recovered(took);
        });
        score.lost(lost.len() as u64);
        assert!(lost.is_empty(), "{}", lost.join("\n"));
    });
}

/// The proof that the test above would see it.
#[test]
#[ignore = "needs root, loop devices and FUSE: run by tests/run"]
fn without_its_syncs_a_power_cut_would_lose_records() {
    namespace::fresh(|| {
        if let Some(state) = std::env::var_os(WRITER) {
            return write(Path::new(&state));
        }
        let test = &without_its_syncs_a_power_cut_would_lose_records;
        let lost = cuts(test, SAMPLE, true, |_| {});
        assert!(lost.len() > 5, "only {lost:?}");
    });
}
