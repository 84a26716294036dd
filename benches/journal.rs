//! What the journal costs: the time from event to rule and the daemon's cold start contain it.
//!
//! `TMPDIR` decides which disk is measured.

use std::collections::BTreeSet;
use std::time::SystemTime;

use divan::Bencher;
use docker_nat66::backend::compile;
use docker_nat66::journal::record::{Record, RecordState};
use docker_nat66::journal::store::Store;
use docker_nat66::journal::{Journal, recover};
use docker_nat66::model::boot::BootId;
use docker_nat66::model::forward::Owner;
use docker_nat66::model::rule::{BackendKind, OwnedRule};

fn main() {
    divan::main();
}

fn record(n: u32) -> Record {
    let port = u16::try_from(n % 60_000 + 1).expect("fits");
    let text = format!(
        "nat PREROUTING -i eth0 -p tcp --dport {port} -j DNAT \
         --to-destination [fdfd:5898:4917:1::2]:{port} ! -s fe80::/10 -m addrtype --dst-type LOCAL"
    );
    Record {
        owned: OwnedRule {
            rule: compile::rule(BackendKind::Ip6tables, &text).expect("a rule of ours"),
            owners: BTreeSet::from([Owner::new(format!("{n:064x}"), "some-container", "bridge")])
                .into(),
        },
        state: RecordState::Intended,
        inserted_at: 1_767_323_045,
        boot_id: BootId::new("6d2e4b1c-0000-4000-8000-000000000000"),
    }
}

fn open(dir: &std::path::Path) -> Store {
    let opened = recover::open(dir, SystemTime::UNIX_EPOCH).expect("opens");
    assert!(opened.quarantined.is_none());
    opened.store
}

#[divan::bench(args = [1, 10, 100], sample_count = 200, sample_size = 1)]
fn intend(bencher: Bencher<'_, '_>, count: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut next = 0;
    bencher
        .with_inputs(|| {
            let records: Vec<Record> = (next..next + count).map(record).collect();
            next += count;
            records
        })
        .bench_local_values(|records| store.intend(&records).expect("intends"));
}

#[divan::bench(args = [1, 100], sample_count = 200, sample_size = 1)]
fn intend_commit_forget(bencher: Bencher<'_, '_>, count: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let records: Vec<Record> = (0..count).map(record).collect();
    let ids: Vec<_> = records.iter().map(Record::id).collect();
    bencher.bench_local(|| {
        store.intend(&records).expect("intends");
        store.commit(&ids).expect("commits");
        store.forget(&ids).expect("forgets");
    });
}

/// Opening, scanning and closing what a predecessor left.
#[divan::bench(args = [0, 300, 10_000], sample_count = 30, sample_size = 1)]
fn open_and_scan(bencher: Bencher<'_, '_>, count: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let records: Vec<Record> = (0..count).map(record).collect();
    store.intend(&records).expect("intends");
    drop(store);
    // the store is handed out, so that closing it is not measured
    bencher.bench_local(|| open(dir.path()));
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn first_start(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| tempfile::tempdir().expect("a directory"))
        .bench_local_values(|dir| {
            let store = open(dir.path());
            (store, dir)
        });
}
