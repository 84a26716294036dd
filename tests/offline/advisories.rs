//! The advisories that `cargo audit` is to pass over are those of crates that are built in.

use std::collections::BTreeSet;

const AUDIT: &str = include_str!("../../.cargo/audit.toml");
const LOCK: &str = include_str!("../../Cargo.lock");

/// What is built in, as `name version`.
fn locked() -> BTreeSet<String> {
    let value = |line: &str, name: &str| {
        let value = line.strip_prefix(name)?.strip_prefix(" = ")?;
        Some(value.trim_matches('"').to_owned())
    };
    let lines: Vec<&str> = LOCK.lines().collect();
    lines
        .windows(2)
        .filter_map(|pair| {
            let (name, version) = (value(pair[0], "name")?, value(pair[1], "version")?);
            Some(format!("{name} {version}"))
        })
        .collect()
}

/// The crates of an `audit.toml` that are not built in, and the ids that name none.
fn stale(audit: &str, locked: &BTreeSet<String>) -> Vec<String> {
    let entries = audit.lines().map(str::trim);
    let entries = entries.filter(|line| line.starts_with("\"RUSTSEC-"));
    entries
        .filter(|entry| {
            let named = entry.split_once(", # ").map(|(_, named)| named);
            !named.is_some_and(|named| locked.contains(named))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn only_advisories_of_what_is_built_in_are_passed_over() {
    let locked = locked();
    assert!(locked.len() > 100, "{locked:?}");
    let count = AUDIT.matches("RUSTSEC-").count();
    let entries = AUDIT
        .lines()
        .filter(|line| line.trim().starts_with("\"RUSTSEC-"));
    assert_eq!(entries.count(), count, "one entry in each line");
    assert_eq!(stale(AUDIT, &locked), [""; 0]);
    // The check itself.
    for entry in [
        "\"RUSTSEC-2025-0141\", # bincode 1.3.2",
        "\"RUSTSEC-2025-0141\", # gone 1.0.0",
        "\"RUSTSEC-2025-0141\",",
    ] {
        assert_eq!(stale(entry, &locked), [entry]);
    }
}
