//! `explain` with a real Engine: it names the container, what Docker says, and what is in the way,
//! and a real client finds the same.

use serde_json::Value;

use crate::support::lab::daemon::{self, Daemon};
use crate::support::lab::engine::Engine;
use crate::support::lab::release;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, HOST, Lab};
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];
const WEB: &str = "[2001:db8::1]:8080";

/// A table of somebody's that drops what goes to the container.
const DROP: &str = "nft 'add table inet myfw
    add chain inet myfw fw { type filter hook forward priority 10; }
    add rule inet myfw fw tcp dport 80 drop'";

/// What `explain` says of a port, as a client would find it; its exit code and what it writes to stderr.
fn explain(lab: &Lab, port: &str, more: &[&str]) -> (Option<i32>, Value, String) {
    let from = CLIENT.to_string();
    let head = ["explain", port, HOST, "--from", &from, "--json"];
    let output = daemon::command(lab, &[&head, more].concat());
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said, stderr)
}

/// Checks its exit code, the kind of its answer, and what the sentence says.
#[track_caller]
fn says(lab: &Lab, port: &str, more: &[&str], expected: (i32, &str), words: &[&str]) -> Value {
    let (exit, said, stderr) = explain(lab, port, more);
    let found = (exit, said["code"].as_str().unwrap_or_default());
    assert_eq!(found, (Some(expected.0), expected.1), "{said:#} {stderr}");
    let sentence = said["sentence"].as_str().unwrap_or_default();
    for words in words {
        assert!(sentence.contains(words), "{sentence}");
    }
    said
}

