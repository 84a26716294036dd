//! Changes from one backend to the other, and the choice of `auto`.

use serde_json::Value;

use crate::journal;
use crate::steady::while_connecting;
use crate::support::backend::Backend::{self, Ip6tables, Nftables};
use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::{self, Foreign};
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, Lab, PREFIX};
use crate::support::wait::{SOON, eventually, same};

const WEB: &str = "[2001:db8::1]:8080";

fn args(backend: &str) -> [&str; 6] {
    ["--dev", "eth0", "--prefix", PREFIX, "--backend", backend]
}

/// Checks that the kernel has this backend's rules, each once, and none of the other's.
#[track_caller]
fn alone(lab: &Lab, backend: Backend) {
    let expected = match backend {
        Ip6tables => ("-A", backend.statics() + 1),
        Nftables => ("element", backend.statics() + 1),
    };
    eventually(SOON, &format!("{} alone", backend.name()), || {
        let ours = rules::ours(lab.host());
        let of_it = ours.iter().filter(|rule| rule.starts_with(expected.0));
        same((of_it.count(), ours.len()), (expected.1, expected.1))
    });
    let table = rules::as_before(lab.host()).contains_key("table ip6 docker_nat66");
    assert_eq!(table, backend == Nftables);
    let chains = lab.host().run(&["ip6tables", "-S"]);
    assert_eq!(chains.contains("DOCKER-NAT66"), backend == Ip6tables);
    journal::agrees(lab);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn the_next_backend_takes_over_without_a_gap_and_leaves_nothing_of_the_last() {
    let lab = Lab::up("switch");
    // With docker-proxy, each backend has one rule for the port.
    let engine = Engine::up(&lab, &["--userland-proxy=true"]);
    let foreign = Foreign::plant(lab.host());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let keep = ["--on-exit", "keep"];
    let mut daemon = Daemon::ready(&lab, &[&args("ip6tables")[..], &keep].concat());
    lab.answers(Tcp, WEB, "web", CLIENT);
    let mut line = lab.connect(WEB);
    for (next, is_killed) in [
        (Nftables, true),
        (Ip6tables, true),
        (Nftables, false),
        (Ip6tables, false),
    ] {
        println!("to {}, is killed: {is_killed}", next.name());
        daemon = while_connecting(&lab, WEB, "web", || {
            match is_killed {
                true => daemon.sigkill(),
                false => daemon.leaves(),
            }
            let daemon = Daemon::ready(&lab, &[&args(next.name())[..], &keep].concat());
            alone(&lab, next);
            daemon
        });
        assert_eq!(line.echo(next.name()).as_deref(), Ok(next.name()));
        assert_eq!(Foreign::theirs(lab.host()), foreign);
    }
    daemon.sigkill();
    Daemon::ready(&lab, &args("nftables")).leaves();
    assert_eq!(Foreign::seen(lab.host()), foreign);
}

/// Starts with `--backend auto`, and checks its choice, its reason, and that the port answers.
#[track_caller]
fn auto_takes<'l>(lab: &'l Lab, backend: Backend, why: &str) -> Daemon<'l> {
    let mut daemon = Daemon::ready(lab, &args("auto"));
    let chosen = format!("backend chosen, backend: {}, why: ", backend.name());
    daemon.says_all(&[chosen, why.to_owned()]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    let output = daemon.command(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let seen = (&status["backend"], &status["state"]);
    assert_eq!(
        seen,
        (&backend.name().into(), &"running".into()),
        "{status}"
    );
    daemon
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn auto_takes_ip6tables_where_it_works_and_else_nftables_and_says_why() {
    let lab = Lab::up("switch_auto");
    let host = lab.host();
    let engine = Engine::up(&lab, &["--userland-proxy=true"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let before = rules::as_before(host);

    let daemon = auto_takes(&lab, Ip6tables, "the tool works");
    alone(&lab, Ip6tables);
    daemon.leaves();
    assert_eq!(rules::as_before(host), before);

    let tools = "for tool in /usr/sbin/xtables-*-multi; do";
    host.sh(&format!("{tools} mount --bind /dev/null $tool; done"));
    let daemon = auto_takes(&lab, Nftables, "install the iptables package");
    host.sh(&format!("{tools} umount $tool; done"));
    alone(&lab, Nftables);
    daemon.leaves();
    assert_eq!(rules::as_before(host), before);

    // With these rules the tool can no longer list the table.
    host.sh("ip6tables -t nat -L >/dev/null
         nft add rule ip6 nat POSTROUTING ct state new accept");
    let native = || host.run(&["nft", "-s", "list", "ruleset", "ip6"]);
    let before = native();
    let daemon = auto_takes(&lab, Nftables, "`nat' is incompatible");
    let log = daemon.log();
    assert!(
        log.contains("cannot find out whether an earlier run left"),
        "{log}"
    );
    daemon.leaves();
    assert_eq!(native(), before);
}
