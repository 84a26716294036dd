//! The walls of the house: who may name what ([`walls`]), that no files use each other in a circle
//! ([`graph`]), that a name means one thing ([`names`]), how long a file may be, what may lie where.
//!
//! Only code counts: comments and the text of strings are blanked before anything is looked for.

mod code;
mod graph;
mod known;
mod names;
mod walls;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use self::code::{code_of, production, tokens};

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

/// Calls of `sleep` in tests, by file: pauses between two looks at a condition, and moments of death
/// or of churn that are themselves what is tested. Everything else waits for a condition.
const SLEEPS: &[(&str, usize)] = &[
    ("src/actors/port_mapper/tests.rs", 1),
    ("tests/kernel/churn.rs", 1),
    ("tests/kernel/killpoints/by_lot.rs", 1),
    ("tests/kernel/torture.rs", 1),
    ("tests/lab/supervised.rs", 1),
    ("tests/offline/docker/losses.rs", 1),
    ("tests/offline/docker/mod.rs", 1),
    ("tests/offline/journal/torture.rs", 1),
    ("tests/support/lab/space.rs", 1),
    ("tests/support/wait.rs", 2),
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

    /// The code without what is only compiled for tests and fuzzing.
    fn production(&self) -> String {
        production(&self.code)
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

/// Nothing is found but what is known, and all that is known is found: the list only shrinks.
#[track_caller]
fn only(found: &BTreeSet<String>, known: &[&str]) {
    let known: BTreeSet<String> = known.iter().map(|&name| name.to_owned()).collect();
    let new = found.difference(&known).map(|name| format!("new: {name}"));
    let gone = known.difference(found);
    let gone = gone.map(|name| format!("take it off the list: {name}"));
    none(new.chain(gone).collect());
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

/// What needs root is left out by a plain `cargo test`, and only that.
#[test]
fn the_tiers_that_need_root_are_ignored_and_no_other() {
    let mut found = Vec::new();
    for source in sources(&["tests/kernel/", "tests/lab/", "tests/offline/"]) {
        let all = tokens(&source.code);
        let count = |words: &[&str]| all.windows(words.len()).filter(|w| *w == words).count();
        let (tests, ignored) = (count(&["[", "test", "]"]), count(&["[", "ignore", "="]));
        let expected = match source.path.starts_with("tests/offline/") {
            true => 0,
            false => tests,
        };
        if ignored != expected {
            found.push(format!(
                "{} ignores {ignored} of {tests} tests",
                source.path
            ));
        }
    }
    none(found);
}

/// The lint sees no helper that all programs leave unused: none of them uses all.
#[test]
fn no_helper_is_without_a_user() {
    let all = sources(&["tests/", "benches/"]);
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for word in all.iter().flat_map(|source| tokens(&source.code)) {
        *uses.entry(word).or_default() += 1;
    }
    let mut found = Vec::new();
    for source in all.iter().filter(|s| s.path.starts_with("tests/support/")) {
        for pair in tokens(&source.code).windows(2) {
            if ["fn", "const", "struct", "enum"].contains(&pair[0]) && uses[pair[1]] == 1 {
                found.push(format!("{}: nobody uses {}", source.path, pair[1]));
            }
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
