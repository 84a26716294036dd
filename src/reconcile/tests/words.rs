//! What is said of a change: that it was made, once, and only when it was.

use std::sync::{Arc, Mutex};

use slog::{Drain, Never, OwnedKVList, o};

use super::super::*;
use super::machine::wish;
use crate::backend::fake::{FakeKernel, InjectedFault};
use crate::conntrack::fake::FakeTable;
use crate::journal::memory::MemoryJournal;

/// The messages of a log.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl Drain for Messages {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &slog::Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        self.0.lock().unwrap().push(record.msg().to_string());
        Ok(())
    }
}

impl Messages {
    /// How many changes of forwards were said to be made: additions and removals.
    fn told(&self) -> (usize, usize) {
        let messages = self.0.lock().unwrap();
        let count = |words| messages.iter().filter(|m| m.contains(words)).count();
        (count("NAT66 add portfwd: "), count("NAT66 del portfwd: "))
    }
}

#[test]
fn a_change_is_told_once_and_only_when_it_was_made() {
    let (messages, kernel) = (Messages::default(), FakeKernel::new());
    let mut daemon = Reconciler::new(
        Box::new(kernel.backend()),
        Vec::new(),
        MemoryJournal::default(),
        Box::new(FakeTable::new().flows()),
        BootId::new("this"),
        Logger::root(messages.clone(), o!()),
    );
    daemon.recover(Vec::new(), Vec::new(), 1);
    let (none, one, other) = (wish(&[]), wish(&[(80, 2, 'a')]), wish(&[(80, 9, 'b')]));
    assert!(daemon.converge(&none, 1).is_converged());
    let mut expected = (0, 0);
    for (next, added, removed) in [(&one, 1, 0), (&other, 1, 1), (&none, 0, 1)] {
        // Refused for good, then refused while one try of three goes through after all.
        kernel.on_commit(InjectedFault::Before(ErrorKind::Denied));
        assert!(!daemon.converge(next, 2).is_converged());
        assert_eq!(messages.told(), expected, "refused");
        kernel.on_commit(InjectedFault::Before(ErrorKind::Failed));
        kernel.on_commit(InjectedFault::After(ErrorKind::Failed));
        assert!(daemon.converge(next, 3).is_converged());
        expected = (expected.0 + added, expected.1 + removed);
        assert_eq!(messages.told(), expected, "made");
    }
}
