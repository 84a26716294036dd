//! The journal's files in the state directory, and how a new database safely replaces the old one.
//!
//! ```text
//!   journal/                     the database
//!   journal.marker               says that a database exists, and which generation it reached
//!   journal.new/                 a new database; complete once `journal` is gone
//!   journal.old/                 the database that it replaces
//!   journal.opening              one byte per open that has not ended
//!   journal.quarantine-<time>/   a damaged database; the last three are kept
//! ```
//!
//! A replacement takes three steps: `journal` is renamed to `journal.old`, `journal.new` to `journal`,
//! and `journal.old` is removed. [`StateDir::settle`] finishes one that a crash interrupted. The
//! journal touches nothing else in the directory.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::OpenError;
use crate::sys::failpoint;

/// How many damaged journals are kept.
const QUARANTINES_KEPT: usize = 3;

/// After this many opens in a row that ended neither well nor with an error, the database counts as
/// damaged: damage can make sled's own threads crash the process, and the supervisor would restart it
/// for ever. The number leaves room for a few stray `kill -9`.
pub(super) const OPENS_BEFORE_DISTRUST: u64 = 5;

const QUARANTINE_PREFIX: &str = "journal.quarantine-";
/// Mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// The state directory, checked.
#[derive(Debug, Clone)]
pub(super) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Checks the state directory, creates it and its parents if they are missing, and removes the
    /// access rights of everybody but its owner.
    pub(super) fn prepare(path: &Path) -> Result<Self, OpenError> {
        create(path)?;
        let (dir, this) = Self::examine(path)?;
        let mode = dir
            .metadata()
            .map_err(|e| OpenError::io("reading", path, e))?
            .mode();
        if mode & OTHERS != 0 {
            dir.set_permissions(Permissions::from_mode(0o700))
                .map_err(|e| OpenError::io("restricting access to", path, e))?;
        }
        Ok(this)
    }

    /// Checks an existing state directory, and changes nothing.
    pub(super) fn existing(path: &Path) -> Result<Self, OpenError> {
        match Self::examine(path) {
            Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(OpenError::Missing(path.to_owned()))
            }
            other => other.map(|(_, this)| this),
        }
    }

    fn examine(path: &Path) -> Result<(File, Self), OpenError> {
        let named = fs::symlink_metadata(path).map_err(|e| OpenError::io("reading", path, e))?;
        if named.is_symlink() {
            return Err(OpenError::Symlink(path.to_owned()));
        }
        if !named.is_dir() {
            return Err(OpenError::NotADirectory(path.to_owned()));
        }
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
            .open(path);
        let dir = opened.map_err(|e| OpenError::io("opening", path, e))?;
        let uid = dir
            .metadata()
            .map_err(|e| OpenError::io("reading", path, e))?
            .uid();
        if uid != 0 && uid != rustix::process::geteuid().as_raw() {
            let path = path.to_owned();
            return Err(OpenError::ForeignOwner { path, uid });
        }
        let path = path.to_owned();
        Ok((dir, Self { path }))
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    pub(super) fn marker(&self) -> PathBuf {
        self.path.join("journal.marker")
    }

    pub(super) fn new_journal(&self) -> PathBuf {
        self.path.join("journal.new")
    }

    pub(super) fn old_journal(&self) -> PathBuf {
        self.path.join("journal.old")
    }

    fn opening(&self) -> PathBuf {
        self.path.join("journal.opening")
    }

    /// Makes all renames in the directory survive a power cut.
    pub(super) fn sync(&self) -> Result<(), OpenError> {
        sync_dir(&self.path)
    }

    /// Finishes or undoes a replacement that a crash interrupted.
    pub(super) fn settle(&self) -> Result<(), OpenError> {
        let journal = self.journal();
        match self.current()? {
            Some(heir) if heir != journal => {
                rename(&heir, &journal)?;
                self.sync()?;
            }
            _ => {}
        }
        remove(&self.new_journal())?;
        remove(&self.old_journal())
    }

    /// The path of the database; not `journal` if a crash interrupted a replacement.
    pub(super) fn current(&self) -> Result<Option<PathBuf>, OpenError> {
        let (journal, new, old) = (self.journal(), self.new_journal(), self.old_journal());
        Ok(if exists(&journal)? {
            Some(journal)
        } else if !exists(&old)? {
            None
        } else if exists(&new)? {
            Some(new)
        } else {
            Some(old)
        })
    }

    /// Replaces `journal` by `journal.new`. Returns the path of the replaced database, if there was one;
    /// the caller passes it to [`StateDir::discard`] or [`StateDir::quarantine`].
    pub(super) fn replace(&self) -> Result<Option<PathBuf>, OpenError> {
        let (journal, old) = (self.journal(), self.old_journal());
        self.sync()?;
        let replaced = exists(&journal)?;
        if replaced {
            remove(&old)?;
            rename(&journal, &old)?;
        }
        rename(&self.new_journal(), &journal)?;
        self.sync()?;
        Ok(replaced.then_some(old))
    }

    /// Deletes a replaced journal.
    pub(super) fn discard(&self, replaced: &Path) -> Result<(), OpenError> {
        remove(replaced)
    }

    /// Renames `damaged` to `journal.quarantine-<now>` and returns its new path. Of older quarantines
    /// the last two are kept.
    pub(super) fn quarantine(&self, damaged: &Path, now: SystemTime) -> Result<PathBuf, OpenError> {
        let whole_seconds = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        // The last second of the year 9999: humantime refuses later ones.
        let shown =
            SystemTime::UNIX_EPOCH + Duration::from_secs(whole_seconds.min(253_402_300_799));
        let time = humantime::format_rfc3339_seconds(shown);
        let mut kept = self.path.join(format!("{QUARANTINE_PREFIX}{time}"));
        let mut copy = 1;
        while exists(&kept)? {
            copy += 1;
            kept = self
                .path
                .join(format!("{QUARANTINE_PREFIX}{time}.{copy:03}"));
        }
        rename(damaged, &kept)?;
        self.sync()?;
        let mut others: Vec<PathBuf> = self.quarantines()?;
        others.retain(|path| *path != kept);
        let surplus = others.len().saturating_sub(QUARANTINES_KEPT - 1);
        for oldest in others.iter().take(surplus) {
            remove(oldest)?;
        }
        Ok(kept)
    }

    /// The damaged journals, oldest first.
    pub(super) fn quarantines(&self) -> Result<Vec<PathBuf>, OpenError> {
        let failed = |e| OpenError::io("listing", &self.path, e);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(QUARANTINE_PREFIX) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// Notes that an open begins; returns how many opens before it have not ended. Ignores failures:
    /// opening the database will meet and report the same.
    pub(super) fn note_opening(&self) -> u64 {
        use std::io::Write;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.opening());
        let Ok(mut file) = file else { return 0 };
        let before = file.metadata().map_or(0, |found| found.len());
        let _ = file.write_all(b"o");
        before
    }

    /// Notes that the open has ended, with success or with an error.
    pub(super) fn note_opened(&self) {
        let _ = fs::remove_file(self.opening());
    }
}

