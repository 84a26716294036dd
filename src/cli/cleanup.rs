//! `cleanup`: removes every rule of ours, with no daemon running.

use clap::Args;
use slog::{Logger, info};

use super::args::{LogArgs, StateArgs};
use super::backends::{self, Chosen};
use super::defaults::Defaults;
use super::dry;
use super::engine_url::docker_host;
use super::failure::{Exit, Failure};
use super::foreign::{self, Foreign};
use super::given::Given;
use super::lock::Locks;
use super::namespace::Elsewhere;
use super::startup::{begin_log, open_journal, require_privilege};
use crate::backend::{Backend, ErrorKind};
use crate::conntrack::{Conntrack, Flows};
use crate::control::history::log_newest;
use crate::journal::Journal;
use crate::journal::history::cause::Cause;
use crate::journal::memory::MemoryJournal;
use crate::journal::record::Record;
use crate::journal::recover::Opened;
use crate::model::change::Desired;
use crate::reconcile::{Reconciler, Report, Trouble};
use crate::sys::causes::chain;
use crate::sys::host;

/// Options of `cleanup`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes:\n  0  no rule is left; with --dry-run: what would be done is known\n  1  \
                  failed, or an Engine uses the rules of --foreign; with --dry-run: it is not known\n  2  wrong usage or \
                  configuration\n  3  a daemon runs\n  4  no privilege, tool or kernel feature; or a \
                  journal of a newer version"
)]
pub(super) struct CleanupArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Print what would be done to the rules now, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    log: LogArgs,
    /// List the rules that another program has left, instead of removing ours
    #[arg(long, value_enum, value_name = "PROGRAM")]
    foreign: Option<Foreign>,
    /// Prefix of the containers' addresses in the rules of docker-nat66-go; may be repeated
    #[arg(
        long,
        value_name = "PREFIX",
        env = "DOCKER_NAT66_PREFIX",
        value_delimiter = ','
    )]
    prefix: Vec<String>,
    /// Docker socket, as for `run`: with --foreign docker the Engine is asked whether its NAT is on
    #[arg(long, value_name = "URL", env = "DOCKER_NAT66_DOCKER_HOST")]
    docker_host: Option<String>,
    /// Remove those rules
    #[arg(long, requires = "foreign", conflicts_with = "dry_run")]
    yes: bool,
}

pub(super) fn run(args: &Given<CleanupArgs>) -> Result<Exit, Failure> {
    let log = begin_log(&args.log);
    // In the environment it is meant for `run`.
    if args.is_typed("prefix") {
        takes_prefix(args.foreign)?;
    }
    require_privilege()?;
    if let Some(whose) = args.foreign {
        let defaults = Defaults::read()?;
        let given = args.docker_host.as_deref();
        let docker = docker_host(given.or(defaults.get("DOCKER_HOST")))?;
        return foreign::run(whose, &args.prefix, &docker, args.yes);
    }
    let state_dir = &args.state.state_dir;
    if args.dry_run {
        return dry::cleanup(state_dir);
    }
    let mut locks = Locks::take(state_dir, None, &log)?;
    locks.wait_for_tools(state_dir, &log);
    let Chosen {
        backend, others, ..
    } = backends::all(&locks, &log)?;
    let opened = match open_journal(state_dir, &locks, &log) {
        Ok(opened) => opened,
        // The journal cannot be read, but every rule carries our comment.
        Err(failure) if failure.exit != Exit::Usage => {
            without_journal(backend, others, &log)?;
            let message = format!("every rule is gone, but not its record: {failure}");
            return Err(Failure::new(failure.exit, message));
        }
        Err(failure) => return Err(failure),
    };
    let Opened {
        mut store, records, ..
    } = opened;
    let boot_id = host::boot_id()?;
    if let Some(elsewhere) = Elsewhere::of(state_dir, &records, &boot_id)? {
        // Its records stay for a cleanup there.
        store.close()?;
        without_journal(backend, others, &log)?;
        return Err(elsewhere.into());
    }
    // What a daemon has left open ends here.
    store.because(Cause::Leaving, host::now());
    let mut reconciler = Reconciler::new(backend, others, store, flows(), boot_id, log.clone());
    finish(&sweep(&mut reconciler, records), &log)?;
    let store = reconciler.into_journal();
    let newest = store.history_head();
    store.close()?;
    if newest.number > 0 {
        log_newest(&log, &newest);
    }
    Ok(Exit::Done)
}

/// Refuses a prefix where it would limit nothing.
fn takes_prefix(foreign: Option<Foreign>) -> Result<(), Failure> {
    let message = match foreign {
        Some(whose) if whose.has_prefix() => return Ok(()),
        Some(whose) => format!(
            "--prefix goes with --foreign docker-nat66-go only: the rules of {} are known without \
             it; leave --prefix out",
            whose.name()
        ),
        None => "--prefix goes with --foreign PROGRAM only: without that, cleanup removes every \
                 rule of docker-nat66, whatever its prefix; leave --prefix out to do so"
            .to_owned(),
    };
    Err(Failure::new(Exit::Usage, message))
}

