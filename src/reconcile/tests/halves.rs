//! Single rules that the kernel refuses, among very many.

use std::collections::BTreeSet;

use super::machine::{Fate, Machine, wish};
use super::*;
use crate::backend::fake::BackendCall;

/// Each try takes a listing, which takes seconds where there are very many rules.
const TRIES: usize = 60;

#[test]
fn rules_that_are_refused_keep_no_other_out_or_in_and_cost_few_tries() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    let many: Vec<(u16, u16, char)> = (1..=500).map(|n| (n, n, 'a')).collect();
    let many = wish(&many);
    assert!(daemon.converge(&wish(&[]), 1).is_converged());
    let statics = machine.kernel.ours().len();
    let forwards = many.rules.iter().filter(|(_, o)| !o.rule.is_static());
    let refused: BTreeSet<RuleId> = forwards.map(|(id, _)| *id).step_by(250).collect();
    assert_eq!(refused.len(), 2);
    let tries = || {
        let calls = machine.kernel.calls();
        let commits = calls
            .iter()
            .filter(|call| matches!(call, BackendCall::Commit(_)));
        commits.count()
    };

    machine.kernel.refuse(refused.clone());
    let before = tries();
    let report = daemon.converge(&many, 2);
    assert!(
        matches!(report.troubles[..], [Trouble::Insertion { count: 2, .. }]),
        "{:?}",
        report.troubles
    );
    assert_eq!(machine.kernel.ours().len(), statics + 498);
    assert!(tries() - before < TRIES, "{}", tries() - before);

    machine.kernel.refuse(BTreeSet::new());
    assert!(daemon.converge(&many, 3).is_converged());
    machine.must_match(&many, &"all in");
    machine.kernel.refuse(refused);
    let before = tries();
    let report = daemon.converge(&wish(&[]), 4);
    assert!(
        matches!(report.troubles[..], [Trouble::Removal { count: 2, .. }]),
        "{:?}",
        report.troubles
    );
    assert_eq!(machine.kernel.ours().len(), statics + 2);
    assert!(tries() - before < TRIES, "{}", tries() - before);
    machine.kernel.refuse(BTreeSet::new());
    assert!(daemon.converge(&wish(&[]), 5).is_converged());
    machine.must_match(&wish(&[]), &"all out");
}
