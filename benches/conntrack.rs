//! What a purge of stale flows costs while 10,000 are tracked. Needs root, and works in a
//! network namespace of its own.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use divan::Bencher;
use docker_nat66::conntrack::{Conntrack, Flow, Flows as _, Purge};
use docker_nat66::host;
use docker_nat66::model::forward::Proto;
use rustix::thread::{UnshareFlags, unshare_unsafe};

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

/// An entry to port 20,000 + n, which leads to container port n.
fn command(n: u16) -> String {
    let mut line = String::new();
    writeln!(
        line,
        "-I -p udp -s 2001:db8::2 -d 2001:db8::1 --sport {n} --dport {} -r fdfd::2 \
         -q 2001:db8::2 --reply-port-src {n} --reply-port-dst {n} --timeout 3600",
        20_000 + n
    )
    .expect("a string takes all");
    line
}

fn load(table: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("table");
    std::fs::write(&file, table).expect("written");
    let mut conntrack = Command::new("conntrack");
    conntrack.arg("-R").arg(&file).stderr(Stdio::null());
    assert!(conntrack.status().expect("conntrack").success());
}

fn removed(n: u16, target_port: u16) -> Purge {
    Purge::Removed(Flow {
        proto: Proto::Udp,
        host_addr: None,
        host_port: 20_000 + n,
        target: ("fdfd::2".parse().expect("an address"), target_port),
    })
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
