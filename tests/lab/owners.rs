//! A published port only ever leads to a container that publishes it, while containers and networks
//! come and go and addresses pass from one to the next.
//!
//! Five containers publish a port each; others without ports take the addresses that they leave.
//! A client sends requests to all ports without a pause, and every answer names its container.
//! `DOCKER_NAT66_LAB_CHURN` sets the seconds of the long test.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::backend;
use crate::support::draw::Draw;
use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::release;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::talk::ask_here;
use crate::support::lab::{CLIENT, HOST, Lab};
use crate::support::torture::number;
use crate::support::wait::let_pass;

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917::/48"];

/// A run that is longer than this includes the slow steps.
const LONG: Duration = Duration::from_secs(120);

/// The priority that the systemd unit gives the daemon, because 20 starting containers keep two
/// cores busy.
const PRIORITY: [&str; 3] = ["nice", "-n", "-10"];

/// The ports, and the containers that publish them: `p0` publishes 9000.
const PORTS: u16 = 5;

/// How many networks each of them is on: the more networks, the longer its teardown.
const NETWORKS: u16 = 6;

/// How many others run all the time; the total is 20.
const OTHERS: u16 = 15;

/// Wrong answers that follow each other within this time are one episode.
const EPISODE: Duration = Duration::from_millis(300);

/// The client's pause between two connections. Each takes one of its 28,000 ports out of use for a
/// minute.
const PAUSE: Duration = Duration::from_millis(2);

/// How long after it is ready a daemon may take to learn of addresses that Docker gave while it was
/// away: milliseconds, and more on two busy cores.
const LISTED: Duration = Duration::from_millis(200);

/// The answers on one port.
#[derive(Debug, Default, Clone)]
struct Seen {
    answers: u64,
    wrong: u64,
    longest: Duration,
    /// When the client sent the requests that got a wrong answer.
    asked: Vec<Instant>,
    /// The first wrong answers: when, and from which container.
    first: Vec<String>,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.wrong += other.wrong;
        self.longest = self.longest.max(other.longest);
        self.asked.extend(&other.asked);
        self.first.extend(other.first.iter().cloned());
    }
}

/// Sends requests to one port until `done`.
fn ask_until(done: &AtomicBool, number: u16, begun: Instant) -> Seen {
    let (name, to) = (format!("p{number}"), format!("[{HOST}]:{}", 9000 + number));
    let mut seen = Seen::default();
    // Since when the answers have been wrong, and when the last wrong one came.
    let mut episode: Option<(Instant, Instant)> = None;
    while !done.load(Ordering::Relaxed) {
        let asked = Instant::now();
        if let Ok(answer) = ask_here(Tcp, &to, CLIENT) {
            seen.answers += 1;
            if answer.name != name {
                seen.wrong += 1;
                seen.asked.push(asked);
                let now = Instant::now();
                let since = match episode {
                    Some((since, last)) if now - last < EPISODE => since,
                    _ => asked,
                };
                episode = Some((since, now));
                seen.longest = seen.longest.max(now - since);
                if seen.first.len() < 10 {
                    let at = begun.elapsed().as_millis();
                    seen.first
                        .push(format!("{at} ms: {name} answered as {}", answer.name));
                }
            }
        }
        let_pass(PAUSE);
    }
    seen
}

/// Changes containers and networks.
struct Churn<'l> {
    engine: Engine<'l>,
    draw: Draw,
    /// How many containers have been started to take addresses.
    takers: u64,
    log: Mutex<Vec<String>>,
    begun: Instant,
}

impl<'l> Churn<'l> {
    fn new(engine: Engine<'l>, seed: u64) -> Self {
        let subnet = |n: u16| format!("fdfd:5898:4917:{:x}::/64", 0x10 + n);
        for n in 0..NETWORKS {
            engine.network(&format!("n{n}"), &subnet(n), &[]);
        }
        for p in 0..PORTS {
            let (name, publish) = (format!("p{p}"), format!("{}:80", 9000 + p));
            engine.run(&name, &["--network", "n0", "-p", &publish], &["tcp:80"]);
            for n in 1..NETWORKS {
                engine.docker(&["network", "connect", &format!("n{n}"), &name]);
            }
        }
        for o in 0..OTHERS {
            engine.run(&format!("other{o}"), &["--network", "n0"], &["tcp:80"]);
        }
        Self {
            engine,
            draw: Draw(seed),
            takers: 0,
            log: Mutex::default(),
            begun: Instant::now(),
        }
    }

