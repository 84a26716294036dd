//! A machine in memory, and a fate that strikes at its daemons' steps.

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use slog::{Discard, o};

use super::super::*;
use crate::backend::compile;
use crate::backend::fake::FakeKernel;
use crate::backend::{Batch, ErrorKind, ObservedRule, Verb};
use crate::conntrack::fake::FakeTable;
use crate::journal::JournalError;
use crate::journal::memory::MemoryJournal;
use crate::journal::record::RecordState;
use crate::model::forward::{Forward, Owner, Proto, Sources};
use crate::model::intent::{Hairpin, Intent, Policy, Unpublished};
use crate::model::rule::{BackendKind, Rule};

/// A rule of another program, which must stay.
const FOREIGN: &str =
    "-A POSTROUTING -o eth9 -m comment --comment \"x docker-nat66:0123456789abcdef\" -j MASQUERADE";

/// What happens at a step: a call of the backend or of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    /// The process is killed before the call does anything.
    KilledBefore,
    /// The process is killed after the call has done its work.
    KilledAfter,
    /// The call fails and has done nothing.
    FailedBefore,
    /// The call fails though its work is done.
    FailedAfter,
}

pub(super) const MISHAPS: [Mishap; 4] = [
    Mishap::KilledBefore,
    Mishap::KilledAfter,
    Mishap::FailedBefore,
    Mishap::FailedAfter,
];

/// Counts steps and strikes at some of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Arc<Mutex<Course>>);

/// Steps so far, and what happens at which.
type Course = (usize, Vec<(usize, Mishap)>);

struct Killed;

impl Fate {
    pub(super) fn new(mishaps: &[(usize, Mishap)]) -> Self {
        Self(Arc::new(Mutex::new((0, mishaps.to_vec()))))
    }

    pub(super) fn steps(&self) -> usize {
        self.0.lock().unwrap().0
    }

    /// One step around `work`; `Err` is a failure that was made, or the work's own.
    fn step<E>(&self, work: impl FnOnce() -> Result<(), E>, failure: E) -> Result<(), E> {
        let mishap = {
            let mut inner = self.0.lock().unwrap();
            let now = inner.0;
            inner.0 += 1;
            inner.1.iter().find(|(at, _)| *at == now).map(|(_, m)| *m)
        };
        match mishap {
            None => work(),
            Some(Mishap::KilledBefore) => resume_unwind(Box::new(Killed)),
            Some(Mishap::KilledAfter) => {
                let _ = work();
                resume_unwind(Box::new(Killed))
            }
            Some(Mishap::FailedBefore) => Err(failure),
            Some(Mishap::FailedAfter) => {
                let _ = work();
                Err(failure)
            }
        }
    }
}

fn backend_failure() -> BackendError {
    BackendError {
        operation: "made".into(),
        kind: ErrorKind::Failed,
        detail: "to fail".into(),
    }
}

/// The fake kernel, watched: nothing is inserted without an intent.
struct WatchedBackend {
    kernel: FakeKernel,
    journal: MemoryJournal,
    fate: Fate,
}

impl Backend for WatchedBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Ip6tables
    }

    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        let mut listed = Vec::new();
        let kernel = self.kernel.clone();
        let work = || {
            listed = kernel.backend().list()?;
            Ok(())
        };
        self.fate.step(work, backend_failure())?;
        Ok(listed)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        let known: BTreeSet<RuleId> = self.journal.records().iter().map(Record::id).collect();
        for rule in &batch.insert {
            assert!(known.contains(&rule.id()), "inserted without an intent");
        }
        let kernel = self.kernel.clone();
        let work = || kernel.backend().commit(batch);
        self.fate.step(work, backend_failure())
    }

    fn describe(&self, verb: Verb, rule: &Rule) -> String {
        self.kernel.backend().describe(verb, rule)
    }
}

/// The journal in memory, watched: no record goes before its rule.
pub(super) struct WatchedJournal {
    kernel: FakeKernel,
    journal: MemoryJournal,
    fate: Fate,
}

impl WatchedJournal {
    fn step(
        &mut self,
        work: impl FnOnce(&mut MemoryJournal) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let failure = JournalError {
            operation: "made".into(),
            detail: "to fail".into(),
        };
        let journal = &mut self.journal;
        self.fate.step(|| work(journal), failure)
    }
}

impl Journal for WatchedJournal {
    fn intend(&mut self, records: &[Record]) -> Result<(), JournalError> {
        self.step(|journal| journal.intend(records))
    }

    fn commit(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step(|journal| journal.commit(ids))
    }

    fn removing(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step(|journal| journal.removing(ids))
    }

    fn forget(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        let there = self.kernel.ours();
        for id in ids {
            assert!(
                there.iter().all(|r| r.id != *id),
                "forgotten before it was gone"
            );
        }
        self.step(|journal| journal.forget(ids))
    }
}

/// A daemon that gets with each wish the rules in which it differs from the one before, and no others:
/// it must compare no more than these.
pub(super) struct Daemon {
    reconciler: Reconciler<WatchedJournal>,
    last: Option<Desired>,
}

impl Daemon {
    pub(super) fn converge(&mut self, desired: &Desired, now: u64) -> Report {
        let touched = match &self.last {
            Some(last) if is_decided(last) && is_decided(desired) => {
                let all = last.rules.iter().chain(&desired.rules);
                let differs = |id: &RuleId| last.rules.get(id) != desired.rules.get(id);
                Touched::Only(all.map(|(id, _)| *id).filter(differs).collect())
            }
            _ => Touched::All,
        };
        self.last = Some(desired.clone());
        let desired = || Cow::Borrowed(desired);
        self.reconciler.converge_to(desired, &touched, now)
    }
}

