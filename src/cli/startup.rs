//! What `run` and `cleanup` begin with: the log, the privilege, the journal.

use std::path::Path;
use std::time::SystemTime;

use slog::{Logger, info, warn};

use super::args::{LogArgs, LogFormat};
use super::failure::{Exit, Failure};
use super::lock::Locks;
use crate::journal::recover::{self, Opened};
use crate::logging::{self, Format};
use crate::sys::{panics, privilege};

/// Begins the log, into which a panic goes, too.
pub(super) fn begin_log(args: &LogArgs) -> Logger {
    let format = match args.log_format {
        // systemd sets it for what it logs (systemd.exec(5)).
        LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => Format::Journald,
        LogFormat::Auto | LogFormat::Term => Format::Term,
        LogFormat::Json => Format::Json,
        LogFormat::Journald => Format::Journald,
    };
    let log = logging::to_stderr(format, args.log_level.into());
    panics::install_hook(log.clone());
    log
}

/// Fails unless the process may change the firewall. From here on its files are private.
pub(super) fn require_privilege() -> Result<(), Failure> {
    if !privilege::may_administer_network()? {
        return Err(Failure::new(
            Exit::Missing,
            "needs root: changing the firewall needs CAP_NET_ADMIN; use sudo, or give the capability",
        ));
    }
    privilege::keep_files_private();
    Ok(())
}

/// Opens the journal in a state directory that is locked, and logs what was found.
pub(super) fn open_journal(
    state_dir: &Path,
    locks: &Locks,
    log: &Logger,
) -> Result<Opened, Failure> {
    locks.in_state_dir()?;
    let opened = recover::open(state_dir, SystemTime::now())?;
    if let Some(q) = &opened.quarantined {
        let kept = q.path.as_ref().map_or_else(
            || "nothing was left to keep".to_owned(),
            |p| p.display().to_string(),
        );
        warn!(log, "the journal could not be used, a new one was begun; rules of ours in the \
            kernel are found by their comments"; "reason" => &q.reason, "kept_as" => kept);
    }
    if !opened.records.is_empty() {
        info!(log, "an earlier run left records"; "count" => opened.records.len());
    }
    Ok(opened)
}
