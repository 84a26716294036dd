//! What a change of the kernel costs, beside the least that it can cost, and how soon it is
//! undone when somebody else makes it. Needs root; works in a network namespace of its own:
//! `cargo bench --bench apply`.
//!
//! The floor is a bare probe ([`bare`]) whose work alternates with ours, so that whatever else
//! the machine does slows down both. Rows are medians; ratios are of medians.

#[path = "apply/bare.rs"]
mod bare;
#[path = "apply/entries.rs"]
mod entries;
#[path = "apply/flows.rs"]
mod flows;
#[path = "apply/repair.rs"]
mod repair;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests have more than is needed here")]
mod support;
#[path = "apply/table.rs"]
mod table;

use std::time::{Duration, Instant};

use docker_nat66::backend::nftables::{Nftables, TableSettings};
use docker_nat66::backend::{Backend, Batch, ObservedRule, compile};
use docker_nat66::model::rule::{BackendKind, Rule};
use rustix::thread::UnshareFlags;

use bare::Bare;
use support::namespace::leave;
use table::{Goal, head, row};

/// Forwards of a full table.
const FULL: u16 = 10_000;

fn main() {
    leave(UnshareFlags::NEWNET);
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let is_wanted = |name: &str| {
        only.as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    };
    head();
    let mut bare = Bare::new();
    if is_wanted("cold") {
        cold_start();
    }
    if is_wanted("one") {
        one(&mut bare, 0);
        one(&mut bare, FULL);
    }
    if is_wanted("batch") {
        batches(&mut bare, 1_000, 61);
        batches(&mut bare, FULL, 21);
    }
    if is_wanted("dump") {
        dump(&mut bare);
    }
    if is_wanted("flows") {
        flows::purge();
    }
    if is_wanted("repair") {
        repair::of_the_table(&mut bare);
        repair::of_ip6tables(&mut bare);
    }
}

fn insertion(texts: impl IntoIterator<Item = String>) -> Batch {
    let rule = |text: String| compile::rule(BackendKind::Nftables, &text).expect("a rule of ours");
    Batch {
        remove: Vec::new(),
        insert: texts.into_iter().map(rule).collect(),
    }
}

/// What stands in the table of every daemon.
fn statics() -> Batch {
    let prefix = "fdfd:5898:4917:1::/64";
    insertion([
        "egress { \"eth0\" }".to_owned(),
        format!("prefixes {{ {prefix} }}"),
        format!("guarded {{ {prefix} }}"),
    ])
}

/// The forwards of these ports.
fn forwards(first: u16, last: u16) -> Batch {
    let forward = |port| format!("forwards {{ tcp . {port} : fdfd:5898:4917:1::2 . {port} }}");
    insertion((first..=last).map(forward))
}

fn removal(remove: Vec<ObservedRule>) -> Batch {
    Batch {
        remove,
        insert: Vec::new(),
    }
}

fn detected(owned: bool) -> Nftables {
    let settings = TableSettings {
        owned,
        ..TableSettings::default()
    };
    Nftables::detect(settings).expect("nftables")
}

/// A backend whose table holds the statics and so many forwards.
fn with_forwards(count: u16, owned: bool) -> Nftables {
    let mut backend = detected(owned);
    backend.commit(&statics()).expect("inserts");
    if count > 0 {
        backend.commit(&forwards(1, count)).expect("inserts");
    }
    backend
}

fn empty(mut backend: Nftables) {
    let all = backend.list().expect("lists");
    backend.commit(&removal(all)).expect("removes");
}

fn timed<T>(into: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    into.push(began.elapsed());
    done
}

fn dnats(backend: &mut Nftables) -> Vec<ObservedRule> {
    let mut listed = backend.list().expect("lists");
    let is_dnat = |rule: &Rule| rule.dnat().is_some();
    listed.retain(|seen| seen.rule.as_ref().is_some_and(is_dnat));
    listed
}

/// From the probe of the kernel to the acknowledged table.
fn cold_start() {
    let mut times = Vec::new();
    for _ in 0..41 {
        let backend = timed(&mut times, || {
            let mut backend = detected(true);
            assert_eq!(backend.list().expect("lists"), []);
            backend.commit(&statics()).expect("inserts");
            backend
        });
        empty(backend);
    }
    row(
        "cold start of an empty table",
        times,
        None,
        Goal::Median(15.0),
    );
}

/// One forward more and less in a table of so many.
fn one(bare: &mut Bare, among: u16) {
    const ROUNDS: usize = 1001;
    let mut backend = with_forwards(among, true);
    if among > 0 {
        bare.insert(1, among);
    }
    let port = among + 1;
    let insertion = forwards(port, port);
    backend.commit(&insertion).expect("inserts");
    let [mut into, mut into_floor, mut out, mut out_floor, mut list] = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS / 10 {
        timed(&mut list, || backend.list()).expect("lists");
    }
    // A listing of thousands leaves the allocator a mess: it is measured by itself.
    let id = insertion.insert[0].id();
    let listed = backend.list().expect("lists").into_iter();
    let removal = removal(listed.filter(|seen| seen.id == id).collect());
    backend.commit(&removal).expect("removes");
    for _ in 0..ROUNDS {
        timed(&mut into_floor, || bare.insert(port, port));
        timed(&mut into, || backend.commit(&insertion)).expect("inserts");
        timed(&mut out, || backend.commit(&removal)).expect("removes");
        timed(&mut out_floor, || bare.delete(port, port));
    }
    let what = |verb: &str| format!("one forward {verb}, in a table of {among}");
    row(&what("inserted"), into, Some(into_floor), Goal::Ratio(4.0));
    row(&what("deleted"), out, Some(out_floor), Goal::Ratio(4.0));
    row(
        &format!("list from memory, table of {among}"),
        list,
        None,
        Goal::None,
    );
    if among > 0 {
        bare.delete(1, among);
    }
    empty(backend);
}

/// So many forwards in one batch.
fn batches(bare: &mut Bare, count: u16, rounds: usize) {
    let mut backend = with_forwards(0, true);
    let insertion = forwards(1, count);
    let [mut into, mut into_floor, mut out, mut out_floor] = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        timed(&mut into_floor, || bare.insert(1, count));
        timed(&mut out_floor, || bare.delete(1, count));
        backend.list().expect("lists");
        timed(&mut into, || backend.commit(&insertion)).expect("inserts");
        let removal = removal(dnats(&mut backend));
        assert_eq!(removal.remove.len(), usize::from(count));
        timed(&mut out, || backend.commit(&removal)).expect("removes");
    }
    let what = |verb: &str| format!("{count} forwards {verb} in one batch");
    row(&what("inserted"), into, Some(into_floor), Goal::Ratio(2.0));
    row(&what("deleted"), out, Some(out_floor), Goal::Ratio(2.0));
    empty(backend);
}

/// Reads a full table back, which it does when the table may be changed by others and the
/// generation is not the one it knows.
fn dump(bare: &mut Bare) {
    let mut backend = with_forwards(FULL, false);
    bare.insert(1, FULL);
    let [mut times, mut floor] = [const { Vec::new() }; 2];
    for _ in 0..41 {
        bare.insert(FULL + 1, FULL + 1);
        bare.delete(FULL + 1, FULL + 1);
        let listed = timed(&mut times, || backend.list()).expect("lists");
        assert_eq!(listed.len(), usize::from(FULL) + 3);
        timed(&mut floor, || bare.dump());
    }
    let what = format!("dump and decode {FULL} forwards");
    row(&what, times, Some(floor), Goal::Median(25.0));
    bare.delete(1, FULL);
    empty(backend);
}
