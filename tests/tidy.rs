//! The walls of the house: who may name what, how long a file may be, what may lie where.
//!
//! Only code counts: comments and the text of strings are blanked before anything is looked for.

#[path = "tidy/code.rs"]
mod code;

use std::fs;
use std::path::Path;
use std::process::Command;

use code::{code_of, paths, tokens};

/// Longest file, in lines.
const MAX_LINES: usize = 400;

/// What may stand at the top besides dot-files.
const TOP: [&str; 7] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "src",
    "tests",
];

/// A crate, and the beginnings of the paths that may name it.
const WALLS: [(&str, &[&str]); 6] = [
    ("bollard", &["src/docker/engine_api", "src/docker/event.rs"]),
    ("sled", &["src/journal/store.rs", "src/journal/store/"]),
    ("bincode", &["src/journal/codec.rs", "src/journal/codec/"]),
    ("actix", &["src/actors/", "src/daemon.rs"]),
    ("actix_rt", &["src/actors/", "src/daemon.rs"]),
    ("clap", &["src/cli/"]),
];

/// The one file that starts processes.
const STARTER: &str = "src/backend/ip6tables/process.rs";

/// What the pure modules may take from the standard library: values and no world.
const PURE_STD: [&str; 16] = [
    "borrow",
    "cmp",
    "collections",
    "convert",
    "error",
    "fmt",
    "hash",
    "iter",
    "mem",
    "net",
    "num",
    "ops",
    "slice",
    "str",
    "sync::Arc",
    "time",
];

/// Of `std::net`, what is a value.
const PURE_NET: [&str; 3] = ["IpAddr", "Ipv4Addr", "Ipv6Addr"];

/// The pure modules: the beginnings of their files' paths, and how they are named.
const PURE: [(&str, &str); 9] = [
    ("src/model/", "model"),
    ("src/mapper/", "mapper"),
    ("src/docker_nat/audit", "docker_nat::audit"),
    ("src/docker_nat/gate", "docker_nat::gate"),
    ("src/docker_nat/observation", "docker_nat::observation"),
    ("src/docker_nat/since", "docker_nat::since"),
    ("src/backend/compile.rs", "backend::compile"),
    (
        "src/backend/ip6tables/compile.rs",
        "backend::ip6tables::compile",
    ),
    (
        "src/backend/nftables/compile.rs",
        "backend::nftables::compile",
    ),
];

/// Words that a pure module does not use, whatever they come from.
const IMPURE: [&str; 9] = [
    "async",
    "await",
    "println",
    "eprintln",
    "print",
    "eprint",
    "Instant",
    "SystemTime",
    "unsafe",
];

/// Calls of `sleep` in tests, by file: pauses between two looks at a condition, and moments of
/// death that are themselves what is tested. Everything else waits for a condition.
const SLEEPS: &[(&str, usize)] = &[
    ("src/actors/port_mapper/tests.rs", 1),
    ("tests/docker.rs", 1),
    ("tests/docker/losses.rs", 1),
    ("tests/fake_engine/mod.rs", 1),
    ("tests/journal_torture.rs", 1),
    ("tests/kernel/script.rs", 1),
    ("tests/kernel/torture.rs", 1),
    ("tests/killpoints/by_lot.rs", 1),
    ("tests/killpoints/daemon.rs", 2),
    ("tests/lab/space.rs", 1),
    ("tests/lab/supervised.rs", 1),
    ("tests/lab/wait.rs", 2),
    ("tests/outside/daemon.rs", 3),
];

/// A file with Rust in it.
struct Source {
    /// Relative to the top, as git has it.
    path: String,
    text: String,
    /// The text without comments and without the content of strings; lines and columns stay.
    code: String,
}

impl Source {
    /// The part that is only compiled for tests: the whole of a file of tests, or what follows
    /// the attribute, for modules of tests stand at the end.
    fn tests(&self) -> &str {
        let name = self.path.trim_start_matches("src/");
        if self.path.starts_with("tests/") || name.contains("test") {
            return &self.code;
        }
        match self.code.find("#[cfg(test)]\nmod ") {
            Some(at) => &self.code[at..],
            None => "",
        }
    }

    fn without_tests(&self) -> &str {
        &self.code[..self.code.len() - self.tests().len()]
    }
}

fn git_files() -> Vec<String> {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "ls-files", "--cached"])
        .args(["--others", "--exclude-standard"])
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let there = |path: &&str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
    text.lines().filter(there).map(str::to_owned).collect()
}

fn sources(below: &[&str]) -> Vec<Source> {
    let of_interest = |p: &String| p.ends_with(".rs") && below.iter().any(|dir| p.starts_with(dir));
    let read = |path: String| {
        let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
        let text = fs::read_to_string(full).expect("reads");
        let code = code_of(&text);
        Source { path, text, code }
    };
    let found: Vec<Source> = git_files()
        .into_iter()
        .filter(of_interest)
        .map(read)
        .collect();
    assert!(!found.is_empty(), "nothing below {below:?}");
    found
}

fn has_word(code: &str, word: &str) -> bool {
    tokens(code).contains(&word)
}

fn has_macro(code: &str, name: &str) -> bool {
    tokens(code).windows(2).any(|pair| pair == [name, "!"])
}

#[track_caller]
fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn each_crate_is_named_only_behind_its_wall() {
    let mut found = Vec::new();
    for source in sources(&["src/"]) {
        for (name, homes) in WALLS {
            let at_home = homes.iter().any(|home| source.path.starts_with(home));
            if !at_home && has_word(&source.code, name) {
                found.push(format!("{} names {name}", source.path));
            }
        }
    }
    none(found);
}

