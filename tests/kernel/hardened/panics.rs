//! Whatever panics or ends in the daemon, on whatever thread: the process ends at once with exit
//! code 70, says why in its last line, and the next one finds its way.

use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use docker_nat66::sys::failpoint;
use rustix::process::Signal;

use crate::running::{Running, engine, reference};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::score::Score;
use crate::support::shell::sh;
use crate::support::wait::PATIENCE;

/// What 100 ms of an idle machine may become on a busy one. The measured time is in the table.
const AT_ONCE: Duration = Duration::from_secs(2);

/// What makes the daemon come to a place.
#[derive(Clone, Copy)]
enum By {
    /// It comes there by itself.
    Starting,
    /// Somebody connects to its socket.
    Connecting,
    /// Somebody changes a rule.
    News,
    /// It gets this signal.
    Signal(Signal),
}

use By::{Connecting, News, Starting};

const HUP: By = By::Signal(Signal::HUP);
const TERM: By = By::Signal(Signal::TERM);

/// Places, and parts that end. The first words of the reason follow from which it is.
const PANICS: [(&str, By); 21] = [
    ("before a lock is taken", Starting),
    ("before the control socket is bound", Starting),
    ("before a directory is synced", Starting),
    ("recovery begins", Starting),
    ("the journal is asked", Starting),
    ("a round begins", Starting),
    ("before netlink is sent a request", Starting),
    ("a desired state is made", Starting),
    ("a report is read", Starting),
    ("a session goes on", Starting),
    ("an update is passed on", Starting),
    ("the watchdog checks", Starting),
    ("it is time to verify", Starting),
    ("a connection is served", Connecting),
    ("news are read", News),
    ("links are read", News),
    ("a signal is heeded", HUP),
    ("the watcher is asked to resync", HUP),
    ("before leaving", TERM),
    ("before the journal is closed", TERM),
    ("after the journal was closed", TERM),
];

const ENDS: [(&str, By); 6] = [
    ("event watcher", Starting),
    ("port mapper", Starting),
    ("firewall writer", Starting),
    ("journal", Starting),
    ("rules", News),
    ("links", News),
];

/// What runs.
const WEB: &Running = &[(2, 8080)];

/// Starts a daemon that fails there; how long after its last line it ended.
fn fails(scene: &Scene, place: &str, by: By, reason: &str) -> Duration {
    let engine = engine(WEB);
    let args = ["--log-format", "json", "--verify-interval", "1s"];
    let mut command = scene.daemon(engine.socket());
    command.args(args).env(failpoint::FAIL_AT, place);
    let mut daemon = Daemon::logged(scene, command);
    if !matches!(by, Starting) {
        daemon.says("\"ready\"");
    }
    match by {
        Starting => {}
        Connecting => drop(UnixStream::connect(scene.control()).expect("it listens")),
        News => {
            sh("nft add table ip6 news; nft delete table ip6 news");
            sh("ip link add news type bridge; ip link delete news");
        }
        By::Signal(signal) => daemon.signal(signal),
    }
    let status = daemon.ends_within(PATIENCE);
    let ended = SystemTime::now();
    let log = scene.log();
    let context = || format!("{place}: {status:?}: {log}");
    assert_eq!(status.and_then(|s| s.code()), Some(70), "{}", context());
    let last = log.lines().last().unwrap_or_default();
    let line: serde_json::Value = serde_json::from_str(last).unwrap_or_default();
    assert_eq!(line["level"], "CRIT", "{}", context());
    let said = line["msg"].as_str().unwrap_or_default();
    assert!(said.contains(reason), "{reason:?}: {}", context());
    let written = line["ts"].as_str().unwrap_or_default();
    let written = chrono::DateTime::parse_from_rfc3339(written).expect("a time");
    ended.duration_since(written.into()).unwrap_or_default()
}

fn every_failure_ends_the_process(backend: Backend, places: &[(&str, By)], parts: &[(&str, By)]) {
    let scene = Scene::new(backend);
    let expected = reference(&scene, WEB);
    let fault = format!("a part panicked or ended: time to exit, {backend:?}");
    let mut score = Score::new(&fault);
    let places = places.iter().map(|(place, by)| (*place, *by, *place));
    let parts = parts
        .iter()
        .map(|(part, by)| (*part, *by, "stopping at once"));
    for (place, by, reason) in places.chain(parts) {
        let took = fails(&scene, place, by, reason);
        eprintln!("{place}: {} ms", took.as_millis());
        score.recovered(took);
        assert!(took < AT_ONCE, "{place}: {took:?}");
        let found = reference(&scene, WEB);
        scene.has(&mut score, place, &expected, &found);
        scene.spares_others(&mut score, place);
    }
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_panic_or_an_end_anywhere_ends_the_daemon_with_its_reason() {
    namespace::fresh(|| every_failure_ends_the_process(Backend::Nftables, &PANICS, &ENDS));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_panic_around_a_tool_ends_the_daemon_and_the_tool() {
    namespace::fresh(|| {
        let places = [
            ("before a tool is started", Starting),
            ("while a tool runs", Starting),
            ("after a tool has ended", Starting),
        ];
        every_failure_ends_the_process(Backend::Ip6tables, &places, &[]);
    });
}
