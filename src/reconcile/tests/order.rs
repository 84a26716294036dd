//! In which order a change is made, and in how many pieces.

use super::super::*;
use super::machine::{Fate, Machine, wish};
use crate::backend::ErrorKind;
use crate::backend::fake::{BackendCall, InjectedFault};
use crate::model::change::{Known, Undecided};

/// How many rules each commit removes and inserts.
fn sizes(calls: &[BackendCall]) -> Vec<(usize, usize)> {
    let sizes = calls.iter().filter_map(|call| match call {
        BackendCall::Commit(batch) => Some((batch.remove.len(), batch.insert.len())),
        BackendCall::List => None,
    });
    sizes.collect()
}

#[test]
fn removals_go_first_and_all_else_in_one_batch() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    let first = wish(&[(80, 2, 'a'), (81, 3, 'b')]);
    assert!(daemon.converge(&first, 1).is_converged());
    let before = machine.kernel.calls().len();
    // One changes its target, one goes, one comes.
    let next = wish(&[(80, 9, 'a'), (82, 4, 'c')]);
    assert!(daemon.converge(&next, 2).is_converged());
    assert_eq!(sizes(&machine.kernel.calls()[before..]), [(1, 0), (1, 2)]);
}

/// A batch may be applied in parts: filter rules come before the ports that they guard.
#[test]
fn published_ports_come_after_all_else_and_go_before_it() {
    let all = wish(&[(80, 2, 'a')]).rules;
    let wanted = Desired {
        rules: all.clone(),
        ..Desired::nothing()
    };
    let is_static = |rule: &OwnedRule| rule.rule.is_static();
    let coming = ChangeSet::between(&wanted, &BTreeMap::new()).insert;
    let going = ChangeSet::between(&Desired::nothing(), &all).remove;
    let (last, others) = coming.split_last().expect("rules");
    assert!(
        !is_static(last) && others.iter().all(is_static),
        "{coming:?}"
    );
    assert_eq!(going.first(), Some(&last.rule.id()));
    let filtered = |owned: &OwnedRule| {
        let kind = &*owned.rule.facts.kind;
        matches!(kind, "jump" | "guard")
    };
    assert!(
        coming.is_sorted_by_key(|owned| !filtered(owned)),
        "{coming:?}"
    );
}

/// Another program has doubled it since the last listing.
#[test]
fn every_copy_goes_with_its_rule() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    assert!(daemon.converge(&wish(&[(80, 2, 'a')]), 1).is_converged());
    machine.kernel.edit(|lines| {
        let ours = lines.iter().find(|line| line.contains("dport 80"));
        lines.extend(ours.cloned());
    });
    assert!(daemon.converge(&wish(&[]), 2).is_converged());
    machine.must_match(&wish(&[]), &"doubled");
}

#[test]
fn a_rule_that_will_not_go_keeps_its_record() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    let two = wish(&[(80, 2, 'a'), (81, 3, 'b')]);
    assert!(daemon.converge(&two, 1).is_converged());
    // Three batches are refused, then one of the two rules by itself.
    for _ in 0..4 {
        machine
            .kernel
            .on_commit(InjectedFault::Before(ErrorKind::Failed));
    }
    assert!(!daemon.converge(&wish(&[]), 2).is_converged());
    let ours = machine.kernel.ours();
    assert_eq!(machine.open_ports().len(), 1);
    let records = machine.journal.records();
    assert!(
        ours.iter()
            .all(|seen| records.iter().any(|r| r.id() == seen.id))
    );
    assert_eq!(records.len(), ours.len());
    assert!(daemon.converge(&wish(&[]), 3).is_converged());
    machine.must_match(&wish(&[]), &"gone at last");
}

#[test]
fn after_a_failure_only_what_is_still_listed_is_removed() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    let two = wish(&[(80, 2, 'a'), (81, 3, 'b')]);
    assert!(daemon.converge(&two, 1).is_converged());
    let before = machine.kernel.calls().len();
    let flush = |lines: &mut Vec<String>| lines.retain(|line| !line.contains("dport 80"));
    machine
        .kernel
        .on_commit(InjectedFault::Meanwhile(Box::new(flush)));
    assert!(daemon.converge(&wish(&[]), 2).is_converged());
    assert_eq!(sizes(&machine.kernel.calls()[before..]), [(2, 0), (1, 0)]);
}

