//! The mapper with a real writer and journal, over a kernel in memory.

use std::sync::Mutex;

use actix::{SyncArbiter, System};
use slog::{Discard, o};
use tokio::runtime::Handle;

use super::*;
use crate::actors::firewall_writer::{FindDrops, JournalClient};
use crate::actors::journal::{HeldStateDir, JournalActor};
use crate::actors::messages::{Recover, Resync};
use crate::backend::ErrorKind;
use crate::backend::fake::{BackendCall, FakeKernel, InjectedFault};
use crate::conntrack::fake::FakeTable;
use crate::journal::recover;
use crate::mapper::forwards::samples;
use crate::model::boot::BootId;
use crate::model::intent::{Outgoing, Unpublished};
use crate::model::problem::{Problem, ProblemId};
use crate::netlink::watch::OwnPorts;
use crate::reconcile::Reconciler;
use crate::sys::locks::{Holder, Lock};

/// Static rules of one interface and one prefix: jump, six guards, masquerade.
const STATICS: usize = 8;

fn listings(kernel: &FakeKernel) -> usize {
    let calls = kernel.calls();
    calls
        .iter()
        .filter(|c| matches!(c, BackendCall::List))
        .count()
}

/// Later than any test ends: what is due then never happens.
const LATER: Duration = Duration::from_secs(3600);

fn mapper(kernel: &FakeKernel, state_dir: &std::path::Path) -> Addr<PortMapper> {
    after_recovery(kernel, state_dir, None)
}

/// A mapper whose stale grace ends after `grace`. With a grace, the writer first recovers what an
/// earlier run left in the kernel.
fn after_recovery(
    kernel: &FakeKernel,
    state_dir: &std::path::Path,
    grace: Option<Duration>,
) -> Addr<PortMapper> {
    let board = StatusBoard::new(Instant::now(), "fake".to_owned());
    reporting_to(&board, kernel, state_dir, grace, Box::new(|_, _| None))
}

/// The same, with the reports on this board, and with what the writer finds of others' rules.
fn reporting_to(
    board: &StatusBoard,
    kernel: &FakeKernel,
    state_dir: &std::path::Path,
    grace: Option<Duration>,
    find_drops: FindDrops,
) -> Addr<PortMapper> {
    let (log, now, board) = (Logger::root(Discard, o!()), Instant::now(), board.clone());
    let opened = recover::open(state_dir, std::time::SystemTime::now()).expect("a journal");
    let holder = Holder {
        pid: std::process::id(),
        control: None,
    };
    let lock = Lock::acquire(&state_dir.join("lock"), &holder, now).expect("a lock");
    let state_dir = HeldStateDir {
        dir: state_dir.to_owned(),
        lock: Arc::new(lock),
    };
    let journal = JournalActor::new(opened.store, state_dir, board.clone(), log.clone());
    let journal = Mutex::new(Some(journal));
    let journal = SyncArbiter::start(1, move || {
        journal.lock().expect("lock").take().expect("one thread")
    });
    let reconciler = Reconciler::new(
        Box::new(kernel.backend()),
        Vec::new(),
        JournalClient::new(journal, Handle::current(), board.clone()),
        Box::new(FakeTable::new().flows()),
        BootId::new("boot"),
        log.clone(),
    );
    let writer = FirewallWriter::new(
        reconciler,
        None,
        find_drops,
        board.clone(),
        log.clone(),
        || 1,
    );
    let writer = Mutex::new(Some(writer));
    let writer = SyncArbiter::start(1, move || {
        writer.lock().expect("lock").take().expect("one thread")
    });
    if grace.is_some() {
        writer.do_send(Recover {
            records: opened.records,
            salvaged: Vec::new(),
        });
    }
    let options = MapperOptions {
        devices: Choice::Fixed(vec!["eth0".parse().expect("a device")]),
        prefixes: Choice::Fixed(vec!["fdfd::/64".parse().expect("a prefix")]),
        unpublished: Unpublished::Drop,
        outgoing: Outgoing::Accept,
        hairpin: HairpinMode::Off,
        limit: None,
    };
    let grace_ends = now + grace.unwrap_or(LATER);
    let watch = DriftWatch {
        interval: LATER,
        own_ports: OwnPorts::default(),
    };
    let on_ready = Box::new(|| {});
    PortMapper::new(options, writer, board, log, grace_ends, watch, on_ready).start()
}

