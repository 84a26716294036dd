//! `check` on hosts that lack something: each id is brought to fail or warn and, by the remedy as it
//! was printed, back to ok.

mod docker;
mod host;
mod quiet;
mod rules;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::PROGRAM;
use crate::support::shell::sh;
use crate::support::wait::{SOON, eventually, same};

/// A host that has everything, in a network namespace.
const HOST: &str = "ip link set lo up
ip link add eth0 type veth peer name other
ip link set other up
sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.keep_addr_on_down=1
ip addr add 2001:db8:1::1/64 dev eth0 nodad
ip link set eth0 up
sysctl -qw net.ipv6.conf.all.forwarding=1
ip -6 route add default via 2001:db8:1::2 dev eth0";

/// The prefix of containers there.
const PREFIX: &str = "fd11:2233:4455:1::/64";

/// Such a host, with a state directory.
pub(super) struct Checked {
    dir: tempfile::TempDir,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) id: String,
    pub(super) result: String,
    pub(super) found: String,
    pub(super) remedy: Option<String>,
}

impl Checked {
    pub(super) fn new() -> Self {
        sh(HOST);
        Self {
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// The command, with further arguments, executed by `wrapper`.
    pub(super) fn command(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let mut words = wrapper.iter().chain(&[PROGRAM]);
        let first = words.next().expect("a program");
        let mut command = Command::new(first);
        command.args(words).arg0(first).arg("check");
        let is_given = |option: &str| args.contains(&option);
        for (option, value) in [
            ("--dev", "eth0".to_owned()),
            ("--prefix", PREFIX.to_owned()),
            ("--state-dir", self.state_dir().display().to_string()),
            (
                "--docker-host",
                format!("unix://{}", self.socket().display()),
            ),
        ] {
            if !is_given(option) {
                command.args([option, &value]);
            }
        }
        command.args(args);
        command
    }

    pub(super) fn output(&self, wrapper: &[&str], args: &[&str]) -> Output {
        self.command(wrapper, args).output().expect("runs")
    }

    /// The lines of the report; its exit code and its counts agree with them.
    #[track_caller]
    pub(super) fn lines(&self, wrapper: &[&str], args: &[&str]) -> Vec<Line> {
        let output = self.output(wrapper, &[args, &["--json"]].concat());
        report(&output)
    }

    /// What is not ok of these lines.
    #[track_caller]
    pub(super) fn bad(&self, id: &str, args: &[&str]) -> Vec<Line> {
        let mut lines = self.lines(&[], args);
        lines.retain(|line| line.id == id);
        assert!(!lines.is_empty(), "no line {id}");
        lines.retain(|line| line.result != "ok");
        lines
    }

    /// Waits until all lines of this id are ok: the kernel takes a moment to use a new address.
    #[track_caller]
    pub(super) fn is_ok(&self, id: &str, args: &[&str]) {
        eventually(SOON, &format!("{id} to be ok"), || {
            same(self.bad(id, args), Vec::new())
        });
    }

    /// `harm` makes one line of this id the `result`; its remedy, as printed, makes it ok. `shim`
    /// defines in shell what is not to be had here, and `fill` replaces the words in capitals that
    /// only a person knows.
    #[track_caller]
    pub(super) fn mended(&self, case: &Case) {
        let Case {
            id,
            args,
            harm,
            result,
            says,
            shim,
            fill,
        } = *case;
        self.is_ok(id, args);
        sh(harm);
        let bad = self.bad(id, args);
        let [line] = &bad[..] else {
            panic!("after {harm}: {bad:#?}");
        };
        assert_eq!(line.result, result, "after {harm}: {line:?}");
        assert!(line.found.contains(says), "after {harm}: {line:?}");
        let printed = self.output(&[], args);
        let remedy = line.remedy.clone().expect("a remedy");
        let screen = String::from_utf8_lossy(&printed.stdout).into_owned();
        let shown = screen.lines().filter_map(|line| {
            let (word, rest) = line.trim_start().split_once("  ")?;
            (word == "do").then(|| rest.trim_start())
        });
        let shown = shown.collect::<Vec<_>>();
        assert!(shown.contains(&remedy.as_str()), "{remedy}: {screen}");
        let mut command = remedy.clone();
        for (word, value) in fill {
            command = command.replace(word, value);
        }
        eprintln!("{result} {id}: {}\n  do {remedy}", line.found);
        sh(&format!("{shim}\n{command}"));
        self.is_ok(id, args);
    }
}

/// One way to harm a host.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) id: &'static str,
    pub(super) args: &'static [&'static str],
    pub(super) harm: &'static str,
    pub(super) result: &'static str,
    /// Words of the line.
    pub(super) says: &'static str,
    pub(super) shim: &'static str,
    pub(super) fill: &'static [(&'static str, &'static str)],
}

impl Case {
    pub(super) const fn new(
        id: &'static str,
        harm: &'static str,
        result: &'static str,
        says: &'static str,
    ) -> Self {
        Self {
            id,
            args: &[],
            harm,
            result,
            says,
            shim: "",
            fill: &[],
        }
    }

    pub(super) const fn with(self, args: &'static [&'static str]) -> Self {
        Self { args, ..self }
    }

    pub(super) const fn shim(self, shim: &'static str) -> Self {
        Self { shim, ..self }
    }

    pub(super) const fn fill(self, fill: &'static [(&'static str, &'static str)]) -> Self {
        Self { fill, ..self }
    }
}

/// Reads a report in JSON; its exit code and its counts agree with its lines.
#[track_caller]
pub(super) fn report(output: &Output) -> Vec<Line> {
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let checks = report["checks"].as_array().expect("a list");
    let lines: Vec<Line> = checks
        .iter()
        .map(|line| Line {
            id: text(&line["id"]).expect("an id"),
            result: text(&line["result"]).expect("a result"),
            found: text(&line["found"]).expect("words"),
            remedy: text(&line["do"]),
        })
        .collect();
    assert_eq!(report["v"], 1);
    for (count, result) in [
        ("ok", "ok"),
        ("warn", "warn"),
        ("fail", "fail"),
        ("skipped", "skip"),
    ] {
        let found = lines.iter().filter(|line| line.result == result).count();
        assert_eq!(report[count], found, "{report}");
    }
    let code = i32::from(report["fail"] != 0);
    assert_eq!(output.status.code(), Some(code), "{report}");
    lines
}
