//! Who may name what: crates behind their walls, one file that starts processes, and the pure modules.

use super::code::paths;
use super::{has_word, none, sources};

/// A crate, and the beginnings of the paths that may name it.
const WALLS: [(&str, &[&str]); 7] = [
    ("bollard", &["src/docker/engine_api", "src/docker/event.rs"]),
    ("sled", &["src/journal/store.rs", "src/journal/store/"]),
    ("bincode", &["src/journal/codec.rs", "src/journal/codec/"]),
    ("actix", &["src/actors/", "src/daemon.rs", "src/daemon/"]),
    ("actix_rt", &["src/actors/", "src/daemon.rs", "src/daemon/"]),
    ("clap", &["src/cli/"]),
    ("procfs", &["src/metrics/process.rs"]),
];

/// The one file that starts processes.
const STARTER: &str = "src/backend/ip6tables/exec.rs";

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
const PURE: [(&str, &str); 10] = [
    ("src/model/", "model"),
    ("src/mapper/", "mapper"),
    ("src/docker_nat/audit", "docker_nat::audit"),
    ("src/docker_nat/gate", "docker_nat::gate"),
    ("src/docker_nat/observation", "docker_nat::observation"),
    ("src/docker_nat/since", "docker_nat::since"),
    ("src/backend/compile.rs", "backend::compile"),
    ("src/backend/kind.rs", "backend::kind"),
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
