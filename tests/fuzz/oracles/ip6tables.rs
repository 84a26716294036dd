//! What must hold of any bytes that ip6tables-save prints.

use super::parse::{Listing, idle_chain, listing};
use super::plan::Plan;
use super::render::{self, Locator};
use super::rule::{OWN_CHAINS, Table, rule};
use crate::backend::{Batch, ObservedRule};
use crate::docker_nat::legacy;
use crate::docker_nat::observation::DockerNat;
use crate::model::rule::{Rule, RuleId};

/// The input is taken for a listing, and for the comment of another program's rule.
pub(crate) fn check(bytes: &[u8]) {
    for table in Table::ALL {
        if let Ok(found) = listing(bytes, table) {
            check_listing(&String::from_utf8_lossy(bytes), table, &found);
        }
        check_foreign(bytes, table);
    }
    check_dockers(bytes);
}

fn check_listing(text: &str, table: Table, found: &Listing) {
    for seen in &found.rules {
        check_observed(text, table, seen);
    }
    let cut = text.rfind("\nCOMMIT").expect("it is whole");
    assert!(listing(&text.as_bytes()[..=cut], table).is_err());
    check_removal(found);
}

/// What is ours stands in the listing as it is found again, with our comment to the letter.
fn check_observed(text: &str, table: Table, seen: &ObservedRule) {
    let rule = match render::read_locator(&seen.locator).expect("a locator") {
        Locator::Chain(chain) => {
            assert!(OWN_CHAINS.contains(&(table, chain)));
            assert!(seen.rule.is_none() && seen.id == idle_chain());
            assert!(text.contains(&format!("\n:{chain}")));
            return;
        }
        Locator::Rule(of, rule) => {
            assert_eq!(of, table);
            rule
        }
    };
    assert!(text.contains(&format!("\n-A {rule}\n")));
    // More blanks and escapes than the tools print mean the same.
    let plain = rule.replace('\\', "");
    assert!(rule.contains("--comment ") && plain.contains(&format!(" \"{}\"", seen.id.comment())));
    if let Some(content) = &seen.rule {
        assert_eq!(content.id(), seen.id);
        assert_eq!(
            own(table, &saved(table, &[&render::listed(content)])),
            std::slice::from_ref(content)
        );
    }
}

/// Removing all of it removes what was found, once for each copy, and nothing else.
fn check_removal(found: &Listing) {
    let batch = Batch {
        remove: found.rules.clone(),
        insert: Vec::new(),
    };
    let plan = Plan::new(&batch, &found.chain_state).expect("locators of this backend");
    let input = plan.input();
    let chains = OWN_CHAINS.map(|(_, chain)| format!("-X {chain}"));
    let mut removed: Vec<&str> = Vec::new();
    for line in input.lines() {
        match line.strip_prefix("-D ") {
            Some(rule) => removed.push(rule),
            None => assert!(
                ["*nat", "*filter", "COMMIT"].contains(&line) || chains.iter().any(|c| c == line),
                "{line}"
            ),
        }
    }
    let rules = found.rules.iter().filter_map(|seen| {
        let (_, rule) = seen.locator.split_once(" -A ")?;
        Some(rule)
    });
    let mut rules: Vec<&str> = rules.collect();
    rules.sort_unstable();
    removed.sort_unstable();
    assert_eq!(removed, rules);
}

