//! Where a daemon of the kernel tier lives: a host with an egress interface, rules of other
//! programs, the state directory, and the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use docker_nat66::backend;
use docker_nat66::backend::ip6tables::{Ip6tables, ToolSettings};
use docker_nat66::backend::nftables::{self, Nftables};
use docker_nat66::control::client;
use docker_nat66::control::protocol::{Answer, Request};
use docker_nat66::control::status::Status;

use super::PROGRAM;
use super::backend::Backend;
use super::score::Score;
use super::shell::sh;

/// Executes a program with the capabilities that the unit leaves it.
const CONFINED: [&str; 3] = [
    "setpriv",
    "--bounding-set=-all,+net_admin,+net_raw",
    "--inh-caps=-all",
];

/// A host that forwards, its egress interface, and the bridge of the fake Engine's network.
const HOST: &str = "ip link set lo up
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip link del eth0 2>/dev/null || :
ip link add eth0 type veth peer name other
ip addr add 2001:db8::1/64 dev eth0 nodad
ip link set eth0 up
ip link add br-698eb0372114 type bridge 2>/dev/null || :";

/// Rules of another program, some of them much like ours.
const FOREIGN: &str = "ip6tables-restore <<'RULES'
*nat
:THEIRS - [0:0]
-A PREROUTING -i lo -p tcp --dport 8080 -j DNAT --to-destination [fdfd:5898:4917:1::f]:80
-A POSTROUTING -o lo -s fdfd:5898:4917:1::/64 -j MASQUERADE
COMMIT
*filter
-A FORWARD -s 2001:db8:ffff::/48 -j DROP
COMMIT
RULES
nft add table ip6 theirs";

pub(crate) struct Scene {
    backend: Backend,
    /// The command that executes daemons.
    wrapper: Vec<String>,
    dir: tempfile::TempDir,
    foreign: String,
}

impl Scene {
    pub(crate) fn new(backend: Backend) -> Self {
        sh(HOST);
        sh(FOREIGN);
        let mut scene = Self {
            backend,
            wrapper: Vec::new(),
            dir: tempfile::tempdir().expect("a directory"),
            foreign: String::new(),
        };
        scene.foreign = scene.foreign();
        scene
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    /// From now on daemons run with the capabilities that the unit leaves them, so that the
    /// permissions of files hold for them.
    pub(crate) fn confine(self) -> Self {
        self.behind(CONFINED.map(str::to_owned).to_vec())
    }

    /// From now on daemons are executed by `wrapper`.
    pub(crate) fn behind(mut self, wrapper: Vec<String>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// A command that starts a daemon here, which follows the Engine at `socket`.
    pub(crate) fn daemon(&self, socket: &Path) -> Command {
        let words: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        self.daemon_behind(&words, socket)
    }

    /// The same, executed by `wrapper`. Its environment names the backend and nothing else, so that
    /// an argument can override it; its output is appended to the log.
    pub(crate) fn daemon_behind(&self, wrapper: &[&str], socket: &Path) -> Command {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.expect("a log");
        let mut words = wrapper.iter().chain(&[PROGRAM]);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .args(["run", "--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"])
            .args(["--hairpin", "off"])
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--control")
            .arg(self.control())
            .arg("--docker-host")
            .arg(format!("unix://{}", socket.display()))
            .env_clear()
            .env("DOCKER_NAT66_BACKEND", self.backend.name())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("another descriptor"))
            .stderr(log);
        command
    }

    /// The status of the daemon that runs here.
    pub(crate) fn status(&self) -> Option<Status> {
        match client::ask(&self.control(), Request::Status) {
            Ok(Answer::Status(status)) => Some(*status),
            _ => None,
        }
    }

    /// Overwrites the journal's database with garbage.
    pub(crate) fn damage_journal(&self) {
        let db = self.state_dir().join("journal/db");
        let length = fs::metadata(&db).expect("a database").len();
        let length = usize::try_from(length).expect("it is small");
        fs::write(&db, vec![0xa5; length]).expect("writes");
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// A socket on which a supervisor can listen.
    pub(crate) fn notify(&self) -> PathBuf {
        self.dir.path().join("notify.sock")
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Where another program that rewrites the tables keeps a copy of them.
    pub(crate) fn listing(&self) -> PathBuf {
        self.dir.path().join("listing")
    }

    pub(crate) fn forget_log(&self) {
        // A running daemon has it open and appends to it.
        let log = fs::OpenOptions::new().write(true).open(self.log_path());
        log.and_then(|log| log.set_len(0)).expect("a log");
    }

    /// What the daemons have logged since the log was last removed or emptied.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// How many steps the log shows, of a daemon that numbers them ([`failpoint`]).
    ///
    /// [`failpoint`]: docker_nat66::sys::failpoint
    pub(crate) fn steps(&self) -> usize {
        self.log()
            .lines()
            .filter(|l| l.starts_with("step "))
            .count()
    }

    /// Every rule of ours in either backend, sorted, with copies.
    pub(crate) fn ours(&self) -> Vec<String> {
        let tools = Ip6tables::detect(ToolSettings::default()).expect("the tool works");
        let table = Nftables::left_over(nftables::TableSettings::default());
        let backends: [Box<dyn backend::Backend>; 2] = [Box::new(tools), Box::new(table)];
        let mut found = Vec::new();
        for mut backend in backends {
            let listed = backend.list().expect("a listing");
            found.extend(listed.into_iter().map(|seen| {
                let content = seen.rule.map(|rule| rule.text.to_string());
                format!(
                    "{} {}",
                    seen.id,
                    content.unwrap_or_else(|| "altered".to_owned())
                )
            }));
        }
        found.sort();
        found
    }

    /// The rules of other programs, without counters.
    pub(crate) fn foreign(&self) -> String {
        let all = all_rules();
        let theirs = all.lines().filter(|line| !names_us(line));
        theirs.collect::<Vec<_>>().join("\n")
    }

    /// All lines that bear our name, chains and tables too. None are left once the last daemon has left.
    pub(crate) fn traces(&self) -> Vec<String> {
        let all = all_rules();
        let ours = all.lines().filter(|line| names_us(line));
        ours.map(str::to_owned).collect()
    }

    /// What `which` names (the kernel, the journal) holds what it should; differences go into the score.
    #[track_caller]
    pub(crate) fn has(&self, score: &mut Score, which: &str, should: &[String], is: &[String]) {
        assert!(
            score.compare(should, is),
            "{which}: {is:#?} should be {should:#?}, {:?}: {}",
            self.backend,
            self.log()
        );
    }

    /// The rules of other programs are as they were when the scene was made.
    #[track_caller]
    pub(crate) fn spares_others(&self, score: &mut Score, what: &str) {
        let foreign = self.foreign();
        assert!(
            score.foreign(&self.foreign, &foreign),
            "{what}: foreign: {foreign}: {}",
            self.log()
        );
    }
}

fn all_rules() -> String {
    let all = sh("ip6tables-save; nft list tables ip6; nft list table ip6 theirs");
    let lines = all.lines().filter(|line| !line.starts_with('#'));
    let bare = lines.map(|line| line.split(" [").next().unwrap_or(line));
    bare.collect::<Vec<_>>().join("\n")
}

fn names_us(line: &str) -> bool {
    let line = line.to_lowercase();
    line.contains("docker-nat66") || line.contains("docker_nat66")
}

/// The ids in a list from [`Scene::ours`], each once.
pub(crate) fn ids(ours: &[String]) -> Vec<String> {
    let ids = ours.iter().filter_map(|line| line.split(' ').next());
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    ids.dedup();
    ids
}