/// Removes every rule of ours that the kernel shows, whatever the journal says.
pub(super) fn without_journal(
    backend: Box<dyn Backend>,
    others: Vec<Box<dyn Backend>>,
    log: &Logger,
) -> Result<(), Failure> {
    let journal = MemoryJournal::default();
    let boot_id = host::boot_id()?;
    let mut reconciler = Reconciler::new(backend, others, journal, flows(), boot_id, log.clone());
    finish(&sweep(&mut reconciler, Vec::new()), log)
}

fn sweep<J: Journal>(reconciler: &mut Reconciler<J>, records: Vec<Record>) -> Report {
    // Whatever recovery could not do, the rules go as far as they can; what is still the matter then
    // is in the second report.
    let found = reconciler.recover(records, Vec::new(), host::now());
    let swept = reconciler.converge(&Desired::nothing(), host::now());
    Report {
        removed: found.removed + swept.removed,
        ..swept
    }
}

fn finish(report: &Report, log: &Logger) -> Result<(), Failure> {
    if !report.is_converged() {
        let troubles: Vec<String> = report.troubles.iter().map(chain).collect();
        let troubles = troubles.join("; ");
        if report.is_kernel_settled() {
            let message = format!("every rule is gone, but not its record: {troubles}");
            return Err(Failure::new(Exit::Failed, message));
        }
        let exit = match report.troubles.iter().any(is_missing) {
            true => Exit::Missing,
            false => Exit::Failed,
        };
        return Err(Failure::new(exit, troubles));
    }
    info!(log, "no rule of ours is left"; "removed" => report.removed);
    Ok(())
}

/// Whether the tool that made some of the rules is missing, so that they cannot be removed.
fn is_missing(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Elsewhere { last, .. } if last.kind == ErrorKind::Unsupported)
}

fn flows() -> Box<dyn Flows> {
    Box::new(Conntrack::new(host::addresses))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use slog::{Discard, o};

    use super::*;
    use crate::backend::Batch;
    use crate::backend::fake::FakeKernel;
    use crate::conntrack::FlowError;
    use crate::conntrack::fake::FakeTable;
    use crate::journal::testing::{record, records, rule};
    use crate::model::boot::BootId;

    /// The rules of the ports 80 and 81, and no record of the second; another program has removed that of
    /// port 82.
    fn left() -> (FakeKernel, MemoryJournal, Vec<Record>) {
        let kernel = FakeKernel::new();
        let insert = vec![rule(80), rule(81)];
        let batch = Batch {
            insert,
            ..Batch::default()
        };
        kernel.backend().commit(&batch).expect("inserted");
        let mut recorded = records(80..=80);
        recorded.push(record(82));
        let mut journal = MemoryJournal::default();
        journal.intend(&recorded).expect("written");
        (kernel, journal, recorded)
    }

    fn sweeper(
        kernel: &FakeKernel,
        journal: &MemoryJournal,
        table: &FakeTable,
    ) -> Reconciler<MemoryJournal> {
        Reconciler::new(
            Box::new(kernel.backend()),
            Vec::new(),
            journal.clone(),
            Box::new(table.flows()),
            BootId::new("boot"),
            Logger::root(Discard, o!()),
        )
    }

    #[test]
    fn rules_go_though_connections_could_not_be_cut_at_first() {
        let (kernel, journal, records) = left();
        let table = FakeTable::new();
        table.purging_fails(Some(FlowError::TimedOut));
        let report = sweep(&mut sweeper(&kernel, &journal, &table), records);
        assert_eq!(kernel.ours().len(), 0, "{report:?}");
        let failure = finish(&report, &Logger::root(Discard, o!())).expect_err("it says so");
        assert_eq!(failure.exit, Exit::Failed);
    }

    #[test]
    fn rules_go_though_the_journal_cannot_be_written() {
        let (kernel, journal, records) = left();
        journal.fail_after(Some(0));
        let report = sweep(&mut sweeper(&kernel, &journal, &FakeTable::new()), records);
        assert_eq!(kernel.ours().len(), 0, "{report:?}");
        let failure = finish(&report, &Logger::root(Discard, o!())).expect_err("it says so");
        let said = failure.to_string();
        assert!(
            said.starts_with("every rule is gone, but not its record: "),
            "{said}"
        );
    }

    #[test]
    fn a_copy_that_will_not_go_keeps_no_other_rule() {
        let (kernel, journal, records) = left();
        let twice = Batch {
            insert: vec![rule(80)],
            ..Batch::default()
        };
        kernel.backend().commit(&twice).expect("inserted");
        let stuck = rule(80).id();
        kernel.refuse(BTreeSet::from([stuck]));
        let report = sweep(&mut sweeper(&kernel, &journal, &FakeTable::new()), records);
        assert!(!report.is_kernel_settled(), "{report:?}");
        assert!(kernel.ours().iter().all(|seen| seen.id == stuck));
    }
}