/// Whatever another program writes into a comment or names an interface, its rule is not ours, and ours
/// before and behind it stay ours.
fn check_foreign(bytes: &[u8], table: Table) {
    let comment = bytes.split(|b| *b == 0).next().unwrap_or_default();
    let comment = &comment[..comment.len().min(MAX_COMMENT)];
    let is_ours = std::str::from_utf8(comment).is_ok_and(|c| RuleId::from_comment(c).is_some());
    if is_ours {
        return;
    }
    let rule = rule(match table {
        Table::Filter => "filter FORWARD -j DOCKER-NAT66",
        Table::Nat => {
            "nat POSTROUTING -s fdfd::/64 -j MASQUERADE -d fdfd::/64 -m conntrack --ctstate DNAT"
        }
    });
    let rule = rule.expect("a rule of this backend");
    let device = comment.iter().copied().filter(|b| may_name_a_device(*b));
    let device: Vec<u8> = device.take(MAX_DEVICE).collect();
    let ours = render::listed(&rule);
    let text = saved(
        table,
        &[
            &ours,
            "-A INPUT -i @D -m comment --comment @C -j ACCEPT",
            &ours,
        ],
    );
    let (before, rest) = text.split_once("@D").expect("a place");
    let (between, behind) = rest.split_once("@C").expect("a place");
    let device = if device.is_empty() {
        b"eth0".to_vec()
    } else {
        device
    };
    let quoted = as_printed(comment);
    let parts = [
        before.as_bytes(),
        &device,
        between.as_bytes(),
        &quoted,
        behind.as_bytes(),
    ];
    let seen = listing(&parts.concat(), table).expect("whole");
    let contents: Vec<_> = seen.rules.into_iter().map(|seen| seen.rule).collect();
    assert_eq!(contents, [Some(rule.clone()), Some(rule)]);
}

/// Longest comment of a rule (`XT_MAX_COMMENT_LEN` less the NUL), and name of an interface
/// (`IFNAMSIZ` less the NUL), in bytes.
const MAX_COMMENT: usize = 255;
const MAX_DEVICE: usize = 15;

/// What `dev_valid_name` of the kernel refuses: a blank of Latin-1, a slash, a colon.
fn may_name_a_device(byte: u8) -> bool {
    !matches!(byte, b' ' | 0x09..=0x0d | 0xa0 | b'/' | b':')
}

/// As `xtables_save_string` prints it.
fn as_printed(text: &[u8]) -> Vec<u8> {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !text.is_empty() && text.iter().all(is_plain) {
        return text.to_vec();
    }
    let mut printed = vec![b'"'];
    for byte in text {
        if matches!(byte, b'"' | b'\'' | b'\\') {
            printed.push(b'\\');
        }
        printed.push(*byte);
    }
    printed.push(b'"');
    printed
}

/// Docker's jump, forwards and drops are in the text, and are not made up.
fn check_dockers(bytes: &[u8]) {
    let mut found = DockerNat::default();
    legacy::add(bytes, &mut found);
    let text = String::from_utf8_lossy(bytes);
    let says = |part: &str| text.contains(part);
    assert!(!found.chains || (says("-A PREROUTING ") && says("DOCKER")));
    assert!(found.forwards.is_empty() || (says("-A DOCKER ") && says("--to-destination")));
    assert!(found.forwards.len() <= text.lines().count());
    let dropped = legacy::left_behind(bytes);
    assert!(dropped.is_empty() || (says("-A DOCKER ! -i ") && says("DROP")));
}

/// The rules of a whole listing that are believed.
fn own(table: Table, text: &str) -> Vec<Rule> {
    let found = listing(text.as_bytes(), table).expect("whole");
    found
        .rules
        .into_iter()
        .filter_map(|seen| seen.rule)
        .collect()
}

/// What ip6tables-nft-save 1.8.9 prints around chains of their own and `rules`.
pub(in crate::backend) fn saved(table: Table, rules: &[&str]) -> String {
    let chains = match table {
        Table::Nat => {
            ":PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
             :POSTROUTING ACCEPT [0:0]\n:FOO - [0:0]\n"
        }
        Table::Filter => {
            ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:FOO - [0:0]\n"
        }
    };
    let mut text = format!(
        "# Generated by ip6tables-nft-save v1.8.9 (nf_tables) on Mon Nov 23 2026\n*{}\n{chains}",
        table.as_str()
    );
    for rule in rules {
        text.push_str(rule);
        text.push('\n');
    }
    text + "COMMIT\n# Completed on Mon Nov 23 2026\n"
}
