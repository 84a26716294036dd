//! Records of a backend that is not there to be looked at.

use slog::{Discard, o};

use super::super::*;
use crate::backend::fake::FakeKernel;
use crate::conntrack::fake::FakeTable;
use crate::journal::memory::MemoryJournal;
use crate::journal::record::State;
use crate::model::rule::RuleSpec;

/// A daemon on ip6tables with a journal that knows of an nftables rule, and no way to look for it.
fn daemon(boot: &str) -> (Reconciler<MemoryJournal>, MemoryJournal) {
    let journal = MemoryJournal::default();
    let rule = Rule {
        backend: BackendKind::Nftables,
        spec: RuleSpec::HairpinMasquerade {
            prefix: "fd00::/64".parse().unwrap(),
        },
    };
    let record = Record {
        owned: OwnedRule {
            rule,
            owners: BTreeSet::new(),
        },
        state: State::Applied,
        inserted_at: 1,
        boot_id: BootId::new(boot),
    };
    journal
        .clone()
        .intend(std::slice::from_ref(&record))
        .unwrap();
    let mut daemon = Reconciler::new(
        Box::new(FakeKernel::new().backend()),
        Vec::new(),
        journal.clone(),
        Box::new(FakeTable::new().flows()),
        BootId::new("this"),
        Logger::root(Discard, o!()),
    );
    daemon.recover(vec![record], Vec::new(), 1);
    (daemon, journal)
}

#[test]
fn what_nobody_can_look_for_is_a_trouble_and_its_record_stays() {
    let (mut daemon, journal) = daemon("this");
    for _ in 0..2 {
        let report = daemon.converge(&Desired::nothing(), 1);
        let missed = |t: &Trouble| match t {
            Trouble::Elsewhere { backend, last } => {
                (*backend, last.kind) == (BackendKind::Nftables, ErrorKind::Unsupported)
            }
            _ => false,
        };
        assert!(
            matches!(&report.troubles[..], [t] if missed(t)),
            "{report:?}"
        );
        assert!(report.is_in_step());
        assert_eq!(journal.records().len(), 1);
    }
}

#[test]
fn what_nobody_can_look_for_is_forgotten_after_a_boot() {
    let (mut daemon, journal) = daemon("earlier");
    let report = daemon.converge(&Desired::nothing(), 1);
    assert!(report.is_converged(), "{report:?}");
    assert_eq!(journal.records(), []);
}
