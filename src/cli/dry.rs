//! `--dry-run` of `run` and `cleanup`: what they would do to the rules.
//!
//! It takes no lock and changes nothing: the kernel is listed by backends that neither adopt nor create
//! anything, the journal is read from a copy, and the changes go to a [`Rehearsal`].

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use slog::{Discard, Logger, o};

use super::args::BackendChoice;
use super::backends::Many;
use super::failure::{Exit, Failure};
use super::namespace::Elsewhere;
use super::output;
use super::waiting::wait_for;
use crate::backend::ip6tables::{Ip6tables, ToolSettings, Variant};
use crate::backend::nftables::{Nftables, TableSettings};
use crate::backend::rehearsal::{Rehearsal, Script};
use crate::backend::{Backend, ErrorKind};
use crate::conntrack::{FlowError, Flows, Purge};
use crate::docker::client::Engine;
use crate::docker::error::EngineError;
use crate::docker::host::DockerHost;
use crate::docker::survey;
use crate::docker_nat::gate::StandbyState;
use crate::docker_nat::observer::Observer;
use crate::docker_nat::watch::Watch;
use crate::journal::Journal;
use crate::journal::memory::MemoryJournal;
use crate::journal::record::Record;
use crate::journal::recover::{OpenError, snapshot_copy};
use crate::mapper::compute::{Choice, DockerState, HairpinMode, HostFacts, MapperOptions};
use crate::mapper::standby::admitted;
use crate::model::change::Desired;
use crate::model::container::Snapshot;
use crate::reconcile::{Reconciler, Report};
use crate::sys::causes::chain;
use crate::sys::host;

/// How long the Engine may take for an answer, and Docker's own NAT to show whether it is on.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a journal is copied that a running daemon is writing.
const COPIES: u32 = 5;

/// Pause between two copies: a write takes a millisecond.
const PAUSE: Duration = Duration::from_millis(50);

/// Converges, and prints what that did in place of doing it: the script, and how many rules come, go
/// and stay.
fn rehearse(
    mut reconciler: Reconciler<MemoryJournal>,
    recovered: Report,
    desired: &Desired,
    script: &Script,
) -> Result<Exit, Failure> {
    let report = reconciler.converge(desired, host::now());
    if !report.is_in_step() {
        let troubles: Vec<String> = report.troubles.iter().map(chain).collect();
        return Err(unknown(troubles.join("; ")));
    }
    let mut text = String::new();
    for line in script.lines() {
        text.push_str(&line);
        text.push('\n');
    }
    for trouble in &report.troubles {
        text.push_str(&format!("not known: {}\n", chain(trouble)));
    }
    let insert = recovered.inserted + report.inserted;
    let remove = recovered.removed + report.removed;
    let keep = reconciler.records().count().saturating_sub(insert);
    text.push_str(&format!(
        "would insert {insert}, remove {remove}, keep {keep}\n"
    ));
    output::print(&text)?;
    let is_known = report.troubles.is_empty();
    Ok(if is_known { Exit::Done } else { Exit::Failed })
}

fn unknown(why: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("what would be done is not known: {why}"),
    )
}

/// What `run` would do first.
pub(super) fn run(
    choice: BackendChoice,
    docker: &DockerHost,
    state_dir: &Path,
    mut options: MapperOptions,
    stands_by: bool,
) -> Result<Exit, Failure> {
    let mut backends = Backends::find(choice)?;
    let records = records(state_dir)?;
    if choice == BackendChoice::Auto {
        backends = backends.with_many(&records);
    }
    options.limit = crate::backend::compile::rule_limit(backends.used.kind());
    let snapshot = ask_docker(docker)?;
    let facts = facts(&options, &snapshot)?;
    let computed = options.compute(DockerState::Snapshot(&snapshot), &facts);
    let ours = backends.variant;
    let script = Script::default();
    let mut reconciler = backends.rehearsal(&script, &records)?;
    let recovered = reconciler.recover(records, Vec::new(), host::now());
    let desired = reconciler.compile(&computed.intent);
    let state = match stands_by {
        false => StandbyState::Off,
        true => {
            let mut observer = Observer::new(ours, &ToolSettings::default());
            let observe = Box::new(move || observer.observe_in_part());
            let watch = Watch::new(observe, Logger::root(Discard, o!()));
            settled(watch, computed.published.as_deref(), desired.has_forwards())?
        }
    };
    rehearse(reconciler, recovered, &admitted(&desired, state), &script)
}

/// What `cleanup` would do.
pub(super) fn cleanup(state_dir: &Path) -> Result<Exit, Failure> {
    let backends = Backends::find(BackendChoice::Auto)?;
    let script = Script::default();
    let records = records(state_dir)?;
    let elsewhere = Elsewhere::of(state_dir, &records, &host::boot_id()?)?;
    if let Some(elsewhere) = elsewhere {
        return Err(elsewhere.into());
    }
    let mut reconciler = backends.rehearsal(&script, &records)?;
    let recovered = reconciler.recover(records, Vec::new(), host::now());
    rehearse(reconciler, recovered, &Desired::nothing(), &script)
}

/// Backends that only list.
struct Backends {
    used: Box<dyn Backend>,
    others: Vec<Box<dyn Backend>>,
    variant: Option<Variant>,
}

