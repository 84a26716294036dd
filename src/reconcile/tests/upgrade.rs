//! What a release left whose rules had other identities, and whose journal knew no texts.

use super::machine::{Fate, MISHAPS, Machine, before_docker, wish, wish_with};
use crate::backend::compile;
use crate::backend::fake::BackendCall;
use crate::backend::ip6tables::render::listed;
use crate::journal::Journal;
use crate::journal::record::{Record, RecordState};
use crate::model::boot::BootId;
use crate::model::change::Desired;
use crate::model::intent::Hairpin;
use crate::model::rule::{BackendKind, OwnedRule, Rule, RuleId};

/// A machine on which that release opened two ports, and was killed.
fn left(before: &Desired) -> Machine {
    let machine = Machine::new();
    machine
        .kernel
        .edit(|lines| lines.push(":DOCKER-NAT66 - [0:0]".to_owned()));
    let mut journal = machine.journal.clone();
    for (n, owned) in (1..).zip(before.rules.values()) {
        let (facts, text) = (owned.rule.facts.clone(), owned.rule.text.clone());
        let backend = owned.rule.backend;
        let id = RuleId::from_bytes([n; 8]);
        let in_kernel = Rule::recorded(id, backend, text, facts.clone());
        machine.kernel.edit(|lines| lines.push(listed(&in_kernel)));
        let record = Record {
            owned: OwnedRule {
                rule: Rule::recorded(id, backend, "".into(), facts),
                owners: owned.owners.clone(),
            },
            state: RecordState::Intended,
            inserted_at: 1,
            boot_id: BootId::new("this"),
        };
        journal.intend(&[record]).unwrap();
        journal.commit(&[id]).unwrap();
    }
    machine
}

/// The ports of DNAT rules that the kernel holds, whatever their identities.
fn open(machine: &Machine) -> Vec<u16> {
    let ours = machine.kernel.ours();
    let dnat = ours.iter().filter_map(|seen| seen.content()?.dnat());
    let mut ports: Vec<u16> = dnat.map(|(at, _)| at.port).collect();
    ports.sort_unstable();
    ports
}

/// Whether every batch that takes a rule away brings one that does the same.
fn closes_nothing(machine: &Machine) -> bool {
    machine.kernel.calls().iter().all(|call| {
        let BackendCall::Commit(batch) = call else {
            return true;
        };
        let gone = batch.remove.iter().filter_map(|seen| seen.rule.as_ref());
        let comes = |gone: &Rule| {
            let key = gone.facts.key();
            batch.insert.iter().any(|rule| rule.facts.key() == key)
        };
        gone.into_iter().all(comes)
    })
}

#[test]
fn a_port_that_stays_is_never_closed_whatever_happens_on_the_way() {
    let both = wish(&[(80, 2, 'a'), (81, 3, 'b')]);
    let undisturbed = Fate::default();
    let wishes = [before_docker(), both.clone()];
    assert!(left(&both).live(&wishes, &undisturbed));
    for step in 0..undisturbed.steps() {
        for mishap in MISHAPS {
            let machine = left(&both);
            let fate = Fate::new(&[(step, mishap)]);
            if !machine.live(&wishes, &fate) {
                assert_eq!(open(&machine), [80, 81], "{mishap:?} at {step}");
                assert!(machine.live(&wishes, &Fate::default()));
            }
            assert!(closes_nothing(&machine), "{mishap:?} at {step}");
            machine.must_match(&both, &(step, mishap));
        }
    }
}

/// As after a quarantine: only the kernel knows of them.
#[test]
fn rules_whose_records_are_lost_stay_until_others_take_their_place() {
    let one = wish(&[(80, 2, 'a')]);
    let machine = left(&one);
    let ids: Vec<RuleId> = machine.journal.records().iter().map(Record::id).collect();
    machine.journal.clone().forget(&ids).unwrap();
    assert!(machine.live(&[before_docker(), one.clone()], &Fate::default()));
    assert!(closes_nothing(&machine));
    machine.must_match(&one, &"upgraded");
}

#[test]
fn while_the_journal_cannot_be_written_all_of_it_stays() {
    let both = wish(&[(80, 2, 'a'), (81, 3, 'b')]);
    let machine = left(&both);
    let rules = machine.kernel.ours().len();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(machine.journal.records(), Vec::new(), 1);
    machine.journal.fail_after(Some(0));
    for wish in [before_docker(), both.clone()] {
        assert!(!daemon.converge(&wish, 2).is_converged());
        assert_eq!(
            (open(&machine), machine.kernel.ours().len()),
            (vec![80, 81], rules)
        );
    }
    // What has another target goes all the same.
    let moved = wish(&[(80, 2, 'a'), (81, 4, 'c')]);
    assert!(!daemon.converge(&moved, 3).is_converged());
    assert_eq!(open(&machine), [80]);
}

