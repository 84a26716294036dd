//! Tables that another program has locked.

use super::machine::{Fate, Machine, wish};
use crate::backend::ErrorKind;
use crate::backend::fake::{BackendCall, InjectedFault};

/// Each try may wait for seconds, and a round must end long before a supervisor loses patience.
#[test]
fn rules_of_locked_tables_are_not_tried_one_by_one() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    let first: Vec<(u16, u16, char)> = (1..=50).map(|n| (n, n, 'a')).collect();
    let next: Vec<(u16, u16, char)> = (21..=70).map(|n| (n, n + 100, 'b')).collect();
    let mut tries = Vec::new();
    for wishes in [wish(&first), wish(&next), wish(&[])] {
        let commits = || {
            let calls = machine.kernel.calls();
            calls
                .iter()
                .filter(|c| matches!(c, BackendCall::Commit(_)))
                .count()
        };
        let before = commits();
        for _ in 0..3 {
            machine
                .kernel
                .on_commit(InjectedFault::Before(ErrorKind::Busy));
        }
        assert!(!daemon.converge(&wishes, 2).is_converged());
        tries.push(commits() - before);
        assert!(daemon.converge(&wishes, 3).is_converged());
        machine.must_match(&wishes, &"unlocked");
    }
    assert_eq!(tries, [3, 3, 3]);
}
