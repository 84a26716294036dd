//! Kills a journal's writer at random and looks at what is left.
//!
//! The writer is this test's own binary, started again with an environment variable. It makes
//! changes drawn from a seeded sequence, says before each what it will try and after each that it
//! was acknowledged. The parent kills it with SIGKILL at a random moment (also while the journal is
//! being opened or rebuilt), opens the journal itself and compares: all acknowledged changes are
//! there, and of the one that was being made either all or nothing, in the records and in the history.
//!
//! SIGKILL leaves the page cache alone; what a power cut does is not shown here.
//! `DOCKER_NAT66_SEED` repeats a run's draws, though not its timing.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use docker_nat66::journal::history::cause::Cause;
use docker_nat66::journal::recover;
use docker_nat66::journal::store::Store;

use crate::support::again::again;
use crate::support::change::{Change, Expected, port_of};
use crate::support::draw::Draw;

const WRITER_DIR: &str = "DOCKER_NAT66_TORTURE_DIR";
const WRITER_SEED: &str = "DOCKER_NAT66_TORTURE_SEED";
/// Journals that are tortured side by side, and kills of each.
const LANES: u64 = 4;
const KILLS: u64 = 80;
/// Puts a copy of the database's file into its place, so that the store finds its own gone and
/// builds a new database: kills are to come upon that, too. Whole at every moment.
fn exchange_database(dir: &Path) {
    let (db, copy) = (dir.join("journal/db"), dir.join("journal/copy"));
    std::fs::copy(&db, &copy).expect("copies");
    std::fs::rename(&copy, &db).expect("renames");
}

/// The writer's process: makes changes until it is killed.
fn write_for_ever(dir: &Path, seed: u64) {
    let mut draw = Draw(seed);
    let mut journal = recover::open(dir, SystemTime::now()).expect("opens").store;
    journal.because(Cause::Leaving, 2);
    // not println: it goes through the test harness
    let mut out = std::io::stdout().lock();
    loop {
        let change = Change::draw(&mut draw);
        if draw.below(15) == 0 {
            exchange_database(dir);
        }
        writeln!(out, "\ntry {}", change.line()).expect("the parent reads");
        out.flush().expect("the parent reads");
        change.perform(&mut journal);
        writeln!(out, "\nack").expect("the parent reads");
        out.flush().expect("the parent reads");
    }
}

/// Kills the child, and reaps it, whatever becomes of the test.
struct Writer(Child);

