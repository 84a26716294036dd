//! Putting back what others have removed, and what becomes of it without the disk.

use super::machine::{Fate, Machine, wish};
use crate::conntrack::FlowError;
use crate::reconcile::Trouble;

#[test]
fn a_repair_does_not_wait_for_the_disk() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    let one = wish(&[(80, 2, 'a')]);
    assert!(daemon.converge(&one, 1).is_converged());
    machine
        .kernel
        .edit(|l| l.retain(|l| !l.contains("dport 80")));
    machine.journal.fail_after(Some(0));
    daemon.doubt();
    assert!(daemon.converge(&one, 2).is_converged());
    machine.must_match(&one, &"repaired");
}

#[test]
fn what_is_put_back_for_another_owner_is_written_down_first() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    assert!(daemon.converge(&wish(&[(80, 2, 'a')]), 1).is_converged());
    machine
        .kernel
        .edit(|lines| lines.retain(|l| !l.contains("dport 80")));
    daemon.doubt();
    machine.journal.fail_after(Some(0));
    let next = wish(&[(80, 2, 'b')]);
    assert!(!daemon.converge(&next, 2).is_converged());
    assert_eq!(machine.open_ports(), Vec::<u16>::new());
    machine.journal.fail_after(None);
    assert!(daemon.converge(&next, 3).is_converged());
    machine.must_match(&next, &"another owner");
}

/// Nothing else goes or comes: no earlier failure in the round gives the journal away.
#[test]
fn a_replacement_whose_intent_is_refused_closes_the_old_target() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    assert!(daemon.converge(&wish(&[(80, 2, 'a')]), 1).is_converged());
    machine.journal.fail_after(Some(0));
    let next = wish(&[(80, 9, 'a')]);
    assert!(!daemon.converge(&next, 2).is_converged());
    assert_eq!(machine.open_ports(), Vec::<u16>::new());
    machine.journal.fail_after(None);
    assert!(daemon.converge(&next, 3).is_converged());
    machine.must_match(&next, &"the disk is back");
}

#[test]
fn packets_that_wait_for_who_has_gone_are_let_go_of_and_no_flow_is_cut_twice_for_it() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    assert!(daemon.converge(&wish(&[(80, 2, 'a')]), 1).is_converged());
    assert_eq!(machine.flows.releases(), []);
    machine.flows.on_release(FlowError::TimedOut);
    let before = machine.flows.calls().len();
    let report = daemon.converge(&wish(&[]), 1);
    assert_eq!(report.troubles, [Trouble::Flows(FlowError::TimedOut)]);
    assert!(daemon.converge(&wish(&[]), 2).is_converged());
    assert_eq!(machine.flows.calls().len(), before + 1);
    let [first, second] = &machine.flows.releases()[..] else {
        panic!("{:?}", machine.flows.releases());
    };
    assert_eq!((first, first.len()), (second, 1));
    assert!(daemon.converge(&wish(&[]), 3).is_converged());
    assert_eq!(machine.flows.releases().len(), 2);
}
