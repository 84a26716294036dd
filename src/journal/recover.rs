//! Opens the journal in whatever state a crash or damage has left it.
//!
//! ```text
//!   journal   marker       outcome
//!   none      none         first start: both are created
//!   sound     none         the first start was interrupted: the marker is created
//!   sound     not ahead    the usual case
//!   sound     ahead of it  rolled back: quarantined
//!   none      present      vanished: a new one is created, and this is reported
//!   damaged   any          quarantined
//!   newer     any          left unchanged, and refused
//!   any       newer        left unchanged, and refused
//! ```
//!
//! An empty journal with a higher generation replaces a quarantined one; it has that one's history, as
//! far as that could be read. No rule is lost by that:
//! applied is the journal *and* everything of ours in the kernel. An error of the system (a full,
//! read-only, forbidden or failing disk) is never treated as damage: nothing is moved, and the same
//! call may succeed later. One exception: if a full disk has no room to open the journal, but the
//! journal's own space suffices, it is rewritten there with all its records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use super::error::OpenError;
use super::history::closing::Loss;
use super::history::past::StoredHistory;
use super::layout::{self, OPENS_BEFORE_DISTRUST, StateDir};
use super::marker::{self, Found, Marker};
use super::record::Record;
use super::store::{self, Database, LaterStates, Store};
use crate::model::rule::RuleId;

mod examine;
mod load;
mod snapshot;

pub(crate) use self::examine::{Examined, examine};
use self::load::{LoadError, Loaded, load, newer};
pub use self::snapshot::{Snapshot, snapshot_copy};

/// An open journal, and what opening it found.
pub struct Opened {
    /// The journal.
    pub store: Store,
    /// Its records.
    pub records: Vec<Record>,
    /// The previous journal, if it could not be used.
    pub quarantined: Option<Quarantined>,
    /// What the history has lost by that.
    pub loss: Option<Loss>,
}

/// A journal that could not be used.
#[derive(Debug)]
pub struct Quarantined {
    /// Its new path; `None` if it had vanished.
    pub path: Option<PathBuf>,
    /// What was wrong with it.
    pub reason: String,
    /// Its records that are intact by themselves. They may be of any age: they only hint at the owner
    /// of a rule found in the kernel, and are never a reason to insert one. The new journal does not
    /// contain them.
    pub salvaged: Vec<Record>,
}

/// Creates the state directory if it is missing, and makes sure that it is fit for a journal: ours or
/// root's, mode 0700, no symbolic link. Call it before taking the directory's lock.
///
/// # Errors
/// [`OpenError`]; nothing was retried.
pub(crate) fn prepare_dir(state_dir: &Path) -> Result<(), OpenError> {
    StateDir::prepare(state_dir).map(drop)
}

/// Opens the journal in `state_dir`, and creates it if it is missing. `now` becomes part of a
/// quarantine's name. The caller holds the state directory's lock.
///
/// # Errors
/// [`OpenError`]; the state directory's files are then unchanged, except for its mode. Nothing was
/// retried, except that a predecessor gets 2 s to close the database.
pub fn open(state_dir: &Path, now: SystemTime) -> Result<Opened, OpenError> {
    let dir = StateDir::prepare(state_dir)?;
    let found = marker::read(&dir)?;
    if let Found::NewerVersion(version) = found {
        return Err(newer(version));
    }
    dir.settle()?;
    let unended = dir.note_opening();
    let opened = open_settled(&dir, found, unended, now);
    dir.note_opened();
    opened
}

