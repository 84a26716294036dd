//! The daemon is killed, restarted and replaced by another program file, while a client connects
//! without a pause and one connection stays open: none fails.

use std::net::Ipv6Addr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::steady::while_counting;
use crate::support::PROGRAM;
use crate::support::backend;
use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, Lab, PREFIX};
use crate::support::score::Score;
use crate::support::torture::{CONNECTS, number};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];
const WEB: &str = "[2001:db8::1]:8080";

/// How many times, at least, the test kills the daemon; it replaces it as many times.
const ROUNDS: u64 = 4;

/// Starts the program from another file, as an upgrade does.
const NEXT: [&str; 4] = ["sh", "-c", r#"shift; exec /run/lab/next "$@""#, "sh"];

/// How many connections the client opens at least; by default as many as fit into the rounds.
fn connects() -> u64 {
    number(CONNECTS, 0)
}

/// The client's addresses: one more for every 20,000 connections.
fn addresses(lab: &Lab) -> Vec<Ipv6Addr> {
    let more = u16::try_from(connects() / 20_000).expect("not that many");
    let more = (0..more).map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, n));
    for address in more.clone() {
        let address = format!("{address}/64");
        let add = ["ip", "addr", "add", &address, "dev", "eth0", "nodad"];
        lab.client().run(&add);
    }
    [CLIENT].into_iter().chain(more).collect()
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn no_connection_fails_through_kills_restarts_and_upgrades() {
    let lab = Lab::up("hitless");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let foreign = || format!("{:#?}", rules::as_before(lab.host()));
    let before = foreign();
    lab.host().run(&["cp", PROGRAM, "/run/lab/next"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let keep = [&ARGS[..], &["--on-exit", "keep"]].concat();
    let mut daemon = Daemon::ready(&lab, &keep);
    lab.answers(Tcp, WEB, "web", CLIENT);
    let mut line = lab.connect(WEB);
    let ours = rules::ours(lab.host());
    let same = |score: &mut Score| {
        let now = rules::ours(lab.host());
        assert!(score.compare(&ours, &now), "{now:#?} should be {ours:#?}");
    };
    let backend = backend::in_use();
    let mut kills = Score::new(&format!(
        "killed and upgraded under a client, tries: kills, {backend:?}"
    ));
    let mut connections = Score::new(&format!(
        "killed and upgraded, tries: the client's connects, {backend:?}"
    ));
    let from = addresses(&lab);
    let (daemon, opened) = while_counting(&lab, &from, WEB, "web", |count| {
        while kills.tries() < ROUNDS || count.load(Ordering::Relaxed) < connects() {
            daemon.sigkill();
            let begun = Instant::now();
            daemon = Daemon::start_by(&lab, &NEXT, &keep);
            daemon.says("ready");
            kills.recovered(begun.elapsed());
            same(&mut kills);
            assert_eq!(line.echo("killed").as_deref(), Ok("killed"));
            daemon.leaves();
            assert_eq!(line.echo("alone").as_deref(), Ok("alone"));
            daemon = Daemon::ready(&lab, &keep);
            same(&mut kills);
            assert!(!daemon.log().contains("NAT66 "), "{}", daemon.log());
        }
        daemon
    });
    for _ in 0..opened.count {
        connections.tried();
    }
    connections.lost(opened.failed);
    assert_eq!(opened.failed, 0, "{opened:?}");
    assert_eq!(line.echo("to the end").as_deref(), Ok("to the end"));
    daemon.sigkill();
    let daemon = Daemon::ready(&lab, &ARGS);
    daemon.leaves();
    let after = foreign();
    assert!(kills.foreign(&before, &after), "{before}\n{after}");
}
