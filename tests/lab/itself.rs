//! Checks of the lab itself, without the daemon: the assumptions of the other tests.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::lab::engine::Engine;
use crate::support::lab::home;
use crate::support::lab::rules::{self, Foreign};
use crate::support::lab::space::Place;
use crate::support::lab::talk::Proto::{Tcp, Udp};
use crate::support::lab::{CLIENT, CLIENT_ETH1, HOST, HOST_ETH1, Lab};
use crate::support::wait::{SOON, eventually, same};

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
        &["-p", "8080:80", "-p", "8053:53/udp", "-p", "9132:132/sctp"],
        &["tcp:80", "udp:53"],
    );
    // docker-proxy answers even now, but the container sees only the bridge's gateway.
    let relayed = eventually(SOON, "docker-proxy's answer", || {
        lab.ask(Tcp, &format!("[{HOST}]:8080"))
    });
    assert_eq!(relayed.name, "web");
    assert_ne!(relayed.peer, CLIENT);

    let addr = engine.address("web");
    forward(lab.host(), "eth0", "tcp", 8080, &format!("[{addr}]:80"));
    forward(lab.host(), "eth0", "udp", 8053, &format!("[{addr}]:53"));
    forward(lab.host(), "eth0", "sctp", 9132, &format!("[{addr}]:132"));
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
        [
            "eth0 sctp * 9132",
            "eth0 tcp * 8080",
            "eth0 udp * 8053",
            "eth1 tcp * 8080"
        ]
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
    // Without docker-proxy the Engine's socket accepts and sends no data; that counts as closed.
    lab.is_closed(Tcp, &format!("[{HOST}]:8080"));
    engine.kill();
    engine.start();
    let addr = engine.address("web");
    forward(lab.host(), "eth0", "tcp", 8080, &format!("[{addr}]:80"));
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    engine.remove("web");
    engine.stop();
    let answer = lab.host().output(&["docker", "version"]);
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
    // Other tests create namespaces meanwhile; ours carry our name or are among these.
    assert_eq!(traces(), before);
    for group in fs::read_dir("/sys/fs/cgroup")
        .expect("control groups")
        .flatten()
    {
        let ours = format!("docker-nat66-lab-{}-itself_trace", std::process::id());
        assert!(!group.path().join(ours).exists(), "{group:?}");
    }
}

/// The things on this machine that an Engine outside its namespaces would change.
fn traces() -> Vec<String> {
    let dirs = ["/run", "/etc/docker", "/var/lib", "/sys/class/net"];
    let entries = dirs.iter().flat_map(fs::read_dir).flatten().flatten();
    let paths = entries.map(|e| e.path().display().to_string());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let words = ["docker", "containerd", "runc", "/lab/"];
    let mut seen: Vec<String> = paths
        .chain(mounts.lines().map(str::to_owned))
        .filter(|path| words.iter().any(|word| path.contains(word)))
        .collect();
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

/// Marks a second run of this program, which the test kills.
const HOLD: &str = "DOCKER_NAT66_LAB_HOLD";

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_killed_test_leaves_no_process_and_its_logs_are_kept() {
    if std::env::var_os(HOLD).is_some() {
        let lab = Lab::up("itself_killed");
        let engine = Engine::up(&lab, &[]);
        engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
        println!("held {}", lab.init());
        std::io::stdin()
            .read_line(&mut String::new())
            .expect("it is killed before");
        return;
    }
    let mut test = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "itself::a_killed_test_leaves_no_process_and_its_logs_are_kept",
        ])
        .args(["--include-ignored", "--nocapture"])
        .env(HOLD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start this program again");
    let mut lines = BufReader::new(test.stdout.take().expect("it is piped")).lines();
    let init = lines.find_map(|line| {
        let line = line.expect("read");
        line.split_once("held ").map(|(_, pid)| pid.to_owned())
    });
    let space = |name: &str| fs::read_link(format!("/proc/{name}/ns/pid"));
    let held = space(init.as_deref().expect("the lab is up")).expect("its namespace");
    let inside = || {
        let all = fs::read_dir("/proc").expect("list processes").flatten();
        let names = all.map(|e| e.file_name().to_string_lossy().into_owned());
        names
            .filter(|pid| space(pid).is_ok_and(|ns| ns == held))
            .count()
    };
    // process 1, what keeps it, dockerd, containerd, a shim, docker-proxy, the server
    assert!(inside() >= 7);
    test.kill().expect("kill");
    test.wait().expect("wait");
    eventually(SOON, "all of its processes to end", || same(inside(), 0));
    home::sweep();
    let kept = home::root().join("itself_killed");
    assert!(kept.join("setup.log").exists());
    fs::remove_dir_all(kept).expect("remove what was kept");
}
