//! What a tool's exit status and error messages mean to the caller.
//!
//! Pure. The exit codes are those of `xtables.h`: 1 other, 2 parameter, 3 version (the kernel
//! lacks something), 4 resource (the lock, memory). They are not used evenly, so the words
//! count first; they are matched in the C locale, as printed by 1.8.9.

use std::process::ExitStatus;

use crate::backend::ErrorKind;

/// `VERSION_PROBLEM` of `xtables.h`.
const VERSION_PROBLEM: i32 = 3;

/// `RESOURCE_PROBLEM` of `xtables.h`.
const RESOURCE_PROBLEM: i32 = 4;

/// The tool's words, and what they mean, first match first.
const WORDS: [(&str, ErrorKind); 18] = [
    // Before the rest: it comes with exit status 3 and a broken-off listing.
    ("Parsing nftables rule failed", ErrorKind::Uncertain),
    ("is incompatible", ErrorKind::Uncertain),
    ("Permission denied", ErrorKind::Denied),
    ("Operation not permitted", ErrorKind::Denied),
    ("you must be root", ErrorKind::Denied),
    ("holding the xtables lock", ErrorKind::Busy),
    ("Resource temporarily unavailable", ErrorKind::Busy),
    ("Resource busy", ErrorKind::Busy),
    ("File exists", ErrorKind::Exists),
    ("does a matching rule exist", ErrorKind::NotFound),
    // Others have flushed the table meanwhile, so that what follows in the batch fails as well.
    ("RULE_DELETE failed (No such file", ErrorKind::NotFound),
    ("do you need to insmod", ErrorKind::Unsupported),
    ("unable to initialize table", ErrorKind::Unsupported),
    ("Couldn't load ", ErrorKind::Unsupported),
    ("_ADD failed (No such file", ErrorKind::Unsupported),
    ("_APPEND failed (No such file", ErrorKind::Unsupported),
    // A kernel without nf_tables.
    ("generation id: Invalid argument", ErrorKind::Unsupported),
    ("not supported", ErrorKind::Unsupported),
];

/// Kind and detail of a failed run: its standard error as it came, and the line of `input`
/// that it names.
pub(super) fn of(status: ExitStatus, stderr: &[u8], input: &str) -> (ErrorKind, String) {
    let stderr = String::from_utf8_lossy(stderr);
    let named = failing_line(&stderr);
    let line = named.and_then(|n| input.lines().nth(n.checked_sub(1)?));
    let kind = kind(status, &stderr, line.is_some_and(|l| l.starts_with("-D ")));
    let mut detail = format!("{status}: {}", stderr.trim_end());
    if let (Some(number), Some(line)) = (named, line) {
        detail.push_str(&format!("; line {number} of the input: {line}"));
    }
    (kind, detail)
}

fn kind(status: ExitStatus, stderr: &str, was_removal: bool) -> ErrorKind {
    if let Some((_, kind)) = WORDS.iter().find(|(words, _)| stderr.contains(words)) {
        return *kind;
    }
    match status.code() {
        // The legacy variant says no more than the line.
        Some(_) if was_removal => ErrorKind::NotFound,
        Some(VERSION_PROBLEM) => ErrorKind::Unsupported,
        Some(RESOURCE_PROBLEM) => ErrorKind::Busy,
        _ => ErrorKind::Failed,
    }
}

/// The line of the input that the error message names, counted from 1: `line 3 failed`, `at line: 3`.
fn failing_line(stderr: &str) -> Option<usize> {
    stderr.match_indices("line").find_map(|(at, word)| {
        let rest = stderr[at + word.len()..].trim_start_matches([':', ' ']);
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        rest[..digits.unwrap_or(rest.len())].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const INPUT: &str = "*nat\n-D PREROUTING -i eth0\n-A PREROUTING -i eth1\nCOMMIT\n";

    /// What 1.8.9 prints, both variants.
    #[test]
    fn error_messages_have_their_kinds() {
        let cases = [
            (
                1,
                "ip6tables-nft-restore: line 2 failed: Bad rule (does a matching rule exist in that chain?).",
                ErrorKind::NotFound,
            ),
            (1, "ip6tables-restore: line 2 failed", ErrorKind::NotFound),
            (
                4,
                "ip6tables-nft-restore v1.8.9 (nf_tables): \nline 4: RULE_DELETE failed (No such file or directory): rule in chain PREROUTING\nline 5: RULE_APPEND failed (No such file or directory): rule in chain PREROUTING",
                ErrorKind::NotFound,
            ),
            (1, "ip6tables-restore: line 4 failed", ErrorKind::Failed),
            (
                2,
                "ip6tables-restore v1.8.9 (legacy): Couldn't load match `addrtype':No such file or directory\n\nError occurred at line: 3",
                ErrorKind::Unsupported,
            ),
            (
                2,
                "ip6tables-restore v1.8.9 (legacy): ip6tables-restore: unable to initialize table 'nat'\nError occurred at line: 1",
                ErrorKind::Unsupported,
            ),
            (
                1,
                "ip6tables-save v1.8.9 (legacy): Cannot initialize: Table does not exist (do you need to insmod?)",
                ErrorKind::Unsupported,
            ),
            (
                4,
                "ip6tables-nft-save v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)",
                ErrorKind::Denied,
            ),
            (
                4,
                "Can't lock /run/xtables.lock: Resource temporarily unavailable\nAnother app is currently holding the xtables lock. Stopped waiting after 1s.",
                ErrorKind::Busy,
            ),
            (
                3,
                "ip6tables-nft-save v1.8.9 (nf_tables): Parsing nftables rule failed\nPerhaps ip6tables-nft-save or your kernel needs to be upgraded.",
                ErrorKind::Uncertain,
            ),
            (
                4,
                "ip6tables-nft-restore v1.8.9 (nf_tables): \nline 3: CHAIN_ADD failed (No such file or directory): chain PREROUTING",
                ErrorKind::Unsupported,
            ),
        ];
        for (code, stderr, kind) in cases {
            let status = ExitStatus::from_raw(code << 8);
            assert_eq!(of(status, stderr.as_bytes(), INPUT).0, kind, "{stderr}");
        }
    }

    #[test]
    fn the_failing_line_is_shown_and_only_that() {
        let (_, detail) = of(
            ExitStatus::from_raw(1 << 8),
            b"ip6tables-restore: line 2 failed\n",
            INPUT,
        );
        assert_eq!(
            detail,
            "exit status: 1: ip6tables-restore: line 2 failed; \
             line 2 of the input: -D PREROUTING -i eth0"
        );
        for stderr in ["line 99 failed", "line 0 failed", "no line", "line", ""] {
            let (_, detail) = of(ExitStatus::from_raw(1 << 8), stderr.as_bytes(), INPUT);
            assert!(!detail.contains("of the input"), "{detail}");
        }
    }
}
