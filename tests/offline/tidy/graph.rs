//! Which file uses which, by `use` and by paths: nowhere in a circle.
//!
//! A parent that declares a child does not use it by that; a re-export is a use of the file that the
//! path names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::code::{paths, tokens};
use super::known::IN_CIRCLES;
use super::{Source, only, sources};

/// Module path to file.
type Modules = BTreeMap<Vec<String>, String>;

/// File to the files that it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`, and `src/lib.rs` is the root.
fn module_of(path: &str) -> Vec<String> {
    let name = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut segments: Vec<String> = name.split('/').map(str::to_owned).collect();
    if ["mod", "lib"]
        .iter()
        .any(|own| segments.last().is_some_and(|last| last == own))
    {
        segments.pop();
    }
    segments
}

/// The file that a path in the module `from` names: that of the longest part which is a module.
fn target<'m>(from: &[String], path: &str, modules: &'m Modules) -> Option<&'m String> {
    let mut segments = path
        .split("::")
        .filter(|segment| !segment.is_empty())
        .peekable();
    let mut base = from.to_vec();
    match *segments.peek()? {
        "crate" => {
            segments.next();
            base.clear();
        }
        "self" => drop(segments.next()),
        "super" => {
            while segments.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        // A child; what else a path may begin with was brought in by another.
        name => {
            base.push(name.to_owned());
            modules.get(&base)?;
            base.pop();
        }
    }
    base.extend(segments.map(str::to_owned));
    (1..=base.len())
        .rev()
        .find_map(|length| modules.get(&base[..length]))
}

/// Modules that are only compiled for tests or fuzzing, with all below them.
fn of_tests(sources: &[Source]) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for source in sources {
        let declared = |code: &str| {
            let words = tokens(code);
            let pairs = words.windows(3).filter(|w| w[0] == "mod" && w[2] == ";");
            pairs.map(|w| w[1].to_owned()).collect::<BTreeSet<_>>()
        };
        for name in &declared(&source.code) - &declared(&source.production()) {
            let mut module = module_of(&source.path);
            module.push(name);
            found.insert(module);
        }
    }
    found
}

/// Who sees a thing is no use of the module that is named there.
fn without_visibility(code: &str) -> String {
    let mut parts = code.split("pub(in ");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    kept
}

fn graph() -> Graph {
    let mut all = sources(&["src/"]);
    let tests = of_tests(&all);
    all.retain(|source| {
        let module = module_of(&source.path);
        let is_test = (1..=module.len()).any(|length| tests.contains(&module[..length]));
        source.path != "src/main.rs" && !is_test && !source.path.contains("test")
    });
    let modules: Modules = all
        .iter()
        .map(|s| (module_of(&s.path), s.path.clone()))
        .collect();
    let mut graph = Graph::new();
    for source in &all {
        let module = module_of(&source.path);
        let code = without_visibility(&source.production());
        let used = paths(&code);
        let used = used
            .iter()
            .filter_map(|path| target(&module, path, &modules));
        let used = used.filter(|path| **path != source.path).cloned();
        graph.insert(source.path.clone(), used.collect());
    }
    graph
}

/// The shortest way from a file back to it.
fn circle<'g>(graph: &'g Graph, file: &'g str) -> Option<Vec<&'g str>> {
    let mut ways = VecDeque::from([vec![file]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in &graph[*way.last()?] {
            let mut longer = way.clone();
            longer.push(next);
            if next == file {
                return Some(longer);
            }
            if seen.insert(next) {
                ways.push_back(longer);
            }
        }
    }
    None
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let graph = graph();
    let mut found = BTreeSet::new();
    for file in graph.keys() {
        if let Some(way) = circle(&graph, file) {
            eprintln!("{}", way.join(" → "));
            found.insert(file.clone());
        }
    }
    only(&found, &IN_CIRCLES);
}

#[test]
fn a_path_names_the_file_of_its_longest_module() {
    let files = [
        "src/lib.rs",
        "src/a/mod.rs",
        "src/a/b.rs",
        "src/a/b/c.rs",
        "src/d.rs",
    ];
    let modules: Modules = files
        .iter()
        .map(|f| (module_of(f), (*f).to_owned()))
        .collect();
    for (path, expected) in [
        ("crate::d::f", Some("src/d.rs")),
        ("super::X", Some("src/a/mod.rs")),
        ("super::super::d", Some("src/d.rs")),
        ("super::super::X", None),
        ("self::c::Y", Some("src/a/b/c.rs")),
        ("c::", Some("src/a/b/c.rs")),
        ("d::f", None),
        ("crate::a::b::X::new", Some("src/a/b.rs")),
    ] {
        let found = target(&module_of("src/a/b.rs"), path, &modules);
        assert_eq!(found.map(String::as_str), expected, "{path}");
    }
}
