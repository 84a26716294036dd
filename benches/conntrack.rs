//! What a purge of stale flows costs while 10,000 are tracked. Needs root, and works in a
//! network namespace of its own.

#[path = "apply/entries.rs"]
mod entries;

use divan::Bencher;
use docker_nat66::conntrack::{Conntrack, Flows as _, Purge};
use docker_nat66::sys::host;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use entries::{command, load, removed};

/// Flows in the table.
const FLOWS: u16 = 10_000;

#[allow(unsafe_code)]
fn main() {
    // SAFETY: there is one thread, and it shares nothing with the process that started it.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network namespace (needs root)");
    let table: String = (1..=FLOWS).map(command).collect();
    load(&table);
    divan::main();
}

#[divan::bench(args = [1, 10, 100, 1000], sample_count = 50, sample_size = 1)]
fn forwards_with_one_flow_each(bencher: Bencher<'_, '_>, count: u16) {
    let gone: String = (1..=count).map(command).collect();
    let purges: Vec<Purge> = (1..=count).map(|n| removed(n, n)).collect();
    let mut conntrack = Conntrack::new(host::addresses);
    conntrack.purge(&purges).expect("purges");
    bencher
        .with_inputs(|| load(&gone))
        .bench_local_values(|()| {
            let deleted = conntrack.purge(&purges).expect("purges");
            assert_eq!(deleted, usize::from(count));
        });
    load(&gone);
}

#[divan::bench(args = [1, 1000], sample_count = 50, sample_size = 1)]
fn forwards_without_flows(bencher: Bencher<'_, '_>, count: u16) {
    let purges: Vec<Purge> = (1..=count).map(|n| removed(n, FLOWS + n)).collect();
    let mut conntrack = Conntrack::new(host::addresses);
    bencher.bench_local(|| conntrack.purge(&purges).expect("purges"));
}
