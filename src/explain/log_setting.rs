//! The setting that hearing the kernel's log for IPv6 changes, `net.netfilter.nf_log.10`: one process
//! at a time has it, and puts it back.
//!
//! What it was before stands in a file below `/run` meanwhile. After a SIGKILL the next `explain`
//! finds the file without its holder, and puts the setting back.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::error::ExplainError;
use crate::sys::host::{self, read_optional};
use crate::sys::locks::{self, Holder, Lock, LockError};

/// Which logger IPv6 has (net/netfilter/nf_log.c); each network namespace has its own.
const SETTING: &str = "/proc/sys/net/netfilter/nf_log/10";

/// What it is while somebody is bound to the log (net/netfilter/nfnetlink_log.c,
/// `nfulnl_logger`).
const BOUND: &str = "nfnetlink_log";

/// How long another `explain` may have it: each needs some 150 ms.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the lock and the file are, and the setting itself.
#[derive(Debug, Clone)]
struct Paths {
    lock: PathBuf,
    before: PathBuf,
    setting: PathBuf,
}

impl Paths {
    /// Those of this network namespace.
    fn here() -> io::Result<Self> {
        let lock = locks::nf_log_path(host::netns_inode()?);
        Ok(Self {
            before: lock.with_extension("before"),
            lock,
            setting: PathBuf::from(SETTING),
        })
    }

    fn lock(&self, deadline: Instant) -> Result<Lock, LockError> {
        let holder = Holder {
            pid: std::process::id(),
            control: None,
        };
        Lock::acquire(&self.lock, &holder, deadline)
    }

    /// Puts the setting back to what the file says, and removes the file. Whether anything was
    /// changed.
    fn put_back(&self) -> io::Result<bool> {
        let Some(before) = read_optional(&self.before.to_string_lossy())? else {
            return Ok(false);
        };
        let now = read_optional(&self.setting.to_string_lossy())?;
        // What somebody else has set since stays.
        let is_ours = now.as_deref().map(str::trim) == Some(BOUND) && is_name(&before);
        let is_changed = is_ours && before != BOUND;
        if is_changed {
            fs::write(&self.setting, &before)?;
        }
        fs::remove_file(&self.before)?;
        Ok(is_changed)
    }
}

/// Whether it can be the name of a logger, or `NONE`.
fn is_name(text: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.len() <= 64 && text.chars().all(is_fine)
}

/// The setting, held by this process until it is put back.
#[derive(Debug)]
pub(super) struct LogSetting {
    paths: Paths,
    lock: Option<Lock>,
}

impl LogSetting {
    /// Waits for others that have it, and notes what it is.
    ///
    /// # Errors
    /// Another process does not give it back, or a file cannot be written.
    pub(super) fn hold() -> Result<Self, ExplainError> {
        Self::hold_at(Paths::here()?)
    }

    fn hold_at(paths: Paths) -> Result<Self, ExplainError> {
        if let Some(dir) = paths.lock.parent() {
            locks::create_runtime_dir(dir)?;
        }
        let lock = paths.lock(Instant::now() + PATIENCE)?;
        paths.put_back()?;
        let now = read_optional(&paths.setting.to_string_lossy())?;
        if let Some(now) = now {
            write_anew(&paths.before, now.trim())?;
        }
        Ok(Self {
            paths,
            lock: Some(lock),
        })
    }

    /// Puts it back, and leaves no file.
    ///
    /// # Errors
    /// The setting cannot be written.
    pub(super) fn put_back(mut self) -> Result<(), ExplainError> {
        self.release()
    }

    fn release(&mut self) -> Result<(), ExplainError> {
        let Some(_lock) = self.lock.take() else {
            return Ok(());
        };
        self.paths.put_back()?;
        // A process that waits for the lock finds that its file has gone, and makes another.
        fs::remove_file(&self.paths.lock)?;
        Ok(())
    }
}

impl Drop for LogSetting {
    fn drop(&mut self) {
        // Only after a failure, which is reported; the next one puts back what this one cannot.
        let _ = self.release();
    }
}

fn write_anew(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path)?.write_all(text.as_bytes())
}

/// Puts the setting back that an `explain` has left which was killed. Whether there was one.
///
/// # Errors
/// A file or the setting cannot be read or written.
pub(super) fn put_back_left() -> Result<bool, ExplainError> {
    put_back_left_at(&Paths::here()?)
}

fn put_back_left_at(paths: &Paths) -> Result<bool, ExplainError> {
    if !paths.before.exists() {
        return Ok(false);
    }
    match paths.lock(Instant::now()) {
        Ok(_lock) => {
            let is_changed = paths.put_back()?;
            fs::remove_file(&paths.lock)?;
            Ok(is_changed)
        }
        // It is in use.
        Err(LockError::Held { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files that stand for the setting, the lock and the note.
    fn paths(dir: &Path, now: &str) -> Paths {
        let paths = Paths {
            lock: dir.join("lock"),
            before: dir.join("before"),
            setting: dir.join("setting"),
        };
        fs::write(&paths.setting, now).expect("written");
        paths
    }

    fn left(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).expect("a directory").flatten();
        let mut names: Vec<_> = names
            .map(|it| it.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_put_back_by_its_holder_or_by_the_next_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = paths(dir.path(), "NONE\n");
        let setting = || fs::read_to_string(&paths.setting).expect("there");
        let held = LogSetting::hold_at(paths.clone()).expect("free");
        fs::write(&paths.setting, BOUND).expect("bound");
        // Nobody puts back what is in use.
        assert!(!put_back_left_at(&paths).expect("held"));
        assert_eq!(setting(), BOUND);
        held.put_back().expect("put back");
        assert_eq!(
            (setting().as_str(), left(dir.path())),
            ("NONE", vec!["setting".to_owned()])
        );

        // One that is killed leaves its note, and the kernel releases its lock.
        fs::write(&paths.before, "nf_log_syslog").expect("noted");
        fs::write(&paths.setting, BOUND).expect("bound");
        assert!(put_back_left_at(&paths).expect("free"));
        assert_eq!(
            (setting().as_str(), left(dir.path())),
            ("nf_log_syslog", vec!["setting".to_owned()])
        );
        assert!(!put_back_left_at(&paths).expect("nothing"));
    }

    #[test]
    fn what_others_have_set_since_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = paths(dir.path(), "ip6t_LOG\n");
        for before in ["NONE", "", "a b", "../x", BOUND] {
            fs::write(&paths.before, before).expect("noted");
            assert!(!put_back_left_at(&paths).expect("free"), "{before}");
            let now = fs::read_to_string(&paths.setting).expect("there");
            assert_eq!(now, "ip6t_LOG\n", "{before}");
        }
    }
}
