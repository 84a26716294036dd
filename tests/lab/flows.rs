//! Connections and flows: which of them end with their forward, and which survive.
//!
//! The Engine here (20.10) cuts the flows of a removed container itself, so these tests show the
//! work of both; `tests/kernel/flows` shows that the daemon does it alone. Only the daemon cuts
//! flows when a port moves, and when a forward ends whose container keeps running.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::talk::Proto::{Tcp, Udp};
use crate::support::lab::talk::{Answer, Flow, ask};
use crate::support::lab::{CLIENT, HOST, Lab, PREFIX};
use crate::support::wait::{SOON, eventually, let_pass, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];

/// Each container serves both protocols.
const SERVE: [&str; 2] = ["tcp:80", "udp:53"];

/// The ports that the tests publish.
const PORTS: [&str; 4] = ["-p", "8080:80", "-p", "8053:53/udp"];

/// Within this time a client that never pauses must reach the new container.
const SECONDS: Duration = Duration::from_secs(5);

/// Does `work` while the flow's client sends almost without a pause.
fn while_sending(flow: &Flow, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                flow.send();
                let_pass(Duration::from_millis(1));
            }
        });
        let worked = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        sender.join().expect("the sender");
        worked.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

/// Conntrack entries that lead to the container's address.
fn entries_to(lab: &Lab, addr: Ipv6Addr) -> Vec<String> {
    let shown = lab.host().run(&["conntrack", "-L", "-f", "ipv6"]);
    let needle = format!("src={addr} ");
    let led = shown.lines().filter(|line| line.contains(&needle));
    led.map(str::to_owned).collect()
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn connections_to_a_removed_container_do_not_go_on_to_who_takes_its_address() {
    let lab = Lab::up("flows_removed");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("old", &PORTS, &SERVE);
    let addr = engine.address("old");
    let (tcp, udp) = (format!("[{HOST}]:8080"), format!("[{HOST}]:8053"));
    lab.answers(Tcp, &tcp, "old", CLIENT);
    lab.answers(Udp, &udp, "old", CLIENT);
    let mut line = lab.connect(&tcp);
    let flow = Flow::open(lab.client(), &udp);
    assert_eq!(line.echo("here").as_deref(), Ok("here"));
    assert_eq!(flow.ask().map(|a| a.name).as_deref(), Ok("old"));
    assert!(!entries_to(&lab, addr).is_empty());

    engine.remove("old");
    engine.run("new", &[], &SERVE);
    assert_eq!(engine.address("new"), addr, "the address was reused");
    eventually(SOON, "the flows to be cut", || {
        same(entries_to(&lab, addr), Vec::new())
    });
    for _ in 0..5 {
        let answer = flow.ask();
        assert!(answer.is_err(), "{answer:?}");
    }
    assert!(line.echo("here").is_err());
    assert_eq!(entries_to(&lab, addr), Vec::<String>::new());
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn connections_do_not_pass_to_another_container_with_the_same_ports_and_address() {
    let lab = Lab::up("flows_passed");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("old", &PORTS, &SERVE);
    let addr = engine.address("old");
    let tcp = format!("[{HOST}]:8080");
    lab.answers(Tcp, &tcp, "old", CLIENT);
    let mut line = lab.connect(&tcp);
    let before = client_ports(&entries_to(&lab, addr));
    assert!(!before.is_empty());
    engine.remove("old");
    engine.run("new", &PORTS, &SERVE);
    assert_eq!(engine.address("new"), addr, "the address was reused");
    lab.answers(Tcp, &tcp, "new", CLIENT);
    // A failing connection proves nothing here, because the new container would reset it too.
    eventually(SOON, "the old container's connections to be cut", || {
        let now = client_ports(&entries_to(&lab, addr));
        same(before.intersection(&now).cloned().collect(), Vec::new())
    });
    assert!(line.echo("here").is_err());
    daemon.leaves();
}

/// The client's source port: the first port of an entry.
fn client_ports(entries: &[String]) -> BTreeSet<String> {
    let ports = entries
        .iter()
        .filter_map(|line| line.split(' ').find(|word| word.starts_with("sport=")));
    ports.map(str::to_owned).collect()
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_udp_client_that_never_stops_is_not_led_to_who_takes_a_removed_containers_address() {
    let lab = Lab::up("flows_taken");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let udp = format!("[{HOST}]:8053");
    for round in 0..3 {
        engine.run("old", &PORTS, &SERVE);
        let addr = engine.address("old");
        lab.answers(Udp, &udp, "old", CLIENT);
        let flow = Flow::open(lab.client(), &udp);
        while_sending(&flow, || {
            eventually(SOON, "the first answer", || {
                same(flow.hear().map(|a| a.name), Ok("old".to_owned()))
            });
            engine.remove("old");
            engine.run("new", &[], &SERVE);
            assert_eq!(engine.address("new"), addr, "the address was reused");
            for _ in 0..10 {
                let answer = flow.latest().map(|a| a.name);
                assert_ne!(answer.as_deref(), Ok("new"), "round {round}");
            }
        });
        assert_eq!(entries_to(&lab, addr), Vec::<String>::new());
        engine.remove("new");
    }
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_udp_client_that_never_stops_reaches_the_container_to_which_its_port_moves() {
    for (name, proxy) in [
        ("flows_moved_proxy", "--userland-proxy=true"),
        ("flows_moved", "--userland-proxy=false"),
    ] {
        println!("{proxy}");
        let lab = Lab::up(name);
        let engine = Engine::up(&lab, &[proxy]);
        let daemon = Daemon::ready(&lab, &ARGS);
        let udp = format!("[{HOST}]:8053");
        engine.run("old", &PORTS, &SERVE);
        lab.answers(Udp, &udp, "old", CLIENT);
        let flow = Flow::open(lab.client(), &udp);
        while_sending(&flow, || {
            eventually(SOON, "the first answer", || {
                same(flow.hear().map(|a| a.name), Ok("old".to_owned()))
            });
            // Another address than before, whichever the Engine would assign next.
            let before = engine.address("old");
            engine.remove("old");
            engine.run("squatter", &[], &SERVE);
            engine.run("new", &PORTS, &SERVE);
            assert_ne!(engine.address("new"), before);
            let expected = Answer {
                name: "new".to_owned(),
                peer: CLIENT.into(),
            };
            eventually(SECONDS, "an answer from the new container", || {
                same(flow.latest(), Ok(expected.clone()))
            });
        });
        daemon.leaves();
    }
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_connection_through_docker_proxy_survives_our_start() {
    for (name, tracked) in [("flows_proxied", false), ("flows_tracked", true)] {
        println!("the host tracks its connections: {tracked}");
        let lab = Lab::up(name);
        let engine = Engine::up(&lab, &["--userland-proxy=true"]);
        engine.run("web", &PORTS, &SERVE);
        if tracked {
            let stateful = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
            lab.host().sh(&format!("ip6tables -A INPUT {stateful}"));
        }
        let to = format!("[{HOST}]:8080");
        // docker-proxy accepts before the container does.
        eventually(SOON, "docker-proxy to answer", || {
            ask(lab.client(), Tcp, &to).map(drop)
        });
        let mut proxied = lab.connect(&to);
        assert_eq!(proxied.echo("before").as_deref(), Ok("before"));
        for _ in 0..2 {
            let daemon = Daemon::ready(&lab, &ARGS);
            lab.answers(Tcp, &to, "web", CLIENT);
            assert_eq!(proxied.echo("beside").as_deref(), Ok("beside"));
            let mut forwarded = lab.connect(&to);
            assert_eq!(forwarded.echo("here").as_deref(), Ok("here"));
            daemon.leaves();
            assert_eq!(proxied.echo("after").as_deref(), Ok("after"));
        }
    }
}

/// The Engine has no reason to cut these flows.
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn connections_end_with_their_forward_though_the_container_lives_on() {
    let lab = Lab::up("flows_living");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &PORTS, &SERVE);
    let addr = engine.address("web");
    let (tcp, udp) = (format!("[{HOST}]:8080"), format!("[{HOST}]:8053"));
    for another_prefix in [false, true] {
        println!("the next one has another prefix: {another_prefix}");
        let daemon = Daemon::ready(&lab, &ARGS);
        lab.answers(Tcp, &tcp, "web", CLIENT);
        lab.answers(Udp, &udp, "web", CLIENT);
        let mut line = lab.connect(&tcp);
        let flow = Flow::open(lab.client(), &udp);
        assert_eq!(line.echo("here").as_deref(), Ok("here"));
        assert_eq!(flow.ask().map(|a| a.name).as_deref(), Ok("web"));
        if another_prefix {
            daemon.sigkill();
            let args = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:2::/64"];
            Daemon::ready(&lab, &args).leaves();
        } else {
            daemon.leaves();
        }
        assert_eq!(entries_to(&lab, addr), Vec::<String>::new());
        assert!(line.echo("gone").is_err());
        let answer = flow.ask();
        assert!(answer.is_err(), "{answer:?}");
        assert_eq!(entries_to(&lab, addr), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_connection_through_an_unchanged_forward_outlasts_restarts_and_the_end_of_others() {
    let lab = Lab::up("flows_kept");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("kept", &PORTS, &SERVE);
    engine.run("other", &["-p", "8081:80", "-p", "8054:53/udp"], &SERVE);
    let (tcp, other) = (format!("[{HOST}]:8080"), format!("[{HOST}]:8081"));
    lab.answers(Tcp, &tcp, "kept", CLIENT);
    lab.answers(Tcp, &other, "other", CLIENT);
    let mut line = lab.connect(&tcp);
    let mut ends = lab.connect(&other);
    assert_eq!(line.echo("here").as_deref(), Ok("here"));

    daemon.sigkill();
    let daemon = Daemon::ready(&lab, &ARGS);
    assert_eq!(line.echo("killed").as_deref(), Ok("killed"));
    assert_eq!(ends.echo("killed").as_deref(), Ok("killed"));
    let peer = engine.address("other");
    engine.remove("other");
    eventually(SOON, "the other's flows to be cut", || {
        same(entries_to(&lab, peer), Vec::new())
    });
    assert!(ends.echo("gone").is_err());
    assert_eq!(line.echo("others gone").as_deref(), Ok("others gone"));
    daemon.sigkill();
    let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--on-exit", "keep"]].concat());
    assert_eq!(line.echo("again").as_deref(), Ok("again"));
    daemon.leaves();
    assert_eq!(line.echo("nobody").as_deref(), Ok("nobody"));
    let daemon = Daemon::ready(&lab, &ARGS);
    assert_eq!(line.echo("back").as_deref(), Ok("back"));
    daemon.leaves();
}
