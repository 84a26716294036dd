//! Asking the running daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::args::DaemonArgs;
use super::failure::{Exit, Failure};
use crate::control::client::{self, ClientError};
use crate::control::protocol::{Answer, Request};
use crate::sys::causes::chain;
use crate::sys::locks::{self, LockError};

/// How long a command waits for a daemon that holds the lock and does not answer (yet).
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// After how long of that the user learns about it.
const QUIETLY: Duration = Duration::from_millis(200);

/// Pause between two attempts to reach a daemon.
const RETRY: Duration = Duration::from_millis(50);

/// Where a running daemon is expected.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) state_dir: PathBuf,
    /// A control socket, if one was named that is not that of another state directory.
    pub(super) control: Option<PathBuf>,
    /// Whether the user typed it: then no other daemon is asked.
    pub(super) is_typed: bool,
}

impl Place {
    /// `is_typed` says of the name of an option whether it stands on the command line.
    pub(super) fn of(
        state_dir: PathBuf,
        control: Option<PathBuf>,
        is_typed: impl Fn(&str) -> bool,
    ) -> Self {
        let is_control_typed = is_typed("control");
        // A socket that the environment names is not that of another state directory.
        let is_meant = is_control_typed || !is_typed("state_dir");
        Self {
            state_dir,
            control: control.filter(|_| is_meant),
            is_typed: is_control_typed,
        }
    }

    /// Asks the daemon at the control socket that the user has named, else the one that holds the
    /// state directory; `None` if none does.
    pub(super) fn ask(&self, request: Request) -> Result<Option<Answer>, Failure> {
        if let Some(control) = &self.control {
            match client::ask(control, request) {
                Ok(answer) => return Ok(Some(answer)),
                Err(refused @ ClientError::Refused(_)) => return Err(refused.into()),
                Err(error) if self.is_typed => return Err(not_there(error)),
                // The lock says whether there is a daemon, and which socket it has.
                Err(ClientError::Connect { .. } | ClientError::Exchange { .. }) => {}
            }
        }
        ask(&self.state_dir, request)
    }
}

/// As [`Place::ask`].
pub(super) fn ask_daemon(daemon: &DaemonArgs, request: Request) -> Result<Option<Answer>, Failure> {
    let (state_dir, control) = (daemon.state.state_dir.clone(), daemon.control.clone());
    Place::of(state_dir, control, |name| daemon.is_typed(name)).ask(request)
}

/// For a socket that the user typed: the answer of another daemon would be taken for this one's.
fn not_there(error: ClientError) -> Failure {
    let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    match &error {
        ClientError::Connect { source, .. } if is_for_root(source) => Failure::for_root(),
        ClientError::Connect { source, .. } if nobody.contains(&source.kind()) => {
            let message = format!("no daemon listens at --control: {}", chain(&error));
            Failure::new(Exit::Held, message)
        }
        _ => error.into(),
    }
}

/// Asks the daemon that holds `state_dir`; `None` if none does.
fn ask(state_dir: &Path, request: Request) -> Result<Option<Answer>, Failure> {
    let lock = locks::state_path(state_dir);
    let deadline = Instant::now() + ANSWER_PATIENCE;
    let mut waiting = None;
    loop {
        let found = locks::inspect(&lock).map_err(|error| match error {
            LockError::Io { ref source, .. } if is_for_root(source) => Failure::for_root(),
            other => other.into(),
        });
        let Some(holder) = found? else {
            return Ok(None);
        };
        let pid = holder.as_ref().map_or(0, |h| h.pid);
        waiting.get_or_insert_with(|| announce_wait(pid));
        let why = match holder.and_then(|h| h.control) {
            None => "it has no control socket yet".to_owned(),
            Some(control) => match client::ask(&control, request) {
                Ok(answer) => return Ok(Some(answer)),
                Err(refused @ ClientError::Refused(_)) => return Err(refused.into()),
                Err(ClientError::Connect { source, .. }) if is_for_root(&source) => {
                    return Err(Failure::for_root());
                }
                Err(error) => chain(&error),
            },
        };
        if Instant::now() >= deadline {
            return Err(Failure::new(
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

/// For a question that only a daemon can answer.
pub(super) fn no_daemon(daemon: &DaemonArgs) -> Failure {
    let dir = daemon.state.state_dir.display();
    let message = format!("no daemon runs with the state directory {dir}");
    Failure::new(Exit::Held, message)
}

/// For an answer to another question than was asked.
pub(super) fn wrong_answer() -> Failure {
    Failure::new(Exit::Failed, "the daemon answered something else")
}

fn is_for_root(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root()
}

/// Names the process that the user waits for, unless the sender that this returns is dropped
/// before: a daemon that is stopped or busy takes the connection and does not answer.
fn announce_wait(pid: u32) -> mpsc::Sender<()> {
    let (waiting, over) = mpsc::channel();
    thread::spawn(move || {
        if over.recv_timeout(QUIETLY) == Err(RecvTimeoutError::Timeout) {
            eprintln!("docker-nat66: waiting for the daemon, process {pid}, to answer");
        }
    });
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::locks::{Holder, Lock};

    #[test]
    fn a_holder_of_the_lock_that_does_not_answer_is_waited_for_and_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let holder = Holder {
            pid: 42,
            control: None,
        };
        let lock = locks::state_path(dir.path());
        let lock = Lock::acquire(&lock, &holder, Instant::now()).expect("free");
        let begun = Instant::now();
        let failure = ask(dir.path(), Request::Dump).expect_err("no answer");
        assert!(begun.elapsed() >= ANSWER_PATIENCE);
        for words in ["process 42 holds", "has not answered for 5 s"] {
            assert!(failure.message.contains(words), "{failure}");
        }
        drop(lock);
        let answer = ask(dir.path(), Request::Dump).expect("free");
        assert_eq!(answer, None);
    }
}
