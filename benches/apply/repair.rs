//! From somebody else's flush to the last rule in place, by a whole daemon in this process.
//!
//! The Engine is the fake one, the journal on the disk of `TMPDIR`. The kernel's generation id
//! shows when something has changed, and a count in the kernel whether it was the repair.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use docker_nat66::actors::journal::HeldStateDir;
use docker_nat66::backend::Backend;
use docker_nat66::backend::ip6tables::{Ip6tables, ToolSettings, Variant};
use docker_nat66::backend::nftables::{Nftables, TABLE, TableSettings};
use docker_nat66::control::status::AboutBackend;
use docker_nat66::daemon::{self, Left, Parts, Runtime};
use docker_nat66::docker::host::DockerHost;
use docker_nat66::docker::stream;
use docker_nat66::docker_nat::observer::Observer;
use docker_nat66::docker_nat::watch::Watch;
use docker_nat66::journal::recover;
use docker_nat66::logging::{Format, Verbosity, to_writer};
use docker_nat66::mapper::compute::{Choice, HairpinMode, MapperOptions};
use docker_nat66::model::intent::{Outgoing, Unpublished};
use docker_nat66::model::rule::BackendKind;
use docker_nat66::sys::host;
use docker_nat66::sys::locks::{self, Holder, Lock};
use rustix::process::{Signal, getpid, kill_process};

use crate::bare::Bare;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::table::{Goal, row};

/// Between two flushes: of who makes more than twenty a second the daemon thinks that he
/// quarrels, and waits.
const PAUSE: Duration = Duration::from_millis(80);

/// Between two looks at the kernel.
const LOOK: Duration = Duration::from_micros(50);

/// Ports of one container.
const PORTS: u16 = 100;

/// A table that anybody may remove.
pub(crate) fn of_the_table(bare: &mut Bare) {
    let settings = TableSettings {
        owned: false,
        ..TableSettings::default()
    };
    let backend = Nftables::detect(settings).expect("nftables");
    let name = format!("{TABLE}\0");
    let count = |bare: &mut Bare| bare.elements_of(&name, "forwards\0");
    let times = with_daemon(Box::new(backend), 1_000, || {
        wait(bare, 1_000, count);
        let mut times = Vec::new();
        for _ in 0..200 {
            thread::sleep(PAUSE);
            let began = Instant::now();
            bare.delete_table(&name);
            times.push(wait(bare, 1_000, count) - began);
        }
        times
    });
    let what = "delete of our table to repair, 1000 forwards";
    row(what, times, None, Goal::P99(20.0));
}

/// `ip6tables -t nat -F`; the time begins when the kernel has been seen to have obeyed.
pub(crate) fn of_ip6tables(bare: &mut Bare) {
    let backend = Ip6tables::detect(docker_nat66::backend::ip6tables::ToolSettings::default());
    let backend = backend.expect("ip6tables");
    let count = |bare: &mut Bare| bare.rules_of("nat\0");
    // The masquerade, too.
    let all = 101;
    let times = with_daemon(Box::new(backend), 100, || {
        wait(bare, all, count);
        let mut times = Vec::new();
        for _ in 0..50 {
            thread::sleep(PAUSE);
            let before = bare.generation();
            let mut flush = Command::new("ip6tables");
            let mut flush = flush.args(["-t", "nat", "-F"]).spawn().expect("ip6tables");
            while bare.generation() == before {
                thread::sleep(LOOK);
            }
            let began = Instant::now();
            times.push(wait(bare, all, count) - began);
            assert!(flush.wait().expect("ends").success());
        }
        times
    });
    let what = "ip6tables -t nat -F to repair, 100 forwards";
    row(what, times, None, Goal::P99(100.0));
}

/// When the kernel has so many.
fn wait(bare: &mut Bare, wanted: usize, count: impl Fn(&mut Bare) -> usize) -> Instant {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let generation = bare.generation();
        let now = Instant::now();
        let found = count(bare);
        if found == wanted {
            return now;
        }
        assert!(now < deadline, "{found} and not {wanted}");
        while bare.generation() == generation && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
    }
}

/// What `work` returns while a daemon keeps so many forwards in the kernel.
fn with_daemon<T>(backend: Box<dyn Backend>, forwards: u16, work: impl FnOnce() -> T) -> T {
    let engine = FakeEngine::start();
    for number in 0..forwards / PORTS {
        let mut container = FakeContainer::new(number + 2, &format!("c{number}"));
        for port in 0..PORTS {
            container = container.publish(10_000 + number * PORTS + port, 80 + port);
        }
        engine.put(container);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("unix://{}", engine.socket().display());
    let state = dir.path().join("state");
    let opened = recover::open(&state, SystemTime::now()).expect("opens");
    let holder = Holder {
        pid: std::process::id(),
        control: None,
    };
    let lock = Lock::acquire(&locks::state_path(&state), &holder, Instant::now());
    let log = to_writer(io::sink(), Format::Json, Verbosity::Info);
    // No other tool is looked for: nothing of Docker's is here.
    let tools = ToolSettings {
        tool_dirs: Vec::new(),
        ..ToolSettings::default()
    };
    let ours = (backend.kind() == BackendKind::Ip6tables).then_some(Variant::Nft);
    let mut observer = Observer::new(ours, &tools);
    let parts = Parts {
        about_backend: AboutBackend::default(),
        find_drops: Box::new(|_, _| None),
        metrics: None,
        metrics_connections: false,
        at_ready: Box::new(|| {}),
        options: MapperOptions {
            devices: Choice::Fixed(vec!["eth0".parse().expect("a device")]),
            prefixes: Choice::Fixed(vec!["fdfd:5898:4917:1::/64".parse().expect("a prefix")]),
            unpublished: Unpublished::Drop,
            outgoing: Outgoing::Accept,
            hairpin: HairpinMode::Off,
            limit: None,
        },
        backend,
        others: Vec::new(),
        journal: opened,
        state_dir: HeldStateDir {
            dir: state,
            lock: Arc::new(lock.expect("free")),
        },
        boot_id: host::boot_id().expect("a boot id"),
        docker: stream::FollowSettings::new(DockerHost::parse(&url, false).expect("a URL")),
        started: Instant::now(),
        stale_grace: Duration::from_secs(30),
        verify_interval: Duration::from_secs(3600),
        keep_rules: false,
        docker_nat: Some(Watch::new(
            Box::new(move || observer.observe_in_part()),
            log.clone(),
        )),
    };
    let control = dir.path().join("control.sock");
    thread::scope(|scope| {
        let daemon = scope.spawn(move || {
            let runtime = Runtime::new().expect("a runtime");
            let signals = runtime.signals().expect("signals");
            daemon::run(&runtime, signals, parts, &control, &log)
        });
        let done = work();
        kill_process(getpid(), Signal::TERM).expect("a signal");
        let left = daemon.join().expect("the daemon").expect("it ran");
        assert_eq!(left, Left::Clean);
        done
    })
}
