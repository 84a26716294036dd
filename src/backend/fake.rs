//! A kernel in memory, for tests of what stands above the seam.
//!
//! It keeps both tables as the lines that ip6tables-save would print, foreign ones among ours,
//! reads them as the real backend reads a listing, carries out the same plans, and passes the
//! same contract suite. The handle outlives its backends,
//! as a kernel outlives daemons, and takes the faults to be injected. No task runs here.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ip6tables::plan::{Ground, Plan, Step};
use super::ip6tables::shape::Table;
use super::ip6tables::{parse, render};
use super::{Backend, BackendError, Batch, ErrorKind, ObservedRule, Verb};
use crate::model::native::Native;
use crate::model::rule::{BackendKind, Rule, RuleId};

/// A change of the tables' lines by somebody else.
pub type Edit = Box<dyn FnOnce(&mut Vec<String>) + Send>;

/// What goes wrong in one call.
pub enum Fault {
    /// Nothing; lets a script reach a later call.
    None,
    /// The call fails and has done nothing.
    Before(ErrorKind),
    /// The call fails though all of it was done.
    After(ErrorKind),
    /// The call fails after this many entries of its batch, removals first: what a batch over
    /// several tables leaves. For a listing the same as [`Fault::Before`].
    Partly(usize, ErrorKind),
    /// Somebody else changes the lines just before the call, which then goes its way.
    Meanwhile(Edit),
    /// The calling thread panics, with nothing done.
    Panic,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Before(kind) => write!(f, "Before({kind})"),
            Self::After(kind) => write!(f, "After({kind})"),
            Self::Partly(n, kind) => write!(f, "Partly({n}, {kind})"),
            Self::Meanwhile(_) => f.write_str("Meanwhile"),
            Self::Panic => f.write_str("Panic"),
        }
    }
}

/// One call that a backend received, in order, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A listing.
    List,
    /// A commit, with its batch.
    Commit(Batch),
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    on_list: VecDeque<Fault>,
    on_commit: VecDeque<Fault>,
    listing_fails: Option<ErrorKind>,
    refused: BTreeSet<RuleId>,
    native: Native,
    native_fails: Option<ErrorKind>,
    calls: Vec<Call>,
}

/// The kernel, and the test's hand on it. Clones are the same kernel.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel(Arc<Mutex<State>>);

impl FakeKernel {
    /// An empty kernel.
    pub fn new() -> Self {
        Self::default()
    }

    /// A backend on it: that of a daemon that starts now.
    pub fn backend(&self) -> FakeBackend {
        FakeBackend(self.clone())
    }

    /// Adds a fault for the next listing that has none yet.
    pub fn on_list(&self, fault: Fault) {
        self.state().on_list.push_back(fault);
    }

    /// Adds a fault for the next commit that has none yet.
    pub fn on_commit(&self, fault: Fault) {
        self.state().on_commit.push_back(fault);
    }

    /// From now on every listing fails so (after its own fault, if it has one), or, with
    /// `None`, no longer.
    pub fn listing_fails(&self, kind: Option<ErrorKind>) {
        self.state().listing_fails = kind;
    }

    /// From now on no commit succeeds that inserts or removes one of these rules.
    pub fn refuse(&self, rules: BTreeSet<RuleId>) {
        self.state().refused = rules;
    }

    /// From now on Docker's own IPv6 NAT is this.
    pub fn set_native(&self, native: Native) {
        self.state().native = native;
    }

    /// From now on it cannot be told, or, with `None`, it can.
    pub fn native_fails(&self, kind: Option<ErrorKind>) {
        self.state().native_fails = kind;
    }