/// Whether the condition came to hold in time. The tests assert only after the mapper has got its
/// `Stop`: a mapper that stops by itself ends the process, and the test's result is lost.
async fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// Rules that lead from a published port to a container.
fn forwards(kernel: &FakeKernel) -> usize {
    let lines = kernel.lines();
    lines.iter().filter(|l| l.contains("-j DNAT")).count()
}

fn one_container() -> SnapshotTaken {
    one_container_at("fdfd::2")
}

fn resync() -> Resync {
    let asked_at = Instant::now();
    Resync { asked_at }
}

fn taken(snapshot: Snapshot) -> SnapshotTaken {
    SnapshotTaken {
        snapshot: Arc::new(snapshot),
        event_at: None,
        listed_at: None,
    }
}

fn one_container_at(address: &str) -> SnapshotTaken {
    let mut snapshot = samples::snapshot();
    for container in snapshot.containers.values_mut() {
        // The sample's address may be one of this machine's own.
        container.endpoints[0].address = Some(address.parse().expect("an address"));
    }
    taken(snapshot)
}

/// An earlier run leaves a forward; then a mapper with this grace gets `word` from Docker. Whether
/// the kernel comes to hold the expected number of forwards.
fn after_an_earlier_run(grace: Duration, word: Option<SnapshotTaken>, expected: usize) -> bool {
    let dir = tempfile::tempdir().expect("a directory");
    let (kernel, next) = (FakeKernel::new(), tempfile::tempdir().expect("another"));
    System::new().block_on(async {
        let earlier = mapper(&kernel, dir.path());
        earlier.send(one_container()).await.expect("it lives");
        let left = eventually(|| forwards(&kernel) > 0).await;
        earlier.send(Stop).await.expect("it lives");
        // The earlier database is still open; the rules are found by their comments.
        let later = after_recovery(&kernel, next.path(), Some(grace));
        if let Some(word) = word {
            later.send(word).await.expect("it lives");
        }
        // Three full rounds: time enough to do what must not be done.
        for _ in 0..3 {
            let before = listings(&kernel);
            later.send(resync()).await.expect("it lives");
            eventually(|| listings(&kernel) > before).await;
        }
        let came = eventually(|| (forwards(&kernel) > 0) == (expected > 0)).await;
        let statics = kernel.ours().len() - forwards(&kernel);
        later.send(Stop).await.expect("it lives");
        left && came && statics == STATICS
    })
}

#[test]
fn what_docker_has_not_confirmed_stays_for_its_grace_and_not_longer() {
    assert!(after_an_earlier_run(LATER, None, 1));
    assert!(after_an_earlier_run(Duration::ZERO, None, 0));
}

#[test]
fn what_docker_denies_goes_before_its_grace_is_over() {
    let nothing = taken(Snapshot::default());
    assert!(after_an_earlier_run(LATER, Some(nothing), 0));
}

#[test]
fn what_docker_confirms_outlasts_its_grace() {
    let confirmed = Some(one_container());
    assert!(after_an_earlier_run(Duration::ZERO, confirmed, 1));
}

/// Docker has listed the container but does not answer about it.
fn unanswered() -> SnapshotTaken {
    let id = samples::snapshot().containers.into_keys().next();
    taken(Snapshot {
        unanswered: [(id.expect("a container"), "web".into())].into(),
        ..Snapshot::default()
    })
}

#[test]
fn what_docker_does_not_answer_about_stays_for_its_grace_and_not_longer() {
    assert!(after_an_earlier_run(LATER, Some(unanswered()), 1));
    assert!(after_an_earlier_run(Duration::ZERO, Some(unanswered()), 0));
}

#[test]
fn what_keeps_failing_is_tried_with_growing_pauses_and_heals_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = FakeKernel::new();
    kernel.listing_fails(Some(ErrorKind::Uncertain));
    let (tried, took, healed) = System::new().block_on(async {
        let begun = Instant::now();
        let mapper = mapper(&kernel, dir.path());
        let tried = eventually(|| listings(&kernel) >= 4).await;
        let took = begun.elapsed();
        kernel.listing_fails(None);
        let healed = eventually(|| kernel.ours().len() == STATICS).await;
        mapper.send(Stop).await.expect("it lives");
        (tried, took, healed)
    });
    assert!(tried && healed, "tried: {tried}, healed: {healed}");
    // Three pauses lay between, of at least half of 100, 200 and 400 ms.
    assert!(took >= Duration::from_millis(350), "{took:?}");
}

