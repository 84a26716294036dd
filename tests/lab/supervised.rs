//! Under a supervisor: the notifications, the unit's restrictions, and a part that hangs.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::PROGRAM;
use crate::support::lab::daemon::{self, Daemon};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, Lab, PREFIX};
use crate::support::process;
use crate::support::wait::{SOON, eventually, let_pass, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];
const WEB: &str = "[2001:db8::1]:8080";

/// The socket on which systemd would listen.
struct Supervisor {
    socket: UnixDatagram,
    messages: Vec<String>,
}

impl Supervisor {
    /// The environment that names it to the daemon, with a watchdog of 400 ms.
    const ENV: [&str; 3] = [
        "env",
        "NOTIFY_SOCKET=/run/lab/home/notify",
        "WATCHDOG_USEC=400000",
    ];

    fn new(lab: &Lab) -> Self {
        let socket = UnixDatagram::bind(lab.home().join("notify")).expect("bind");
        socket.set_nonblocking(true).expect("non-blocking");
        Self {
            socket,
            messages: Vec::new(),
        }
    }

    /// All notifications so far.
    fn listen(&mut self) -> &[String] {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            self.messages.extend(text.lines().map(str::to_owned));
        }
        &self.messages
    }

    #[track_caller]
    fn hears(&mut self, words: &str) {
        eventually(SOON, &format!("the supervisor to hear {words:?}"), || {
            let messages = self.listen();
            let is = messages.iter().any(|line| line.starts_with(words));
            is.then_some(()).ok_or(messages.to_vec())
        });
    }

    /// Waits for one more watchdog notification.
    #[track_caller]
    fn hears_life(&mut self) {
        let signs = |messages: &[String]| messages.iter().filter(|l| *l == "WATCHDOG=1").count();
        let before = signs(self.listen());
        eventually(SOON, "a sign of life", || {
            let now = signs(self.listen());
            if now > before { Ok(()) } else { Err(now) }
        });
    }

    /// Waits until no notification has come for longer than the watchdog allows.
    #[track_caller]
    fn hears_nothing(&mut self) {
        eventually(SOON, "silence", || {
            self.listen();
            self.messages.clear();
            std::thread::sleep(Duration::from_millis(600));
            let signs = self.listen().iter().filter(|l| *l == "WATCHDOG=1");
            same(signs.count(), 0)
        });
    }
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn the_supervisor_hears_of_readiness_life_and_leaving() {
    let lab = Lab::up("supervised");
    let mut supervisor = Supervisor::new(&lab);
    let mut engine = Engine::down(&lab, &["--userland-proxy=false"]);
    let mut daemon = Daemon::start_by(&lab, &Supervisor::ENV, &ARGS);
    daemon.says("Docker is not reachable");
    // Not ready, but alive.
    supervisor.hears_life();
    supervisor.hears("STATUS=degraded: docker: Docker is not reachable");
    assert!(!supervisor.listen().contains(&"READY=1".to_owned()));
    engine.start();
    supervisor.hears("READY=1");
    supervisor.hears("STATUS=0 published ports open over IPv6");
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    supervisor.hears("STATUS=1 published ports open over IPv6");
    supervisor.hears_life();
    daemon.leaves();
    supervisor.hears("STOPPING=1");
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_start_that_waits_for_docker_is_over_after_15_seconds() {
    let lab = Lab::up("supervised_late");
    let mut supervisor = Supervisor::new(&lab);
    let began = Instant::now();
    let daemon = Daemon::start_by(&lab, &Supervisor::ENV, &ARGS);
    supervisor.hears("STATUS=degraded: docker: ");
    let waits = |line: &String| line.contains("; waiting for Docker; ");
    assert!(supervisor.listen().iter().any(waits));
    supervisor.hears("READY=1");
    let after = began.elapsed();
    assert!(after > Duration::from_secs(10), "{after:?}");
    supervisor.hears_life();
    let status = daemon.command(&["status"]);
    let screen = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(status.status.code(), Some(1), "{screen}");
    assert!(screen.contains("\nwait  for Docker\n"), "{screen}");
    daemon.leaves();
    supervisor.hears("STOPPING=1");
    let ready = supervisor.listen().iter().filter(|l| *l == "READY=1");
    assert_eq!(ready.count(), 1);
}

/// Makes the tool hang for the daemon only, because Docker calls the program by another name.
const HANG: &str = r#"cp /usr/sbin/xtables-nft-multi /run/lab/real
cat >/run/lab/hung <<'HUNG'
#!/bin/bash
case $0 in *ip6tables*) exec sleep 60;; esac
exec -a "$0" /run/lab/real "$@"
HUNG
chmod +x /run/lab/hung
mount --bind /run/lab/hung /usr/sbin/xtables-nft-multi"#;

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_hung_tool_is_noticed_by_status_and_supervisor() {
    let lab = Lab::up("supervised_hung");
    let mut supervisor = Supervisor::new(&lab);
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let mut daemon = Daemon::start_by(&lab, &Supervisor::ENV, &ARGS);
    daemon.says("ready");
    supervisor.hears_life();
    let host = lab.host();
    host.sh(HANG);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    supervisor.hears_nothing();
    eventually(SOON, "the trouble", || {
        let output = daemon::command(&lab, &["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        let troubles = status["troubles"].to_string();
        let is = troubles.contains("the firewall writer has not answered");
        is.then_some(()).ok_or(troubles)
    });
    host.sh("umount -l /usr/sbin/xtables-nft-multi");
    supervisor.hears_life();
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
}

/// Makes the tool work for 8 s before it does what it is asked, for the daemon only.
const TOIL: &str = r#"cp /usr/sbin/xtables-nft-multi /run/lab/real
cat >/run/lab/toiling <<'TOILING'
#!/bin/bash
case $0 in *ip6tables*) while [ $SECONDS -lt 8 ]; do :; done; touch /run/lab/home/toiled;; esac
exec -a "$0" /run/lab/real "$@"
TOILING
chmod +x /run/lab/toiling
mount --bind /run/lab/toiling /usr/sbin/xtables-nft-multi"#;

/// With very many rules a tool takes longer than the watchdog and a stop wait.
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_tool_that_works_for_long_is_waited_for_by_status_and_supervisor() {
    let lab = Lab::up("supervised_toil");
    let mut supervisor = Supervisor::new(&lab);
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let mut daemon = Daemon::start_by(&lab, &Supervisor::ENV, &ARGS);
    daemon.says("ready");
    lab.host().sh(TOIL);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    supervisor.hears("STATUS=degraded: watchdog: the firewall writer has not answered");
    supervisor.hears_life();
    daemon.signal(Signal::TERM);
    supervisor.hears("STOPPING=1");
    supervisor.hears("EXTEND_TIMEOUT_USEC=60000000");
    let toils = !lab.home().join("toiled").exists();
    assert!(toils, "all this while it worked");
    lab.host().sh("umount -l /usr/sbin/xtables-nft-multi");
    // The daemon keeps sending, and an unread socket holds only ten messages.
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                supervisor.listen();
                let_pass(Duration::from_millis(20));
            }
        });
        let status = catch_unwind(AssertUnwindSafe(|| daemon.ended()));
        has_ended.store(true, Ordering::Relaxed);
        let status = status.unwrap_or_else(|panic| resume_unwind(panic));
        assert_eq!(status.code(), Some(0));
    });
    assert_eq!(rules::ours(lab.host()), Vec::<String>::new());
}

