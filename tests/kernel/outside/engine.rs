//! Engines that are away, silent, or talk nonsense: while the daemon runs, and when it starts.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{AFTER, BEFORE, MOST_MEMORY, holds, serves, settles};
use crate::running::{engine, reference, replace};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::fake_engine::{FakeEngine, Fault, Route};
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::score::Score;
use crate::support::together::{Case, case, together};
use crate::support::torture::in_full;

/// So long forwards of an earlier run stay without a word from Docker.
const GRACE: Duration = Duration::from_secs(3);

/// What is wrong with an Engine; [`heal`] ends it.
#[derive(Clone)]
enum Harm {
    /// There is no socket.
    Absent,
    /// There is one, at which nobody listens.
    Refused,
    /// Nobody accepts, and more would not be let wait.
    Full,
    /// It accepts and says nothing.
    Silent,
    /// A request is answered wrongly.
    Wrong(Route, Fault),
}

/// As long as it stands between an Engine and the daemon.
struct Harmed(Option<(std::os::fd::OwnedFd, Vec<UnixStream>)>);

fn harm(engine: &FakeEngine, harm: &Harm) -> Harmed {
    let mut full = None;
    match harm {
        Harm::Absent => engine.stop(),
        Harm::Refused => {
            engine.stop();
            drop(UnixListener::bind(engine.socket()).expect("the socket is free"));
        }
        Harm::Full => {
            engine.stop();
            full = Some(nobody_accepts(engine));
        }
        Harm::Silent => engine.freeze(),
        Harm::Wrong(route, fault) => {
            engine.fault(route.clone(), fault.clone(), usize::MAX);
            engine.drop_streams();
        }
    }
    Harmed(full)
}

fn heal(engine: &FakeEngine, harm: &Harm, harmed: Harmed) {
    drop(harmed.0);
    engine.heal();
    match harm {
        Harm::Absent => engine.start_again(),
        Harm::Refused | Harm::Full => {
            fs::remove_file(engine.socket()).expect("the socket of nobody");
            engine.start_again();
        }
        // What was begun meanwhile would go on.
        Harm::Silent | Harm::Wrong(..) => engine.drop_streams(),
    }
}

/// A socket with as many waiting as it takes.
fn nobody_accepts(engine: &FakeEngine) -> (std::os::fd::OwnedFd, Vec<UnixStream>) {
    let address = SocketAddrUnix::new(engine.socket()).expect("a path");
    let socket = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .expect("a socket")
    };
    let listener = socket();
    rustix::net::bind(&listener, &address).expect("the socket is free");
    rustix::net::listen(&listener, 0).expect("listens");
    let mut waiting = Vec::new();
    loop {
        let stream = socket();
        if rustix::net::connect(&stream, &address).is_err() {
            return (listener, waiting);
        }
        waiting.push(UnixStream::from(stream));
    }
}

/// An answer of `head`, and then `piece` without end.
pub(crate) fn endless(head: &str, piece: &str) -> Fault {
    let head = format!("HTTP/1.1 200 OK\r\n{head}");
    Fault::Endless(head, piece.repeat((64 << 10) / piece.len()))
}

/// Every fault with its name.
fn faults() -> Vec<(&'static str, Harm)> {
    let wrong = |route, fault| Harm::Wrong(route, fault);
    let gibibyte = "Content-Length: 1073741824\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let body = |text: &str| Fault::Body(text.to_owned());
    vec![
        ("socket absent", Harm::Absent),
        ("connection refused", Harm::Refused),
        ("backlog full", Harm::Full),
        ("silent", Harm::Silent),
        ("breaks off", wrong(Route::Version, Fault::Close)),
        (
            "no HTTP",
            wrong(Route::Version, Fault::Raw("\u{16}\u{3}\u{1}\0\n".into())),
        ),
        ("list refused", wrong(Route::List, Fault::Status(500))),
        ("silent in the list", wrong(Route::List, Fault::HangInBody)),
        ("list is no JSON", wrong(Route::List, body("<html>"))),
        (
            "list is truncated",
            wrong(Route::List, body("[{\"Id\": \"4")),
        ),
        ("list of 1 GiB", wrong(Route::List, endless(gibibyte, " "))),
        (
            "list of 1 GiB of rows",
            wrong(Route::List, endless(&format!("{gibibyte}["), "0,")),
        ),
        (
            "list with endless headers",
            wrong(Route::List, endless("", "X: 0\r\n")),
        ),
        (
            "list in endless chunks",
            wrong(Route::List, endless(chunked, "1\r\n \r\n")),
        ),
        (
            "version of 1 GiB",
            wrong(Route::Version, endless(gibibyte, " ")),
        ),
        ("events are silent", wrong(Route::Events, Fault::Hang)),
        (
            "events end at once",
            wrong(
                Route::Events,
                Fault::Raw(format!("HTTP/1.1 200 OK\r\n{chunked}0\r\n\r\n")),
            ),
        ),
        (
            "events with endless headers",
            wrong(Route::Events, endless("", "X: 0\r\n")),
        ),
    ]
}

