//! Daemons killed at moments drawn by lot, each the successor of the one killed before: while
//! starting, recovering, working and leaving, with and without handing over, while containers
//! come and go and others put old tables back. Each that lives to be ready is compared with what a
//! daemon that was never killed has for the same containers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use docker_nat66::control::row::Row;
use docker_nat66::control::status::DaemonState;
use rustix::process::Signal;

use crate::support::daemon::{Daemon, End, keeps};
use crate::support::draw::Draw;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::process::tools_but_of;
use crate::support::scene::{self, Scene};
use crate::support::score::Score;

/// What can be published, by one container at a time: protocol, local address, port.
const PORTS: [(&str, &str, u16); 6] = [
    ("tcp", "", 8080),
    ("tcp", "", 8081),
    ("tcp", "", 8082),
    ("udp", "", 8080),
    ("tcp", "2001:db8::1", 8083),
    ("udp", "2001:db8::1", 8083),
];

/// As many addresses that containers can have: the last part, from 2 on.
const ADDRESSES: u16 = 6;

/// How long a start takes at first, in microseconds; then what the last one took counts.
const START: u64 = 80_000;

/// Within this, in microseconds, a change of Docker's has come to the kernel and the journal.
const WORK: u64 = 40_000;

/// Within this, in microseconds, a daemon has left.
const LEAVE: u64 = 80_000;

/// What others do to the tables: they put back what they read some time ago, ours too. Our own
/// table they can only replace when its owner is dead; nft does not load the flags that it lists.
const REWRITE: &str = "ip6tables-save >$0.now; \
    nft list table ip6 docker_nat66 | sed '2{/flags/d;}' >$0.table.now; \
    ip6tables-restore <$0; nft delete table ip6 docker_nat66 && nft -f $0.table; \
    mv $0.now $0; mv $0.table.now $0.table";

/// Where in its life a daemon is killed.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Starting,
    Working,
    Leaving,
}

/// Which of [`PORTS`] leads to which address.
type Open = BTreeSet<(usize, u16)>;

/// What the Engine runs.
struct World {
    engine: FakeEngine,
    /// By address: the container that has it, and what it publishes.
    running: BTreeMap<u16, (FakeContainer, Vec<usize>)>,
    /// No id comes twice.
    started: u16,
}

impl World {
    fn new() -> Self {
        Self {
            engine: FakeEngine::start(),
            running: BTreeMap::new(),
            started: 0,
        }
    }

    /// Starts a container, with its events or without.
    fn start(&mut self, address: u16, ports: Vec<usize>, announced: bool) {
        self.started += 1;
        let mut container = FakeContainer::new(address, &format!("c{}", self.started));
        container.id = format!("{:064x}", 0x1000 + u32::from(self.started));
        for port in &ports {
            let (proto, asked, number) = PORTS[*port];
            let shown: &[&str] = if asked.is_empty() {
                &["0.0.0.0", "::"]
            } else {
                &[asked]
            };
            // Each has its own port inside: the fake Engine writes down one binding for each.
            let inside = 80 + u16::try_from(*port).expect("small");
            container = container.bind(asked, shown, number, inside);
            container.ports.last_mut().expect("one").proto = proto.to_owned();
        }
        match announced {
            true => self.engine.run(container.clone()),
            false => self.engine.put(container.clone()),
        }
        self.running.insert(address, (container, ports));
    }

    /// Ends a container, with its events or without.
    fn end(&mut self, address: u16, announced: bool) -> Vec<usize> {
        let (container, ports) = self.running.remove(&address).expect("it runs");
        match announced {
            true => self.engine.die(&container.id),
            false => self.engine.remove(&container.id),
        }
        ports
    }

    fn open(&self) -> Open {
        let all = self.running.iter();
        all.flat_map(|(address, (_, ports))| ports.iter().map(|port| (*port, *address)))
            .collect()
    }