    /// Some commands may fail, because another thread changes the same containers; that is fine.
    fn docker(&self, args: &[&str]) {
        let begun = self.begun.elapsed().as_millis();
        let _ = self.engine.try_docker(args);
        let ended = self.begun.elapsed().as_millis();
        let line = format!("{begun} to {ended} ms: {}", args.join(" "));
        self.log.lock().expect("never poisoned").push(line);
    }

    /// Creates a container without ports, which takes the lowest free address when it starts.
    fn taker(&mut self, network: &str) -> String {
        self.takers += 1;
        let name = format!("taker{}", self.takers);
        self.docker(&[
            "create",
            "--stop-signal=KILL",
            "--name",
            &name,
            "--hostname",
            &name,
            "--network",
            network,
            "lab",
            "tcp:80",
        ]);
        name
    }

    /// `end` takes the container `p` off its network, and another container starts there as soon as
    /// the address is free. Docker may announce the end much later.
    fn take_address(&mut self, p: &str, end: &[&str], again: &[&str]) {
        let taker = self.taker("n0");
        let this = &*self;
        std::thread::scope(|scope| {
            scope.spawn(|| this.docker(end));
            scope.spawn(|| {
                this.until_left(p);
                this.docker(&["start", &taker]);
            });
        });
        self.docker(again);
        self.docker(&["rm", "-f", &taker]);
    }

    /// Waits until the network `n0` no longer shows this container. The wait is bounded, because
    /// the container may never have been there.
    fn until_left(&self, p: &str) {
        let names = [
            "network",
            "inspect",
            "-f",
            "{{range .Containers}}{{.Name}} {{end}}",
            "n0",
        ];
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            let said = String::from_utf8_lossy(&self.engine.try_docker(&names).stdout).into_owned();
            if !said.split_whitespace().any(|name| name == p) {
                return;
            }
        }
    }

    fn step(&mut self) {
        let p = format!("p{}", self.draw.below(u64::from(PORTS)));
        let n = format!("n{}", self.draw.below(u64::from(NETWORKS)));
        match self.draw.below(20) {
            0..13 => self.take_address(&p, &["kill", &p], &["start", &p]),
            13 => self.take_address(&p, &["stop", &p], &["start", &p]),
            14 => self.take_address(
                &p,
                &["network", "disconnect", "n0", &p],
                &["network", "connect", "n0", &p],
            ),
            15 => self.docker(&["restart", &p]),
            16 => {
                self.docker(&["network", "disconnect", &n, &p]);
                self.docker(&["network", "connect", &n, &p]);
            }
            17 => {
                self.docker(&["pause", &p]);
                self.docker(&["unpause", &p]);
            }
            18 => {
                let subnet = "fdfd:5898:4917:ff::/64";
                self.docker(&["network", "create", "--ipv6", "--subnet", subnet, "passing"]);
                let taker = self.taker("passing");
                self.docker(&["start", &taker]);
                self.docker(&["network", "connect", "n0", &taker]);
                self.docker(&["rm", "-f", &taker]);
                self.docker(&["network", "rm", "passing"]);
            }
            // This step takes half a minute.
            _ if seconds() > LONG => {
                let published = (0..PORTS).map(|p| format!("p{p}"));
                let others = (0..OTHERS).map(|o| format!("other{o}"));
                let all: Vec<String> = published.chain(others).collect();
                let all = all.iter().map(String::as_str);
                self.docker(&["restart"].into_iter().chain(all).collect::<Vec<_>>());
            }
            _ => self.docker(&["restart", &p]),
        }
    }
}

