//! Rules as the lines that ip6tables-restore reads, and as ip6tables-save prints them.
//!
//! Pure. A locator is the listing's own text, and goes back as it came.

use super::facts::{JUMP_FORWARD, JUMP_INPUT, SPOOFED};
use super::rule::{OWN_CHAINS, Table, parts};
use crate::backend::kind::{Kind, SNAT};
use crate::model::rule::Rule;

/// A batch that ip6tables-restore cannot carry out, because a locator or a rule is another backend's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a locator or rule of this backend: {0:?}")]
pub(in crate::backend) struct NotALocator(pub(super) String);

/// Where a rule goes in its chain, counted from 1; `None` for the end. Given where a jump to our
/// chain goes in FORWARD. A spoofed source must not pass for one of the connections that are accepted
/// further down, and a source of its own comes before any masquerade.
pub(super) fn place(rule: &Rule, jump: usize) -> Option<usize> {
    let is = |kind: &Kind| kind.is(&rule.facts);
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
pub(super) fn text(rule: &Rule) -> String {
    let (_, text) = rule.text.split_once(' ').unwrap_or_default();
    format!("{text} -m comment --comment {}", rule.id().comment())
}

/// Whether a rule stands in this chain or jumps to it.
pub(super) fn concerns(rule: &Rule, chain: &str) -> bool {
    rule.text.split(' ').nth(1) == Some(chain) || target(rule) == Some(chain)
}

/// Where a rule sends packets.
pub(super) fn target(rule: &Rule) -> Option<&str> {
    let (_, rest) = rule.text.split_once(" -j ")?;
    rest.split(' ').next()
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
    let known = OWN_CHAINS.into_iter().find(|(_, name)| *name == chain);
    let table = known.map_or(Table::Filter, |(table, _)| table);
    format!("{} -X {chain}", table.as_str())
}

/// Reads a locator made by one of the two above.
///
/// # Errors
/// The text is no such locator: it would be read as something else by the tool.
pub(super) fn read_locator(locator: &str) -> Result<Locator<'_>, NotALocator> {
    let mut chains = OWN_CHAINS.into_iter().map(|(_, name)| name);
    if let Some(chain) = chains.find(|chain| chain_locator(chain) == locator) {
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
    use crate::backend::ip6tables::testing::every_kind;

    #[test]
    fn the_jump_and_what_comes_before_others_are_inserted_in_their_places() {
        let places = every_kind().into_iter().filter_map(|rule| {
            let place = place(&rule, 3)?;
            Some((rule.facts.kind.to_string(), place))
        });
        let places: Vec<(String, usize)> = places.collect();
        let expected = [("jump", 3), ("jump", 1), ("snat", 1), ("guard", 1)];
        assert_eq!(
            places,
            expected.map(|(kind, place)| (kind.to_owned(), place))
        );
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
            "filter -X DOCKER-NAT66-INSIDE",
        ] {
            assert_eq!(read_locator(text), Err(NotALocator(text.to_owned())));
        }
        assert_eq!(
            read_locator("filter -A FORWARD -j X"),
            Ok(Locator::Rule(Table::Filter, "FORWARD -j X"))
        );
        for (_, chain) in OWN_CHAINS {
            assert_eq!(
                read_locator(&chain_locator(chain)),
                Ok(Locator::Chain(chain))
            );
        }
    }
}
