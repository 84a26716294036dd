//! Rules as text: the documented commands, the log lines, and the lines that
//! ip6tables-restore reads.
//!
//! Pure. A locator is the listing's own text, and goes back as it came.

use super::shape::{HOOKS, Shape, Table, own_chain};
use crate::backend::Verb;
use crate::model::rule::{Guard, Hook, Rule, RuleSpec};

/// The command as the documentation writes it, whatever path the tool was found at: operators
/// compare and paste these lines.
const DOCUMENTED_TOOL: &str = "/sbin/ip6tables";

/// A batch that cannot be said to ip6tables-restore, because a locator or a rule is none of
/// this backend's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a locator or rule of this backend: {0:?}")]
pub(in crate::backend) struct NotALocator(pub(super) String);

/// The command that sets or unsets a rule: the documented text, then our matches. `jump` is
/// the place in FORWARD of the jump to our chain, counted from 1.
pub fn command(verb: Verb, rule: &Rule, jump: usize) -> String {
    let table = Shape::of(&rule.spec).table.as_str();
    let what = match (verb, &rule.spec) {
        (Verb::Del, _) => format!("-D {}", text(rule)),
        (Verb::Add, RuleSpec::Jump(Hook::Forward)) => insertion(rule, Some(jump)),
        (Verb::Add, spec) if stands_first(spec) => insertion(rule, Some(1)),
        (Verb::Add, _) => insertion(rule, None),
    };
    format!("{DOCUMENTED_TOOL} -t {table} {what}")
}

/// The documented log line: `NAT66 set postrouting: COMMAND` and its kin. `jump` as for
/// [`command`].
pub fn describe(verb: Verb, rule: &Rule, jump: usize) -> String {
    let (set, unset) = match &rule.spec {
        RuleSpec::Masquerade { .. }
        | RuleSpec::Snat { .. }
        | RuleSpec::HairpinMasquerade { .. } => ("set postrouting", "unset postrouting"),
        RuleSpec::Dnat(_) => ("add portfwd", "del portfwd"),
        RuleSpec::Jump(Hook::Forward)
        | RuleSpec::Guard { .. }
        | RuleSpec::HairpinGuard { .. }
        | RuleSpec::Element(_) => ("set forward", "unset forward"),
        RuleSpec::Jump(Hook::Input) | RuleSpec::Refuse(_) => ("add refuse", "del refuse"),
    };
    let words = match verb {
        Verb::Add => set,
        Verb::Del => unset,
    };
    format!("NAT66 {words}: {}", command(verb, rule, jump))
}

/// Whether a rule goes to the top of its chain, before what is there: a spoofed source must not
/// pass for one of the connections that are accepted further down.
pub(super) fn stands_first(spec: &RuleSpec) -> bool {
    match spec {
        RuleSpec::Jump(Hook::Input) | RuleSpec::Snat { .. } => true,
        RuleSpec::Guard { guard, .. } => *guard == Guard::Spoofed,
        _ => false,
    }
}

/// The line that appends a rule, or inserts it at this place of its chain, counted from 1.
pub(super) fn insertion(rule: &Rule, place: Option<usize>) -> String {
    let text = text(rule);
    match place {
        None => format!("-A {text}"),
        Some(1) => format!("-I {text}"),
        Some(place) => match text.split_once(' ') {
            Some((chain, rest)) => format!("-I {chain} {place} {rest}"),
            None => format!("-I {text} {place}"),
        },
    }
}

/// The rule after `-A`: chain, options and comment.
fn text(rule: &Rule) -> String {
    let shape = Shape::of(&rule.spec);
    let comment = rule.id().comment();
    format!(
        "{}{} -m comment --comment {comment}",
        shape.chain,
        shape.options()
    )
}

/// The rule as both variants of ip6tables-save print it (seen with 1.8.9).
pub fn listed(rule: &Rule) -> String {
    Shape::of(&rule.spec).listed(&rule.id().comment())
}

/// What an opaque locator finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locator<'a> {
    /// A rule of this table, as listed without the `-A`.
    Rule(Table, &'a str),
    /// A chain of ours that holds nothing.
    Chain(Hook),
}

