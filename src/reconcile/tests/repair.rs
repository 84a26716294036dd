//! Putting back what others have removed, and what becomes of it without the disk.

use super::machine::{Fate, Machine, wish};
use crate::backend::fake::BackendCall;
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
    daemon.invalidate();
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
    daemon.invalidate();
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

#[test]
fn a_jump_that_has_come_to_stand_before_docker_user_is_moved_behind_it_in_one_batch() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    let one = wish(&[(80, 2, 'a')]);
    assert!(daemon.converge(&one, 1).is_converged());
    let user = "-A FORWARD -j DOCKER-USER";
    let jumps = || {
        let mut lines = machine.kernel.lines();
        lines.retain(|line| line.starts_with("-A FORWARD "));
        lines
    };
    let ours = jumps();
    assert_eq!(ours.len(), 1);
    // Appended; in the second round there are two, of which ours stands between.
    for round in 0..2 {
        machine.kernel.edit(|lines| lines.push(user.to_owned()));
        let before = machine.kernel.calls().len();
        daemon.invalidate();
        let report = daemon.converge(&one, 2);
        assert!(report.is_converged());
        assert_eq!((report.drift, report.inserted, report.removed), (1, 1, 1));
        assert_eq!(jumps().last(), ours.first(), "{round}");
        assert_eq!(jumps().len(), round + 2);
        let calls = machine.kernel.calls().split_off(before);
        let commits = calls
            .iter()
            .filter(|call| matches!(call, BackendCall::Commit(_)));
        assert_eq!(commits.count(), 1, "{calls:?}");
    }
    // A copy before it is surplus, and the one behind stays.
    machine
        .kernel
        .edit(|lines| lines.insert(0, ours[0].clone()));
    daemon.invalidate();
    let report = daemon.converge(&one, 3);
    assert!(report.is_converged());
    assert_eq!((report.drift, report.inserted, report.removed), (1, 0, 1));
    assert_eq!(jumps(), [user, user, &ours[0]]);
    daemon.invalidate();
    assert_eq!(daemon.converge(&one, 4).drift, 0);
}

#[test]
fn what_others_removed_is_put_back_though_a_new_forward_waits_for_the_disk() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    assert!(daemon.converge(&wish(&[(80, 2, 'a')]), 1).is_converged());
    machine.journal.fail_after(Some(0));
    let both = wish(&[(80, 2, 'a'), (81, 3, 'b')]);
    // At first the intent fails in the same round; then the journal is known to be behind.
    for second in 2..5 {
        machine
            .kernel
            .edit(|lines| lines.retain(|l| !l.contains("dport 80")));
        daemon.invalidate();
        let report = daemon.converge(&both, second);
        assert!(
            matches!(report.troubles[..], [Trouble::Journal(_)]),
            "{report:?}"
        );
        assert_eq!(machine.open_ports(), [80], "{second}");
    }
    machine.journal.fail_after(None);
    assert!(daemon.converge(&both, 5).is_converged());
    machine.must_match(&both, &"the disk is back");
}
