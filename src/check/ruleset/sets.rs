//! Puts the elements of sets and maps in the place of the rules' look-ups. Pure.

use super::decode::{Draft, Key, Lookup, matches_any, verdict_of};
use super::{Match, Rule, Verdict};
use crate::netlink::message::find;
use crate::netlink::nf_tables::{DATA_VALUE, element};
use crate::netlink::shown;

/// One element: its key, and its verdict in a map of verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    key: Vec<u8>,
    verdict: Option<Verdict>,
}

/// Whether the elements say more than that the condition may hold.
pub(super) fn is_worth_reading(lookup: &Lookup) -> bool {
    matches!(
        lookup.key,
        Key::From | Key::By | Key::Proto | Key::State | Key::Family
    )
}

/// The elements in the payload of a message; `None` if one of them is the end of an interval.
pub(super) fn elements(payload: &[u8]) -> Option<Vec<Element>> {
    let mut found = Vec::new();
    for item in shown::elements(payload) {
        if find(item, element::FLAGS).is_some() || find(item, element::KEY_END).is_some() {
            return None;
        }
        found.push(Element {
            key: find(find(item, element::KEY)?, DATA_VALUE)?.to_vec(),
            verdict: find(item, element::DATA).and_then(verdict_of),
        });
    }
    Some(found)
}

/// The rule with its sets read; a map of verdicts makes one rule for each element. `read` gives
/// the elements of a set, `None` if they are not known.
pub(super) fn resolve(draft: Draft, read: &dyn Fn(&str) -> Option<Vec<Element>>) -> Vec<Rule> {
    let Draft { mut rule, lookups } = draft;
    let mut deciding = None;
    for lookup in lookups {
        let known = is_worth_reading(&lookup)
            .then(|| read(&lookup.set))
            .flatten();
        if lookup.decides {
            deciding = Some((lookup.key, known));
        } else {
            let condition = known.and_then(|elements| {
                let keys: Vec<&[u8]> = elements.iter().map(|e| e.key.as_slice()).collect();
                matches_any(lookup.key, lookup.inverted, &keys)
            });
            rule.matches.push(condition.unwrap_or(Match::Other));
        }
    }
    let unknown = |mut rule: Rule| {
        rule.matches.push(Match::Other);
        rule.verdict = Verdict::Unknown;
        vec![rule]
    };
    match deciding {
        None => vec![rule],
        Some((_, None)) => unknown(rule),
        Some((key, Some(elements))) => {
            let one = |element: &Element| {
                let mut one = rule.clone();
                one.matches.push(matches_any(key, false, &[&element.key])?);
                one.verdict = element.verdict.clone()?;
                Some(one)
            };
            let rules: Option<Vec<Rule>> = elements.iter().map(one).collect();
            rules.unwrap_or_else(|| unknown(rule))
        }
    }
}