/// Whether rules alone make the difference to another wish.
fn is_decided(desired: &Desired) -> bool {
    desired.is_complete() && desired.may_insert
}

impl Deref for Daemon {
    type Target = Reconciler<WatchedJournal>;

    fn deref(&self) -> &Self::Target {
        &self.reconciler
    }
}

impl DerefMut for Daemon {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.reconciler
    }
}

/// A machine: a kernel and a disk that outlive its daemons.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) kernel: FakeKernel,
    pub(super) journal: MemoryJournal,
    pub(super) flows: FakeTable,
}

impl Machine {
    pub(super) fn new() -> Self {
        let kernel = FakeKernel::new();
        kernel.edit(|lines| lines.push(FOREIGN.to_owned()));
        Self {
            kernel,
            journal: MemoryJournal::default(),
            flows: FakeTable::new(),
        }
    }

    pub(super) fn daemon(&self, fate: &Fate) -> Daemon {
        let backend = WatchedBackend {
            kernel: self.kernel.clone(),
            journal: self.journal.clone(),
            fate: fate.clone(),
        };
        let journal = WatchedJournal {
            kernel: self.kernel.clone(),
            journal: self.journal.clone(),
            fate: fate.clone(),
        };
        let log = Logger::root(Discard, o!());
        let boot = BootId::new("this");
        let flows = Box::new(self.flows.flows());
        Daemon {
            reconciler: Reconciler::new(Box::new(backend), Vec::new(), journal, flows, boot, log),
            last: None,
        }
    }

    /// Runs a daemon through `wishes`, each retried until it is met. `false`: it was killed.
    pub(super) fn live(&self, wishes: &[Desired], fate: &Fate) -> bool {
        self.lives(fate, |daemon| {
            for wish in wishes {
                let met = (0..5).any(|_| daemon.converge(wish, 2).is_converged());
                assert!(met, "a passing failure must not last");
            }
        })
    }

    /// Starts a daemon, which recovers and then lives. `false`: it was killed.
    pub(super) fn lives(&self, fate: &Fate, life: impl FnOnce(&mut Daemon)) -> bool {
        let whole = || {
            let mut daemon = self.daemon(fate);
            daemon.recover(self.journal.records(), Vec::new(), 1);
            life(&mut daemon);
        };
        match catch_unwind(AssertUnwindSafe(whole)) {
            Ok(()) => true,
            Err(payload) if payload.is::<Killed>() => false,
            Err(payload) => resume_unwind(payload),
        }
    }

    /// The host ports of all DNAT rules of ours.
    pub(super) fn open_ports(&self) -> Vec<u16> {
        let rules = self.kernel.ours().into_iter().filter_map(|r| r.rule);
        let ports = rules.filter_map(|r| Some(r.dnat()?.0.port));
        ports.collect()
    }

    pub(super) fn must_match(&self, wish: &Desired, context: &dyn std::fmt::Debug) {
        let mut in_kernel: Vec<RuleId> = self.kernel.ours().iter().map(|r| r.id).collect();
        in_kernel.sort();
        let wanted: Vec<RuleId> = wish.rules.keys().copied().collect();
        assert_eq!(in_kernel, wanted, "kernel, {context:?}");
        let records = self.journal.records();
        let recorded: Vec<RuleId> = records.iter().map(Record::id).collect();
        assert_eq!(recorded, wanted, "journal, {context:?}");
        for record in &records {
            assert_eq!(record.state, RecordState::Applied, "{context:?}");
            assert_eq!(record.owned, wish.rules[&record.id()], "{context:?}");
        }
        let foreign = self.kernel.lines().iter().filter(|l| *l == FOREIGN).count();
        assert_eq!(foreign, 1, "a foreign rule was touched, {context:?}");
        if wish.rules.is_empty() {
            let lines = self.kernel.lines();
            assert_eq!(lines, [FOREIGN], "something is left behind, {context:?}");
        }
    }
}

/// Forwards as (host port, last group of the address, owner).
pub(super) fn wish(forwards: &[(u16, u16, char)]) -> Desired {
    wish_with(Hairpin::Off, forwards)
}

/// The same, for the host and the containers, too, or not.
pub(super) fn wish_with(hairpin: Hairpin, forwards: &[(u16, u16, char)]) -> Desired {
    let forwards = forwards.iter().map(|each| forward(*each));
    compiled(hairpin, Some(forwards.collect()))
}

pub(super) fn forward((port, host, owner): (u16, u16, char)) -> Forward {
    Forward {
        proto: Proto::Tcp,
        host_addr: None,
        host_port: port,
        container_addr: std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host),
        container_port: 80,
        sources: Sources::Any,
        owner: Owner::new(owner.to_string(), "c", "bridge"),
    }
}

/// Before the first complete list of Docker's.
pub(super) fn before_docker() -> Desired {
    compiled(Hairpin::Off, None)
}

pub(super) fn policy(hairpin: Hairpin) -> Policy {
    Policy {
        devices: vec!["eth0".parse().unwrap()],
        prefixes: vec!["fd00::/64".parse().unwrap()],
        unpublished: Unpublished::Accept,
        hairpin,
        ..Policy::default()
    }
}

fn compiled(hairpin: Hairpin, forwards: Option<Vec<Forward>>) -> Desired {
    let intent = Intent::new(policy(hairpin), forwards);
    compile::desired(BackendKind::Ip6tables, &intent)
}
