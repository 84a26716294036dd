//! The reconciler on real backends: from one to the other and back, around foreign changes, and
//! through a forward's whole life.

use docker_nat66::backend::Backend;
use docker_nat66::backend::compile;
use docker_nat66::backend::ip6tables::{Ip6tables, ToolSettings, Variant};
use docker_nat66::backend::nftables::{Nftables, TableSettings};
use docker_nat66::conntrack::fake::FakeTable;
use docker_nat66::journal::memory::MemoryJournal;
use docker_nat66::journal::record::Record;
use docker_nat66::model::boot::BootId;
use docker_nat66::model::change::Desired;
use docker_nat66::model::forward::{Forward, Sources};
use docker_nat66::model::intent::Intent;
use docker_nat66::model::rule::BackendKind;
use docker_nat66::reconcile::{Reconciler, Report};
use slog::{Discard, Logger, o};

use super::backend;
use super::others::{nft_ok, ruleset};
use crate::flows::scenery::{HOST, PORT, TWO};
use crate::packets::scenery::{CLIENT, build, client, forwards, policy};
use crate::real::tools;
use crate::support::namespace;
use crate::support::shell::sh;

/// One run of a daemon with this backend, on the journal of its predecessors.
fn start(kind: BackendKind, tools: &ToolSettings, journal: &MemoryJournal) -> Daemon {
    let (backend, others): (Box<dyn Backend>, Vec<Box<dyn Backend>>) = match kind {
        BackendKind::Ip6tables => {
            let backend = Ip6tables::detect(tools.clone()).expect("usable");
            let other = backend.other().expect("installed beside");
            let table = Nftables::left_over(TableSettings::default());
            (Box::new(backend), vec![Box::new(other), Box::new(table)])
        }
        BackendKind::Nftables => {
            let tables = Ip6tables::left_over(tools).into_iter();
            let boxed = tables.map(|table| Box::new(table) as Box<dyn Backend>);
            (Box::new(backend(true)), boxed.collect())
        }
    };
    let records: Vec<Record> = journal.records();
    let mut daemon = Reconciler::new(
        backend,
        others,
        journal.clone(),
        Box::new(FakeTable::new().flows()),
        BootId::new("this"),
        Logger::root(Discard, o!()),
    );
    let report = daemon.recover(records, Vec::new(), 1);
    assert!(report.is_converged(), "{report:?}");
    daemon
}

type Daemon = Reconciler<MemoryJournal>;

fn desired(kind: BackendKind, forwards: &[Forward]) -> Desired {
    let intent = Intent::new(policy(), Some(forwards.to_vec()));
    compile::desired(kind, &intent)
}

#[track_caller]
fn converged(report: &Report) {
    assert!(report.is_converged(), "{report:?}");
}

/// Identities in the kernel, whatever holds them.
fn ours() -> Vec<String> {
    let table = sh("nft list table ip6 docker_nat66 2>/dev/null || :");
    let all = [table, sh("ip6tables-nft-save; ip6tables-legacy-save")].concat();
    let mut ids: Vec<String> = all
        .split("docker-nat66:")
        .skip(1)
        .map(|after| after[..16].to_owned())
        .collect();
    ids.sort();
    ids
}

fn recorded(journal: &MemoryJournal) -> Vec<String> {
    let mut ids: Vec<String> = journal
        .records()
        .iter()
        .map(|r| r.id().to_string())
        .collect();
    ids.sort();
    ids
}

#[test]
#[ignore = "needs root, ip6tables and nft: run by tests/run"]
fn a_switch_of_backends_leaves_nothing_of_the_old_one() {
    use BackendKind::{Ip6tables, Nftables};
    namespace::fresh(|| {
        build();
        for variant in [Variant::Nft, Variant::Legacy] {
            let (_dir, settings) = tools(variant);
            let journal = MemoryJournal::default();
            let all = forwards(&Sources::Any);
            for kind in [Nftables, Ip6tables, Nftables, Ip6tables] {
                // Killed, and started with another option.
                let mut daemon = start(kind, &settings, &journal);
                converged(&daemon.converge(&desired(kind, &all), 2));
                assert_eq!(ours(), recorded(&journal), "{kind}");
                let kinds = journal.records();
                assert!(kinds.iter().all(|r| r.owned.rule.backend == kind), "{kind}");
                client().is_answered(HOST, PORT, "one", CLIENT);
                let table = ruleset().contains("docker_nat66");
                assert_eq!(table, kind == Nftables);
            }
            let mut last = start(Nftables, &settings, &journal);
            converged(&last.converge(&Desired::nothing(), 3));
            assert_eq!((ours(), recorded(&journal)), (Vec::new(), Vec::new()));
            assert!(!ruleset().contains("docker_nat66"));
        }
    });
}

#[test]
#[ignore = "needs root, ip6tables and nft: run by tests/run"]
fn a_forward_comes_moves_and_goes_in_one_owned_table() {
    let kind = BackendKind::Nftables;
    namespace::fresh(|| {
        build();
        let (_dir, settings) = tools(Variant::Nft);
        let journal = MemoryJournal::default();
        let mut daemon = start(kind, &settings, &journal);
        converged(&daemon.converge(&desired(kind, &[]), 2));
        client().gets_nothing(HOST, PORT);
        let mut all = forwards(&Sources::Any);
        converged(&daemon.converge(&desired(kind, &all), 3));
        client().is_answered(HOST, PORT, "one", CLIENT);
        for forward in &mut all {
            forward.container_addr = TWO.parse().expect("an address");
        }
        sh("conntrack -F 2>/dev/null || :");
        let report = daemon.converge(&desired(kind, &all), 4);
        converged(&report);
        assert_eq!((report.inserted, report.removed), (2, 2));
        client().is_answered(HOST, PORT, "two", CLIENT);
        assert_eq!(ours(), recorded(&journal));
        let quiet = daemon.converge(&desired(kind, &all), 5);
        assert_eq!((quiet.inserted, quiet.removed, quiet.drift), (0, 0, 0));
        converged(&daemon.converge(&Desired::nothing(), 6));
        assert_eq!(ours(), Vec::<String>::new());
    });
}

#[test]
#[ignore = "needs root, ip6tables and nft: run by tests/run"]
fn what_others_take_from_a_table_that_is_not_owned_comes_back() {
    let kind = BackendKind::Nftables;
    namespace::fresh(|| {
        build();
        let journal = MemoryJournal::default();
        let mut daemon = Reconciler::new(
            Box::new(backend(false)),
            Vec::new(),
            journal.clone(),
            Box::new(FakeTable::new().flows()),
            BootId::new("this"),
            Logger::root(Discard, o!()),
        );
        converged(&daemon.recover(Vec::new(), Vec::new(), 1));
        let desired = desired(kind, &forwards(&Sources::Any));
        converged(&daemon.converge(&desired, 2));
        let before = ours();
        for (damage, drift) in [
            ("flush ruleset", before.len()),
            ("delete element ip6 docker_nat66 forwards { tcp . 8080 }", 1),
            (
                "add element ip6 docker_nat66 forwards { tcp . 9 : fd00::9 . 9 }",
                1,
            ),
            ("flush set ip6 docker_nat66 prefixes", 1),
            ("flush chain ip6 docker_nat66 prerouting", 0),
        ] {
            nft_ok(damage);
            daemon.invalidate();
            let report = daemon.converge(&desired, 3);
            converged(&report);
            assert_eq!(report.drift, drift, "{damage}");
            assert_eq!(ours(), before, "{damage}");
            client().is_answered(HOST, PORT, "one", CLIENT);
        }
    });
}
