//! Rules as text: the documented commands, the log lines, and the input of ip6tables-restore.
//!
//! Pure. Nothing here needs quoting: every part comes from a type that cannot hold a blank, a
//! quote or a backslash, except a locator, which is the listing's own text and goes back as it
//! came.

use std::fmt::Write as _;

use crate::backend::{Batch, Verb};
use crate::model::rule::{Dnat, Rule, RuleSpec};

/// The command as the documentation writes it, whatever path the tool was found at: operators
/// compare and paste these lines.
const DOCUMENTED_TOOL: &str = "/sbin/ip6tables";

/// The one table that holds rules of ours.
pub(in crate::backend) const TABLE: &str = "nat";

/// A batch that cannot be said to ip6tables-restore, because a locator is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a locator of this backend: {0:?}")]
pub(super) struct NotALocator(pub(super) String);

/// The command that sets (`-A`) or unsets (`-D`) a rule: the documented text, then our matches.
pub fn command(verb: Verb, rule: &Rule) -> String {
    let flag = match verb {
        Verb::Add => "-A",
        Verb::Del => "-D",
    };
    format!("{DOCUMENTED_TOOL} -t {TABLE} {flag} {}", rule_text(rule))
}

/// The documented log line: `NAT66 set postrouting: COMMAND` and its kin.
pub fn describe(verb: Verb, rule: &Rule) -> String {
    let words = match (&rule.spec, verb) {
        (RuleSpec::Masquerade { .. }, Verb::Add) => "set postrouting",
        (RuleSpec::Masquerade { .. }, Verb::Del) => "unset postrouting",
        (RuleSpec::Dnat(_), Verb::Add) => "add portfwd",
        (RuleSpec::Dnat(_), Verb::Del) => "del portfwd",
    };
    format!("NAT66 {words}: {}", command(verb, rule))
}

/// The rule after `-A`: chain, documented matches and target, then ours and the comment.
fn rule_text(rule: &Rule) -> String {
    let comment = rule.id().comment();
    match &rule.spec {
        RuleSpec::Masquerade { dev, prefix } => format!(
            "POSTROUTING -o {dev} -s {prefix} -j MASQUERADE \
             -m addrtype ! --src-type LOCAL -m comment --comment {comment}"
        ),
        RuleSpec::Dnat(Dnat {
            key,
            target,
            target_port,
        }) => {
            let host = match key.host_addr {
                Some(addr) => format!(" -d {addr}"),
                None => String::new(),
            };
            format!(
                "PREROUTING -i {} -p {} --dport {} -j DNAT --to-destination [{target}]:{target_port}\
                 {host} -m addrtype --dst-type LOCAL -m comment --comment {comment}",
                key.dev, key.proto, key.host_port
            )
        }
    }
}

/// The rule as both variants of ip6tables-save print it (seen with 1.8.9).
pub fn listed(rule: &Rule) -> String {
    let comment = rule.id().comment();
    match &rule.spec {
        RuleSpec::Masquerade { dev, prefix } => {
            let source = match prefix.prefix_len() {
                0 => String::new(),
                _ => format!("-s {} ", prefix.trunc()),
            };
            format!(
                "-A POSTROUTING {source}-o {dev} -m addrtype ! --src-type LOCAL \
                 -m comment --comment \"{comment}\" -j MASQUERADE"
            )
        }
        RuleSpec::Dnat(Dnat {
            key,
            target,
            target_port,
        }) => {
            let host = match key.host_addr {
                Some(addr) => format!("-d {addr}/128 "),
                None => String::new(),
            };
            let proto = key.proto;
            format!(
                "-A PREROUTING {host}-i {} -p {proto} -m {proto} --dport {} \
                 -m addrtype --dst-type LOCAL -m comment --comment \"{comment}\" \
                 -j DNAT --to-destination [{target}]:{target_port}",
                key.dev, key.host_port
            )
        }
    }
}

/// The opaque locator of a listed rule: its table, a blank, and the rule as listed.
pub(in crate::backend) fn locator(table: &str, text: &str) -> String {
    format!("{table} {text}")
}