#[test]
fn what_others_drop_is_found_in_the_writers_thread_and_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = FakeKernel::new();
    let board = StatusBoard::new(Instant::now(), "fake".to_owned());
    let mapper_thread = std::thread::current().id();
    let find_drops: FindDrops = Box::new(move |devices, prefixes| {
        let is_asked_rightly = devices.len() == 1 && prefixes.len() == 1;
        let is_beside = std::thread::current().id() != mapper_thread;
        let drops = Problem::new(ProblemId::ForwardDrop, "a chain drops".to_owned());
        Some(ForeignRules {
            drops: vec![drops; usize::from(is_asked_rightly && is_beside)],
            strict_way_back: false,
        })
    });
    let reported = || {
        let problems = board.lock().problems_of(Reporter::Host);
        problems.iter().any(|it| it.id == ProblemId::ForwardDrop)
    };
    let (early, came) = System::new().block_on(async {
        let mapper = reporting_to(&board, &kernel, dir.path(), None, find_drops);
        mapper.send(resync()).await.expect("it lives");
        eventually(|| kernel.ours().len() == STATICS).await;
        let early = reported();
        mapper.send(one_container()).await.expect("it lives");
        eventually(|| forwards(&kernel) > 0).await;
        mapper.send(resync()).await.expect("it lives");
        let came = eventually(reported).await;
        mapper.send(Stop).await.expect("it lives");
        (early, came)
    });
    assert!(!early, "reported before the daemon was ready");
    assert!(came, "not reported");
}

#[test]
fn a_resync_does_not_wait_for_the_pause_to_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = FakeKernel::new();
    kernel.listing_fails(Some(ErrorKind::Uncertain));
    let (tried, took) = System::new().block_on(async {
        let mapper = mapper(&kernel, dir.path());
        // By now the pause is at least 1.6 s long.
        let tried = eventually(|| listings(&kernel) >= 6).await;
        kernel.listing_fails(None);
        let asked = Instant::now();
        mapper.send(resync()).await.expect("it lives");
        let healed = eventually(|| kernel.ours().len() == STATICS).await;
        mapper.send(Stop).await.expect("it lives");
        (tried && healed, asked.elapsed())
    });
    assert!(tried, "it neither tried nor healed");
    assert!(took < Duration::from_millis(1000), "{took:?}");
}

#[test]
fn a_program_that_changes_rules_all_the_time_does_not_cause_a_listing_each_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = FakeKernel::new();
    let (settled, listed) = System::new().block_on(async {
        let mapper = mapper(&kernel, dir.path());
        let settled = eventually(|| kernel.ours().len() == STATICS).await;
        let before = listings(&kernel);
        let begun = Instant::now();
        while begun.elapsed() < VERIFY_WINDOW {
            let changed = HostChanged(Watched::Rules);
            mapper.send(changed).await.expect("it lives");
        }
        let listed = listings(&kernel) - before;
        // The last change still causes a listing.
        let changed = HostChanged(Watched::Rules);
        mapper.send(changed).await.expect("it lives");
        let noticed = eventually(|| listings(&kernel) > before + listed).await;
        mapper.send(Stop).await.expect("it lives");
        (settled && noticed, listed)
    });
    assert!(settled, "it does not list");
    // The changes may fall into two windows, and there are at most four pauses.
    let most = 2 * MOST_VERIFIED as usize + 5;
    assert!(listed <= most, "{listed} listings");
}

#[test]
fn while_a_change_is_made_newer_snapshots_replace_those_that_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = FakeKernel::new();
    let (held, wait) = std::sync::mpsc::channel::<()>();
    // The commit of the static rules blocks until `held` is dropped.
    kernel.on_commit(InjectedFault::Meanwhile(Box::new(move |_| {
        let _ = wait.recv();
    })));
    let (came, commits) = System::new().block_on(async {
        let mapper = mapper(&kernel, dir.path());
        for address in ["fdfd::2", "fdfd::3", "fdfd::4", "fdfd::5", "fdfd::6"] {
            let news = one_container_at(address);
            mapper.send(news).await.expect("it lives");
        }
        drop(held);
        let last = |line: &String| line.contains("[fdfd::6]");
        let came = eventually(|| kernel.lines().iter().any(last)).await;
        let calls = kernel.calls();
        let commits = calls.iter().filter(|c| matches!(c, BackendCall::Commit(_)));
        mapper.send(Stop).await.expect("it lives");
        (came, commits.count())
    });
    assert!(came, "the last snapshot was lost");
    assert_eq!(commits, 2, "the static rules and the last snapshot");
}