/// A daemon whose Engine goes wrong: what is applied stays, and `status` says what is wrong. What
/// has changed meanwhile follows when the Engine is well.
fn goes_wrong(name: &str, what: &Harm) {
    let scene = Scene::new(Backend::Nftables);
    let mut score = Score::new(&format!("Engine: {name}, while the daemon runs"));
    let (before, after) = (reference(&scene, BEFORE), reference(&scene, AFTER));
    let engine = engine(BEFORE);
    let mut daemon = Daemon::ready(&scene, &engine, &["--stale-grace", "1s"]);
    let harmed = harm(&engine, what);
    replace(&engine, AFTER);
    daemon.warns_of("Docker is not reachable");
    // Longer than the grace, which is for the forwards of an earlier run only.
    daemon.until("later", |status| status.uptime_s >= 5);
    let known = [daemon.id()];
    holds(&scene, &mut score, "while it is wrong", &before, &known);
    let status = daemon.status().expect("a status");
    assert!(
        !status.docker.connected && status.forwards == 2,
        "{status:?}"
    );
    heal(&engine, what, harmed);
    recovers(&scene, daemon, &mut score, name, &after);
}

/// A daemon that starts when its Engine is wrong: what an earlier run has left stays for the
/// grace, and then goes, until the Engine is well.
fn is_wrong(name: &str, what: &Harm) {
    let scene = Scene::new(Backend::Nftables);
    let mut score = Score::new(&format!("Engine: {name}, when the daemon starts"));
    let after = reference(&scene, AFTER);
    let engine = engine(BEFORE);
    Daemon::ready(&scene, &engine, &[]).kill();
    let left = scene.ours();
    let harmed = harm(&engine, what);
    replace(&engine, AFTER);
    let grace = format!("{}s", GRACE.as_secs());
    let mut daemon = Daemon::start(&scene, &engine, &["--stale-grace", &grace]);
    let known = [daemon.id()];
    let waits = daemon.until("waiting", |status| status.forwards == 2);
    if waits < GRACE / 2 {
        holds(&scene, &mut score, "in the grace", &left, &known);
    }
    daemon.until("closed", |status| status.forwards == 0);
    daemon.warns_of("Docker is not reachable");
    let closed = daemon.status().expect("a status");
    assert!(!closed.docker.connected && closed.rules > 0, "{closed:?}");
    let open = scene
        .ours()
        .iter()
        .filter(|rule| rule.contains("Dnat"))
        .count();
    assert_eq!(open, 0, "{:#?}", scene.ours());
    heal(&engine, what, harmed);
    recovers(&scene, daemon, &mut score, name, &after);
}

/// All comes right by itself now that the Engine is well, and goes when the daemon leaves.
fn recovers(
    scene: &Scene,
    mut daemon: Daemon<'_>,
    score: &mut Score,
    name: &str,
    after: &[String],
) {
    let healed = Instant::now();
    serves(&mut daemon, AFTER);
    settles(scene, after);
    score.recovered(healed.elapsed());
    holds(scene, score, "healed", after, &[daemon.id()]);
    let memory = daemon.most_memory();
    eprintln!("{name}: at most {memory} MiB");
    assert!(memory < MOST_MEMORY, "{name}: {memory} MiB");
    daemon.leaves();
    holds(scene, score, "after it has left", &[], &[]);
}

/// All at once: they wait for time-outs of seconds.
fn cases(body: fn(&str, &Harm), sample: &[&str]) -> Vec<Case> {
    let chosen = |name: &str| in_full() || sample.is_empty() || sample.contains(&name);
    faults()
        .into_iter()
        .filter(|(name, _)| chosen(name))
        .map(|(name, what)| case(name, move || body(name, &what)))
        .collect()
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn what_is_applied_stays_while_the_engine_is_wrong() {
    let cases = cases(goes_wrong, &[]);
    namespace::fresh(|| together(cases));
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn what_an_earlier_run_left_goes_when_the_engine_does_not_confirm_it() {
    let cases = cases(is_wrong, &["socket absent"]);
    namespace::fresh(|| together(cases));
}
