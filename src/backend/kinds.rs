//! All kinds of rules, from the tables of both backends. Pure.

use std::borrow::Cow;

use super::ip6tables::facts::kinds as ip6tables_kinds;
use super::kind::{Kind, Verb};
use super::nftables::sets::Set;
use crate::model::rule::{Name, RuleFacts};

/// Kinds that both backends have come twice.
fn all() -> impl Iterator<Item = &'static Kind> {
    ip6tables_kinds().chain(Set::ALL.into_iter().map(Set::kind))
}

/// A word as the kinds spell it, so that it takes no memory of its own.
pub(crate) fn name(word: String) -> Name {
    let known = all().flat_map(Kind::names).find(|known| *known == word);
    known.map_or(Cow::Owned(word), Cow::Borrowed)
}

/// The documented words of the log for a change of such a rule. A kind that only a newer release has
/// was inserted by that release, and may have to be removed here.
pub(super) fn words(verb: Verb, facts: &RuleFacts) -> &'static str {
    match (all().find(|kind| kind.is(facts)), verb) {
        (Some(kind), _) => kind.words(verb),
        (None, Verb::Add) => "set rule",
        (None, Verb::Del) => "unset rule",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_are_alike() {
        for kind in all() {
            let facts = kind.facts();
            let named: Vec<&Kind> = all().filter(|other| other.is(&facts)).collect();
            assert!(named.iter().all(|other| *other == kind), "{named:?}");
        }
    }
}
