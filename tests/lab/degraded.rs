//! Passing problems: the daemon reports them, does only what it can undo, and recovers by itself.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::journal;
use crate::support::backend::in_use;
use crate::support::lab::daemon::{self, Daemon, STATE_DIR};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::space::Place;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, HOST, Lab};
use crate::support::wait::{SOON, eventually, let_pass, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];

/// A rule that makes ip6tables-nft-save call the whole table incompatible, with exit code 0.
struct Native<'l> {
    host: Place<'l>,
    handle: String,
}

impl<'l> Native<'l> {
    fn add(host: Place<'l>) -> Self {
        let added = host.run(&[
            "nft",
            "-a",
            "-e",
            "add rule ip6 nat POSTROUTING ct state new accept",
        ]);
        let handle = added.rsplit("handle ").next().expect("echoed").trim();
        assert!(
            host.run(&["ip6tables-save", "-t", "nat"])
                .contains("incompatible")
        );
        Self {
            host,
            handle: handle.to_owned(),
        }
    }

    fn delete(self) {
        let line = format!("delete rule ip6 nat POSTROUTING handle {}", self.handle);
        self.host.run(&["nft", &line]);
    }
}

/// The table as nft shows it, which no other tool can do then.
fn table(host: Place<'_>) -> String {
    host.run(&["nft", "-s", "list", "table", "ip6", "nat"])
}

