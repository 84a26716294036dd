//! What earlier runs left in backends that are not in use any more.

use slog::{Discard, o};

use super::super::*;
use crate::backend::fake::{BackendCall, FakeKernel};
use crate::backend::{Batch, ErrorKind, ObservedRule, Verb};
use crate::conntrack::fake::FakeTable;
use crate::journal::memory::MemoryJournal;
use crate::journal::record::RecordState;
use crate::model::change::Known;
use crate::model::rule::{BackendKind, Rule};

/// A backend of the other kind that holds nothing.
struct Empty;

impl Backend for Empty {
    fn kind(&self) -> BackendKind {
        BackendKind::Nftables
    }

    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &Batch) -> Result<(), BackendError> {
        Ok(())
    }

    fn describe(&self, _: Verb, _: &Rule) -> String {
        String::new()
    }
}

fn daemon(others: &[&FakeKernel], journal: &MemoryJournal) -> Reconciler<MemoryJournal> {
    let others = others
        .iter()
        .map(|kernel| Box::new(kernel.backend()) as Box<dyn Backend>);
    let mut daemon = Reconciler::new(
        Box::new(Empty),
        others.collect(),
        journal.clone(),
        Box::new(FakeTable::new().flows()),
        BootId::new("this"),
        Logger::root(Discard, o!()),
    );
    daemon.recover(journal.records(), Vec::new(), 1);
    daemon
}

fn rule(text: &str) -> Rule {
    crate::backend::compile::rule(BackendKind::Ip6tables, text).unwrap()
}

/// A masquerade of an earlier run that used ip6tables, in its kernel and in the journal.
fn left_over(kernel: &FakeKernel, journal: &mut MemoryJournal) {
    let rule = rule(
        "nat POSTROUTING -o eth0 -s fd00::/64 -j MASQUERADE ! -d fd00::/64 \
         -m addrtype ! --src-type LOCAL",
    );
    left_in(kernel, journal, rule, "this");
}

/// A rule in a kernel, and in the journal as one of this boot.
fn left_in(kernel: &FakeKernel, journal: &mut MemoryJournal, rule: Rule, boot: &str) {
    insert(kernel, vec![rule.clone()]);
    let record = Record {
        owned: OwnedRule {
            rule,
            owners: BTreeSet::new().into(),
        },
        state: RecordState::Applied,
        inserted_at: 1,
        boot_id: BootId::new(boot),
    };
    journal.intend(&[record]).unwrap();
}

fn insert(kernel: &FakeKernel, insert: Vec<Rule>) {
    let remove = Vec::new();
    kernel.backend().commit(&Batch { remove, insert }).unwrap();
}

fn dnat(host_port: u16, target: &str) -> Rule {
    rule(&format!(
        "nat PREROUTING -i eth0 -p tcp --dport {host_port} -j DNAT --to-destination [{target}]:80 \
         -m addrtype --dst-type LOCAL"
    ))
}

#[test]
fn without_a_record_an_uncertain_listing_elsewhere_is_not_tried_again() {
    let kernel = FakeKernel::new();
    kernel.listing_fails(Some(ErrorKind::Uncertain));
    let mut daemon = daemon(&[&kernel], &MemoryJournal::default());
    assert!(daemon.converge(&Desired::nothing(), 2).is_converged());
    assert!(daemon.converge(&Desired::nothing(), 3).is_converged());
    assert_eq!(kernel.calls(), [BackendCall::List]);
}

#[test]
fn with_a_record_an_uncertain_listing_elsewhere_is_a_trouble_until_it_is_certain() {
    let (kernel, mut journal) = (FakeKernel::new(), MemoryJournal::default());
    left_over(&kernel, &mut journal);
    kernel.listing_fails(Some(ErrorKind::Uncertain));
    let mut daemon = daemon(&[&kernel], &journal);
    let report = daemon.converge(&Desired::nothing(), 2);
    assert!(matches!(report.troubles[..], [Trouble::Elsewhere { .. }]));
    assert!(report.is_in_step());
    assert_eq!((kernel.ours().len(), journal.records().len()), (1, 1));
    kernel.listing_fails(None);
    let report = daemon.converge(&Desired::nothing(), 3);
    assert_eq!((report.is_converged(), report.removed), (true, 1));
    assert_eq!((kernel.ours().len(), journal.records().len()), (0, 0));
}

#[test]
fn a_rule_that_will_not_go_keeps_no_other_in_elsewhere() {
    let kernel = FakeKernel::new();
    let forward = |port| dnat(port, "fd00::2");
    let rules: Vec<Rule> = (1..=8).map(forward).collect();
    let stuck = rules[4].id();
    insert(&kernel, rules);
    kernel.refuse([stuck].into());
    let mut daemon = daemon(&[&kernel], &MemoryJournal::default());
    let report = daemon.converge(&Desired::nothing(), 2);
    assert!(matches!(report.troubles[..], [Trouble::Elsewhere { .. }]));
    assert_eq!(report.removed, 7);
    let left: Vec<RuleId> = kernel.ours().iter().map(|seen| seen.id).collect();
    assert_eq!(left, [stuck]);
    kernel.refuse(BTreeSet::new());
    let report = daemon.converge(&Desired::nothing(), 3);
    assert_eq!((report.is_converged(), report.removed), (true, 1));
    assert_eq!(kernel.ours().len(), 0);
}