#[test]
fn a_rule_goes_when_its_last_owner_goes() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    let both = wish(&[(80, 2, 'a'), (80, 2, 'b')]);
    assert!(both.rules.values().any(|owned| owned.owners.len() == 2));
    assert!(daemon.converge(&both, 1).is_converged());
    machine.must_match(&both, &"both");
    let before = machine.kernel.calls().len();
    for owner in ['b', 'a'] {
        let one = wish(&[(80, 2, owner)]);
        assert!(daemon.converge(&one, 2).is_converged());
        machine.must_match(&one, &owner);
        assert!(daemon.converge(&both, 3).is_converged());
    }
    assert_eq!(sizes(&machine.kernel.calls()[before..]), []);
    assert!(daemon.converge(&wish(&[]), 4).is_converged());
    machine.must_match(&wish(&[]), &"neither");
}

#[test]
fn rules_of_which_nothing_is_known_yet_stay() {
    let machine = Machine::new();
    let one = wish(&[(80, 2, 'a')]);
    assert!(machine.live(std::slice::from_ref(&one), &Fate::default()));
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(machine.journal.records(), Vec::new(), 1);
    let statics = machine.kernel.ours().len() - 1;
    for (known, left) in [((false, false), statics + 1), ((false, true), statics)] {
        let (statics, forwards) = known;
        let nothing = Desired {
            known: Known { statics, forwards },
            ..Desired::nothing()
        };
        assert!(daemon.converge(&nothing, 2).is_converged());
        assert_eq!(machine.kernel.ours().len(), left, "{known:?}");
    }
}

/// After a restart and the first list, the Engine does not answer about some of the containers.
#[test]
fn rules_of_a_container_that_is_not_answered_about_stay_unless_others_contradict_them() {
    let applied = wish(&[(80, 2, 'a'), (81, 3, 'b'), (82, 4, 'c')]).rules;
    let removed = |desired: &Desired| {
        let change = ChangeSet::between(desired, &applied);
        let dnat = |id: &RuleId| applied[id].rule.dnat().map(|(at, _)| at.port);
        let mut ports: Vec<u16> = change.remove.iter().filter_map(dnat).collect();
        ports.extend(change.replace.iter().filter_map(|r| dnat(&r.old)));
        ports.sort_unstable();
        ports
    };
    let undecided = |containers: &[char], holders: &[(u16, char)]| Undecided {
        containers: containers.iter().map(char::to_string).collect(),
        holders: holders
            .iter()
            .map(|(host, id)| {
                let addr = std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, *host);
                (addr, id.to_string())
            })
            .collect(),
        left: BTreeSet::new(),
    };
    let left = |containers: &[char], host: u16| Undecided {
        left: [std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host)].into(),
        ..undecided(containers, &[])
    };
    // The desired forwards, which containers are unanswered and hold which address, and the ports
    // that close.
    type Case<'a> = (&'a [(u16, u16, char)], Undecided, &'a [u16]);
    let cases: [Case<'_>; 9] = [
        (&[(82, 4, 'c')], undecided(&[], &[]), &[80, 81]),
        (&[(82, 4, 'c')], undecided(&['a'], &[(4, 'c')]), &[81]),
        (&[(82, 4, 'c')], undecided(&['a', 'b'], &[(4, 'c')]), &[]),
        // Its own address is no contradiction, another's is.
        (&[(82, 4, 'c')], undecided(&['a'], &[(2, 'a')]), &[81]),
        (
            &[(82, 2, 'c')],
            undecided(&['a'], &[(2, 'c')]),
            &[80, 81, 82],
        ),
        // Another container publishes its port.
        (
            &[(80, 4, 'c')],
            undecided(&['a'], &[(4, 'c')]),
            &[80, 81, 82],
        ),
        (&[], undecided(&['x'], &[]), &[80, 81, 82]),
        // No container has its address any more.
        (&[], undecided(&['a'], &[]), &[81, 82]),
        (&[], left(&['a'], 2), &[80, 81, 82]),
    ];
    for (forwards, undecided, closed) in cases {
        let desired = Desired {
            undecided,
            ..wish(forwards)
        };
        assert_eq!(removed(&desired), closed, "{:?}", desired.undecided);
    }
}