#[test]
fn all_of_it_goes_where_nothing_is_wanted() {
    let machine = left(&wish(&[(80, 2, 'a')]));
    assert!(machine.live(&[wish(&[])], &Fate::default()));
    machine.must_match(&wish(&[]), &"only static rules");
    assert!(machine.live(&[Desired::nothing()], &Fate::default()));
    machine.must_match(&Desired::nothing(), &"nothing");
}

/// The record says one thing and the kernel another: it is another's work.
#[test]
fn a_rule_that_was_altered_before_the_upgrade_is_not_believed() {
    let one = wish(&[(80, 2, 'a')]);
    let machine = left(&one);
    machine.kernel.edit(|lines| {
        for line in lines {
            *line = line.replace("--dport 80", "--dport 8080");
        }
    });
    assert_eq!(open(&machine), [8080]);
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(machine.journal.records(), Vec::new(), 1);
    assert!(open(&machine).is_empty());
    assert!(daemon.converge(&one, 2).is_converged());
    machine.must_match(&one, &"mended");
}

/// What a release left that had a rule for the host and one for each prefix in place of one for all.
fn left_in_several(now: &Desired) -> Machine {
    let machine = Machine::new();
    machine
        .kernel
        .edit(|lines| lines.push(":DOCKER-NAT66 - [0:0]".to_owned()));
    let is_ours = |owned: &&OwnedRule| !owned.rule.text.contains("DOCKER-NAT66-INSIDE");
    let same = now.rules.values().filter(is_ours).cloned();
    let several = [
        "nat OUTPUT -p tcp --dport 80 -j DNAT --to-destination [fd00::2]:80 ! -s fe80::/10 ! -d ::1 \
         -m addrtype --dst-type LOCAL",
        "nat PREROUTING -s fd00::/64 -p tcp --dport 80 -j DNAT --to-destination [fd00::2]:80 \
         -m addrtype --dst-type LOCAL",
    ];
    let owners = now.rules.values().find(|owned| owned.rule.dnat().is_some());
    let owners = &owners.expect("a forward").owners;
    let several = several.map(|text| OwnedRule {
        rule: compile::rule(BackendKind::Ip6tables, text).expect("still known"),
        owners: owners.clone(),
    });
    for owned in same.chain(several) {
        machine.kernel.edit(|lines| lines.push(listed(&owned.rule)));
        let record = Record {
            owned,
            state: RecordState::Applied,
            inserted_at: 1,
            boot_id: BootId::new("this"),
        };
        machine.journal.clone().intend(&[record]).unwrap();
    }
    machine
}

/// Whether the host and the containers reach the port, by the rules of one release or the other.
fn serves_the_inside(machine: &Machine) -> bool {
    let lines = machine.kernel.lines();
    let has = |parts: &[&str]| {
        let mut lines = lines.iter();
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    };
    ["-A OUTPUT ", "-A PREROUTING -s fd00::/64 "]
        .iter()
        .all(|from| {
            has(&[from, "--dport 80 "])
                || (has(&[from, "-j DOCKER-NAT66-INSIDE"])
                    && has(&["-A DOCKER-NAT66-INSIDE ", "--dport 80 "]))
        })
}

#[test]
fn several_rules_stay_until_the_one_that_does_their_work_is_there() {
    let one = wish_with(Hairpin::On, &[(80, 2, 'a')]);
    let wishes = [before_docker(), one.clone()];
    let undisturbed = Fate::default();
    let machine = left_in_several(&one);
    assert!(serves_the_inside(&machine));
    assert!(machine.live(&wishes, &undisturbed));
    machine.must_match(&one, &"undisturbed");
    for step in 0..undisturbed.steps() {
        for mishap in MISHAPS {
            let machine = left_in_several(&one);
            if !machine.live(&wishes, &Fate::new(&[(step, mishap)])) {
                assert!(serves_the_inside(&machine), "{mishap:?} at {step}");
                assert!(machine.live(&wishes, &Fate::default()));
            }
            machine.must_match(&one, &(step, mishap));
        }
    }
    // Without a journal they stay, and what leads elsewhere goes all the same.
    let machine = left_in_several(&one);
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(machine.journal.records(), Vec::new(), 1);
    machine.journal.fail_after(Some(0));
    assert!(!daemon.converge(&one, 2).is_converged());
    assert!(serves_the_inside(&machine));
    let moved = wish_with(Hairpin::On, &[(80, 3, 'b')]);
    assert!(!daemon.converge(&moved, 3).is_converged());
    assert_eq!(open(&machine), [0; 0]);
    drop(daemon);
    machine.journal.fail_after(None);
    assert!(machine.live(&[Desired::nothing()], &Fate::default()));
    machine.must_match(&Desired::nothing(), &"nothing");
}
