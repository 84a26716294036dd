//! The lock that a tool holds for as long as it lives.
//!
//! `flock` belongs to an open file description. The daemon opens `<state-dir>/tool.lock`, locks
//! it, and lets every tool inherit that same description: its own tools never wait for each
//! other, and when the daemon dies the lock lasts until the last of its tools is gone. The next
//! daemon opens the file anew, so it waits exactly for them. A crash leaves the file, unlocked.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::backend::{BackendError, ErrorKind};

/// The lock's file inside the state directory.
pub const FILE_NAME: &str = "tool.lock";

/// Time between two tries for the lock. `flock` has no time-out of its own; a killed tool is
/// gone in well under this.
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// The held lock. Keep it for the daemon's life, and give [`ToolLock::descriptor`] to
/// [`super::ToolSettings::inherit`].
#[derive(Debug)]
pub struct ToolLock(Arc<OwnedFd>);

impl ToolLock {
    /// Takes the lock, waiting up to `deadline` for the tools of a dead daemon. To be called
    /// once per process, before the first listing: a second call would wait for the first.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] if a tool still lives at the deadline, [`ErrorKind::Denied`] or
    /// [`ErrorKind::Failed`] if the file cannot be opened. A symbolic link is not followed.
    pub fn acquire(state_dir: &Path, deadline: Duration) -> Result<Self, BackendError> {
        let path = state_dir.join(FILE_NAME);
        let failed = |kind, detail: String| BackendError {
            operation: format!("lock of {}", path.display()),
            kind,
            detail,
        };
        let by_errno = |e: Errno| match e {
            Errno::ACCESS | Errno::PERM => failed(ErrorKind::Denied, e.to_string()),
            _ => failed(ErrorKind::Failed, e.to_string()),
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(by_errno)?;
        let end = Instant::now() + deadline;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(Arc::new(file))),
                Err(Errno::WOULDBLOCK) if Instant::now() < end => thread::sleep(RETRY_EVERY),
                Err(Errno::WOULDBLOCK) => {
                    let detail = format!(
                        "a tool of an earlier daemon still runs after {} ms",
                        deadline.as_millis()
                    );
                    return Err(failed(ErrorKind::TimedOut, detail));
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(by_errno(e)),
            }
        }
    }

    /// The descriptor that tools inherit.
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_when_its_last_descriptor_is_closed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = ToolLock::acquire(dir.path(), Duration::ZERO).expect("free");
        let inherited = first.descriptor();
        drop(first);
        let refused = ToolLock::acquire(dir.path(), Duration::from_millis(20));
        assert_eq!(refused.map_err(|e| e.kind).err(), Some(ErrorKind::TimedOut));
        drop(inherited);
        ToolLock::acquire(dir.path(), Duration::ZERO).expect("free again");
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, dir.path().join(FILE_NAME)).expect("link");
        let refused = ToolLock::acquire(dir.path(), Duration::ZERO);
        assert_eq!(refused.map_err(|e| e.kind).err(), Some(ErrorKind::Failed));
        assert!(!target.exists());
    }
}
