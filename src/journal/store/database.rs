//! Wraps sled: guards every call against its panics, and makes durability explicit.
//!
//! sled runs up to eight threads of its own (`sled-io-N`), on which it writes and, at open, reads
//! segment headers. The guard does not catch a panic there: it ends the process, because sled's
//! callers would wait for that write for ever. They look for work once a second; what may start them
//! makes that once an hour, so that an idle daemon sleeps.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

pub(crate) use super::trees::{Change, Changes};
use super::trees::{HISTORY, STATES};
use crate::journal::error::is_damage;
use crate::sys::failpoint;
use crate::sys::panics::guard::guarded;
use crate::sys::slack::with_late_timers;

/// sled's page cache, in bytes. 10,000 records take about 4 MiB; writes need hardly any of it,
/// for the store keeps the records itself.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// How long to wait for a predecessor that is closing the database: sled drops its descriptor, and
/// with it the lock, only after its last background write.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How long a flush may take before a second one is started. sled 0.34 does not wake the waiter when
/// the write of a batch's manifest fails (`Log::exit_reservation`); a second flush sees the error and
/// wakes both.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Why an operation of the database failed. The database must not be used after it.
#[derive(Debug)]
pub(crate) enum DatabaseError {
    /// The files are not what was written, or made sled panic.
    Damaged(String),
    /// Another process has it open.
    InUse,
    /// The system refused: a full disk, a read-only one, a failing one.
    Io(io::Error),
}

