//! What `run` and `cleanup` begin with: the log, the privilege, the journal.

use std::ffi::OsString;
use std::path::Path;
use std::time::SystemTime;

use clap::ValueEnum as _;
use slog::{Logger, info, warn};

use super::args::{LogArgs, LogFormat};
use super::failure::{Exit, Failure};
use super::lock::Locks;
use crate::journal::recover::{self, Opened};
use crate::logging::{self, Format, Verbosity};
use crate::sys::{panics, privilege};

/// The option that says which format the log has.
const OPTION: &str = "log-format";

/// Begins the log, into which a panic goes, too.
pub(super) fn begin_log(args: &LogArgs) -> Logger {
    let log = logging::to_stderr(format(args.log_format), args.log_level.into());
    panics::install_hook(log.clone());
    log
}

/// What `auto` means here.
fn format(choice: LogFormat) -> Format {
    match choice {
        // systemd sets it for what it logs (systemd.exec(5)).
        LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => Format::Journald,
        LogFormat::Auto | LogFormat::Term => Format::Term,
        LogFormat::Json => Format::Json,
        LogFormat::Journald => Format::Journald,
    }
}

/// Begins the log of a command whose arguments cannot be parsed, if it has one that programs read:
/// then its error goes there. Whether it did.
pub(super) fn begin_log_unparsed(args: &[OsString], command: &clap::Command) -> bool {
    let name = args.first().and_then(|name| name.to_str());
    let command = name.and_then(|name| command.find_subcommand(name));
    let mut options = command.into_iter().flat_map(clap::Command::get_arguments);
    let Some(option) = options.find(|it| it.get_long() == Some(OPTION)) else {
        return false;
    };
    let mut words = args.iter().filter_map(|arg| arg.to_str());
    let mut typed = None;
    while let Some(word) = words.next() {
        let value = match word
            .strip_prefix("--")
            .and_then(|it| it.strip_prefix(OPTION))
        {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        typed = value.map(str::to_owned).or(typed);
    }
    let in_environment = || std::env::var(option.get_env()?).ok();
    let chosen = typed.or_else(in_environment);
    // What is not a format is what is wrong.
    let chosen = chosen.and_then(|name| LogFormat::from_str(&name, false).ok());
    match format(chosen.unwrap_or(LogFormat::Auto)) {
        Format::Term => false,
        format => {
            // The last words go there, too.
            let _log = logging::to_stderr(format, Verbosity::Info);
            true
        }
    }
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
    if let Some(loss) = &opened.loss {
        warn!(log, "history: {loss}");
    }
    if !opened.records.is_empty() {
        info!(log, "an earlier run left records"; "count" => opened.records.len());
    }
    Ok(opened)
}
