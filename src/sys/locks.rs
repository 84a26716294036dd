//! One daemon per network namespace and per state directory.
//!
//! A lock is a file with `flock` on it, so the kernel releases it when its process ends for any
//! reason. The holder writes its process id and the path of its control socket into the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::sys::failpoint;

/// Pause before a held lock is tried again; short, for a dying predecessor releases it soon.
const RETRY: Duration = Duration::from_millis(20);

/// How many bytes of a lock file are read at most.
const MAX_CONTENT: u64 = 8 * 1024;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, in its own PID namespace.
    pub pid: u32,
    /// Its control socket.
    pub control: Option<PathBuf>,
}

/// A lock that this process holds.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    holder: Holder,
    /// [`Lock::renew`] replaces it.
    file: Mutex<File>,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is held by {}", path.display(), holder.as_ref().map_or_else(|| "another process".to_owned(), |h| format!("process {}", h.pid)))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder that the file names.
        holder: Option<Holder>,
    },
    /// The file cannot be opened, locked or written.
    #[error("cannot lock {}{}", path.display(), remedy(source))]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl LockError {
    fn held(path: &Path, file: &File) -> Self {
        Self::Held {
            path: path.to_owned(),
            holder: read(file),
        }
    }

    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

impl Lock {
    /// Takes the lock at `path`, retrying until `deadline`, and writes `holder` into it.
    ///
    /// # Errors
    /// [`LockError::Held`] once the deadline has passed; [`LockError::Io`] at once.
    pub fn acquire(path: &Path, holder: &Holder, deadline: Instant) -> Result<Self, LockError> {
        failpoint::crash("before a lock is taken");
        let io_error = |source| LockError::io(path, source);
        loop {
            let mut file = open(path, true).map_err(io_error)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // The file may have been replaced between open and lock.
                Ok(()) if is_at(&file, path) => {
                    write(&mut file, holder).map_err(io_error)?;
                    return Ok(Self {
                        path: path.to_owned(),
                        holder: holder.clone(),
                        file: Mutex::new(file),
                    });
                }
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() >= deadline => {
                    return Err(LockError::held(path, &file));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(RETRY),
                Err(error) => return Err(io_error(error.into())),
            }
        }
    }

    /// Takes the lock at `path` for a reader, which writes nothing into it. Returns `None` if the file
    /// does not exist, so that nobody holds the lock.
    ///
    /// # Errors
    /// [`LockError::Held`] at once; [`LockError::Io`].
    pub(crate) fn for_reading(path: &Path) -> Result<Option<File>, LockError> {
        let Some(file) = open_existing(path)? else {
            return Ok(None);
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::held(path, &file)),
            Err(error) => Err(LockError::io(path, error.into())),
        }
    }

    /// Another descriptor of the same lock. A process that inherits it holds the lock too.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.file().try_clone().map(OwnedFd::from)
    }

    /// Whether its path still leads to the locked file, so that other processes meet the lock.
    pub(crate) fn is_in_place(&self) -> bool {
        is_at(&self.file(), &self.path)
    }

    /// Takes the lock again if its file was removed or replaced.
    ///
    /// # Errors
    /// As [`Lock::acquire`], without a retry: another process may have taken the lock meanwhile.
    pub(crate) fn renew(&self) -> Result<(), LockError> {
        if !self.is_in_place() {
            let renewed = Self::acquire(&self.path, &self.holder, Instant::now())?;
            std::mem::swap(&mut *self.file(), &mut *renewed.file());
        }
        Ok(())
    }

    fn file(&self) -> MutexGuard<'_, File> {
        // The descriptor is valid even after a panic.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // This clears the holder. A failure only leaves an old name in a lock that is free.
        let _ = self.file().set_len(0);
    }
}

/// What to do, if the system's message does not say.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => ", the file system must be writable",
        // The journal, which is opened next, needs this much.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ", no space left, about 2 MiB are needed"
        }
        _ => "",
    }
}

/// Whether the lock at `path` is held, and by which process if the file names it. A missing file is
/// a free lock.
///
/// # Errors
/// The file exists but cannot be opened.
pub fn inspect(path: &Path) -> Result<Option<Option<Holder>>, LockError> {
    let Some(file) = open_existing(path)? else {
        return Ok(None);
    };
    // A shared lock conflicts only with an exclusive one, and so not with another inspection.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(_) => Ok(Some(read(&file))),
    }
}

/// The lock of this network namespace, named by its inode.
pub(crate) fn netns_path(inode: u64) -> PathBuf {
    PathBuf::from(format!("/run/docker-nat66/netns-{inode}.lock"))
}

/// The lock of this network namespace's logger for IPv6.
pub(crate) fn nf_log_path(inode: u64) -> PathBuf {
    PathBuf::from(format!("/run/docker-nat66/nf-log-{inode}.lock"))
}

/// The lock of a state directory.
pub fn state_path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

/// Creates a directory for locks and sockets, mode 0755, and its parents.
///
/// # Errors
/// It cannot be created.
pub(crate) fn create_runtime_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
}

/// `None` where there is no such file.
fn open_existing(path: &Path) -> Result<Option<File>, LockError> {
    match open(path, false) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LockError::io(path, error)),
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(create)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
        .open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn write(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    let text = serde_json::to_string(holder)?;
    file.write_all(text.as_bytes())
}

fn read(file: &File) -> Option<Holder> {
    let mut text = String::new();
    file.take(MAX_CONTENT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder {
            pid: 42,
            control: Some("/run/x.sock".into()),
        }
    }

    #[test]
    fn a_held_lock_names_its_holder_and_a_dropped_one_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(inspect(&path).unwrap(), None);
        let lock = Lock::acquire(&path, &holder(), Instant::now()).unwrap();
        assert_eq!(inspect(&path).unwrap(), Some(Some(holder())));
        let error = Lock::acquire(&path, &holder(), Instant::now()).unwrap_err();
        assert!(
            error.to_string().ends_with("is held by process 42"),
            "{error}"
        );
        drop(lock);
        assert_eq!(inspect(&path).unwrap(), None);
        Lock::acquire(&path, &holder(), Instant::now()).unwrap();
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_again_unless_somebody_else_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::acquire(&path, &holder(), Instant::now()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(inspect(&path).unwrap(), None);
        lock.renew().unwrap();
        assert_eq!(inspect(&path).unwrap(), Some(Some(holder())));
        std::fs::remove_file(&path).unwrap();
        let other = Lock::acquire(&path, &holder(), Instant::now()).unwrap();
        let error = lock.renew().unwrap_err();
        assert!(matches!(error, LockError::Held { .. }), "{error}");
        drop(other);
        lock.renew().unwrap();
        assert_eq!(inspect(&path).unwrap(), Some(Some(holder())));
        drop(lock);
        assert_eq!(inspect(&path).unwrap(), None);
    }

    #[test]
    fn a_symlink_in_the_lock_s_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        let error = Lock::acquire(&path, &holder(), Instant::now()).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
    }

    #[test]
    fn a_lock_released_while_another_waits_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::acquire(&path, &holder(), Instant::now()).unwrap();
        let waiter = thread::spawn({
            let path = path.clone();
            move || Lock::acquire(&path, &holder(), Instant::now() + Duration::from_secs(20))
        });
        drop(first);
        assert!(waiter.join().unwrap().is_ok());
    }
}
