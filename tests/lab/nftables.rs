//! The nftables backend with a real Engine: a published port's life, `kill -9`, a switch of
//! backends with a connection open, and what stays on purpose.

use crate::daemon::{self, Daemon};
use crate::engine::Engine;
use crate::lab::{CLIENT, HOST, Lab};
use crate::rules;
use crate::talk::Proto::Tcp;
use crate::wait::{SOON, eventually};

const NFTABLES: [&str; 6] = [
    "--dev",
    "eth0",
    "--prefix",
    "fdfd:5898:4917:1::/64",
    "--backend",
    "nftables",
];
const IP6TABLES: [&str; 6] = [
    "--dev",
    "eth0",
    "--prefix",
    "fdfd:5898:4917:1::/64",
    "--backend",
    "ip6tables",
];

/// Our table, or nothing.
fn table(lab: &Lab) -> String {
    let show = "nft list table ip6 docker_nat66 2>/dev/null || :";
    lab.host().sh(show)
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_published_port_opens_and_closes_and_nothing_is_left() {
    let lab = Lab::up("nft_life");
    let engine = Engine::up(&lab, &[]);
    let before = rules::as_before(lab.host());
    let mut daemon = Daemon::ready(&lab, &NFTABLES);
    assert!(table(&lab).contains("flags owner"), "{}", table(&lab));
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let said = daemon.says("NAT66 add portfwd: nft add element ip6 docker_nat66 forwards { tcp");
    assert!(said.contains("docker-nat66:"), "{said}");
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    let dump = daemon.command(&["dump"]).stdout;
    let dump = String::from_utf8_lossy(&dump).into_owned();
    assert!(
        dump.contains("8080/tcp") && dump.contains("egress"),
        "{dump}"
    );
    // Others cannot.
    let flush = lab
        .host()
        .output(&["nft", "flush", "table", "ip6", "docker_nat66"]);
    assert!(!flush.status.success());
    engine.remove("web");
    daemon.says("NAT66 del portfwd: nft delete element ip6 docker_nat66 forwards { tcp . 8080 }");
    assert!(!table(&lab).contains("8080"), "{}", table(&lab));
    daemon.leaves();
    assert_eq!(table(&lab), "");
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_connection_survives_kills_restarts_and_switches_of_backends() {
    let lab = Lab::up("nft_switch");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let to = format!("[{HOST}]:8080");
    let daemon = Daemon::ready(&lab, &NFTABLES);
    lab.answers(Tcp, &to, "web", CLIENT);
    let mut line = lab.connect(&to);
    daemon.sigkill();
    assert_eq!(line.echo("orphaned").as_deref(), Ok("orphaned"));
    lab.answers(Tcp, &to, "web", CLIENT);
    for (name, args) in [
        ("adopted", NFTABLES),
        ("switched", IP6TABLES),
        ("and back", NFTABLES),
    ] {
        let daemon = Daemon::ready(&lab, &args);
        assert_eq!(line.echo(name).as_deref(), Ok(name));
        lab.answers(Tcp, &to, "web", CLIENT);
        let (of_tables, of_tool) = match args == NFTABLES {
            true => (true, 0),
            false => (false, 1),
        };
        eventually(SOON, "nothing of the other backend", || {
            let tool = rules::published(lab.host()).len();
            let seen = (!table(&lab).is_empty(), tool);
            (seen == (of_tables, of_tool))
                .then_some(())
                .ok_or(format!("{seen:?}"))
        });
        daemon.sigkill();
    }
    let cleanup = daemon::command(&lab, &["cleanup"]);
    assert!(cleanup.status.success(), "{cleanup:?}");
    assert_eq!(table(&lab), "");
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_stays_on_purpose_is_nobodys_and_taken_over_by_the_next() {
    let lab = Lab::up("nft_keep");
    let engine = Engine::up(&lab, &[]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let keep = [&NFTABLES[..], &["--on-exit", "keep"]].concat();
    Daemon::ready(&lab, &keep).leaves();
    // No flags before the first set.
    let left = table(&lab);
    assert!(
        left.starts_with("table ip6 docker_nat66 {\n\tset "),
        "{left}"
    );
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    let daemon = Daemon::ready(&lab, &NFTABLES);
    assert!(table(&lab).contains("flags owner"), "{}", table(&lab));
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    daemon.leaves();
    assert_eq!(table(&lab), "");
}
