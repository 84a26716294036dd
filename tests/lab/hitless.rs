//! Killed, restarted and replaced by another program file, while a client connects without a
//! pause and a connection stays open: none fails.

use std::env;

use crate::backend::{Backend, in_use};
use crate::daemon::{Daemon, PROGRAM};
use crate::engine::Engine;
use crate::lab::{CLIENT, Lab, PREFIX};
use crate::rules;
use crate::steady::while_connecting;
use crate::talk::Proto::Tcp;

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];
const WEB: &str = "[2001:db8::1]:8080";

/// How often, for those who want to see more of it.
fn rounds() -> usize {
    let named = env::var("DOCKER_NAT66_TORTURE_ROUNDS");
    named.map_or(4, |text| text.parse().expect("a number"))
}

/// Starts another file with the same program, as an upgrade does.
const NEXT: [&str; 4] = ["sh", "-c", r#"shift; exec /run/lab/next "$@""#, "sh"];

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn no_connection_fails_through_kills_restarts_and_upgrades() {
    let lab = Lab::up("hitless");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    lab.host().run(&["cp", PROGRAM, "/run/lab/next"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    // A table that is handed over is made anew, and a packet may fall between the two.
    let hands_over = in_use() == Backend::Ip6tables;
    let keep = [&ARGS[..], &["--on-exit", "keep"]].concat();
    let mut daemon = Daemon::ready(&lab, &keep);
    lab.answers(Tcp, WEB, "web", CLIENT);
    let mut line = lab.connect(WEB);
    let ours = rules::ours(lab.host());
    let daemon = while_connecting(&lab, WEB, "web", || {
        for _ in 0..rounds() {
            daemon.sigkill();
            daemon = Daemon::start_by(&lab, &NEXT, &keep);
            daemon.says("ready");
            assert_eq!(rules::ours(lab.host()), ours);
            assert_eq!(line.echo("killed").as_deref(), Ok("killed"));
            if hands_over {
                daemon.leaves();
                assert_eq!(line.echo("alone").as_deref(), Ok("alone"));
                daemon = Daemon::ready(&lab, &keep);
                assert_eq!(rules::ours(lab.host()), ours);
            }
            assert!(!daemon.log().contains("NAT66 "), "{}", daemon.log());
        }
        daemon
    });
    assert_eq!(line.echo("to the end").as_deref(), Ok("to the end"));
    daemon.sigkill();
    let daemon = Daemon::ready(&lab, &ARGS);
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}