    /// Something that Docker does, drawn by lot.
    fn happens(&mut self, draw: &mut Draw, daemon: &Daemon<'_>) {
        let announced = draw.below(6) > 0;
        let there: Vec<u16> = self.running.keys().copied().collect();
        let free: Vec<u16> = (2..2 + ADDRESSES).filter(|n| !there.contains(n)).collect();
        let mut one_of = |all: &[u16]| {
            let at = usize::try_from(draw.below(all.len().max(1) as u64)).expect("small");
            all.get(at).copied()
        };
        let (old, new) = (one_of(&there), one_of(&free));
        match (draw.below(10), old, new) {
            (0..4, _, Some(new)) => {
                let taken: BTreeSet<usize> = self.open().into_iter().map(|(p, _)| p).collect();
                let left = (0..PORTS.len()).filter(|port| !taken.contains(port));
                let ports = left.filter(|_| draw.below(3) == 0).collect();
                self.start(new, ports, announced);
            }
            (4..6, Some(old), _) => drop(self.end(old, announced)),
            // To another address, and to another container at the same.
            (6, Some(old), Some(new)) => {
                let ports = self.end(old, announced);
                self.start(new, ports, announced);
            }
            (7, Some(old), _) => {
                let ports = self.end(old, announced);
                self.start(old, ports, announced);
            }
            (8, ..) => self.engine.drop_streams(),
            // Before its first lines it would end by it, as by any signal.
            _ if daemon.heeds_hangup() => daemon.signal(Signal::HUP),
            _ => {}
        }
    }

    /// The daemon says that it has done what Docker wants, each for the right container.
    fn is_served(&self, rows: &[Row]) -> bool {
        let mut wanted: BTreeSet<_> = BTreeSet::new();
        for (address, (container, ports)) in &self.running {
            for port in ports {
                let (proto, host, number) = PORTS[*port];
                let host: Option<Ipv6Addr> = host.parse().ok();
                let key = (proto.to_owned(), host, number);
                wanted.insert((key, addr(*address), container.id.clone()));
            }
        }
        let forwards = rows.iter().filter_map(|row| {
            let key = (row.proto.clone()?, row.host_addr, row.host_port?);
            let id = row.container_id.clone().unwrap_or_default();
            Some((key, row.container_addr?, id))
        });
        rows.iter().all(|row| row.state == "applied") && forwards.collect::<BTreeSet<_>>() == wanted
    }
}

fn addr(number: u16) -> Ipv6Addr {
    let container = FakeContainer::new(number, "");
    container.address.expect("an address")
}

/// What a daemon that is never killed has in the kernel.
struct Reference {
    /// Whatever runs.
    always: Vec<String>,
    /// For each port and address.
    forwards: BTreeMap<(usize, u16), Vec<String>>,
}

impl Reference {
    fn learn(scene: &Scene) -> Self {
        let mut world = World::new();
        let mut daemon = Daemon::start(scene, &world.engine, &[]);
        assert!(is_settled(&mut daemon, &world));
        let always = scene.ours();
        let mut forwards: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for turn in 0..PORTS.len() {
            for at in 0..ADDRESSES {
                let port = (usize::from(at) + turn) % PORTS.len();
                world.start(2 + at, vec![port], true);
            }
            assert!(is_settled(&mut daemon, &world));
            let mut ours = scene.ours();
            ours.retain(|line| !always.contains(line));
            for (port, address) in world.open() {
                let end = format!("{}", addr(address));
                let leads_there = |line: &&String| line.contains(&end);
                let its: Vec<String> = ours.iter().filter(leads_there).cloned().collect();
                assert!(!its.is_empty(), "{ours:?}");
                forwards.insert((port, address), its);
            }
            for address in 2..2 + ADDRESSES {
                world.end(address, true);
            }
            assert!(is_settled(&mut daemon, &world));
            assert_eq!(scene.ours(), always);
        }
        daemon.leaves();
        Self { always, forwards }
    }

    fn of(&self, open: &Open) -> Vec<String> {
        let forwards = open.iter().flat_map(|pair| &self.forwards[pair]);
        let mut all: Vec<String> = forwards.chain(&self.always).cloned().collect();
        all.sort();
        all
    }
}

/// Waits until the daemon has nothing to do; `false` if it was killed before.
fn is_settled(daemon: &mut Daemon<'_>, world: &World) -> bool {
    let what = format!("settled with {:?}", world.running);
    daemon.shows(&what, |status, rows| {
        status.state == DaemonState::Running && world.is_served(rows)
    })
}