/// The unit's view of the file system (`ProtectSystem=strict` and related options), and its
/// capabilities.
const AS_IN_THE_UNIT: &str = r#"
mkdir -p /run/docker-nat66 /run/lab/home/state
chmod 700 /run/lab/home/state
for kept in /run/docker-nat66 /run/lab/home/state; do mount --bind $kept $kept; done
mount -o remount,bind,ro /
for dir in /usr /etc /var /run /sys /work /root /home /tmp /opt /srv; do
  ! [ -d $dir ] || mount --rbind $dir $dir && mount -o remount,bind,ro $dir 2>/dev/null || :
done
for kept in /run/docker-nat66 /run/lab/home/state; do mount -o remount,bind,rw $kept; done
! touch /run/x /etc/x /usr/x 2>/dev/null
exec setpriv --no-new-privs --bounding-set=-all,+net_admin,+net_raw --inh-caps=-all "$@"
"#;

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_the_unit_forbids_is_not_needed() {
    let lab = Lab::up("supervised_unit");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    let wrapper = ["unshare", "-m", "sh", "-ec", AS_IN_THE_UNIT, "sh"];
    let mut daemon = Daemon::start_by(&lab, &wrapper, &ARGS);
    daemon.says("ready");
    let line = |name: &str| process::status(daemon.id(), name).expect("it runs");
    assert_eq!(line("NoNewPrivs"), "1");
    // CAP_NET_ADMIN and CAP_NET_RAW, 12 and 13.
    assert_eq!(line("CapEff"), "0000000000003000");
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.sigkill();
    let mut daemon = Daemon::start_by(&lab, &wrapper, &ARGS);
    daemon.says("ready");
    lab.answers(Tcp, WEB, "web", CLIENT);
    assert!(!daemon.log().contains("degraded"), "{}", daemon.log());
    engine.remove("web");
    lab.is_closed(Tcp, WEB);
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs systemd's tools: run by tests/run"]
fn systemd_accepts_the_unit_and_rates_it_well() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |args: &[&str]| {
        let output = std::process::Command::new(args[0])
            .args(&args[1..])
            .output();
        let output = output.unwrap_or_else(|e| panic!("{args:?}: {e}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        said
    };
    let unit = run(&[PROGRAM, "print", "unit"]);
    for promise in [
        "RestartPreventExitStatus=2 4",
        "StartLimitIntervalSec=0",
        "Type=notify",
        "StateDirectory=docker-nat66",
        "RuntimeDirectory=docker-nat66",
        "WatchdogSec=",
    ] {
        assert!(unit.contains(&format!("\n{promise}")), "{promise}");
    }
    // The program need not be installed at the unit's path.
    let path = dir.path().join("docker-nat66.service");
    fs::write(&path, unit.replace("/usr/local/sbin/docker-nat66", PROGRAM)).expect("write");
    let path = path.to_str().expect("UTF-8");
    assert_eq!(run(&["systemd-analyze", "verify", "--man=no", path]), "");
    // In tenths: 20 is an exposure of 2.0.
    run(&[
        "systemd-analyze",
        "security",
        "--offline=true",
        "--threshold=20",
        path,
    ]);
}

/// As another user, with only CAP_NET_ADMIN, and directories of its own.
const AS_A_USER: &str = r#"
mkdir -p /run/docker-nat66 /run/lab/home/state
chown nobody /run/docker-nat66 /run/lab/home/state
chmod 700 /run/docker-nat66 /run/lab/home/state
chgrp nogroup /var/run/docker.sock
exec setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs \
  --bounding-set=-all,+net_admin --inh-caps=-all,+net_admin --ambient-caps=-all,+net_admin "$@"
"#;

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_user_with_one_capability_and_docker_s_socket_suffices() {
    let lab = Lab::up("supervised_user");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    let wrapper = ["sh", "-ec", AS_A_USER, "sh"];
    let mut daemon = Daemon::start_by(&lab, &wrapper, &ARGS);
    daemon.says("ready");
    let line = |name: &str| process::status(daemon.id(), name).expect("it runs");
    assert_eq!(line("Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(line("CapEff"), "0000000000001000");
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.sigkill();
    let mut daemon = Daemon::start_by(&lab, &wrapper, &ARGS);
    daemon.says("ready");
    engine.remove("web");
    lab.is_closed(Tcp, WEB);
    assert!(!daemon.log().contains("degraded"), "{}", daemon.log());
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}