/// The locator of a listed rule: its table, a blank, and the rule as listed.
pub(in crate::backend) fn rule_locator(table: Table, text: &str) -> String {
    format!("{} {text}", table.as_str())
}

/// The locator of a chain of ours.
pub(super) fn chain_locator(hook: Hook) -> String {
    format!("{} -X {}", Table::Filter.as_str(), own_chain(hook))
}

/// Reads a locator made by one of the two above.
///
/// # Errors
/// The text is no such locator: it would be read as something else by the tool.
pub(super) fn read_locator(locator: &str) -> Result<Locator<'_>, NotALocator> {
    if let Some(hook) = HOOKS.into_iter().find(|h| chain_locator(*h) == locator) {
        return Ok(Locator::Chain(hook));
    }
    let refused = || NotALocator(locator.to_owned());
    let (table, rest) = locator.split_once(" -A ").ok_or_else(refused)?;
    let table = Table::ALL.into_iter().find(|t| t.as_str() == table);
    let table = table.ok_or_else(refused)?;
    if rest.is_empty() || rest.chars().any(|c| matches!(c, '\n' | '\r' | '\0')) {
        return Err(refused());
    }
    Ok(Locator::Rule(table, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ip6tables::testing::{dnat, every_kind, masquerade};

    #[test]
    fn the_documented_text_is_a_literal_prefix() {
        let masquerade = masquerade("eth0", "fdfd:5898:4917:1::/64");
        let id = masquerade.id();
        assert_eq!(
            describe(Verb::Add, &masquerade, 1),
            format!(
                "NAT66 set postrouting: /sbin/ip6tables -t nat -A POSTROUTING -o eth0 \
                 -s fdfd:5898:4917:1::/64 -j MASQUERADE ! -d fdfd:5898:4917:1::/64 \
                 -m addrtype ! --src-type LOCAL -m comment --comment docker-nat66:{id}"
            )
        );
        assert!(describe(Verb::Del, &masquerade, 1).starts_with(
            "NAT66 unset postrouting: /sbin/ip6tables -t nat -D POSTROUTING -o eth0 "
        ));
        let dnat = dnat("eth0", "tcp", None, 2356, "fdfd:5898:4917:1::2", 6379);
        let id = dnat.id();
        assert_eq!(
            describe(Verb::Add, &dnat, 1),
            format!(
                "NAT66 add portfwd: /sbin/ip6tables -t nat -A PREROUTING -i eth0 -p tcp \
                 --dport 2356 -j DNAT --to-destination [fdfd:5898:4917:1::2]:6379 \
                 ! -s fe80::/10 -m addrtype --dst-type LOCAL -m comment --comment docker-nat66:{id}"
            )
        );
        assert!(
            describe(Verb::Del, &dnat, 1)
                .starts_with("NAT66 del portfwd: /sbin/ip6tables -t nat -D PREROUTING -i eth0 ")
        );
    }

    #[test]
    fn a_host_address_stands_after_the_documented_text() {
        let rule = dnat("eth0", "udp", Some("2001:db8::1"), 53, "fdfd::2", 5353);
        assert!(command(Verb::Add, &rule, 1).starts_with(
            "/sbin/ip6tables -t nat -A PREROUTING -i eth0 -p udp --dport 53 -j DNAT \
             --to-destination [fdfd::2]:5353 ! -s fe80::/10 -d 2001:db8::1 -m addrtype --dst-type LOCAL "
        ));
    }

    /// The text of every kind, without the comment.
    #[test]
    fn every_kind_has_its_command() {
        let expected = [
            "filter -I FORWARD 3 -j DOCKER-NAT66",
            "filter -I INPUT -j DOCKER-NAT66-IN",
            "nat -I POSTROUTING -o eth0 -s fdfd::/64 -j SNAT --to-source 2001:db8::1 \
             ! -d fdfd::/64 -m addrtype ! --src-type LOCAL",
            "nat -A POSTROUTING -o eth0 -s fdfd::/64 -j MASQUERADE ! -d fdfd::/64 \
             -m addrtype ! --src-type LOCAL",
            "nat -A POSTROUTING -s fdfd::/64 -j MASQUERADE -d fdfd::/64 \
             -m conntrack --ctstate DNAT",
            "filter -A DOCKER-NAT66 -s fdfd::/64 -d fdfd:1::/64 -m conntrack --ctstate DNAT \
             -j ACCEPT",
            "filter -A DOCKER-NAT66-IN -i eth0 -p tcp --dport 80 -m addrtype --dst-type LOCAL \
             -j DROP",
            "filter -A DOCKER-NAT66-IN -i eth0 -p tcp --dport 80 -d 2001:db8::1 \
             -m addrtype --dst-type LOCAL -j DROP",
            "nat -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 \
             -s 2001:db8:1::/48 -m addrtype --dst-type LOCAL",
            "nat -A OUTPUT -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 ! -s fe80::/10 \
             ! -d ::1 -m addrtype --dst-type LOCAL",
            "nat -A OUTPUT -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 ! -s fe80::/10 \
             -d 2001:db8::1 -m addrtype --dst-type LOCAL",
            "nat -A PREROUTING -s fdfd::/64 -p tcp --dport 80 -j DNAT \
             --to-destination [fdfd::2]:8080 -m addrtype --dst-type LOCAL",
            "nat -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 \
             ! -s fe80::/10 -m addrtype --dst-type LOCAL",
            "filter -I DOCKER-NAT66 -i eth0 -s fdfd::/64 -j DROP",
            "filter -A DOCKER-NAT66 -i eth0 -d fdfd::/64 \
             -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "filter -A DOCKER-NAT66 -i eth0 -d fdfd::/64 -m conntrack --ctstate DNAT -j ACCEPT",
            "filter -A DOCKER-NAT66 -o eth0 -s fdfd::/64 \
             -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "filter -A DOCKER-NAT66 -o eth0 -s fdfd::/64 -m conntrack --ctstate NEW -j ACCEPT",
            "filter -A DOCKER-NAT66 -i eth0 -d fdfd::/64 \
             -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        ];
        let rules = every_kind();
        assert_eq!(rules.len(), expected.len());
        for (rule, expected) in rules.iter().zip(expected) {
            let comment = format!(" -m comment --comment {}", rule.id().comment());
            let text = command(Verb::Add, rule, 3);
            assert_eq!(
                text,
                format!("/sbin/ip6tables -t {expected}{comment}"),
                "{rule:?}"
            );
        }
    }

    #[test]
    fn the_words_of_the_log_say_what_a_rule_is_for() {
        let words = |verb, rule| {
            let line = describe(verb, rule, 1);
            let words = line.split_once(": /sbin/").expect("a command").0;
            words.trim_start_matches("NAT66 ").to_owned()
        };
        let all: Vec<(String, String)> = every_kind()
            .iter()
            .map(|rule| (words(Verb::Add, rule), words(Verb::Del, rule)))
            .collect();
        for (set, unset, rules) in [
            ("set postrouting", "unset postrouting", 3),
            ("add portfwd", "del portfwd", 5),
            ("set forward", "unset forward", 8),
            ("add refuse", "del refuse", 3),
        ] {
            let these = all.iter().filter(|(s, u)| s == set && u == unset);
            assert_eq!(these.count(), rules, "{set}");
        }
    }

    #[test]
    fn a_locator_cannot_smuggle_in_another_line_table_or_chain() {
        for text in [
            "",
            "-A PREROUTING",
            "mangle -A FORWARD -j DROP",
            "nat -F",
            "nat -A ",
            "nat -A PREROUTING -j ACCEPT\n-F",
            "nat\n-A PREROUTING -j ACCEPT",
            "filter -X FORWARD",
            "filter -X DOCKER-NAT66 ",
            "nat -X DOCKER-NAT66",
        ] {
            assert_eq!(read_locator(text), Err(NotALocator(text.to_owned())));
        }
        assert_eq!(
            read_locator("filter -A FORWARD -j X"),
            Ok(Locator::Rule(Table::Filter, "FORWARD -j X"))
        );
        for hook in HOOKS {
            assert_eq!(read_locator(&chain_locator(hook)), Ok(Locator::Chain(hook)));
        }
    }
}
