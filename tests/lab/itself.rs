//! The lab proves itself, without the daemon: what later tests take for granted.

use std::fs;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::lab::{CLIENT, CLIENT_ETH1, HOST, HOST_ETH1, Lab};
use crate::rules::{self, Foreign};
use crate::space::Place;
use crate::talk::Proto::{Tcp, Udp};
use crate::wait::{SOON, eventually, same};

/// What the daemon would insert.
fn forward(host: Place<'_>, dev: &str, proto: &str, port: u16, to: &str) {
    host.sh(&format!(
        "ip6tables -t nat -A PREROUTING -i {dev} -p {proto} --dport {port} -j DNAT \
         --to-destination {to} -m addrtype --dst-type LOCAL \
         -m comment --comment docker-nat66:0123456789abcdef"
    ));
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_container_behind_a_dnat_rule_sees_the_client_itself() {
    let lab = Lab::up("itself_dnat");
    let before = rules::as_before(lab.host());
    let engine = Engine::up(&lab, &[]);
    engine.run(
        "web",
        &["-p", "8080:80", "-p", "8053:53/udp"],
        &["tcp:80", "udp:53"],
    );
    // docker-proxy answers already; the container sees only the bridge's gateway.
    let relayed = eventually(SOON, "docker-proxy's answer", || {
        lab.ask(Tcp, &format!("[{HOST}]:8080"))
    });
    assert_eq!(relayed.name, "web");
    assert_ne!(relayed.peer, CLIENT);

    let addr = engine.address("web");
    forward(lab.host(), "eth0", "tcp", 8080, &format!("[{addr}]:80"));
    forward(lab.host(), "eth0", "udp", 8053, &format!("[{addr}]:53"));
    forward(lab.host(), "eth1", "tcp", 8080, &format!("[{addr}]:80"));
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    lab.answers(Udp, &format!("[{HOST}]:8053"), "web", CLIENT);
    lab.answers(Tcp, "[2001:db8::12]:8080", "web", CLIENT);
    lab.answers(Tcp, &format!("[{HOST_ETH1}]:8080"), "web", CLIENT_ETH1);
    let seen: Vec<_> = rules::published(lab.host())
        .into_iter()
        .map(|r| r.from)
        .collect();
    assert_eq!(
        seen,
        ["eth0 tcp * 8080", "eth0 udp * 8053", "eth1 tcp * 8080"]
    );

    let mut line = lab.connect(&format!("[{HOST}]:8080"));
    assert_eq!(line.echo("still there").as_deref(), Ok("still there"));
    engine.remove("web");
    lab.is_closed(Tcp, &format!("[{HOST}]:8080"));
    assert!(line.echo("still there").is_err());
    lab.host().run(&["ip6tables", "-t", "nat", "-F"]);
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn an_engine_survives_kill_and_restart_with_its_containers_and_goes_away_when_stopped() {
    let lab = Lab::up("itself_engine");
    let mut engine = Engine::up(&lab, &["--live-restore", "--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    // Without docker-proxy the Engine's socket accepts and says nothing: closed, for us.
    lab.is_closed(Tcp, &format!("[{HOST}]:8080"));
    engine.kill();
    engine.start();
    let addr = engine.address("web");
    forward(lab.host(), "eth0", "tcp", 8080, &format!("[{addr}]:80"));
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    engine.remove("web");
    engine.stop();
    let answer = lab.host().output(&["/usr/bin/docker", "version"]);
    assert!(!answer.status.success());
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn the_lab_is_up_in_time_and_goes_without_a_trace() {
    let before = traces();
    let begin = Instant::now();
    let lab = Lab::up("itself_trace");
    let home = lab.home().join("");
    let engine = Engine::up(&lab, &[]);
    let up = begin.elapsed();
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let started = begin.elapsed();
    drop(engine);
    drop(lab);
    let down = begin.elapsed() - started;
    println!(
        "up {up:?}, first container {:?}, down {down:?}",
        started - up
    );
    assert!(up < Duration::from_secs(10), "{up:?}");
    assert!(!home.exists());
    // Other tests make theirs meanwhile; what is ours carries our name or is one of these.
    assert_eq!(traces(), before);
    for group in fs::read_dir("/sys/fs/cgroup")
        .expect("control groups")
        .flatten()
    {
        let ours = format!("docker-nat66-lab-{}-itself_trace", std::process::id());
        assert!(!group.path().join(ours).exists(), "{group:?}");
    }
}

/// What an Engine outside its namespaces would change on this machine.
fn traces() -> Vec<String> {
    let mut seen = Vec::new();
    for path in [
        "/run",
        "/run/netns",
        "/run/docker",
        "/run/containerd",
        "/etc/docker",
        "/var/lib",
    ] {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        seen.extend(entries.map(|e| e.path().display().to_string()));
    }
    let links = fs::read_dir("/sys/class/net")
        .expect("interfaces")
        .flatten();
    seen.extend(links.map(|e| e.path().display().to_string()));
    seen.push(fs::read_to_string("/proc/self/mountinfo").expect("mounts"));
    seen.sort();
    seen
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn foreign_rules_are_told_from_ours_and_a_change_in_them_is_seen() {
    let lab = Lab::up("itself_foreign");
    let host = lab.host();
    let planted = Foreign::plant(host);
    assert!(
        rules::ours(host)
            .iter()
            .all(|rule| rule.contains("not by us"))
    );
    forward(host, "eth0", "tcp", 1, "[fdfd:5898:4917:1::2]:1");
    assert_eq!(rules::ours(host).len(), 1);
    assert_ne!(Foreign::seen(host), planted);
    host.run(&["ip6tables", "-t", "nat", "-D", "PREROUTING", "3"]);
    assert_eq!(Foreign::seen(host), planted);
    host.run(&["nft", "flush", "chain", "ip6", "theirs", "input"]);
    assert_ne!(Foreign::seen(host), planted);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn the_client_reaches_no_container_by_itself() {
    let lab = Lab::up("itself_route");
    let engine = Engine::up(&lab, &[]);
    engine.run("web", &[], &["tcp:80"]);
    let direct = format!("[{}]:80", engine.address("web"));
    assert!(lab.ask(Tcp, &direct).is_err());
    let route = [
        "ip",
        "-6",
        "route",
        "add",
        "fdfd:5898:4917:1::/64",
        "via",
        HOST,
    ];
    lab.client().run(&route);
    eventually(SOON, "the routed container", || {
        same(lab.ask(Tcp, &direct).map(|a| a.name), Ok("web".to_owned()))
    });
}
