//! `cleanup`: removes every rule of ours, with no daemon running.

use std::time::SystemTime;

use slog::{Logger, info};

use super::args::CleanupArgs;
use super::run::{boxed, ip6tables, log_opened, logger, require_privilege, state_failure};
use super::{Exit, Failure, places};
use crate::backend::Backend;
use crate::journal::Journal;
use crate::journal::memory::MemoryJournal;
use crate::journal::record::{BootId, Record};
use crate::journal::recover::{self, OpenError, Opened};
use crate::model::change::Desired;
use crate::reconcile::{Reconciler, Report};
use crate::text::chain;
use crate::{host, panics};

pub(super) fn run(args: &CleanupArgs) -> Result<Exit, Failure> {
    let log = logger(args.log_format, args.log_level);
    panics::install_hook(log.clone());
    require_privilege()?;
    let state_dir = &args.places.state_dir;
    recover::prepare_dir(state_dir).map_err(|e| state_failure(&e))?;
    let locks = places::lock(state_dir, None)?;
    let (backend, others) = ip6tables(state_dir, &locks)?;
    let (backend, others) = (Box::new(backend) as Box<dyn Backend>, boxed(others));
    let opened = match recover::open(state_dir, SystemTime::now()) {
        Ok(opened) => opened,
        // Its records cannot be read here, but every rule carries our comment.
        Err(OpenError::NewerVersion { .. }) => {
            without_journal(backend, others, &log)?;
            return Ok(Exit::Done);
        }
        Err(e) => return Err(state_failure(&e)),
    };
    log_opened(&opened, &log);
    let Opened { store, records, .. } = opened;
    let mut reconciler = Reconciler::new(backend, others, store, boot_id()?, log.clone());
    finish(&sweep(&mut reconciler, records), &log)?;
    reconciler
        .into_journal()
        .close()
        .map_err(|e| Failure::new(Exit::Failed, &e))?;
    Ok(Exit::Done)
}

/// Removes every rule of ours that the kernel shows, whatever the journal says.
pub(super) fn without_journal(
    backend: Box<dyn Backend>,
    others: Vec<Box<dyn Backend>>,
    log: &Logger,
) -> Result<(), Failure> {
    let journal = MemoryJournal::default();
    let mut reconciler = Reconciler::new(backend, others, journal, boot_id()?, log.clone());
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
        return Err(Failure::because(Exit::Failed, troubles.join("; ")));
    }
    info!(log, "no rule of ours is left"; "removed" => report.removed);
    Ok(())
}

fn boot_id() -> Result<BootId, Failure> {
    host::boot_id().map_err(|e| Failure::new(Exit::Failed, &e))
}