#[test]
fn one_file_starts_processes() {
    let mut found = Vec::new();
    for source in sources(&["src/"]).iter().filter(|s| s.path != STARTER) {
        let starts = |path: &String| {
            [
                "process::Command",
                "process::*",
                "posix_spawn",
                "::execve",
                "::fork",
            ]
            .iter()
            .any(|way| path.contains(way))
        };
        let ways = paths(&source.code).into_iter().filter(starts);
        found.extend(ways.map(|way| format!("{} has {way}", source.path)));
    }
    none(found);
}

#[test]
fn pure_modules_know_nothing_of_the_world() {
    let mut found = Vec::new();
    for source in sources(&PURE.map(|(files, _)| files)) {
        for path in paths(source.without_tests()) {
            if !is_pure(&path) {
                found.push(format!("{} names {path}", source.path));
            }
        }
        for path in paths(source.tests()) {
            let is_allowed = ["proptest::", "prop::", "crate::backend::compile"]
                .iter()
                .any(|allowed| path.starts_with(allowed));
            if !is_pure(&path) && !is_allowed {
                found.push(format!("{} names {path} in its tests", source.path));
            }
        }
        let impure = IMPURE.iter().filter(|word| has_word(&source.code, word));
        found.extend(impure.map(|word| format!("{} uses {word}", source.path)));
    }
    none(found);
}

fn is_pure(path: &str) -> bool {
    let (root, rest) = path.split_once("::").unwrap_or((path, ""));
    match root {
        "std" => PURE_STD.iter().any(|module| rest.starts_with(module)) && is_pure(rest),
        "net" => PURE_NET.iter().any(|value| rest.starts_with(value)),
        // A length of time is a value, a moment is not.
        "time" => rest.starts_with("Duration"),
        "crate" => PURE.iter().any(|(_, module)| rest.starts_with(module)),
        // Other crates; what else comes is a type, a module of ours, or a name that a path
        // above brought in.
        "slog" | "tokio" | "futures_util" | "chrono" | "rustix" | "libc" | "serde" | "io"
        | "fs" | "env" | "thread" | "process" => false,
        _ => true,
    }
}

#[test]
fn one_module_opens_netlink_sockets() {
    let mut found = Vec::new();
    for source in sources(&["src/"]) {
        let names = paths(&source.code).into_iter();
        let netlink = names.filter(|path| path.contains("net::netlink"));
        if !source.path.starts_with("src/netlink/") {
            found.extend(netlink.map(|path| format!("{} names {path}", source.path)));
        }
    }
    none(found);
}

/// What is compiled for fuzzing lies with the fuzz targets; `src` only names the file.
#[test]
fn oracles_lie_with_their_fuzz_targets() {
    let mut found = Vec::new();
    for source in sources(&["src/"]) {
        let lines: Vec<&str> = source.text.lines().collect();
        for pair in lines.windows(2) {
            let is_oracle = pair[0].contains("cfg(any(test, fuzzing))");
            let is_elsewhere = pair[1].starts_with("#[path = \"../") || source.path == "src/lib.rs";
            if is_oracle && !is_elsewhere {
                found.push(format!("{}: {}", source.path, pair[1]));
            }
        }
    }
    none(found);
}

#[test]
fn no_file_is_too_long() {
    let long = |s: &Source| {
        let lines = s.text.lines().count();
        (lines > MAX_LINES).then(|| format!("{} has {lines} lines", s.path))
    };
    let all = sources(&["src/", "tests/", "benches/"]);
    none(all.iter().filter_map(long).collect());
}

#[test]
fn every_module_says_what_it_owns() {
    let silent = |s: &Source| !s.text.starts_with("//!");
    let all = sources(&["src/", "tests/", "benches/"]);
    none(
        all.iter()
            .filter(|s| silent(s))
            .map(|s| format!("{} has no //! header", s.path))
            .collect(),
    );
}

#[test]
fn nothing_is_left_undone() {
    let mut found = Vec::new();
    for source in sources(&["src/", "tests/", "benches/"]) {
        for name in ["todo", "unimplemented", "dbg"] {
            if has_macro(&source.code, name) {
                found.push(format!("{} has {name}!", source.path));
            }
        }
        let ignored = tokens(&source.code);
        if ignored.windows(3).any(|w| w == ["[", "ignore", "]"]) {
            found.push(format!("{} ignores a test without a reason", source.path));
        }
    }
    none(found);
}

#[test]
fn tests_sleep_only_while_they_wait() {
    let mut found = Vec::new();
    for source in sources(&["src/", "tests/"]) {
        let calls = tokens(source.tests())
            .windows(2)
            .filter(|pair| *pair == ["sleep", "("])
            .count();
        let allowed = SLEEPS.iter().find(|(path, _)| *path == source.path);
        if calls > allowed.map_or(0, |(_, count)| *count) {
            found.push(format!("{} sleeps {calls} times", source.path));
        }
    }
    none(found);
}

#[test]
fn the_top_holds_nothing_else() {
    let mut found: Vec<String> = git_files()
        .iter()
        .filter_map(|path| path.split('/').next())
        .filter(|name| !name.starts_with('.') && !TOP.contains(name))
        .map(str::to_owned)
        .collect();
    found.dedup();
    none(found);
}