    /// Both tables, line by line as ip6tables-save prints them, foreign rules included: chains
    /// of their own as `:CHAIN - [0:0]`, and rules.
    pub fn lines(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    /// Somebody else's change of the tables: foreign rules, copies of ours, rules of ours gone.
    pub fn edit(&self, change: impl FnOnce(&mut Vec<String>)) {
        change(&mut self.state().lines);
    }

    /// Every rule of ours that is there, whatever faults are set.
    pub fn ours(&self) -> Vec<ObservedRule> {
        self.state().ours()
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// A panic of the code under test must not take the kernel with it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ours(&self) -> Vec<ObservedRule> {
        self.look().map_or_else(|_| Vec::new(), |(rules, _)| rules)
    }

    /// Both tables, read as the real backend reads them.
    fn look(&self) -> Result<(Vec<ObservedRule>, Ground), BackendError> {
        let mut rules = Vec::new();
        let mut ground = Ground::default();
        for table in Table::ALL {
            let mut text = format!("# Generated by fake v1 on no day\n*{}\n", table.as_str());
            for line in self.lines.iter().filter(|l| table_of(l) == table.as_str()) {
                text.push_str(line);
                text.push('\n');
            }
            text.push_str("COMMIT\n# Completed on no day\n");
            let listing = parse::listing(text.as_bytes(), table)
                .map_err(|e| failure("listing", ErrorKind::Uncertain, &e.to_string()))?;
            rules.extend(listing.rules);
            if table == Table::Filter {
                ground = listing.ground;
            }
        }
        Ok((rules, ground))
    }

    /// The first `entries` of the batch, each table whole or not at all.
    fn apply(&mut self, batch: &Batch, entries: usize) -> Result<(), BackendError> {
        let (_, ground) = self.look()?;
        let removals = batch.remove.iter().take(entries);
        let left = entries.saturating_sub(batch.remove.len());
        let part = Batch {
            remove: removals.cloned().collect(),
            insert: batch.insert.iter().take(left).cloned().collect(),
        };
        let plan = Plan::new(&part, &ground)
            .map_err(|e| failure("commit", ErrorKind::Failed, &e.to_string()))?;
        for (table, steps) in &plan.sections {
            let mut lines = self.lines.clone();
            for step in steps {
                take(&mut lines, *table, step)
                    .map_err(|kind| failure("commit", kind, &format!("{step:?}")))?;
            }
            self.lines = lines;
        }
        Ok(())
    }
}

/// One step, as the tool would take it.
fn take(lines: &mut Vec<String>, table: Table, step: &Step) -> Result<(), ErrorKind> {
    let declared = |chain: &str| format!(":{chain} - [0:0]");
    let position = |lines: &[String], wanted: &str| {
        let here = |l: &&String| table_of(l) == table.as_str();
        let at = lines.iter().position(|l| here(&l) && l == wanted);
        at.ok_or(ErrorKind::NotFound)
    };
    match step {
        Step::NewChain(chain) => {
            if position(lines, &declared(chain)).is_ok() {
                return Err(ErrorKind::Exists);
            }
            lines.push(declared(chain));
        }
        Step::Remove(text) => {
            let at = position(lines, &format!("-A {text}"))?;
            lines.remove(at);
        }
        Step::Insert(rule, place) => {
            let line = render::listed(rule);
            let chain = line.split(' ').nth(1).unwrap_or_default();
            if chain.starts_with("DOCKER") {
                position(lines, &declared(chain))?;
            }
            let before = place.and_then(|place| {
                let same = |(_, l): &(usize, &String)| {
                    table_of(l) == table.as_str() && l.split(' ').nth(1) == Some(chain)
                };
                let mut rules = lines.iter().enumerate().filter(same);
                rules.nth(place.saturating_sub(1)).map(|(at, _)| at)
            });
            lines.insert(before.unwrap_or(lines.len()), line);
        }
        Step::DropChain(chain) => {
            let at = position(lines, &declared(chain))?;
            let held = format!("-A {chain} ");
            let jumps = format!(" -j {chain}");
            if lines
                .iter()
                .any(|l| l.starts_with(&held) || l.ends_with(&jumps))
            {
                return Err(ErrorKind::Busy);
            }
            lines.remove(at);
        }
    }
    Ok(())
}

/// The table in which a line stands, told by its chain: the fake knows no more of them than
/// what our rules need.
pub fn table_of(line: &str) -> &'static str {
    let chain = match line.strip_prefix(':') {
        Some(declared) => declared.split(' ').next(),
        None => line.split(' ').nth(1),
    };
    match chain {
        Some("FORWARD" | "INPUT") => Table::Filter.as_str(),
        Some(own) if own.starts_with("DOCKER-") => Table::Filter.as_str(),
        _ => Table::Nat.as_str(),
    }
}

fn failure(operation: &str, kind: ErrorKind, detail: &str) -> BackendError {
    BackendError {
        operation: format!("fake {operation}"),
        kind,
        detail: detail.to_owned(),
    }
}

const INJECTED: &str = "injected fault";

/// A daemon's view of a [`FakeKernel`].
#[derive(Debug)]
pub struct FakeBackend(FakeKernel);

