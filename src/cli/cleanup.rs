//! `cleanup`: removes every rule of ours, with no daemon running.

use std::path::Path;
use std::time::SystemTime;

use slog::{Logger, info};

use super::args::CleanupArgs;
use super::backends::{self, Chosen};
use super::places::{self, Locks};
use super::run::{log_opened, logger, require_privilege, state_failure};
use super::{Exit, Failure};
use crate::backend::{Backend, ErrorKind};
use crate::conntrack::{Conntrack, Flows};
use crate::journal::Journal;
use crate::journal::memory::MemoryJournal;
use crate::journal::record::Record;
use crate::journal::recover::{self, Opened};
use crate::model::boot::BootId;
use crate::model::change::Desired;
use crate::reconcile::{Reconciler, Report, Trouble};
use crate::sys::causes::chain;
use crate::sys::{host, panics, privilege};

pub(super) fn run(args: &CleanupArgs) -> Result<Exit, Failure> {
    let log = logger(&args.log);
    panics::install_hook(log.clone());
    require_privilege()?;
    privilege::keep_files_private();
    let state_dir = &args.state.state_dir;
    let mut locks = places::lock(state_dir, None, &log)?;
    locks.wait_for_tools(state_dir, &log);
    let Chosen {
        backend, others, ..
    } = backends::all(&locks, &log)?;
    let opened = match open_journal(state_dir, &locks) {
        Ok(opened) => opened,
        // Its records cannot be read, but every rule carries our comment.
        Err(failure) if failure.exit != Exit::Usage => {
            without_journal(backend, others, &log)?;
            let message = format!("every rule is gone, but not its record: {failure}");
            return Err(Failure::because(failure.exit, message));
        }
        Err(failure) => return Err(failure),
    };
    log_opened(&opened, &log);
    let Opened { store, records, .. } = opened;
    let mut reconciler = Reconciler::new(backend, others, store, flows(), boot_id()?, log.clone());
    finish(&sweep(&mut reconciler, records), &log)?;
    reconciler
        .into_journal()
        .close()
        .map_err(|e| Failure::new(Exit::Failed, &e))?;
    Ok(Exit::Done)
}

/// Opens the journal in a state directory that is locked.
pub(super) fn open_journal(state_dir: &Path, locks: &Locks) -> Result<Opened, Failure> {
    locks.in_state_dir()?;
    recover::open(state_dir, SystemTime::now()).map_err(|e| state_failure(&e))
}

/// Removes every rule of ours that the kernel shows, whatever the journal says.
pub(super) fn without_journal(
    backend: Box<dyn Backend>,
    others: Vec<Box<dyn Backend>>,
    log: &Logger,
) -> Result<(), Failure> {
    let journal = MemoryJournal::default();
    let mut reconciler =
        Reconciler::new(backend, others, journal, flows(), boot_id()?, log.clone());
    finish(&sweep(&mut reconciler, Vec::new()), log)
}

fn sweep<J: Journal>(reconciler: &mut Reconciler<J>, records: Vec<Record>) -> Report {
    let found = reconciler.recover(records, Vec::new(), host::now());
    if !found.is_converged() {
        return found;
    }
    let swept = reconciler.converge(&Desired::nothing(), host::now());
    Report {
        removed: found.removed + swept.removed,
        ..swept
    }
}

fn finish(report: &Report, log: &Logger) -> Result<(), Failure> {
    if !report.is_converged() {
        let troubles: Vec<String> = report.troubles.iter().map(chain).collect();
        let exit = match report.troubles.iter().any(is_missing) {
            true => Exit::Missing,
            false => Exit::Failed,
        };
        return Err(Failure::because(exit, troubles.join("; ")));
    }
    info!(log, "no rule of ours is left"; "removed" => report.removed);
    Ok(())
}

/// The tool that made some of the rules is not there to remove them.
fn is_missing(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Elsewhere { last, .. } if last.kind == ErrorKind::Unsupported)
}

fn flows() -> Box<dyn Flows> {
    Box::new(Conntrack::new(host::addresses))
}

fn boot_id() -> Result<BootId, Failure> {
    host::boot_id().map_err(|e| Failure::new(Exit::Failed, &e))
}