/// Kills `kills` daemons.
pub(crate) fn live_and_die(scene: &Scene, seed: u64, kills: u64, score: &mut Score) {
    let reference = Reference::learn(scene);
    let mut lives = Lives {
        scene,
        reference,
        draw: Draw(seed),
        world: World::new(),
        start: START,
        score,
    };
    let mut killed = false;
    while lives.score.tries() + u64::from(killed) < kills {
        let fate = match lives.draw.below(10) {
            0..5 => Fate::Starting,
            5..8 => Fate::Working,
            _ => Fate::Leaving,
        };
        killed = lives.one(fate, killed);
    }
    // The last one takes everything with it.
    let mut daemon = lives.daemon(false);
    lives.is_as_it_should_be(&mut daemon, killed);
    daemon.leaves();
    lives.same("left behind", &[], &scene.traces());
    lives.same("tools", &[], &tools_but_of(None));
}

struct Lives<'t> {
    scene: &'t Scene,
    reference: Reference,
    draw: Draw,
    world: World,
    /// How long the last start took that was waited for, in microseconds.
    start: u64,
    score: &'t mut Score,
}

impl<'t> Lives<'t> {
    fn daemon(&self, keep: bool) -> Daemon<'t> {
        Daemon::start(self.scene, &self.world.engine, keeps(keep))
    }

    /// One life after another, which was `killed` or has left; whether this one was killed.
    fn one(&mut self, fate: Fate, killed: bool) -> bool {
        let keep = self.draw.below(3) == 0;
        let mut daemon = self.daemon(keep);
        match fate {
            Fate::Starting => {
                if killed {
                    self.score.tried();
                }
            }
            Fate::Working | Fate::Leaving => self.is_as_it_should_be(&mut daemon, killed),
        }
        let within = match fate {
            Fate::Starting => self.start * 5 / 4,
            Fate::Working => WORK,
            Fate::Leaving => LEAVE,
        };
        let until = Instant::now() + Duration::from_micros(self.draw.below(within));
        let calm = matches!(fate, Fate::Leaving) && self.draw.below(2) == 0;
        let mut others = (!calm && self.draw.below(5) == 0).then(|| self.rewrite());
        if matches!(fate, Fate::Leaving) {
            daemon.signal(Signal::TERM);
        }
        for _ in 0..if calm { 0 } else { self.draw.below(4) } {
            self.pass(until);
            self.world.happens(&mut self.draw, &daemon);
        }
        pass_until(until);
        let end = daemon.kill();
        if let Some(others) = &mut others {
            others.wait().expect("wait");
        }
        assert!(
            end == End::Killed || matches!(fate, Fate::Leaving),
            "it left: {}",
            self.scene.log()
        );
        if end == End::Left && calm {
            if keep {
                let stays = self.reference.of(&self.world.open());
                self.same("handed over", &stays, &self.scene.ours());
            } else {
                self.same("left behind", &[], &self.scene.traces());
            }
        }
        end == End::Killed
    }

    /// Kernel, journal and desired, foreign rules, and that nobody works any more but the daemon.
    #[track_caller]
    fn is_as_it_should_be(&mut self, daemon: &mut Daemon<'_>, killed: bool) {
        let begun = Instant::now();
        let settled = is_settled(daemon, &self.world);
        assert!(settled, "{}", self.scene.log());
        let took = begun.elapsed();
        self.start = u64::try_from(took.as_micros()).expect("it is short");
        if killed {
            self.score.recovered(took);
        }
        let ours = self.scene.ours();
        let wanted = self.reference.of(&self.world.open());
        self.same("kernel", &wanted, &ours);
        self.same("journal", &scene::ids(&wanted), &daemon.journal());
        self.same("tools", &[], &tools_but_of(Some(daemon.id())));
        let what = self.context();
        self.scene.spares_others(self.score, &what);
        // What is in the log from now on has come after all was well.
        self.scene.forget_log();
    }

    #[track_caller]
    fn same(&mut self, which: &str, should: &[String], is: &[String]) {
        let what = format!("{which} {}", self.context());
        self.scene.has(self.score, &what, should, is);
    }

    fn context(&self) -> String {
        format!("after {} kills", self.score.tries())
    }

    fn rewrite(&self) -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", REWRITE]).arg(self.scene.listing());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().expect("a shell")
    }

    /// Lets a part of the time pass that is left until then.
    fn pass(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now()).as_micros();
        let left = u64::try_from(left).expect("it is short");
        let part = Duration::from_micros(self.draw.below(left / 2 + 1));
        pass_until(Instant::now() + part);
    }
}

/// The moment is what is tested.
fn pass_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}