/// Makes a directory and its parents, each durable in its own parent.
fn create(path: &Path) -> Result<(), OpenError> {
    match fs::symlink_metadata(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let file = path.ancestors().find(|parent| parent.is_file());
            return Err(OpenError::NotADirectory(file.unwrap_or(path).to_owned()));
        }
        Err(error) => return Err(OpenError::io("reading", path, error)),
    }
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|parent| !parent.as_os_str().is_empty() && !parent.exists())
        .collect();
    for dir in missing.iter().rev() {
        let mode = if *dir == path { 0o700 } else { 0o755 };
        match DirBuilder::new().mode(mode).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(OpenError::io("creating", dir, error)),
        }
        sync_parent(dir)?;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> Result<(), OpenError> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes the renames in a directory survive a power cut.
pub(super) fn sync_dir(path: &Path) -> Result<(), OpenError> {
    failpoint::crash("before a directory is synced");
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| OpenError::io("syncing", path, e))
}

/// Makes a directory and everything below it survive a power cut.
pub(super) fn sync_tree(path: &Path) -> Result<(), OpenError> {
    let failed = |e| OpenError::io("syncing", path, e);
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())
                .and_then(|file| file.sync_all())
                .map_err(failed)?;
        }
    }
    sync_dir(path)
}

/// Creates a directory with mode 0700; durable after a sync of its parent.
pub(super) fn make_private(path: &Path) -> Result<(), OpenError> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|e| OpenError::io("creating", path, e))
}

/// Whether the path exists; a dangling link does.
pub(super) fn exists(path: &Path) -> Result<bool, OpenError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(OpenError::io("reading", path, error)),
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    failpoint::crash("before a rename in the state directory");
    fs::rename(from, to).map_err(|e| OpenError::io("renaming", from, e))
}

/// Removes a file, a link or a whole directory, if it exists; follows no link.
pub(super) fn remove(path: &Path) -> Result<(), OpenError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(OpenError::io("removing", path, error))
        }
        _ => Ok(()),
    }
}
