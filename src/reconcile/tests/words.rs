//! A change is logged once, after it was made.

use std::sync::{Arc, Mutex};

use slog::{Drain, Never, OwnedKVList, o};

use super::super::*;
use super::machine::wish;
use crate::backend::ErrorKind;
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
    /// How many forwards were logged as added and as removed.
    fn changes(&self) -> (usize, usize) {
        let messages = self.0.lock().unwrap();
        let count = |words| messages.iter().filter(|m| m.contains(words)).count();
        (count("NAT66 add portfwd: "), count("NAT66 del portfwd: "))
    }
}

#[test]
fn a_change_is_logged_once_and_only_after_it_was_made() {
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
        // First it is refused for good. Then one try fails, and the next reports a failure though it
        // made the change.
        kernel.on_commit(InjectedFault::Before(ErrorKind::Denied));
        assert!(!daemon.converge(next, 2).is_converged());
        assert_eq!(messages.changes(), expected, "refused");
        kernel.on_commit(InjectedFault::Before(ErrorKind::Failed));
        kernel.on_commit(InjectedFault::After(ErrorKind::Failed));
        assert!(daemon.converge(next, 3).is_converged());
        expected = (expected.0 + added, expected.1 + removed);
        assert_eq!(messages.changes(), expected, "made");
    }
}
