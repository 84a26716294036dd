//! What is written is read again, and whatever is read ends.

use proptest::prelude::*;

use super::super::oracle::{check, observed};
use super::super::render::{Step, batch};
use super::super::testing::{any_rule, prefix, tcp};
use super::*;

proptest! {
    #[test]
    fn what_is_sent_is_read_again(rule in any_rule()) {
        let set = SetElement::read(&rule.text).expect("ours").set;
        let seen = observed(std::slice::from_ref(&rule), set);
        prop_assert_eq!(seen.len(), 1);
        prop_assert_eq!(seen[0].id, rule.id());
        prop_assert_eq!(seen[0].rule.as_ref(), Some(&rule));
    }

    /// Bytes that seem right at first.
    #[test]
    fn no_damage_to_elements_breaks_what_must_hold(
        rules in prop::collection::vec(any_rule(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for rule in rules {
            let element = SetElement::read(&rule.text).expect("ours");
            let mut sent = batch(&[Step::Insert(vec![(element, rule.id())])], "t", 1).bytes;
            for (at, byte) in &damage {
                let at = at.index(sent.len());
                sent[at] = *byte;
            }
            check(&sent);
        }
    }
}

#[test]
fn ranges_that_touch_are_kept_apart_and_the_last_one_ends() {
    let rules = ["::/64", "0:0:0:1::/64", "fe00::/7"].map(prefix);
    let seen: Vec<Option<Rule>> = observed(&rules, Set::Prefixes)
        .into_iter()
        .map(|seen| seen.rule)
        .collect();
    assert_eq!(seen, rules.map(Some));
}

#[test]
fn an_element_is_believed_only_with_the_comment_of_its_content() {
    let rule = tcp(80);
    let element = SetElement::read(&rule.text).expect("ours");
    for (comment, id, believed) in [
        (Some(rule.id()), rule.id(), true),
        (Some(tcp(81).id()), tcp(81).id(), false),
        // Without one it is known by its content, and removed all the same.
        (None, rule.id(), false),
    ] {
        let raw = Raw {
            key: element.key.clone(),
            is_end: false,
            last: None,
            data: element.data.clone(),
            comment,
        };
        let seen = raw.observed(element.set, element.last.clone());
        assert_eq!(seen.id, id);
        assert_eq!(seen.rule.is_some(), believed, "{comment:?}");
        assert_eq!(*seen.locator, *element.locator());
    }
}

#[test]
fn a_comment_is_found_among_other_notes() {
    let id = tcp(80).id();
    let text = [id.comment().as_bytes(), &[0]].concat();
    let length = u8::try_from(text.len()).expect("short");
    let note = [&[0, length][..], &text].concat();
    assert_eq!(comment(&note), Some(id));
    let after = [&[1, 4, 0, 0, 0, 0][..], &note].concat();
    assert_eq!(comment(&after), Some(id));
    assert_eq!(comment(&note[..note.len() - 1]), None);
    assert_eq!(comment(&[1, 4, 0]), None);
    let other = [&[0, 3][..], b"hi\0"].concat();
    assert_eq!(comment(&other), None);
}

#[test]
fn every_rule_is_as_sent_and_like_no_other() {
    let mut all: Vec<Vec<u8>> = super::super::chains::chains()
        .iter()
        .flat_map(|chain| chain.rules.iter().map(|rule| encode(rule)))
        .collect();
    // Some stand in two chains.
    all.sort();
    all.dedup();
    for (n, sent) in all.iter().enumerate() {
        for (m, printed) in all.iter().enumerate() {
            assert_eq!(is_as_sent(sent, printed), n == m, "{n} {m}");
        }
    }
}
