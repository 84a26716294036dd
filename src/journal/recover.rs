//! Opens the journal, whatever state the disk is in.
//!
//! ```text
//!   journal   marker      answer
//!   none      none        a first start: made
//!   sound     none        the first start was cut short: marker made
//!   sound     behind it   the usual case
//!   sound     ahead of it rolled back: quarantined
//!   none      there       vanished: a new one, and it is said
//!   damaged   any         quarantined
//!   newer     any         left as it is, and refused
//!   any       newer       left as it is, and refused
//! ```
//!
//! A quarantined journal is replaced by an empty one with a higher generation. That loses no
//! rule: applied is the journal *and* everything of ours in the kernel. An error of the system
//! (a full, read-only, forbidden or failing disk) is never taken for damage: nothing is moved,
//! and the same call may succeed later. Only where a full disk has no room to open it, and its own
//! room suffices, the journal is written anew in its place, with all that it holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use super::error::OpenError;
use super::layout::{self, OPENS_BEFORE_DISTRUST, StateDir};
use super::marker::{self, Found, Marker};
use super::record::Record;
use super::store::{self, Database, Store};
use crate::model::rule::RuleId;

mod load;
mod snapshot;

use self::load::{LoadError, Loaded, load, newer};
pub use self::snapshot::{Snapshot, snapshot_copy};

/// An open journal, and what was found.
pub struct Opened {
    /// The journal.
    pub store: Store,
    /// Its records.
    pub records: Vec<Record>,
    /// Set when the journal that stood there could not be used.
    pub quarantined: Option<Quarantined>,
}

/// A journal that could not be used.
#[derive(Debug)]
pub struct Quarantined {
    /// Where it is kept; `None` where it had vanished.
    pub path: Option<PathBuf>,
    /// What was wrong with it.
    pub reason: String,
    /// Records of it that are whole by themselves. They may be of any age: a hint as to which
    /// container a rule in the kernel belonged to, and never a reason to insert one. They are
    /// not in the new journal.
    pub salvaged: Vec<Record>,
}

/// Makes the state directory where it is missing, and makes sure that it is fit for a journal:
/// ours or root's, mode 0700, no symbolic link. To be called before its lock is taken.
///
/// # Errors
/// [`OpenError`]; nothing was retried.
pub fn prepare_dir(state_dir: &Path) -> Result<(), OpenError> {
    StateDir::prepare(state_dir).map(drop)
}

/// Opens the journal in `state_dir`, made where it is missing. `now` names what is quarantined.
/// The caller holds the state directory's lock.
///
/// # Errors
/// [`OpenError`]; the state directory's files are then as they were, but for its mode. Nothing
/// was retried, except that a closing predecessor's lock is waited for (2 s).
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
    let (reason, salvaged) = if !layout::exists(&journal)? {
        if found == Found::Nothing {
            return start_anew(dir, 1, None, now);
        }
        ("the database has vanished".to_owned(), Vec::new())
    } else if unended >= OPENS_BEFORE_DISTRUST {
        let reason = format!("opening it was begun {unended} times and never ended");
        (reason, Vec::new())
    } else {
        match load(&journal, reached) {
            Ok(loaded) => return resume(dir, loaded, now),
            Err(LoadError::Damaged { reason, salvaged }) => (reason, salvaged),
            Err(LoadError::NewerVersion(version)) => return Err(newer(version)),
            Err(LoadError::Refused(error)) => {
                return match store::refusal("opening", &journal, error) {
                    refusal @ OpenError::NoSpace { .. } => open_in_its_room(dir, refusal, now),
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
    let quarantined = Quarantined {
        path,
        reason,
        salvaged,
    };
    let generation = reached.unwrap_or(0).saturating_add(1);
    start_anew(dir, generation, Some(quarantined), now)
}

/// Memory's own file systems, which are not full where the disk is (hier(7), shm_overview(7)).
const RUNTIME: &str = "/run/docker-nat66";
const SHM: &str = "/dev/shm";

/// A sound journal that needs room to be opened, where only it has any: what it holds is read from
/// a copy elsewhere, and written anew in its place.
fn open_in_its_room(
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
    store::fill_in_place(dir, &records, generation).unwrap_or(Err(refusal))?;
    if let Some(emptied) = dir.replace()? {
        dir.discard(&emptied)?;
    }
    open_new(dir, records, generation, now)
}

fn start_anew(
    dir: &StateDir,
    generation: u64,
    quarantined: Option<Quarantined>,
    now: SystemTime,
) -> Result<Opened, OpenError> {
    store::build(dir, &BTreeMap::new(), generation)?;
    let opened = open_new(dir, BTreeMap::new(), generation, now)?;
    Ok(Opened {
        quarantined,
        ..opened
    })
}

/// Opens the database that was just made of these records.
fn open_new(
    dir: &StateDir,
    records: BTreeMap<RuleId, Record>,
    generation: u64,
    now: SystemTime,
) -> Result<Opened, OpenError> {
    let journal = dir.journal();
    let database =
        Database::open(&journal).map_err(|error| store::refusal("opening", &journal, error))?;
    let loaded = Loaded {
        database,
        records,
        generation,
    };
    resume(dir, loaded, now)
}

fn resume(dir: &StateDir, loaded: Loaded, now: SystemTime) -> Result<Opened, OpenError> {
    let Loaded {
        database,
        records,
        generation,
    } = loaded;
    // what a killed predecessor had only flushed must be on disk before the marker says so
    database
        .sync()
        .map_err(|error| store::refusal("syncing", &dir.journal(), error))?;
    layout::sync_dir(&dir.journal())?;
    let marker = Marker::write(dir, generation)?;
    let listed = records.values().cloned().collect();
    Ok(Opened {
        store: Store::new(dir.clone(), database, marker, records, generation, now),
        records: listed,
        quarantined: None,
    })
}

#[cfg(test)]
mod tests;
