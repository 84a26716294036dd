//! A fake table of flows for tests of its callers: records calls, and injects faults.
//!
//! The handle outlives its [`FakeFlows`], as a kernel outlives daemons. No task runs here.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::flow::{FlowError, Flows, Purge};

/// What a test does in the middle of a call, to see what else has happened by then.
pub type Observer = Box<dyn FnOnce(&[Purge]) + Send>;

/// What happens in one call.
pub enum Fault {
    /// Nothing: the fault to come is for a later call.
    None,
    /// The call fails.
    Fails(FlowError),
    /// The call succeeds, after this.
    Meanwhile(Observer),
    /// The calling thread panics.
    Panic,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Fails(error) => write!(f, "Fails({error})"),
            Self::Meanwhile(_) => f.write_str("Meanwhile"),
            Self::Panic => f.write_str("Panic"),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<Fault>,
    fails: Option<FlowError>,
    calls: Vec<Vec<Purge>>,
    kept: Vec<BTreeSet<u16>>,
    releases: Vec<BTreeSet<Ipv6Addr>>,
    release_fails: Option<FlowError>,
}

/// The kernel's table, and the test's hand on it. Clones are the same table.
#[derive(Debug, Clone, Default)]
pub struct FakeTable(Arc<Mutex<State>>);

impl FakeTable {
    /// A table that every purge succeeds on.
    pub fn new() -> Self {
        Self::default()
    }

    /// A daemon's view of it.
    pub fn flows(&self) -> FakeFlows {
        FakeFlows(self.clone())
    }

    /// Adds a fault for the next call that has none yet.
    pub fn on_purge(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// From now on every call fails so (after its own fault, if it has one), or, with `None`,
    /// no longer.
    pub fn purging_fails(&self, error: Option<FlowError>) {
        self.state().fails = error;
    }

    /// What was asked for, call by call, whatever became of it.
    pub fn calls(&self) -> Vec<Vec<Purge>> {
        self.state().calls.clone()
    }

    /// On which ports connections were to be kept, call by call.
    pub fn kept(&self) -> Vec<BTreeSet<u16>> {
        self.state().kept.clone()
    }

    /// The next release fails.
    pub fn on_release(&self, error: FlowError) {
        self.state().release_fails = Some(error);
    }

    /// Which addresses were released, call by call, whatever became of it.
    pub fn releases(&self) -> Vec<BTreeSet<Ipv6Addr>> {
        self.state().releases.clone()
    }

    /// A panic of the code under test must not take the table with it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A daemon's view of a [`FakeTable`].
#[derive(Debug)]
pub struct FakeFlows(FakeTable);

impl Flows for FakeFlows {
    /// As many as there are purges: one entry each.
    fn purge(&mut self, purges: &[Purge]) -> Result<usize, FlowError> {
        let (fault, fails) = {
            let mut state = self.0.state();
            state.calls.push(purges.to_vec());
            (state.faults.pop_front(), state.fails.clone())
        };
        match fault {
            None | Some(Fault::None) => {}
            Some(Fault::Fails(error)) => return Err(error),
            Some(Fault::Meanwhile(observe)) => observe(purges),
            Some(Fault::Panic) => panic!("injected panic"),
        }
        fails.map_or(Ok(purges.len()), Err)
    }

    fn keep(&mut self, ports: &BTreeSet<u16>) -> Result<usize, FlowError> {
        let mut state = self.0.state();
        state.kept.push(ports.clone());
        state.fails.clone().map_or(Ok(0), Err)
    }

    fn release(&mut self, gone: &BTreeSet<Ipv6Addr>) -> Result<(), FlowError> {
        let mut state = self.0.state();
        state.releases.push(gone.clone());
        state.release_fails.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_in_order_and_every_call_is_recorded() {
        let table = FakeTable::new();
        table.on_purge(Fault::None);
        table.on_purge(Fault::Fails(FlowError::TimedOut));
        let mut flows = table.flows();
        assert_eq!(flows.purge(&[]), Ok(0));
        assert_eq!(flows.purge(&[]), Err(FlowError::TimedOut));
        assert_eq!(flows.purge(&[]), Ok(0));
        table.purging_fails(Some(FlowError::Overrun));
        assert_eq!(table.flows().purge(&[]), Err(FlowError::Overrun));
        assert_eq!(table.calls().len(), 4);
    }
}
