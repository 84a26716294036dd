//! The locks of `run` and `cleanup`: no other daemon works here.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, info};

use super::failure::{Exit, Failure};
use crate::backend::ip6tables::ToolLock;
use crate::journal::recover;
use crate::sys::causes::chain;
use crate::sys::host;
use crate::sys::locks::{self, Holder, Lock, LockError};

/// How long a new daemon waits for a predecessor that is leaving.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How long recovery waits for the tools of a dead daemon. They die with it, so in practice it
/// is milliseconds; one in an uninterruptible call may take longer.
const TOOL_PATIENCE: Duration = Duration::from_secs(10);

/// The locks that `run` and `cleanup` hold.
pub(super) struct Locks {
    netns: Lock,
    /// Those in the state directory; or why it cannot be used, although no other daemon holds it.
    state: Result<StateLocks, Failure>,
}

/// The locks in a state directory.
pub(super) struct StateLocks {
    /// The daemon's own.
    pub(super) daemon: Arc<Lock>,
    tools: Option<ToolLock>,
}

impl Locks {
    /// Takes the locks of a daemon, and logs for which one it waits. The holder will be reached at
    /// `control`; a command gives `None`.
    pub(super) fn take(
        state_dir: &Path,
        control: Option<&Path>,
        log: &Logger,
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        let holder = Holder {
            pid: std::process::id(),
            control: control.map(Path::to_owned),
        };
        let acquire = |path: &Path, where_it_runs: &str| {
            let taken = match Lock::acquire(path, &holder, Instant::now()) {
                Err(held @ LockError::Held { .. }) => {
                    info!(log, "waiting for another docker-nat66 to end"; "reason" => %held,
                        "at_most_s" => LOCK_PATIENCE.as_secs());
                    Lock::acquire(path, &holder, deadline)
                }
                ended => ended,
            };
            taken.map_err(|error| match error {
                LockError::Held { .. } => {
                    let message =
                        format!("another docker-nat66 {where_it_runs}: {error}; stop it first");
                    Failure::new(Exit::Held, message)
                }
                LockError::Io { .. } => error.into(),
            })
        };
        let netns = locks::netns_path(host::netns_inode()?);
        if let Some(dir) = netns.parent() {
            locks::create_runtime_dir(dir).map_err(|e| {
                let message = format!("cannot create {}: {e}", dir.display());
                Failure::new(Exit::Failed, message)
            })?;
        }
        let netns = acquire(&netns, "runs in this network namespace")?;
        let in_state_dir = || {
            recover::prepare_dir(state_dir)?;
            let daemon = acquire(&locks::state_path(state_dir), "uses this state directory")?;
            Ok::<_, Failure>(StateLocks {
                daemon: Arc::new(daemon),
                tools: None,
            })
        };
        match in_state_dir() {
            // Only with a disk that fails we go on: see `cleanup::without_journal`.
            Err(failure) if failure.exit != Exit::Failed => Err(failure),
            state => Ok(Self { netns, state }),
        }
    }

    /// What every tool inherits, and so holds as long as it lives: a successor waits for it, with
    /// this state directory or another.
    pub(super) fn descriptors(&self) -> Result<Vec<Arc<OwnedFd>>, Failure> {
        let netns = self.netns.descriptor()?;
        let tools = self.state.as_ref().ok().and_then(|s| s.tools.as_ref());
        let tools = tools.map(ToolLock::descriptor);
        Ok(tools.into_iter().chain([Arc::new(netns)]).collect())
    }

    /// The locks in the state directory.
    pub(super) fn in_state_dir(&self) -> Result<&StateLocks, Failure> {
        self.state.as_ref().map_err(Clone::clone)
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
            // Whatever kind it is, it concerns the state directory and not the backend.
            Err(e) => self.state = Err(Failure::new(Exit::Failed, chain(&e))),
        }
    }
}