#[test]
fn records_go_when_every_backend_of_their_kind_is_empty() {
    for troubled in [0, 1] {
        let kernels = [FakeKernel::new(), FakeKernel::new()];
        let mut journal = MemoryJournal::default();
        left_over(&kernels[troubled], &mut journal);
        kernels[troubled].listing_fails(Some(ErrorKind::Busy));
        let mut daemon = daemon(&[&kernels[0], &kernels[1]], &journal);
        assert!(!daemon.converge(&Desired::nothing(), 2).is_converged());
        assert_eq!(journal.records().len(), 1, "{troubled}");
        kernels[troubled].listing_fails(None);
        assert!(daemon.converge(&Desired::nothing(), 3).is_converged());
        assert_eq!(journal.records().len(), 0, "{troubled}");
        assert_eq!(kernels[troubled].ours().len(), 0);
    }
}

#[test]
fn rules_that_no_tool_here_can_list_are_a_trouble_until_the_next_boot() {
    let (kernel, mut journal) = (FakeKernel::new(), MemoryJournal::default());
    left_over(&kernel, &mut journal);
    let mut alone = daemon(&[], &journal);
    for _ in 0..2 {
        let report = alone.converge(&Desired::nothing(), 2);
        let [Trouble::Elsewhere { backend, last }] = &report.troubles[..] else {
            panic!("{report:?}");
        };
        let missed = (*backend, last.kind);
        assert_eq!(missed, (BackendKind::Ip6tables, ErrorKind::Unsupported));
        assert!(report.is_in_step());
        assert_eq!(journal.records().len(), 1);
    }
    let mut earlier = journal.records();
    earlier[0].boot_id = BootId::new("earlier");
    journal.intend(&earlier).unwrap();
    let report = daemon(&[], &journal).converge(&Desired::nothing(), 3);
    assert!(report.is_converged(), "{report:?}");
    assert_eq!(journal.records(), []);
}

#[test]
fn a_backend_that_we_may_not_list_is_no_trouble_without_a_record() {
    let (kernel, mut journal) = (FakeKernel::new(), MemoryJournal::default());
    kernel.listing_fails(Some(ErrorKind::Denied));
    let mut fresh = daemon(&[&kernel], &journal);
    assert!(fresh.converge(&Desired::nothing(), 2).is_converged());
    left_over(&kernel, &mut journal);
    let report = daemon(&[&kernel], &journal).converge(&Desired::nothing(), 2);
    assert!(
        matches!(&report.troubles[..], [Trouble::Elsewhere { .. }]),
        "{report:?}"
    );
}

/// Tools that load at boot what they saved bring them back (netfilter-persistent).
#[test]
fn forwards_of_an_earlier_boot_go_at_once_from_other_backends_too() {
    let (kernel, mut journal) = (FakeKernel::new(), MemoryJournal::default());
    left_over(&kernel, &mut journal);
    left_in(&kernel, &mut journal, dnat(8080, "fd00::2"), "earlier");
    let mut daemon = daemon(&[&kernel], &journal);
    assert_eq!(kernel.ours().len(), 1, "the masquerade waits for Docker");
    assert!(daemon.converge(&Desired::nothing(), 2).is_converged());
    assert_eq!((kernel.ours().len(), journal.records().len()), (0, 0));
}

/// With `--prefix auto` the static rules are not known until Docker answers; the forwards that it has
/// not confirmed go all the same.
#[test]
fn unconfirmed_forwards_go_from_other_backends_while_docker_is_silent() {
    let (kernel, mut journal) = (FakeKernel::new(), MemoryJournal::default());
    left_over(&kernel, &mut journal);
    let masquerade = kernel.ours()[0].id;
    left_in(&kernel, &mut journal, dnat(8080, "fd00::2"), "this");
    insert(&kernel, vec![dnat(8081, "fd00::3")]);
    let mut daemon = daemon(&[&kernel], &journal);
    let silent = |forwards| Desired {
        known: Known {
            statics: false,
            forwards,
        },
        ..Desired::nothing()
    };
    assert!(daemon.converge(&silent(false), 2).is_converged());
    assert_eq!(kernel.ours().len(), 3, "the grace is not over");
    // The second of them has no record.
    let report = daemon.converge(&silent(true), 3);
    assert_eq!((report.is_converged(), report.removed), (true, 2));
    let left: Vec<RuleId> = kernel.ours().iter().map(|seen| seen.id).collect();
    assert_eq!(left, [masquerade]);
    let records: Vec<RuleId> = journal.records().iter().map(Record::id).collect();
    assert_eq!(records, [masquerade]);
    let report = daemon.converge(&Desired::nothing(), 4);
    assert_eq!((report.is_converged(), report.removed), (true, 1));
    assert_eq!((kernel.ours().len(), journal.records().len()), (0, 0));
}
