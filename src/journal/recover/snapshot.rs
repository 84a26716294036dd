//! Reads a journal that no daemon has open, from a copy: sled writes whenever it opens a database.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::load::{LoadError, load, newer};
use crate::journal::error::OpenError;
use crate::journal::history::past::StoredHistory;
use crate::journal::layout::{self, StateDir};
use crate::journal::marker::{self, Found};
use crate::journal::record::Record;
use crate::journal::store;

/// What a journal held when it was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its records, by id.
    pub records: Vec<Record>,
    /// What was open before.
    pub history: StoredHistory,
    /// Its generation.
    pub generation: u64,
}

/// Copies the journal in `state_dir` to a private directory below `scratch`, reads the copy and
/// removes it. Writes nothing to the state directory, whose lock the caller holds.
///
/// # Errors
/// [`OpenError`]: besides the reasons of [`super::open`], [`OpenError::Missing`] where there is
/// no journal and [`OpenError::Damaged`] where it is damaged. Nothing was retried.
pub fn snapshot_copy(state_dir: &Path, scratch: &Path) -> Result<Snapshot, OpenError> {
    let dir = StateDir::existing(state_dir)?;
    let damaged = |reason: String| OpenError::Damaged {
        path: state_dir.to_owned(),
        reason,
    };
    let found = marker::read(&dir)?;
    let reached = match found {
        Found::NewerVersion(version) => return Err(newer(version)),
        Found::Generation(generation) => Some(generation),
        Found::Nothing | Found::Unreadable => None,
    };
    let Some(source) = dir.current()? else {
        return Err(match found {
            Found::Nothing => OpenError::Missing(state_dir.to_owned()),
            _ => damaged("the database has vanished".to_owned()),
        });
    };
    let copy = Scratch::new(scratch)?;
    let copied = copy.0.join("journal");
    copy_database(&source, &copied).map_err(|error| match error {
        CopyError::Shape(reason) => damaged(reason),
        CopyError::System(error) => error,
    })?;
    match load(&copied, reached) {
        Ok(loaded) => Ok(Snapshot {
            history: store::stored(&loaded.database)
                .map_err(|error| store::refusal("reading", &copied, error))?,
            records: loaded.records.into_values().collect(),
            generation: loaded.generation,
        }),
        Err(LoadError::NewerVersion(version)) => Err(newer(version)),
        Err(LoadError::Damaged { reason, .. }) => Err(damaged(reason)),
        Err(LoadError::Refused(error)) => Err(store::refusal("opening", &copied, error)),
    }
}

/// A private directory, removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Self, OpenError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("docker-nat66-copy.{}.{number}", std::process::id());
            let path = parent.join(name);
            // mkdir follows no link and fails for an existing name, which belongs to another
            // process: try the next.
            match layout::make_private(&path) {
                Err(OpenError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(path)),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

enum CopyError {
    /// It contains something that is not a file of a database.
    Shape(String),
    System(OpenError),
}

/// Copies the files of a database, including those in its directory `blobs`.
fn copy_database(from: &Path, to: &Path) -> Result<(), CopyError> {
    let failed = |path: &Path, error: io::Error| {
        if crate::journal::error::is_damage(&error) {
            CopyError::Shape(format!("{}: {error}", path.display()))
        } else {
            CopyError::System(OpenError::io("copying", path, error))
        }
    };
    layout::make_private(to).map_err(CopyError::System)?;
    for entry in fs::read_dir(from).map_err(|e| failed(from, e))? {
        let entry = entry.map_err(|e| failed(from, e))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(|e| failed(&path, e))?;
        if kind.is_dir() && entry.file_name() == "blobs" {
            copy_database(&path, &target)?;
        } else if kind.is_file() {
            copy_file(&path, &target).map_err(|e| failed(&path, e))?;
        } else {
            let reason = format!("{} does not belong there", path.display());
            return Err(CopyError::Shape(reason));
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(from)?;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    io::copy(&mut source, &mut target).map(|_| ())
}

#[cfg(test)]
pub(super) mod tests {
    /// Copies a closed database.
    pub(in crate::journal::recover) fn copy(from: &std::path::Path, to: &std::path::Path) {
        assert!(super::copy_database(from, to).is_ok());
    }
}
