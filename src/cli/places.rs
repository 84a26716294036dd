//! Finding the running daemon, or making sure that there is none.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use slog::{Logger, info};

use super::run::state_failure;
use super::{Exit, Failure};
use crate::backend::ip6tables::ToolLock;
use crate::control::client;
use crate::control::protocol::{Answer, Request};
use crate::journal::recover;
use crate::sys::host;
use crate::sys::locks::{self, Holder, Lock, LockError};

/// How long a new daemon waits for a predecessor that is on its way out.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How long a command waits for a daemon that holds the lock and does not answer (yet).
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long that is not worth a word.
const QUIETLY: Duration = Duration::from_millis(200);

/// How long recovery waits for the tools of a dead daemon. They die with it, so in practice it
/// is milliseconds; one in an uninterruptible call may take longer.
const TOOL_PATIENCE: Duration = Duration::from_secs(10);

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
    let mut waiting = None;
    loop {
        let held = locks::inspect(&lock).map_err(|e| Failure::new(Exit::Failed, &e))?;
        let Some(holder) = held else {
            return Ok(Asked::NotRunning);
        };
        let pid = holder.as_ref().map_or(0, |h| h.pid);
        waiting.get_or_insert_with(|| say_later(pid));
        let why = match holder.and_then(|h| h.control) {
            None => "it has no control socket yet".to_owned(),
            Some(control) => match client::ask(&control, request) {
                Ok(answer) => return Ok(Asked::Answered(answer)),
                Err(client::ClientError::Refused(why)) => {
                    return Err(Failure::because(Exit::Failed, why));
                }
                Err(error) => crate::sys::causes::chain(&error),
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

/// Says for whom the caller waits, unless what is returned is dropped before: a daemon that was
/// stopped, or is busy, takes the connection and does not answer.
fn say_later(pid: u32) -> mpsc::Sender<()> {
    let (waiting, over) = mpsc::channel();
    thread::spawn(move || {
        if over.recv_timeout(QUIETLY) == Err(RecvTimeoutError::Timeout) {
            eprintln!("docker-nat66: waiting for the daemon, process {pid}, to answer");
        }
    });
    waiting
}

/// What `run` and `cleanup` stand on: that nobody else is at work here.
pub(super) struct Locks {
    netns: Lock,
    /// The state directory, locked; or why it cannot be used, though nobody holds it.
    pub(super) state: Result<StateLocks, Failure>,
}

/// The locks inside a state directory.
pub(super) struct StateLocks {
    /// The daemon's own, which keeps it in its place.
    pub(super) daemon: Arc<Lock>,
    tools: Option<ToolLock>,
}

impl Locks {
    /// What every tool inherits, and thereby holds as long as it lives: a successor waits for
    /// it, with this state directory or another.
    pub(super) fn descriptors(&self) -> Result<Vec<Arc<OwnedFd>>, Failure> {
        let netns = self.netns.descriptor();
        let netns = netns.map_err(|e| Failure::new(Exit::Failed, &e))?;
        let tools = self.state.as_ref().ok().and_then(|s| s.tools.as_ref());
        let tools = tools.map(ToolLock::descriptor);
        Ok(tools.into_iter().chain([Arc::new(netns)]).collect())
    }
}

impl Locks {
    /// The locks inside the state directory.
    pub(super) fn in_state_dir(&self) -> Result<&StateLocks, Failure> {
        let failed = |failure: &Failure| Failure::because(failure.exit, failure.message.as_str());
        self.state.as_ref().map_err(failed)
    }

    /// Waits for the tools of a dead daemon, and holds their lock from then on.
    pub(super) fn wait_for_tools(&mut self, state_dir: &Path, log: &Logger) {
        let Ok(state) = &mut self.state else { return };
        let tools = ToolLock::acquire(state_dir, Duration::ZERO).or_else(|_| {
            info!(log, "waiting for the tools of an earlier run to end";
                "at_most_s" => TOOL_PATIENCE.as_secs());
            ToolLock::acquire(state_dir, TOOL_PATIENCE)
        });
        match tools {
            Ok(tools) => state.tools = Some(tools),
            Err(e) => self.state = Err(Failure::new(Exit::Failed, &e)),
        }
    }
}

/// Takes the locks of a daemon, and says for whom it waits. `control` is where the holder will be
/// reached; `None` for a command that will not be.
pub(super) fn lock(
    state_dir: &Path,
    control: Option<&Path>,
    log: &Logger,
) -> Result<Locks, Failure> {
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
    let acquire = |path: &Path| match Lock::acquire(path, &holder, Instant::now()) {
        Err(held @ LockError::Held { .. }) => {
            info!(log, "waiting for another docker-nat66 to end"; "reason" => %held,
                "at_most_s" => LOCK_PATIENCE.as_secs());
            Lock::acquire(path, &holder, deadline)
        }
        ended => ended,
    };
    let netns = acquire(&netns).map_err(|e| fail(e, "runs in this network namespace"))?;
    let state = || {
        recover::prepare_dir(state_dir).map_err(|e| state_failure(&e))?;
        let daemon = acquire(&locks::state_path(state_dir))
            .map_err(|e| fail(e, "uses this state directory"))?;
        Ok::<_, Failure>(StateLocks {
            daemon: Arc::new(daemon),
            tools: None,
        })
    };
    match state() {
        // Only a disk that fails us is worth going on without: see `cleanup::without_journal`.
        Err(failure) if failure.exit != Exit::Failed => Err(failure),
        state => Ok(Locks { netns, state }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_lock_and_does_not_answer_is_waited_for_and_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let holder = Holder {
            pid: 42,
            control: None,
        };
        let lock = locks::state_path(dir.path());
        let lock = Lock::acquire(&lock, &holder, Instant::now()).expect("free");
        let begun = Instant::now();
        let failure = ask(dir.path(), Request::Dump).err().expect("no answer");
        assert!(begun.elapsed() >= ANSWER_PATIENCE);
        for words in ["process 42 holds", "has not answered for 5 s"] {
            assert!(failure.message.contains(words), "{failure}");
        }
        drop(lock);
        let asked = ask(dir.path(), Request::Dump);
        assert!(matches!(asked, Ok(Asked::NotRunning)));
    }
}
