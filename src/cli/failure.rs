//! How a command ends: one exit code, and for a failure one message.
//!
//! Which exit code an error means is said here and nowhere else, once for every type of error.

use std::ffi::OsString;
use std::fmt;
use std::io;

use crate::backend::shell::word;
use crate::backend::{BackendError, ErrorKind};
use crate::config::ConfigError;
use crate::control::client::ClientError;
use crate::control::listen::ListenError;
use crate::daemon::StartError;
use crate::journal::JournalError;
use crate::journal::recover::OpenError;
use crate::metrics::server::MetricsError;
use crate::sys::causes::chain;
use crate::sys::locks::LockError;

/// Exit codes; documented in the README and in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `status`: healthy; for `explain`: reachable.
    Done = 0,
    /// Failed; for `status`: degraded; for `explain`: not reachable.
    Failed = 1,
    /// Wrong usage or configuration: a supervisor should not try again.
    Usage = 2,
    /// Another daemon holds the lock; for `status`: none runs; for `explain`: nothing publishes
    /// the port.
    Held = 3,
    /// Missing privilege, tool or kernel feature, or a journal of a newer version: a
    /// supervisor should not try again.
    Missing = 4,
}

/// How a command failed: one message, one exit code.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Whether the same command succeeds for root.
    is_for_root: bool,
}

impl Failure {
    /// A failure in words.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            is_for_root: false,
        }
    }

    /// For a user who may not ask the daemon, or read its journal.
    pub(super) fn for_root() -> Self {
        Self {
            is_for_root: true,
            ..Self::new(Exit::Missing, "needs root")
        }
    }

    /// Names the command that root would succeed with, where the failure is of that kind: the one with
    /// these arguments, which begin with its name.
    pub(super) fn name_command(&mut self, args: &[OsString]) {
        if !self.is_for_root {
            return;
        }
        let words = args.iter().map(|arg| word(arg.to_str()?));
        // What a shell cannot be given is left to the user.
        let words = words.collect::<Option<Vec<_>>>();
        let words = words.or_else(|| Some(vec![word(args.first()?.to_str()?)?]));
        if let Some(words) = words {
            let command = words.join(" ");
            self.message
                .push_str(&format!(": sudo docker-nat66 {command}"));
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error that can end a command.
trait Fatal: std::error::Error {
    /// The exit code that it means.
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// The message has the error and its causes.
impl<E: Fatal> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.exit(), chain(&error))
    }
}

impl Fatal for io::Error {}
impl Fatal for ClientError {}
impl Fatal for JournalError {}

impl Fatal for ConfigError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl Fatal for LockError {
    fn exit(&self) -> Exit {
        match self {
            Self::Held { .. } => Exit::Held,
            Self::Io { .. } => Exit::Failed,
        }
    }
}

impl Fatal for BackendError {
    fn exit(&self) -> Exit {
        match self.kind {
            ErrorKind::Denied | ErrorKind::Unsupported => Exit::Missing,
            _ => Exit::Failed,
        }
    }
}

impl Fatal for OpenError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotADirectory(_) | Self::Symlink(_) | Self::ForeignOwner { .. } => Exit::Usage,
            Self::NewerVersion { .. } => Exit::Missing,
            Self::InUse(_) => Exit::Held,
            _ => Exit::Failed,
        }
    }
}

impl Fatal for StartError {
    fn exit(&self) -> Exit {
        match self {
            Self::Control(ListenError::Io { .. })
            | Self::Metrics(
                MetricsError::Tcp { .. } | MetricsError::Unix(ListenError::Io { .. }),
            )
            | Self::Signals(_) => Exit::Failed,
            // The next attempt finds the same in this place.
            Self::Control(_) | Self::Metrics(_) => Exit::Usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_root_may_do_is_named_as_it_was_asked_for() {
        let named = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(Into::into).collect();
            let mut failure = Failure::for_root();
            failure.name_command(&args);
            (failure.exit, failure.message)
        };
        for (args, command) in [
            (&["status"][..], "status"),
            (&["log-level", "debug"], "log-level debug"),
            (&["dump", "--container", "a b"], "dump --container 'a b'"),
            (&["dump", "--container", "it's"], "dump"),
        ] {
            let message = format!("needs root: sudo docker-nat66 {command}");
            assert_eq!(named(args), (Exit::Missing, message), "{args:?}");
        }
        let mut other = Failure::new(Exit::Failed, "broken");
        other.name_command(&["status".into()]);
        assert_eq!(other.message, "broken");
    }
}