impl Backends {
    fn find(choice: BackendChoice) -> Result<Self, Failure> {
        let tools = ToolSettings::default();
        let mut nftables = Nftables::left_over(TableSettings::default());
        let installed = Ip6tables::installed(&tools).and_then(|mut tool| {
            match (choice, tool.list()) {
                // What does not show its tables is not chosen.
                (BackendChoice::Auto, Err(error)) if error.kind != ErrorKind::Busy => Err(error),
                _ => Ok(tool),
            }
        });
        let tool = match (choice, installed) {
            (BackendChoice::Nftables, _) => None,
            (BackendChoice::Ip6tables, found) => Some(found?),
            (BackendChoice::Auto, found) => match (found, nftables.list()) {
                (Ok(tool), _) => Some(tool),
                (Err(_), Ok(_)) => None,
                (Err(error), Err(_)) => return Err(error.into()),
            },
        };
        Ok(match tool {
            Some(tool) => {
                let other: Option<Box<dyn Backend>> = tool.other().map(|it| Box::new(it) as _);
                Self {
                    variant: Some(tool.variant()),
                    used: Box::new(tool),
                    others: other.into_iter().chain([Box::new(nftables) as _]).collect(),
                }
            }
            None => Self::of_nftables(nftables, &tools),
        })
    }

    fn of_nftables(nftables: Nftables, tools: &ToolSettings) -> Self {
        let others = Ip6tables::left_over(tools).into_iter();
        Self {
            variant: None,
            used: Box::new(nftables),
            others: others.map(|it| Box::new(it) as _).collect(),
        }
    }

    /// As `run` chooses for very many ports of an earlier run.
    fn with_many(self, records: &[Record]) -> Self {
        match Many::of(self.used.kind(), self.variant, records) {
            Some(Many { why_not: None, .. }) => {
                let mut nftables = Nftables::left_over(TableSettings::default());
                match nftables.list() {
                    Ok(_) => Self::of_nftables(nftables, &ToolSettings::default()),
                    Err(_) => self,
                }
            }
            _ => self,
        }
    }

    /// A reconciler that writes into the script what it would do.
    fn rehearsal(
        self,
        script: &Script,
        records: &[Record],
    ) -> Result<Reconciler<MemoryJournal>, Failure> {
        let mut journal = MemoryJournal::default();
        journal.intend(records)?;
        let rehearsal = |real| Box::new(Rehearsal::new(real, script.clone())) as Box<dyn Backend>;
        Ok(Reconciler::new(
            rehearsal(self.used),
            self.others.into_iter().map(rehearsal).collect(),
            journal,
            Box::new(Untouched),
            host::boot_id()?,
            Logger::root(Discard, o!()),
        ))
    }
}

/// Connections that are left alone.
struct Untouched;

impl Flows for Untouched {
    fn purge(&mut self, _: &[Purge]) -> Result<usize, FlowError> {
        Ok(0)
    }

    fn keep(&mut self, _: &BTreeSet<u16>) -> Result<usize, FlowError> {
        Ok(0)
    }

    fn release(&mut self, _: &BTreeSet<Ipv6Addr>) -> Result<(), FlowError> {
        Ok(())
    }
}

/// The records of the journal, from a copy. Where a running daemon writes while it is copied, it is
/// copied again.
fn records(state_dir: &Path) -> Result<Vec<Record>, Failure> {
    let mut last = None;
    for _ in 0..COPIES {
        match snapshot_copy(state_dir, &std::env::temp_dir()) {
            Ok(snapshot) => return Ok(snapshot.records),
            Err(OpenError::Missing(_)) => return Ok(Vec::new()),
            Err(error @ OpenError::Damaged { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
        thread::sleep(PAUSE);
    }
    match last {
        Some(error) => Err(unknown(chain(&error))),
        None => Ok(Vec::new()),
    }
}

fn ask_docker(docker: &DockerHost) -> Result<Snapshot, Failure> {
    let asked = wait_for(async {
        let engine = Engine::connect(docker, PATIENCE).await?;
        survey::snapshot(&engine).await
    })?;
    asked.map_err(|error: EngineError| unknown(chain(&error)))
}

/// What the daemon finds out of the host before its first round.
fn facts(options: &MapperOptions, snapshot: &Snapshot) -> Result<HostFacts, Failure> {
    let mut facts = HostFacts {
        host_addrs: host::addresses()?,
        ..HostFacts::default()
    };
    if options.devices == Choice::Auto {
        facts.default_devices = host::default_devices()?;
        facts.routed = !facts.default_devices.is_empty();
        if !facts.routed {
            return Err(unknown("--dev auto finds no IPv6 default route"));
        }
    }
    if options.hairpin == HairpinMode::Auto {
        let computed = options.compute(DockerState::Snapshot(snapshot), &facts);
        let forwards = computed.resolved.forwards.iter();
        let published: BTreeSet<_> = forwards.map(|f| (f.proto, f.host_port)).collect();
        let served = host::proxied_ports()?.ports;
        facts.unserved = (&published - &served).into();
    }
    Ok(facts)
}

/// Observes Docker's own NAT until it shows whether it is on.
fn settled(
    mut watch: Watch,
    published: Option<&crate::model::published::Published>,
    forwards_any: bool,
) -> Result<StandbyState, Failure> {
    let begun = Instant::now();
    loop {
        let seen = watch.observe(published, forwards_any, || begun.elapsed());
        if let Some(failure) = seen.failure.as_ref().or(seen.unread.as_ref()) {
            return Err(unknown(chain(failure)));
        }
        if seen.state != StandbyState::Unsettled {
            return Ok(seen.state);
        }
        if begun.elapsed() > PATIENCE {
            return Err(unknown(
                "Docker's own IPv6 NAT does not show whether it is on",
            ));
        }
        thread::sleep(seen.again_in.unwrap_or(PAUSE) + PAUSE);
    }
}
