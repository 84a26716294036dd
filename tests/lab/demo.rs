//! The demonstration: the documented example with real commands and their output.
//!
//! `tests/lab/demo` shows it; among the other tests it is one like them.

use crate::daemon::{Daemon, PROGRAM, STATE_DIR};
use crate::engine::Engine;
use crate::lab::{CLIENT, Lab};
use crate::rules;
use crate::space::Place;
use crate::talk::Proto::Tcp;
use crate::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["-dev", "eth0", "-prefix", "fdfd:5898:4917:1::/64"];

const SHOW: &str = "ip6tables -t nat -S";
const FETCH: &str = "busybox wget -T 5 -qO- http://[2001:db8::1]:8080/cgi-bin/hello";
const DUMP: &str = "docker-nat66 dump --state-dir /run/lab/home/state";

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn demo() {
    say("A host and a client in network namespaces of their own, and a real Docker Engine");
    let lab = Lab::up("demo");
    let host = lab.host();
    let _engine = Engine::up(&lab, &["--userland-proxy=false"]);
    host.run(&["ln", "-s", PROGRAM, "/run/lab/docker-nat66"]);
    run(
        "host",
        host,
        "docker version -f 'Engine {{.Server.Version}}, API {{.Server.APIVersion}}'",
    );
    run("host", host, "ip -6 -br addr show dev eth0");
    let before = run("host", host, SHOW);
    let tables = rules::as_before(host);

    say("The daemon starts and lets containers out");
    let mut daemon = start(&lab);
    daemon.says("NAT66 set postrouting: ");
    shows(&daemon);

    say("A container publishes a port; the daemon opens it over IPv6");
    run(
        "host",
        host,
        "docker run -d --name web --hostname web -p 8080:80 --entrypoint httpd lab -f -p 80 -h /www",
    );
    daemon.says("NAT66 add portfwd: ");
    shows(&daemon);
    run("host", host, SHOW);
    let page = fetch(&lab);
    assert!(page.contains(&CLIENT.to_string()), "{page}");
    assert!(run("host", host, DUMP).contains("web"));

    say("kill -9: the rules stay, the journal knows them");
    println!("host$ kill -9 $(pidof docker-nat66)");
    daemon.sigkill();
    let orphaned = run("host", host, SHOW);
    run("host", host, DUMP);
    fetch(&lab);

    say("It starts again: nothing is doubled, nothing is lost");
    let daemon = start(&lab);
    shows(&daemon);
    assert_eq!(run("host", host, SHOW), orphaned);
    fetch(&lab);

    say("The container ends, its rule goes");
    run("host", host, "docker rm -f web");
    eventually(SOON, "the rule to go", || {
        same(rules::published(host), vec![])
    });
    shows(&daemon);
    run("host", host, SHOW);
    lab.is_closed(Tcp, "[2001:db8::1]:8080");

    say("The daemon leaves: the tables are what they were before");
    println!("host$ kill $(pidof docker-nat66)");
    daemon.leaves();
    let after = run("host", host, SHOW);
    assert_eq!(after, before);
    assert_eq!(rules::as_before(host), tables);
    println!("\nAs before. The lab goes without a trace.");
}

fn say(what: &str) {
    println!("\n=== {what}");
}

/// Shows a line of shell and its output, as a terminal would.
#[track_caller]
fn run(prompt: &str, place: Place<'_>, line: &str) -> String {
    println!("{prompt}$ {line}");
    let out = place.sh(line);
    print!("{out}");
    out
}

/// Fetches the page; retried, for the bridge may need a moment to know its new neighbour.
fn fetch(lab: &Lab) -> String {
    eventually(SOON, "the page", || {
        let output = lab.client().output(&["sh", "-c", FETCH]);
        output.status.success().then_some(()).ok_or(output)
    });
    run("client", lab.client(), FETCH)
}

fn start(lab: &Lab) -> Daemon<'_> {
    println!(
        "host$ docker-nat66 {} --state-dir {STATE_DIR} &",
        ARGS.join(" ")
    );
    Daemon::ready(lab, &ARGS)
}

/// Shows what the daemon has said so far.
fn shows(daemon: &Daemon<'_>) {
    for line in daemon.log().lines() {
        println!("  | {line}");
    }
}
