//! A name means one thing, and the map of the house names every module.

use std::collections::BTreeMap;

use super::code::tokens;
use super::known::TWICE;
use super::{none, only, sources};

/// What begins the declaration of a type.
const TYPES: [&str; 4] = ["struct", "enum", "trait", "type"];

/// The types that the code declares for others to name.
fn public_types(code: &str) -> Vec<String> {
    let words = tokens(code);
    let mut found = Vec::new();
    for at in (0..words.len()).filter(|at| words[*at] == "pub") {
        let mut rest = &words[at + 1..];
        if rest.first() == Some(&"(") {
            let end = rest.iter().position(|word| *word == ")").unwrap_or(0);
            rest = &rest[end + 1..];
        }
        if let [kind, name, ..] = rest
            && TYPES.contains(kind)
        {
            found.push((*name).to_owned());
        }
    }
    found
}

/// A layer is a directory of `src`, or a file there.
#[test]
fn no_two_public_types_of_a_layer_have_one_name() {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources(&["src/"])
        .iter()
        .filter(|s| !s.path.contains("test"))
    {
        let name = source
            .path
            .trim_start_matches("src/")
            .trim_end_matches(".rs");
        let layer = name.split('/').next().unwrap_or_default();
        for name in public_types(&source.production()) {
            let declared = files.entry(format!("{layer} {name}")).or_default();
            declared.push(source.path.clone());
        }
    }
    files.retain(|_, declared| declared.len() > 1);
    for (name, declared) in &files {
        eprintln!("{name}: {}", declared.join(", "));
    }
    only(&files.into_keys().collect(), &TWICE);
}

#[test]
fn the_map_in_lib_rs_names_every_module() {
    let all = sources(&["src/lib.rs"]);
    let map: String = all[0]
        .text
        .lines()
        .filter(|line| line.starts_with("//!"))
        .collect();
    let code = all[0].production();
    let words = tokens(&code);
    let declared = words.windows(3).filter(|w| w[0] == "mod" && w[2] == ";");
    let names =
        |module: &str| map.contains(&format!("`{module}`")) || map.contains(&format!(" {module}/"));
    let missing = declared.map(|w| w[1]).filter(|module| !names(module));
    none(
        missing
            .map(|module| format!("{module} is not named"))
            .collect(),
    );
}

#[test]
fn public_types_are_found_however_far_they_are_seen() {
    let code = "pub struct A; pub(in crate::x) enum B {} struct C; pub fn d() {} pub type E = u8;";
    assert_eq!(public_types(code), ["A", "B", "E"]);
}