fn figure(lab: &Lab, name: &str) -> Value {
    let output = daemon::command(lab, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    status[name].clone()
}

/// A container whose server listens at this address only.
fn httpd(engine: &Engine<'_>, name: &str, options: &[&str], at: &str) {
    let head = ["run", "-d", "--stop-signal=KILL", "--name", name];
    let server = [
        "--entrypoint",
        "/bin/busybox",
        "lab",
        "httpd",
        "-f",
        "-p",
        at,
    ];
    engine.docker(&[&head[..], options, &server].concat());
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn with_the_daemon_it_names_the_container_or_what_is_in_the_way() {
    let lab = Lab::up("explain");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let mut daemon = Daemon::ready(&lab, &ARGS);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    let repairs = figure(&lab, "drift_repairs");
    let reached = says(&lab, "8080", &[], (0, "reachable"), &["reaches web ("]);
    assert_eq!(reached["published"][0]["container_name"], "web");
    assert_eq!(reached["published"][0]["network"], "bridge");

    lab.host().sh(DROP);
    let words = ["chain fw of table inet myfw", "a human or a program"];
    let dropped = says(&lab, "8080", &[], (1, "dropped"), &words);
    let screen = daemon.command(&["explain", "8080", "--dev", "eth0"]);
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    println!("{screen}");
    for line in [
        "published  web (",
        "packet     from 2001:db8::",
        "way        prerouting   -100  ",
        "           forward        10  inet myfw, chain fw: tcp dport 80 drop   ← stopped here",
        "do         nft delete rule inet myfw fw handle ",
        "8080/tcp is dropped by chain fw of table inet myfw, written by a human or a program",
    ] {
        assert!(
            screen.lines().any(|l| l.starts_with(line)),
            "{line}: {screen}"
        );
    }
    lab.is_closed(Tcp, WEB);
    lab.host().sh(dropped["do"].as_str().expect("a command"));
    lab.answers(Tcp, WEB, "web", CLIENT);
    says(&lab, "8080", &[], (0, "reachable"), &[]);
    let screen = daemon.command(&["explain", "8080", "--dev", "eth0", "--verbose"]);
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    println!("{screen}");
    assert!(screen.contains("8080/tcp reaches web ("), "{screen}");

    let (exit, _, stderr) = explain(&lab, "9999", &[]);
    assert_eq!(exit, Some(3), "{stderr}");
    assert!(stderr.contains("nothing publishes 9999/tcp"), "{stderr}");

    // A server for IPv4 only.
    httpd(&engine, "old", &["-p", "8081:80"], "0.0.0.0:80");
    eventually(SOON, "it to be found", || {
        let (_, said, stderr) = explain(&lab, "8081", &[]);
        same(
            said["code"].as_str().map(str::to_owned),
            Some("ipv4-only".to_owned()),
        )
        .map_err(|e| (e, stderr))
    });
    let screen = daemon.command(&["explain", "8081", "--dev", "eth0"]);
    println!("{}", String::from_utf8_lossy(&screen.stdout));
    lab.is_closed(Tcp, "[2001:db8::1]:8081");

    // One that a label closes.
    let label = "--label=docker-nat66.enable=false";
    engine.run("shut", &[label, "-p", "8082:80"], &["tcp:80"]);
    eventually(SOON, "the daemon to know it", || {
        let skipped = figure(&lab, "skipped").to_string();
        skipped.contains("shut").then_some(()).ok_or(skipped)
    });
    let (exit, said, stderr) = explain(&lab, "8082", &[]);
    let sentence = said["sentence"].as_str().unwrap_or_default();
    assert_eq!(exit, Some(1), "{said:#} {stderr}");
    assert!(
        sentence.contains("label docker-nat66.enable=false"),
        "{sentence}"
    );
    lab.is_closed(Tcp, "[2001:db8::1]:8082");

    assert_eq!(figure(&lab, "drift_repairs"), repairs);
    assert_eq!(figure(&lab, "state"), "running");
    daemon.says("ready");
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn without_a_daemon_it_says_so_and_finds_the_process_that_answers() {
    let lab = Lab::up("explain_alone");
    let engine = Engine::up(&lab, &[]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    // docker-proxy relays.
    eventually(SOON, "the proxy to answer", || lab.ask(Tcp, WEB).map(drop));
    let words = [
        "answered on the host itself by docker-proxy",
        "no rule forwards it",
    ];
    says(
        &lab,
        "8080",
        &["--dev", "eth0"],
        (0, "answered-by-host"),
        &words,
    );
    let (exit, _, stderr) = explain(&lab, "9999", &["--dev", "eth0"]);
    assert_eq!(exit, Some(3), "{stderr}");

    // Of a container on the host's network Docker lists no port.
    httpd(&engine, "own", &["--network", "host"], "[::]:9998");
    eventually(SOON, "it to be found", || {
        let (exit, said, stderr) = explain(&lab, "9998", &["--dev", "eth0"]);
        same(exit, Some(0)).map_err(|e| (e, said, stderr))
    });
    let words = [
        "container own (",
        "on the host's network",
        "serves the port on the host itself",
    ];
    says(
        &lab,
        "9998",
        &["--dev", "eth0"],
        (0, "answered-by-host"),
        &words,
    );
    // The host has servers of its own beside it.
    lab.host().sh("busybox httpd -p [::]:9997");
    let (exit, _, stderr) = explain(&lab, "9997", &["--dev", "eth0"]);
    println!("{stderr}");
    assert_eq!(exit, Some(3), "{stderr}");
    let words = "nothing publishes 9997/tcp: the host's own process busybox (pid ";
    assert!(stderr.contains(words), "{stderr}");
    let (exit, _, stderr) = explain(&lab, "9999", &["--dev", "eth0"]);
    assert_eq!(exit, Some(3), "{stderr}");
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn beside_dockers_own_nat_a_drop_in_docker_user_is_a_humans() {
    let lab = Lab::up("explain_native");
    let nat = release::in_use().native();
    let engine = Engine::up(&lab, &[nat, &["--userland-proxy=false"]].concat());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    let on = ["--dev", "eth0"];
    says(&lab, "8080", &on, (0, "reachable"), &["reaches web ("]);
    // Engine 20.10 has no such chain for IPv6.
    lab.host().sh(
        "if ip6tables -N DOCKER-USER 2>/dev/null; then ip6tables -I FORWARD -j DOCKER-USER; fi
         ip6tables -I DOCKER-USER -i eth0 -p tcp --dport 80 -j DROP",
    );
    let words = [
        "chain DOCKER-USER of ip6tables' table filter",
        "where a human writes rules",
    ];
    let dropped = says(&lab, "8080", &on, (1, "dropped"), &words);
    lab.is_closed(Tcp, WEB);
    lab.host().sh(dropped["do"].as_str().expect("a command"));
    says(&lab, "8080", &on, (0, "reachable"), &[]);
    lab.answers(Tcp, WEB, "web", CLIENT);
}