fn open_settled(
    dir: &StateDir,
    found: Found,
    unended: u64,
    now: SystemTime,
) -> Result<Opened, OpenError> {
    let journal = dir.journal();
    let reached = match found {
        Found::Generation(generation) => Some(generation),
        _ => None,
    };
    let nothing = (Vec::new(), None);
    let (reason, (salvaged, history)) = if !layout::exists(&journal)? {
        if found == Found::Nothing {
            return start_anew(dir, 1, None, (Default::default(), None), now);
        }
        ("the database has vanished".to_owned(), nothing)
    } else if unended >= OPENS_BEFORE_DISTRUST {
        let reason = format!("{unended} attempts to open it never ended");
        (reason, nothing)
    } else {
        match load(&journal, reached) {
            Ok(loaded) => return resume(dir, loaded, now),
            Err(LoadError::Damaged {
                reason,
                salvaged,
                history,
            }) => (reason, (salvaged, history)),
            Err(LoadError::NewerVersion(version)) => return Err(newer(version)),
            Err(LoadError::Refused(error)) => {
                return match store::refusal("opening", &journal, error) {
                    refusal @ OpenError::NoSpace { .. } => open_on_full_disk(dir, refusal, now),
                    refusal => Err(refusal),
                };
            }
        }
    };
    let path = if layout::exists(&journal)? {
        Some(dir.quarantine(&journal, now)?)
    } else {
        None
    };
    let history = history.map_or_else(StoredHistory::default, |history| *history);
    let (history, loss) = history.salvaged(seconds(now), &reason);
    let history = (history, Some(loss));
    let quarantined = Quarantined {
        path,
        reason,
        salvaged,
    };
    let generation = reached.unwrap_or(0).saturating_add(1);
    start_anew(dir, generation, Some(quarantined), history, now)
}

/// File systems in memory, which have room even if the disk is full (hier(7), shm_overview(7)).
const RUNTIME: &str = "/run/docker-nat66";
const SHM: &str = "/dev/shm";

/// Opens a sound journal on a full disk: reads its records from a copy elsewhere, and rewrites it in
/// its own space.
fn open_on_full_disk(
    dir: &StateDir,
    refusal: OpenError,
    now: SystemTime,
) -> Result<Opened, OpenError> {
    let places = [
        PathBuf::from(RUNTIME),
        PathBuf::from(SHM),
        std::env::temp_dir(),
    ];
    let copy = |scratch: &PathBuf| snapshot_copy(dir.path(), scratch).ok();
    let Some(copy) = places.iter().find_map(copy) else {
        return Err(refusal);
    };
    let records: BTreeMap<RuleId, Record> = copy.records.into_iter().map(|r| (r.id(), r)).collect();
    let generation = copy.generation + 1;
    let at = seconds(now);
    let filled = store::fill_in_place(dir, &records, &copy.history, generation, at);
    let loss = filled.unwrap_or(Err(refusal))?;
    if let Some(emptied) = dir.replace()? {
        dir.discard(&emptied)?;
    }
    let opened = open_new(dir, records, generation, now)?;
    Ok(Opened { loss, ..opened })
}

fn seconds(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn start_anew(
    dir: &StateDir,
    generation: u64,
    quarantined: Option<Quarantined>,
    (history, loss): (StoredHistory, Option<Loss>),
    now: SystemTime,
) -> Result<Opened, OpenError> {
    store::build(dir, &BTreeMap::new(), &history, generation)?;
    let opened = open_new(dir, BTreeMap::new(), generation, now)?;
    Ok(Opened {
        quarantined,
        loss,
        ..opened
    })
}

/// Opens the database that was just created with these records.
fn open_new(
    dir: &StateDir,
    records: BTreeMap<RuleId, Record>,
    generation: u64,
    now: SystemTime,
) -> Result<Opened, OpenError> {
    let journal = dir.journal();
    let database =
        Database::open(&journal).map_err(|error| store::refusal("opening", &journal, error))?;
    let history = store::ends(&database).map_err(|e| store::refusal("reading", &journal, e))?;
    let loaded = Loaded {
        database,
        records,
        later: LaterStates::default(),
        history,
        generation,
    };
    resume(dir, loaded, now)
}

fn resume(dir: &StateDir, loaded: Loaded, now: SystemTime) -> Result<Opened, OpenError> {
    let Loaded {
        database,
        records,
        later,
        history,
        generation,
    } = loaded;
    // A killed predecessor may only have flushed; the generation must be on disk before the marker
    // records it.
    database
        .sync()
        .map_err(|error| store::refusal("syncing", &dir.journal(), error))?;
    layout::sync_dir(&dir.journal())?;
    let marker = Marker::write(dir, generation)?;
    let listed = records.values().cloned().collect();
    Ok(Opened {
        store: Store::new(
            dir.clone(),
            database,
            marker,
            (records, later, history),
            generation,
            now,
        ),
        records: listed,
        quarantined: None,
        loss: None,
    })
}

#[cfg(test)]
mod tests;
