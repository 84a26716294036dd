//! Rules as text: the documented commands, the log lines, and the lines that
//! ip6tables-restore reads.
//!
//! Pure. A locator is the listing's own text, and goes back as it came.

use super::parts::{OWN_FORWARD, OWN_INPUT, Parts, Table};
use super::words;
use crate::backend::Verb;
use crate::backend::kind::{self, JUMP_FORWARD, JUMP_INPUT, SNAT, SPOOFED};
use crate::model::rule::Rule;

/// The command as the documentation writes it, whatever path the tool was found at: operators
/// compare and paste these lines.
const DOCUMENTED_TOOL: &str = "/sbin/ip6tables";

/// A batch that cannot be said to ip6tables-restore, because a locator or a rule is none of
/// this backend's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a locator or rule of this backend: {0:?}")]
pub(in crate::backend) struct NotALocator(pub(super) String);

/// Both chains of our own.
pub(super) const OWN_CHAINS: [&str; 2] = [OWN_FORWARD, OWN_INPUT];

/// The rule with this text; `None` if it is none of this backend.
pub fn rule(text: &str) -> Option<Rule> {
    parts(text)?.rule()
}

fn parts(text: &str) -> Option<Parts> {
    let (words, len) = words::split(text).ok()?;
    let (first, rest) = words.split_first()?;
    let table = Table::ALL.into_iter().find(|t| t.as_str() == first.text)?;
    Parts::read(table, rest).filter(|_| len == text.len())
}

/// The command that sets or unsets a rule: the documented text, then our matches. `jump` is
/// the place in FORWARD of the jump to our chain, counted from 1.
pub fn command(verb: Verb, rule: &Rule, jump: usize) -> String {
    let table = Table::of(rule).as_str();
    let what = match verb {
        Verb::Del => format!("-D {}", text(rule)),
        Verb::Add => insertion(rule, place(rule, jump)),
    };
    format!("{DOCUMENTED_TOOL} -t {table} {what}")
}

/// The documented log line: `NAT66 set postrouting: COMMAND` and its kin. `jump` as for
/// [`command`].
pub fn describe(verb: Verb, rule: &Rule, jump: usize) -> String {
    let words = kind::words(verb, &rule.facts);
    format!("NAT66 {words}: {}", command(verb, rule, jump))
}

/// Where a rule goes in its chain, counted from 1; `None` for the end. Given where a jump to our
/// chain goes in FORWARD. A spoofed source must not pass for one of the connections that are accepted
/// further down, and a source of its own comes before any masquerade.
pub(super) fn place(rule: &Rule, jump: usize) -> Option<usize> {
    let is = |kind: &kind::Kind| kind.is(&rule.facts);
    match is(&JUMP_FORWARD) {
        true => Some(jump),
        false => [JUMP_INPUT, SNAT, SPOOFED].iter().any(is).then_some(1),
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
    let (_, text) = rule.text.split_once(' ').unwrap_or_default();
    format!("{text} -m comment --comment {}", rule.id().comment())
}

/// The chain of a rule.
pub(super) fn chain(rule: &Rule) -> &str {
    rule.text.split(' ').nth(1).unwrap_or_default()
}

/// The rule as both variants of ip6tables-save print it (seen with 1.8.9).
pub fn listed(rule: &Rule) -> String {
    parts(&rule.text).map_or_else(String::new, |parts| parts.listed(&rule.id().comment()))
}

/// What an opaque locator finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locator<'a> {
    /// A rule of this table, as listed without the `-A`.
    Rule(Table, &'a str),
    /// A chain of ours that holds nothing.
    Chain(&'static str),
}

/// The locator of a listed rule: its table, a blank, and the rule as listed.
pub(in crate::backend) fn rule_locator(table: Table, text: &str) -> String {
    format!("{} {text}", table.as_str())
}

/// The locator of a chain of ours.
pub(super) fn chain_locator(chain: &str) -> String {
    format!("{} -X {chain}", Table::Filter.as_str())
}

/// Reads a locator made by one of the two above.
///
/// # Errors
/// The text is no such locator: it would be read as something else by the tool.
pub(super) fn read_locator(locator: &str) -> Result<Locator<'_>, NotALocator> {
    if let Some(chain) = OWN_CHAINS.into_iter().find(|c| chain_locator(c) == locator) {
        return Ok(Locator::Chain(chain));
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
    use crate::backend::ip6tables::testing::{EVERY_KIND, dnat, every_kind, masquerade};

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

    #[test]
    fn every_kind_has_its_command() {
        for text in EVERY_KIND {
            let rule = rule(text).expect("a rule of this backend");
            assert_eq!(&*rule.text, text);
            let (table, text) = text.split_once(' ').expect("a table");
            let (how, text) = match place(&rule, 3) {
                None => ("-A", text.to_owned()),
                Some(1) => ("-I", text.to_owned()),
                Some(_) => ("-I", text.replacen("FORWARD", "FORWARD 3", 1)),
            };
            let comment = format!("-m comment --comment {}", rule.id().comment());
            assert_eq!(
                command(Verb::Add, &rule, 3),
                format!("/sbin/ip6tables -t {table} {how} {text} {comment}")
            );
        }
    }

    #[test]
    fn the_jump_and_what_comes_before_others_are_inserted_in_their_places() {
        let places = every_kind().into_iter().filter_map(|rule| {
            let place = place(&rule, 3)?;
            Some((rule.facts.kind.into_owned(), place))
        });
        let places: Vec<(String, usize)> = places.collect();
        let expected = [("jump", 3), ("jump", 1), ("snat", 1), ("guard", 1)];
        assert_eq!(
            places,
            expected.map(|(kind, place)| (kind.to_owned(), place))
        );
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
        for chain in OWN_CHAINS {
            assert_eq!(
                read_locator(&chain_locator(chain)),
                Ok(Locator::Chain(chain))
            );
        }
    }
}