/// Waits for a state; returns the whole status.
#[track_caller]
fn status(daemon: &Daemon<'_>, state: &str, code: i32) -> Value {
    eventually(SOON, &format!("state {state}"), || {
        let output = daemon.command(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        let is = (status["state"].clone(), output.status.code());
        same(is, (state.into(), Some(code))).map_err(|e| format!("{e:?}: {status}"))?;
        Ok::<_, String>(status)
    })
}

fn ports(lab: &Lab) -> Vec<String> {
    let seen = rules::published(lab.host()).into_iter();
    seen.map(|rule| rule.from).collect()
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn native_rules_that_were_there_first_are_waited_out() {
    let lab = Lab::up("degraded_before");
    let engine = Engine::up(&lab, &[]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let left = journal::agrees(&lab);
    daemon.sigkill();
    let native = Native::add(lab.host());
    let before = table(lab.host());

    // With `--backend auto` the daemon would choose nftables.
    let asked = [&ARGS[..], &["--backend", "ip6tables"]].concat();
    let mut daemon = Daemon::start(&lab, &asked);
    let said = daemon.says("degraded: ");
    assert!(
        said.contains("`nat' is incompatible, use 'nft' tool"),
        "{said}"
    );
    let troubles = status(&daemon, "degraded", 1)["troubles"].to_string();
    assert!(troubles.contains("incompatible"), "{troubles}");
    engine.run("new", &["-p", "8081:80"], &["tcp:80"]);
    daemon.says("connected to Docker");
    // In several rounds of retries the daemon may neither insert a rule nor forget a record.
    let_pass(Duration::from_secs(1));
    assert_eq!(table(lab.host()), before);
    let rows = daemon.command(&["dump", "--json"]).stdout;
    let rows = String::from_utf8_lossy(&rows).into_owned();
    assert!(
        left.iter().all(|id| rows.contains(id)),
        "{left:?} in {rows}"
    );
    assert!(!daemon.log().contains("ready"), "{}", daemon.log());

    native.delete();
    daemon.says("every rule is as it should be again");
    status(&daemon, "running", 0);
    assert_eq!(ports(&lab), ["eth0 tcp * 8080", "eth0 tcp * 8081"]);
    journal::agrees(&lab);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    let warnings = daemon.log().matches("degraded: ").count();
    assert!(warnings <= 2, "{}", daemon.log());
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn native_rules_that_come_later_stop_all_changes_until_they_go() {
    let lab = Lab::up("degraded_later");
    let engine = Engine::up(&lab, &[]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    engine.run("old", &["-p", "8079:80"], &["tcp:80"]);
    let mut daemon = Daemon::ready(&lab, &ARGS);
    let left = journal::agrees(&lab);
    let native = Native::add(lab.host());
    let before = table(lab.host());

    engine.run("new", &["-p", "8081:80"], &["tcp:80"]);
    engine.remove("old");
    let troubles = status(&daemon, "degraded", 1)["troubles"].to_string();
    assert!(troubles.contains("incompatible"), "{troubles}");
    let_pass(Duration::from_secs(1));
    assert_eq!(table(lab.host()), before);
    let rows = daemon.command(&["dump", "--json"]).stdout;
    let rows = String::from_utf8_lossy(&rows).into_owned();
    assert!(
        left.iter().all(|id| rows.contains(id)),
        "{left:?} in {rows}"
    );
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);

    native.delete();
    daemon.says("every rule is as it should be again");
    status(&daemon, "running", 0);
    assert_eq!(ports(&lab), ["eth0 tcp * 8080", "eth0 tcp * 8081"]);
    journal::agrees(&lab);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_daemon_that_cannot_remove_its_rules_says_so_and_cleanup_does_it_later() {
    let lab = Lab::up("degraded_leaving");
    let engine = Engine::up(&lab, &[]);
    let clean = rules::as_before(lab.host());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let mut daemon = Daemon::ready(&lab, &ARGS);
    journal::agrees(&lab);
    let native = Native::add(lab.host());
    let before = table(lab.host());
    // `timeout` sends the signal twice like this; it counts as one request to stop.
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::TERM);
    daemon.says("left without having removed everything; `docker-nat66 cleanup` does it");
    assert_eq!(daemon.ended().code(), Some(1));
    let cleanup = daemon::command(&lab, &["cleanup"]);
    assert_eq!(cleanup.status.code(), Some(1), "{cleanup:?}");
    let said = String::from_utf8_lossy(&cleanup.stderr).into_owned();
    assert!(said.contains("incompatible"), "{said}");
    assert_eq!(table(lab.host()), before);

    native.delete();
    let left = journal::agrees(&lab);
    assert_eq!(left.len(), in_use().statics() + 1);
    let cleanup = daemon::command(&lab, &["cleanup"]);
    assert!(cleanup.status.success(), "{cleanup:?}");
    assert_eq!(rules::as_before(lab.host()), clean);

    // A second signal later ends the daemon at once.
    let mut daemon = Daemon::ready(&lab, &ARGS);
    let native = Native::add(lab.host());
    daemon.signal(Signal::TERM);
    let_pass(Duration::from_millis(1100));
    daemon.signal(Signal::TERM);
    daemon.says("asked twice to leave");
    assert_eq!(daemon.ended().code(), Some(1));
    native.delete();
    journal::agrees(&lab);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn on_a_full_disk_rules_go_but_none_comes_until_there_is_room() {
    let lab = Lab::up("degraded_disk");
    let host = lab.host();
    host.sh(&format!(
        "mkdir {STATE_DIR}; mount -t tmpfs -o size=4m,mode=700 tmpfs {STATE_DIR}"
    ));
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(host);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    engine.run("many0", &["-p", "9000-9199:9000-9199"], &["tcp:80"]);
    let mut daemon = Daemon::ready(&lab, &ARGS);
    let refused = |daemon: &Daemon<'_>| daemon.log().contains("so nothing is inserted");
    let generation = |daemon: &Daemon<'_>| {
        let output = daemon.command(&["status", "--json"]).stdout;
        let status: Value = serde_json::from_slice(&output).expect("a status");
        status["journal"]["generation"].clone()
    };
    // A new name rewrites two hundred records, which fills the space that the journal has
    // preallocated. The daemon then rebuilds the journal in its own space, and another program
    // takes the space that this frees, until nothing is left.
    let is_full = (0..200).any(|round| {
        host.sh(&format!("! cat /dev/zero >>{STATE_DIR}/theirs 2>/dev/null"));
        let before = generation(&daemon);
        engine.docker(&[
            "rename",
            &format!("many{round}"),
            &format!("many{}", round + 1),
        ]);
        let begun = Instant::now();
        eventually(SOON, "written or refused", || {
            let tried_again = refused(&daemon) && begun.elapsed() > Duration::from_secs(4);
            let seen = generation(&daemon) != before || tried_again;
            seen.then_some(()).ok_or("neither")
        });
        generation(&daemon) == before
    });
    assert!(is_full);
    let troubles = status(&daemon, "degraded", 1)["troubles"].to_string();
    assert!(troubles.contains("journal cannot be written"), "{troubles}");
    engine.run("new", &["-p", "8081:80"], &["tcp:80"]);
    engine.remove("web");
    let is_open = |port: u16| ports(&lab).contains(&format!("eth0 tcp * {port}"));
    eventually(SOON, "8080 to close", || {
        (!is_open(8080)).then_some(()).ok_or("open")
    });
    assert!(!is_open(8081));
    assert_eq!(ports(&lab).len(), 200);

    host.sh(&format!("rm {STATE_DIR}/theirs"));
    daemon.says("every rule is as it should be again");
    status(&daemon, "running", 0);
    assert!(is_open(8081));
    assert_eq!(ports(&lab).len(), 201);
    journal::agrees(&lab);
    daemon.leaves();
    assert_eq!(rules::as_before(host), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn an_interface_that_comes_later_is_served_when_it_comes() {
    let lab = Lab::up("degraded_interface");
    let engine = Engine::up(&lab, &[]);
    let mut daemon = Daemon::ready(&lab, &["--dev", "later0", ARGS[2], ARGS[3]]);
    daemon.says("degraded: no-device: there is no interface later0");
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    eventually(SOON, "the rule", || {
        same(ports(&lab), vec!["later0 tcp * 8080".to_owned()])
    });
    lab.host()
        .sh("ip link add later0 type veth peer name eth7 netns client
        ip addr add 2001:db8:7::1/64 dev later0 nodad
        ip -n client addr add 2001:db8:7::2/64 dev eth7 nodad
        ip link set later0 up
        ip -n client link set eth7 up");
    let client = "2001:db8:7::2".parse().expect("an address");
    lab.answers(Tcp, "[2001:db8:7::1]:8080", "web", client);
    daemon.leaves();
}

/// Replaces the legacy tools, in the lab's mounts only: as long as the file `broken` exists, they
/// cannot list; everything else goes to the real tools.
const LEGACY: &str = r#"cd /run/lab
cp /usr/sbin/xtables-legacy-multi legacy
cat >stand-in <<'SCRIPT'
#!/bin/sh
name=${0##*/}
case $name in *-save) [ ! -e /run/lab/broken ] || { echo "cannot be asked" >&2; exit 1; };; esac
exec /run/lab/legacy "$name" "$@"
SCRIPT
chmod 755 stand-in
mount --bind stand-in /usr/sbin/xtables-legacy-multi
touch broken"#;

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_daemon_is_ready_and_serves_though_the_other_variant_cannot_be_asked_yet() {
    let lab = Lab::up("degraded_other");
    let host = lab.host();
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let before = rules::as_before(host);
    // The rule that an earlier run with the legacy tool would have left.
    host.sh(
        "ip6tables-legacy -t nat -A PREROUTING -i eth0 -p tcp --dport 9 -j DNAT \
         --to-destination [fdfd:5898:4917:1::9]:9 -m comment \
         --comment docker-nat66:0123456789abcdef",
    );
    host.sh(LEGACY);
    let left = || host.sh("/run/lab/legacy ip6tables-save -t nat | grep -c docker-nat66 || :");
    assert_eq!(left(), "1\n");
    let daemon = Daemon::ready(&lab, &ARGS);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    let troubles = status(&daemon, "degraded", 1)["troubles"].to_string();
    assert!(troubles.contains("may be left in the other"), "{troubles}");
    engine.run("next", &["-p", "8081:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:8081"), "next", CLIENT);
    assert_eq!(left(), "1\n");
    host.sh("rm /run/lab/broken");
    status(&daemon, "running", 0);
    assert_eq!(left(), "0\n");
    daemon.leaves();
    assert_eq!(rules::as_before(host), before);
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_socket_that_speaks_no_docker_is_waited_out_and_named_once() {
    let lab = Lab::up("degraded_socket");
    let before = rules::as_before(lab.host());
    let path = "/run/lab/strange.sock";
    let listener = lab
        .host()
        .enter(|| UnixListener::bind(path).expect("bound"));
    let visits = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming() {
                if visits.fetch_add(1, Ordering::Relaxed) >= 4 {
                    return;
                }
                let _ = stream.and_then(|mut s| s.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"));
            }
        });
        let url = format!("unix://{path}");
        let mut daemon = Daemon::start(&lab, &[&ARGS[..], &["--docker-host", &url]].concat());
        let said = daemon.says("Docker is not reachable, trying again until it is");
        assert!(said.contains(path), "{said}");
        eventually(SOON, "more attempts", || {
            let visits = visits.load(Ordering::Relaxed);
            (visits > 4).then_some(()).ok_or(visits)
        });
        let warnings = daemon.log().matches("WARN").count();
        assert_eq!(warnings, 1, "{}", daemon.log());
        assert!(!daemon.log().contains("ready"), "{}", daemon.log());
        let troubles = status(&daemon, "degraded", 1)["troubles"].to_string();
        assert!(troubles.contains("Docker is not reachable"), "{troubles}");
        daemon.leaves();
    });
    assert_eq!(rules::as_before(lab.host()), before);
}