/// Sends requests during `work`, and returns the answers.
fn while_asking(lab: &Lab, begun: Instant, work: impl FnOnce()) -> Seen {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        let ask = |p| move || lab.client().enter(|| ask_until(done, p, begun));
        let clients: Vec<_> = (0..PORTS).map(|p| scope.spawn(ask(p))).collect();
        let end = End(done);
        work();
        drop(end);
        let mut all = Seen::default();
        for client in clients {
            all.add(&client.join().expect("a client"));
        }
        all
    })
}

/// Ends the requests even if the work fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn report(what: &str, seen: &Seen, churn: &Churn<'_>) {
    println!(
        "{what}: Engine {}, {}: {} answers, {} wrong, the longest for {} ms",
        release::in_use().version(),
        backend::in_use().name(),
        seen.answers,
        seen.wrong,
        seen.longest.as_millis()
    );
    if seen.wrong > 0 {
        println!("{:#?}", seen.first);
        println!("{}", churn.log.lock().expect("never poisoned").join("\n"));
    }
}

fn seconds() -> Duration {
    Duration::from_secs(number("DOCKER_NAT66_LAB_CHURN", 30))
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn no_port_ever_leads_to_another_container() {
    let lab = Lab::up("owners");
    let mut churn = Churn::new(Engine::up(&lab, &["--userland-proxy=false"]), 1);
    let mut daemon = Daemon::start_by(&lab, &PRIORITY, &ARGS);
    daemon.says("ready");
    let seen = while_asking(&lab, churn.begun, || {
        while churn.begun.elapsed() < seconds() {
            churn.step();
        }
    });
    report("churn", &seen, &churn);
    assert!(seen.answers > 1000, "{seen:?}");
    assert_eq!(seen.wrong, 0);
    daemon.leaves();
}

/// The daemon's clock is an hour ahead, so that it sees every event of the Engine as an hour old,
/// as after a step of the clock.
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn the_clock_set_back_by_an_hour_changes_nothing() {
    let lab = Lab::up("owners_clock");
    let mut churn = Churn::new(Engine::up(&lab, &["--userland-proxy=false"]), 2);
    // The daemon's timers keep the real time. faketime names its shared files by the process id and
    // leaves them behind after a kill; a later process with that id, in another lab, would fail.
    let clock = "mount -t tmpfs none /dev/shm || exit 1
        export FAKETIME_DONT_FAKE_MONOTONIC=1; exec faketime -m -f +1h \"$@\"";
    let own = ["unshare", "--mount", "sh", "-c", clock, "clock"];
    let wrapper = [&PRIORITY[..], &own].concat();
    let mut daemon = Daemon::start_by(&lab, &wrapper, &ARGS);
    daemon.says("ready");
    let_pass(Duration::from_secs(3));
    let seen = while_asking(&lab, churn.begun, || {
        while churn.begun.elapsed() < seconds() / 2 {
            churn.step();
        }
    });
    report("clock set back", &seen, &churn);
    assert_eq!(seen.wrong, 0);
    drop(daemon);
}

/// A forward from before the kill may lead to another container until the daemon is back and knows
/// which container has which address: a moment after it reports that it is ready.
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_daemon_that_was_killed_leads_nobody_astray_once_it_is_ready() {
    let lab = Lab::up("owners_kills");
    let mut churn = Churn::new(Engine::up(&lab, &["--userland-proxy=false"]), 3);
    let done = AtomicBool::new(false);
    let (seen, ready) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut ready = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let mut daemon = Daemon::start_by(&lab, &PRIORITY, &ARGS);
                daemon.says("ready");
                let since = Instant::now() + LISTED;
                let_pass(Duration::from_millis(700));
                ready.push(since..Instant::now());
                daemon.sigkill();
            }
            ready
        });
        let end = End(&done);
        let seen = while_asking(&lab, churn.begun, || {
            while churn.begun.elapsed() < seconds() / 2 {
                churn.step();
            }
        });
        drop(end);
        (seen, killer.join().expect("the killer"))
    });
    report(&format!("{} kills", ready.len()), &seen, &churn);
    assert!(ready.len() > 3, "{} kills", ready.len());
    let astray = |asked: &&Instant| ready.iter().any(|time| time.contains(*asked));
    assert_eq!(seen.asked.iter().filter(astray).count(), 0);
}