/// The `-D` line for a locator made by [`locator`].
///
/// # Errors
/// The text is no such locator: it would be read as something else by the tool.
fn delete_line(locator: &str) -> Result<String, NotALocator> {
    let refused = || NotALocator(locator.to_owned());
    let rest = locator
        .strip_prefix(TABLE)
        .and_then(|rest| rest.strip_prefix(" -A "))
        .ok_or_else(refused)?;
    if rest.is_empty() || rest.chars().any(|c| matches!(c, '\n' | '\r' | '\0')) {
        return Err(refused());
    }
    Ok(format!("-D {rest}"))
}

/// The input of `ip6tables-restore --noflush` for a batch: removals first, so that a
/// replacement never stands beside what it replaces. One section, hence whole or not at all.
///
/// # Errors
/// A removal's locator was not made by this backend.
pub(super) fn restore_input(batch: &Batch) -> Result<String, NotALocator> {
    let mut input = format!("*{TABLE}\n");
    for gone in &batch.remove {
        input.push_str(&delete_line(&gone.locator)?);
        input.push('\n');
    }
    for rule in &batch.insert {
        // Writing to a String cannot fail.
        let _ = writeln!(input, "-A {}", rule_text(rule));
    }
    input.push_str("COMMIT\n");
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ObservedRule;
    use crate::backend::ip6tables::testing::{dnat, masquerade};

    #[test]
    fn the_documented_text_is_a_literal_prefix() {
        let masquerade = masquerade("eth0", "fdfd:5898:4917:1::/64");
        let id = masquerade.id();
        assert_eq!(
            describe(Verb::Add, &masquerade),
            format!(
                "NAT66 set postrouting: /sbin/ip6tables -t nat -A POSTROUTING -o eth0 \
                 -s fdfd:5898:4917:1::/64 -j MASQUERADE -m addrtype ! --src-type LOCAL \
                 -m comment --comment docker-nat66:{id}"
            )
        );
        assert!(describe(Verb::Del, &masquerade).starts_with(
            "NAT66 unset postrouting: /sbin/ip6tables -t nat -D POSTROUTING -o eth0 "
        ));
        let dnat = dnat("eth0", "tcp", None, 2356, "fdfd:5898:4917:1::2", 6379);
        let id = dnat.id();
        assert_eq!(
            describe(Verb::Add, &dnat),
            format!(
                "NAT66 add portfwd: /sbin/ip6tables -t nat -A PREROUTING -i eth0 -p tcp \
                 --dport 2356 -j DNAT --to-destination [fdfd:5898:4917:1::2]:6379 \
                 -m addrtype --dst-type LOCAL -m comment --comment docker-nat66:{id}"
            )
        );
        assert!(
            describe(Verb::Del, &dnat)
                .starts_with("NAT66 del portfwd: /sbin/ip6tables -t nat -D PREROUTING -i eth0 ")
        );
    }

    #[test]
    fn a_host_address_stands_after_the_documented_text() {
        let rule = dnat("eth0", "udp", Some("2001:db8::1"), 53, "fdfd::2", 5353);
        assert!(command(Verb::Add, &rule).starts_with(
            "/sbin/ip6tables -t nat -A PREROUTING -i eth0 -p udp --dport 53 -j DNAT \
             --to-destination [fdfd::2]:5353 -d 2001:db8::1 -m addrtype --dst-type LOCAL "
        ));
    }

    #[test]
    fn removals_stand_before_insertions_in_one_section() {
        let old = dnat("eth0", "tcp", None, 80, "fdfd::2", 80);
        let new = dnat("eth0", "tcp", None, 80, "fdfd::3", 80);
        let batch = Batch {
            remove: vec![ObservedRule {
                id: old.id(),
                locator: locator(TABLE, &listed(&old)),
                rule: Some(old),
            }],
            insert: vec![new],
        };
        let input = restore_input(&batch).expect("valid");
        let lines: Vec<&str> = input.lines().collect();
        assert_eq!(lines[0], "*nat");
        assert!(lines[1].starts_with("-D PREROUTING -i eth0 -p tcp "));
        assert!(lines[2].starts_with("-A PREROUTING -i eth0 -p tcp "));
        assert_eq!(lines[3..], ["COMMIT"]);
    }

    #[test]
    fn a_locator_cannot_smuggle_in_another_line_or_table() {
        for text in [
            "",
            "-A PREROUTING",
            "filter -A FORWARD -j DROP",
            "nat -F",
            "nat -A ",
            "nat -A PREROUTING -j ACCEPT\n-F",
        ] {
            assert_eq!(delete_line(text), Err(NotALocator(text.to_owned())));
        }
    }
}