impl Writer {
    fn start(dir: &Path, seed: u64) -> Self {
        let child = again(&no_acknowledged_change_is_lost_by_a_kill)
            .env(WRITER_DIR, dir)
            .env(WRITER_SEED, seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("starts"))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the parent knows of one journal.
#[derive(Default)]
struct Known {
    /// What must be there, by all that was acknowledged.
    expected: Expected,
    /// How many ports were closed, each of which makes an entry of the history.
    closed: u64,
    /// The change that was begun and not acknowledged.
    tried: Option<Change>,
    acknowledged: u64,
}

impl Known {
    fn read(&mut self, line: &str) {
        if let Some(change) = line.strip_prefix("try ") {
            self.tried = Some(Change::parse(change));
        } else if line == "ack" {
            let change = self.tried.take().expect("tried before it was acknowledged");
            self.closed += change.closes(&self.expected);
            change.apply(&mut self.expected);
            self.acknowledged += 1;
        }
    }

    /// Lets a writer work on the journal and kills it.
    fn run_and_kill(&mut self, dir: &Path, draw: &mut Draw) {
        let mut writer = Writer::start(dir, draw.next());
        let pipe = writer.0.stdout.take().expect("piped");
        // a quarter of the kills come at any time after the start, while the journal is opened
        let early = draw.below(4) == 0;
        let until = self.acknowledged + if early { 0 } else { 1 + draw.below(40) };
        let delay = Duration::from_micros(draw.below(if early { 20_000 } else { 1_500 }));
        // a line may be cut by the kill: only whole ones count, and a cut "ack" proves nothing
        let mut lines = BufReader::new(pipe).split(b'\n');
        while self.acknowledged < until {
            let line = lines.next().expect("the writer lives").expect("reads");
            self.read(&String::from_utf8_lossy(&line));
        }
        // the random moment itself, not a wait for anything
        std::thread::sleep(delay);
        writer.0.kill().expect("kills");
        writer.0.wait().expect("reaps");
        let mut rest = Vec::new();
        for line in lines {
            rest.push(String::from_utf8_lossy(&line.expect("reads")).into_owned());
        }
        for line in rest {
            self.read(&line);
        }
    }

    /// Opens the journal and compares it with what is known.
    fn check(&mut self, dir: &Path) -> Result<(), String> {
        let opened = recover::open(dir, SystemTime::now()).map_err(|e| format!("open: {e}"))?;
        if let Some(quarantined) = opened.quarantined {
            return Err(format!("quarantined: {quarantined:?}"));
        }
        let found: Expected = opened
            .records
            .iter()
            .map(|record| (port_of(record), record.state))
            .collect();
        let tried = self.tried.take();
        let mut with_tried = self.expected.clone();
        let mut closed_with_tried = self.closed;
        if let Some(change) = &tried {
            closed_with_tried += change.closes(&with_tried);
            change.apply(&mut with_tried);
        }
        let history = history(&opened.store)?;
        // Records and history change together, or not at all.
        let whole = [
            (&self.expected, self.closed),
            (&with_tried, closed_with_tried),
        ];
        if !whole.contains(&(&found, history)) {
            return Err(format!(
                "after {} acknowledged changes, while trying {tried:?}:\nexpected {whole:?}\n\
                 found    {found:?}, {history}",
                self.acknowledged
            ));
        }
        self.closed = history;
        self.expected = found;
        Ok(())
    }
}

/// How many entries the history of a journal has had, after a check of its seals.
fn history(journal: &Store) -> Result<u64, String> {
    let read = |after| {
        journal
            .history_after(after)
            .map_err(|e| format!("history: {e}"))
    };
    let mut history = read(0)?;
    loop {
        let last = history.entries.last().map_or(0, |(number, _)| *number);
        let page = read(last)?;
        if page.entries.is_empty() {
            break;
        }
        history.entries.extend(page.entries);
    }
    match history.broken() {
        None => Ok(history.head.number),
        Some(how) => Err(format!("history: {how}")),
    }
}

/// One journal, killed again and again; returns the number of acknowledged changes.
fn torture(dir: &Path, seed: u64) -> Result<u64, String> {
    let mut draw = Draw(seed);
    let mut known = Known::default();
    for kill in 1..=KILLS {
        known.run_and_kill(dir, &mut draw);
        known
            .check(dir)
            .map_err(|error| format!("kill {kill}: {error}"))?;
    }
    Ok(known.acknowledged)
}

fn seed() -> u64 {
    match std::env::var("DOCKER_NAT66_SEED") {
        Ok(seed) => seed.parse().expect("DOCKER_NAT66_SEED is a number"),
        Err(_) => SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970")
            .as_nanos() as u64,
    }
}

#[test]
fn no_acknowledged_change_is_lost_by_a_kill() {
    if let Some(dir) = std::env::var_os(WRITER_DIR) {
        let seed = std::env::var(WRITER_SEED).expect("set beside it");
        write_for_ever(&PathBuf::from(dir), seed.parse().expect("a number"));
        return;
    }
    let seed = seed();
    println!("seed {seed}: repeat with DOCKER_NAT66_SEED={seed}");
    let state = tempfile::tempdir().expect("tempdir");
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let dir = state.path().join(format!("lane-{lane}"));
            std::thread::spawn(move || torture(&dir, seed.wrapping_add(lane)))
        })
        .collect();
    let results: Vec<_> = lanes
        .into_iter()
        .map(std::thread::JoinHandle::join)
        .collect();
    let mut acknowledged = 0;
    for (lane, result) in results.into_iter().enumerate() {
        match result.expect("the lane itself is sound") {
            Ok(changes) => acknowledged += changes,
            Err(error) => {
                let kept = state.keep();
                panic!(
                    "seed {seed}, lane {lane}: {error}\nkept: {}",
                    kept.display()
                );
            }
        }
    }
    println!(
        "{} kills, {acknowledged} acknowledged changes",
        LANES * KILLS
    );
    assert!(acknowledged >= LANES * KILLS, "only {acknowledged} changes");
}
