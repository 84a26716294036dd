//! The demonstration: the documented example with real commands and their output.
//!
//! `tests/lab/demo` shows its output; it also runs as an ordinary test.

use crate::support::PROGRAM;
use crate::support::lab::daemon::{Daemon, STATE_DIR};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::space::Place;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, Lab};
use crate::support::wait::{SOON, eventually};

const ARGS: [&str; 4] = ["-dev", "eth0", "-prefix", "fdfd:5898:4917:1::/64"];

const SHOW: &str = "ip6tables -t nat -S";
const FETCH: &str = "curl -sgm 5 http://[2001:db8::1]:8080/cgi-bin/hello";
const STATUS: &str = "docker-nat66 status --state-dir /run/lab/home/state";
const DUMP: &str = "docker-nat66 dump --state-dir /run/lab/home/state";

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn demo() {
    say("A host and a client in network namespaces of their own, and a real Docker Engine");
    let lab = Lab::up("demo");
    let host = lab.host();
    let engine = Engine::up(&lab, &[]);
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
    let said = shows(&daemon, 0);

    say("A container publishes a port; the daemon opens it over IPv6");
    run(
        "host",
        host,
        "docker run -d --name web --hostname web -p 8080:80 --entrypoint httpd lab -f -p 80 -h /www",
    );
    daemon.says("NAT66 add portfwd: ");
    shows(&daemon, said);
    run("host", host, SHOW);
    let page = fetch(&lab);
    assert!(page.contains(&CLIENT.to_string()), "{page}");
    assert!(run("host", host, DUMP).contains("web"));

    say("kill -9: the rules stay, the journal knows them");
    run("host", host, &format!("kill -9 {}", daemon.pid()));
    daemon.sigkill();
    let orphaned = run("host", host, SHOW);
    run("host", host, DUMP);
    fetch(&lab);

    say("It starts again: nothing is doubled, nothing is lost");
    let mut daemon = start(&lab);
    let said = shows(&daemon, 0);
    assert_eq!(run("host", host, SHOW), orphaned);
    fetch(&lab);
    let status = run("host", host, STATUS);
    assert!(status.contains("   healthy   "), "{status}");

    say("The container ends, its rule goes");
    run("host", host, "docker rm -f web");
    daemon.says("NAT66 del portfwd: ");
    shows(&daemon, said);
    let left = run("host", host, SHOW);
    assert!(!left.contains("DNAT"), "{left}");
    lab.is_closed(Tcp, "[2001:db8::1]:8080");

    say("The daemon leaves: the tables are what they were before");
    run("host", host, &format!("kill {}", daemon.pid()));
    let status = daemon.ended();
    assert!(status.success(), "{status}");
    let after = run("host", host, SHOW);
    assert_eq!(after, before);
    assert_eq!(rules::as_before(host), tables);
    drop(engine);
    drop(lab);
    println!("\nAs before. The lab is gone without a trace.");
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

/// Fetches the page. It retries, because the bridge may need a moment to find its new neighbour.
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

/// Shows the daemon's log after the first `said` lines, and returns the number of lines.
fn shows(daemon: &Daemon<'_>, said: usize) -> usize {
    let log = daemon.log();
    for line in log.lines().skip(said) {
        println!("  | {line}");
    }
    log.lines().count()
}