impl Backend for FakeBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Ip6tables
    }

    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        let mut state = self.0.state();
        state.calls.push(Call::List);
        match state.on_list.pop_front() {
            None | Some(Fault::None) => {}
            Some(Fault::Before(kind) | Fault::After(kind) | Fault::Partly(_, kind)) => {
                return Err(failure("listing", kind, INJECTED));
            }
            Some(Fault::Meanwhile(change)) => change(&mut state.lines),
            Some(Fault::Panic) => panic!("{INJECTED}"),
        }
        match state.listing_fails {
            Some(kind) => Err(failure("listing", kind, INJECTED)),
            None => Ok(state.look()?.0),
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        let mut state = self.0.state();
        state.calls.push(Call::Commit(batch.clone()));
        let inserted = batch.insert.iter().map(Rule::id);
        let mut touched = inserted.chain(batch.remove.iter().map(|rule| rule.id));
        if touched.any(|id| state.refused.contains(&id)) {
            return Err(failure("commit", ErrorKind::Failed, INJECTED));
        }
        match state.on_commit.pop_front() {
            None | Some(Fault::None) => {}
            Some(Fault::Before(kind)) => return Err(failure("commit", kind, INJECTED)),
            Some(Fault::After(kind)) => {
                state.apply(batch, usize::MAX)?;
                return Err(failure("commit", kind, INJECTED));
            }
            Some(Fault::Partly(entries, kind)) => {
                state.apply(batch, entries)?;
                return Err(failure("commit", kind, INJECTED));
            }
            Some(Fault::Meanwhile(change)) => change(&mut state.lines),
            Some(Fault::Panic) => panic!("{INJECTED}"),
        }
        state.apply(batch, usize::MAX)
    }

    fn native(&mut self) -> Result<Native, BackendError> {
        let state = self.0.state();
        match state.native_fails {
            Some(kind) => Err(failure("look at Docker's NAT", kind, INJECTED)),
            None => Ok(state.native.clone()),
        }
    }

    fn describe(&self, verb: Verb, rule: &Rule) -> String {
        render::describe(verb, rule, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ip6tables::testing::dnat;

    fn rule(port: u16) -> Rule {
        dnat("eth0", "tcp", None, port, "fdfd::2", 80)
    }

    fn insert(ports: &[u16]) -> Batch {
        Batch {
            insert: ports.iter().map(|p| rule(*p)).collect(),
            ..Batch::default()
        }
    }

    #[test]
    fn faults_strike_where_they_say() {
        let kernel = FakeKernel::new();
        let mut backend = kernel.backend();
        let kind = |r: Result<(), BackendError>| r.map_err(|e| e.kind);
        kernel.on_commit(Fault::Before(ErrorKind::Busy));
        kernel.on_commit(Fault::After(ErrorKind::TimedOut));
        kernel.on_commit(Fault::Partly(1, ErrorKind::Failed));
        kernel.on_commit(Fault::Meanwhile(Box::new(Vec::clear)));
        assert_eq!(kind(backend.commit(&insert(&[1]))), Err(ErrorKind::Busy));
        assert_eq!(kernel.ours().len(), 0);
        assert_eq!(
            kind(backend.commit(&insert(&[1]))),
            Err(ErrorKind::TimedOut)
        );
        assert_eq!(kernel.ours().len(), 1);
        assert_eq!(
            kind(backend.commit(&insert(&[2, 3]))),
            Err(ErrorKind::Failed)
        );
        assert_eq!(kernel.ours().len(), 2);
        assert_eq!(kind(backend.commit(&insert(&[4]))), Ok(()));
        assert_eq!(kernel.ours()[0].rule, Some(rule(4)));
        assert_eq!(kernel.calls().len(), 4);
    }

    #[test]
    fn an_uncertain_kernel_heals() {
        let kernel = FakeKernel::new();
        kernel.listing_fails(Some(ErrorKind::Uncertain));
        let mut backend = kernel.backend();
        assert!(backend.list().is_err());
        assert!(backend.list().is_err());
        kernel.listing_fails(None);
        assert_eq!(backend.list(), Ok(Vec::new()));
    }

    #[test]
    fn the_kernel_survives_a_panic_of_its_daemon() {
        let kernel = FakeKernel::new();
        kernel.on_commit(Fault::Panic);
        let mut backend = kernel.backend();
        let died = std::thread::spawn(move || backend.commit(&insert(&[1])));
        assert!(died.join().is_err());
        assert_eq!(kernel.backend().list(), Ok(Vec::new()));
    }
}
