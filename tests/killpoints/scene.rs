//! Where the daemon lives and dies: the kernel's rules, foreign ones among them, and the state
//! directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use docker_nat66::backend;
use docker_nat66::backend::ip6tables::{Ip6tables, Settings};
use docker_nat66::backend::nftables::{self, Nftables};
use docker_nat66::control::client;
use docker_nat66::control::protocol::{Answer, Request};
use docker_nat66::control::status::Status;

/// Which backend the daemon uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Ip6tables,
    Nftables,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ip6tables => "ip6tables",
            Self::Nftables => "nftables",
        }
    }
}

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_docker-nat66");

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

/// Rules of somebody else, like ours and unlike them.
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
    /// What executes daemons.
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

    /// What starts a daemon here that follows the Engine at `socket`.
    pub(crate) fn daemon(&self, socket: &Path) -> Command {
        let words: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        self.daemon_behind(&words, socket)
    }

    /// The same, executed by `wrapper`. Its environment names the backend and nothing else, so that
    /// an argument may name another; what it says goes to the end of the log.
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

    /// What a daemon here says of itself.
    pub(crate) fn status(&self) -> Option<Status> {
        match client::ask(&self.control(), Request::Status) {
            Ok(Answer::Status(status)) => Some(*status),
            _ => None,
        }
    }

    /// Writes rubbish over the journal's database.
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

    /// Where a supervisor may listen.
    pub(crate) fn notify(&self) -> PathBuf {
        self.dir.path().join("notify.sock")
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Where somebody else who rewrites the tables keeps what was in them.
    pub(crate) fn listing(&self) -> PathBuf {
        self.dir.path().join("listing")
    }

    pub(crate) fn forget_log(&self) {
        // A daemon that lives appends to it.
        let log = fs::OpenOptions::new().write(true).open(self.log_path());
        log.and_then(|log| log.set_len(0)).expect("a log");
    }

    /// What the daemons have said since the log was last removed or emptied.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// How many steps of a daemon the log shows, one that numbers them ([`failpoint`]).
    ///
    /// [`failpoint`]: docker_nat66::sys::failpoint
    pub(crate) fn steps(&self) -> usize {
        self.log()
            .lines()
            .filter(|l| l.starts_with("step "))
            .count()
    }

    /// Every rule of ours in any backend, copies counted, sorted.
    pub(crate) fn ours(&self) -> Vec<String> {
        let tools = Ip6tables::detect(Settings::default()).expect("the tool works");
        let table = Nftables::left_over(nftables::Settings::default());
        let backends: [Box<dyn backend::Backend>; 2] = [Box::new(tools), Box::new(table)];
        let mut found = Vec::new();
        for mut backend in backends {
            let listed = backend.list().expect("a listing");
            found.extend(listed.into_iter().map(|seen| {
                let content = seen.rule.map(|rule| format!("{:?}", rule.spec));
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

    /// Everybody else's rules, without counters.
    pub(crate) fn foreign(&self) -> String {
        let all = all_rules();
        let theirs = all.lines().filter(|line| !names_us(line));
        theirs.collect::<Vec<_>>().join("\n")
    }

    /// Whatever bears our name, chains and tables too: nothing once the last daemon has left.
    pub(crate) fn traces(&self) -> Vec<String> {
        let all = all_rules();
        let ours = all.lines().filter(|line| names_us(line));
        ours.map(str::to_owned).collect()
    }

    pub(crate) fn foreign_before(&self) -> String {
        self.foreign.clone()
    }

    /// Tools that run in this network namespace.
    pub(crate) fn tools(&self) -> Vec<String> {
        tools(|_| true)
    }

    /// The same, without those of the daemon with this process id.
    pub(crate) fn tools_but_of(&self, daemon: u32) -> Vec<String> {
        let of_daemon = format!("PPid:\t{daemon}");
        tools(|process| {
            let status = fs::read_to_string(process.join("status")).unwrap_or_default();
            !status.lines().any(|line| line == of_daemon)
        })
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

fn tools(is: impl Fn(&Path) -> bool) -> Vec<String> {
    let link = |path: &Path| fs::read_link(path).unwrap_or_default();
    let network = link(Path::new("/proc/thread-self/ns/net"));
    let processes = fs::read_dir("/proc").expect("mounted").flatten();
    let here = processes.filter(|p| link(&p.path().join("ns/net")) == network);
    let exes = here.map(|p| (p.path(), link(&p.path().join("exe")).display().to_string()));
    exes.filter(|(process, exe)| exe.contains("xtables") && is(process))
        .map(|(_, exe)| exe)
        .collect()
}

/// The ids of what [`Scene::ours`] found, each once.
pub(crate) fn ids(ours: &[String]) -> Vec<String> {
    let ids = ours.iter().filter_map(|line| line.split(' ').next());
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    ids.dedup();
    ids
}

/// Runs a line of shell to success.
pub(crate) fn sh(line: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", line])
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}
