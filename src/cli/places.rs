//! Finding the running daemon, or making sure that there is none.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{Exit, Failure};
use crate::control::client;
use crate::control::protocol::{Answer, Request};
use crate::host;
use crate::locks::{self, Holder, Lock, LockError};

/// How long a new daemon waits for a predecessor that is on its way out.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How long a command waits for a daemon that holds the lock and does not answer (yet).
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two attempts to reach a daemon.
const RETRY: Duration = Duration::from_millis(50);

/// What came of asking a daemon.
pub(super) enum Asked {
    /// Nobody holds the state directory's lock.
    NotRunning,
    /// The daemon's answer.
    Answered(Answer),
}

/// Asks the daemon that holds `state_dir`, if one does.
pub(super) fn ask(state_dir: &Path, request: Request) -> Result<Asked, Failure> {
    let lock = locks::state_path(state_dir);
    let deadline = Instant::now() + ANSWER_PATIENCE;
    loop {
        let held = locks::inspect(&lock).map_err(|e| Failure::new(Exit::Failed, &e))?;
        let Some(holder) = held else {
            return Ok(Asked::NotRunning);
        };
        let pid = holder.as_ref().map_or(0, |h| h.pid);
        let why = match holder.and_then(|h| h.control) {
            None => "it has no control socket yet".to_owned(),
            Some(control) => match client::ask(&control, request) {
                Ok(answer) => return Ok(Asked::Answered(answer)),
                Err(client::ClientError::Refused(why)) => {
                    return Err(Failure::because(Exit::Failed, why));
                }
                Err(error) => crate::text::chain(&error),
            },
        };
        if Instant::now() >= deadline {
            return Err(Failure::because(
                Exit::Failed,
                format!(
                    "process {pid} holds {} but has not answered for {} s: {why}",
                    lock.display(),
                    ANSWER_PATIENCE.as_secs()
                ),
            ));
        }
        thread::sleep(RETRY);
    }
}

/// The locks of a daemon: its network namespace's and its state directory's.
#[derive(Debug)]
pub(super) struct Locks {
    netns: Lock,
    _state: Lock,
}

impl Locks {
    /// The network namespace's lock, for the tools to hold as long as they live: a daemon with
    /// another state directory must wait for them too.
    pub(super) fn netns_descriptor(&self) -> Result<OwnedFd, Failure> {
        let descriptor = self.netns.descriptor();
        descriptor.map_err(|e| Failure::new(Exit::Failed, &e))
    }
}

/// Takes both locks; the state directory must exist. `control` is where the holder will be
/// reached; `None` for a command that will not be.
pub(super) fn lock(state_dir: &Path, control: Option<&Path>) -> Result<Locks, Failure> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    let holder = Holder {
        pid: std::process::id(),
        control: control.map(Path::to_owned),
    };
    let inode = host::netns_inode().map_err(|e| Failure::new(Exit::Failed, &e))?;
    let netns = locks::netns_path(inode);
    if let Some(dir) = netns.parent() {
        locks::create_runtime_dir(dir).map_err(|e| {
            Failure::because(
                Exit::Failed,
                format!("cannot create {}: {e}", dir.display()),
            )
        })?;
    }
    let fail = |error: LockError, whose: &str| match &error {
        LockError::Held { .. } => {
            let message = format!("another docker-nat66 {whose}: {error}; stop it first");
            Failure::because(Exit::Held, message)
        }
        LockError::Io { .. } => Failure::new(Exit::Failed, &error),
    };
    Ok(Locks {
        netns: Lock::acquire(&netns, &holder, deadline)
            .map_err(|e| fail(e, "runs in this network namespace"))?,
        _state: Lock::acquire(&locks::state_path(state_dir), &holder, deadline)
            .map_err(|e| fail(e, "uses this state directory"))?,
    })
}