impl From<sled::Error> for DatabaseError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if is_lock_refusal(&error) => Self::InUse,
            sled::Error::Io(error) if is_damage(&error) => Self::Damaged(error.to_string()),
            sled::Error::Io(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl std::fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(reason) => write!(f, "the database is damaged: {reason}"),
            Self::InUse => write!(f, "the database is in use by another process"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// An open database.
pub(crate) struct Database {
    /// `None` only while being dropped.
    db: Option<sled::Db>,
    /// A second descriptor of sled's main file, for fsync.
    file: File,
    path: PathBuf,
}

impl Database {
    /// Opens the database in the directory `dir`, which must exist; an empty directory becomes
    /// an empty database. sled writes while it opens.
    pub(crate) fn open(dir: &Path) -> Result<Self, DatabaseError> {
        failpoint::crash("before the database is opened");
        check_shapes(dir)?;
        remove_unfinished_snapshots(dir).map_err(DatabaseError::Io)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        let db = loop {
            let config = sled::Config::new()
                .path(dir)
                .flush_every_ms(None)
                .cache_capacity(CACHE_BYTES)
                .mode(sled::Mode::LowSpace);
            match with_late_timers(|| catch("open", || config.open())) {
                Err(DatabaseError::InUse) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(2));
                }
                other => break other?,
            }
        };
        let path = dir.join("db");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path);
        match file {
            Ok(file) => {
                failpoint::crash("after the database was opened");
                Ok(Self {
                    db: Some(db),
                    file,
                    path,
                })
            }
            Err(error) => {
                close(db);
                Err(DatabaseError::Io(error))
            }
        }
    }

    /// Hands out every key and value of the records, one after another: there may be very many.
    pub(crate) fn scan(&self, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), DatabaseError> {
        let db = self.db()?;
        catch("scan", || {
            for pair in db.iter() {
                let (key, value) = pair?;
                each(&key, &value);
            }
            Ok(())
        })
    }

    /// Makes all changes or none, and writes them to the kernel: they survive the end of this process.
    pub(crate) fn apply(&self, changes: Changes) -> Result<(), DatabaseError> {
        let db = self.db()?;
        let change = changes.prepared();
        failpoint::crash("before the database is changed");
        catch("apply", || with_late_timers(|| change.make(db)))?;
        failpoint::crash("before the database is flushed");
        catch("flush", || flush(db))?;
        failpoint::crash("after the database was flushed");
        Ok(())
    }

    /// The history's entries that stand behind this key, at most so many, with their keys; the keys of
    /// entries are 8 bytes long. No history is an empty one.
    pub(crate) fn history_after(
        &self,
        key: [u8; 8],
        most: usize,
    ) -> Result<Vec<Entry>, DatabaseError> {
        let Some(tree) = self.tree(HISTORY)? else {
            return Ok(Vec::new());
        };
        let behind = (Bound::Excluded(&key[..]), Bound::Unbounded);
        catch("read the history", || {
            let pairs = pairs(tree.range::<&[u8], _>(behind));
            let is_entry =
                |pair: &Result<Entry, _>| pair.as_ref().map_or(true, |(k, _)| k.len() == key.len());
            pairs.filter(is_entry).take(most).collect()
        })
    }

    /// The value of one key of the history.
    pub(crate) fn history_value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DatabaseError> {
        let Some(tree) = self.tree(HISTORY)? else {
            return Ok(None);
        };
        let value = catch("read the history", || tree.get(key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// All keys and values of the records' later states.
    pub(crate) fn states(&self) -> Result<Vec<Entry>, DatabaseError> {
        let Some(tree) = self.tree(STATES)? else {
            return Ok(Vec::new());
        };
        catch("read the states", || pairs(tree.iter()).collect())
    }

    /// Removes the later states under these keys, all or none.
    pub(crate) fn drop_states(
        &self,
        keys: impl Iterator<Item = Vec<u8>>,
    ) -> Result<(), DatabaseError> {
        let states: Vec<Change> = keys.map(|key| (key, None)).collect();
        match states.is_empty() {
            true => Ok(()),
            false => self.apply(Changes {
                states,
                ..Changes::default()
            }),
        }
    }

    /// The tree of this name, if there is one.
    fn tree(&self, name: &[u8]) -> Result<Option<sled::Tree>, DatabaseError> {
        let db = self.db()?;
        catch("find a tree", || {
            let exists = db.tree_names().iter().any(|it| it == name);
            exists.then(|| db.open_tree(name)).transpose()
        })
    }

    /// Makes all applied changes survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), DatabaseError> {
        self.file.sync_all().map_err(DatabaseError::Io)?;
        failpoint::crash("after the database was synced");
        Ok(())
    }

    /// Whether the path still leads to the open file, so that nobody has removed or replaced the
    /// database.
    pub(crate) fn is_in_place(&self) -> bool {
        match (self.file.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    /// Flushes, fsyncs and closes the database.
    pub(crate) fn close(mut self) -> Result<(), DatabaseError> {
        let flushed = catch("flush", || flush(self.db()?));
        let synced = self.sync();
        if let Some(db) = self.db.take() {
            close(db);
        }
        flushed.and(synced)
    }

    fn db(&self) -> Result<&sled::Db, sled::Error> {
        self.db
            .as_ref()
            .ok_or_else(|| sled::Error::Unsupported("the database is closed".to_owned()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            close(db);
        }
    }
}

fn pairs(pairs: sled::Iter) -> impl Iterator<Item = Result<Entry, sled::Error>> {
    pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())))
}

/// Drops sled's handle, which flushes and may panic (it unwraps an fsync).
fn close(db: sled::Db) {
    let _ = guarded(AssertUnwindSafe(move || drop(db)));
}

fn catch<T>(
    operation: &str,
    f: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, DatabaseError> {
    match guarded(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(DatabaseError::from),
        Err(message) => Err(DatabaseError::Damaged(format!(
            "sled panicked in {operation}: {message}"
        ))),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// `Db::flush` without the hang on sled's lost wake-up.
fn flush(db: &sled::Db) -> Result<(), sled::Error> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut flushed = pin!(db.flush_async());
    let mut pending = Vec::new();
    loop {
        let polled = with_late_timers(|| flushed.as_mut().poll(&mut context));
        if let Poll::Ready(result) = polled {
            return result.map(|_| ());
        }
        let parked = Instant::now();
        thread::park_timeout(FLUSH_PATIENCE);
        if parked.elapsed() >= FLUSH_PATIENCE {
            let mut second = Box::pin(db.flush_async());
            if second.as_mut().poll(&mut context).is_pending() {
                pending.push(second);
            }
        }
    }
}

/// sled wraps the refusal of its `flock` into a text.
fn is_lock_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Other && error.to_string().starts_with("could not acquire lock")
}

/// Refuses links, FIFOs and other entries that sled would follow, fail on or wait for. A database
/// consists of files and one directory, `blobs`.
fn check_shapes(dir: &Path) -> Result<(), DatabaseError> {
    let refused = |error: io::Error| match is_damage(&error) {
        true => DatabaseError::Damaged(error.to_string()),
        false => DatabaseError::Io(error),
    };
    for entry in fs::read_dir(dir).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let (name, kind) = (entry.file_name(), entry.file_type().map_err(refused)?);
        let fits = match name.as_encoded_bytes() {
            b"blobs" => kind.is_dir(),
            _ => kind.is_file(),
        };
        if !fits {
            return Err(DatabaseError::Damaged(format!(
                "{} is not a kind of file that belongs there",
                name.display()
            )));
        }
    }
    Ok(())
}

/// A kill while sled opens leaves `snap.N.generating`, which the next open would read as the newest
/// snapshot and find corrupt. Everything in it is also in the log.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.")
            && name.ends_with(".generating")
            && entry.file_type()?.is_file()
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_sled_is_damage_and_does_not_end_the_process() {
        let result: Result<(), _> = catch("scan", || panic!("index {} out of bounds", 3));
        let expected = "the database is damaged: sled panicked in scan: index 3 out of bounds";
        assert_eq!(result.expect_err("damaged").to_string(), expected);
    }

    /// When sled clones an error it keeps the kind and loses the system's number.
    #[test]
    fn an_error_of_the_disk_is_not_damage() {
        for number in [
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EROFS,
            libc::EACCES,
            libc::EIO,
        ] {
            let original = io::Error::from_raw_os_error(number);
            let cloned = io::Error::new(original.kind(), format!("{original:?}"));
            for error in [original, cloned] {
                let shown = error.to_string();
                let classified = DatabaseError::from(sled::Error::Io(error));
                assert!(matches!(classified, DatabaseError::Io(_)), "{shown}");
            }
        }
        let torn = io::Error::from(io::ErrorKind::UnexpectedEof);
        let classified = DatabaseError::from(sled::Error::Io(torn));
        assert!(matches!(classified, DatabaseError::Damaged(_)));
    }
}
