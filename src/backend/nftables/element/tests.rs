//! Rules and elements mean the same.

use proptest::prelude::*;

use super::super::testing::{any_rule, tcp};
use super::*;

proptest! {
    #[test]
    fn every_rule_is_an_element_and_read_again(rule in any_rule()) {
        let element = SetElement::of(&rule.spec).expect("a rule of this backend");
        prop_assert_eq!(element.spec(), Some(rule.spec));
        prop_assert_eq!(element.key.len(), length(element.set.key()));
        prop_assert_eq!(element.data.len(), match element.set.data() {
            [] => 0,
            fields => length(fields),
        });
        let located = SetElement::located(&element.locator()).expect("its own locator");
        prop_assert_eq!((located.set, located.key, located.last), (element.set, element.key, element.last));
    }

    #[test]
    fn any_bytes_are_an_element_of_ours_or_none(
        set in prop::sample::select(Set::ALL.to_vec()),
        key in prop::collection::vec(any::<u8>(), 0..50),
        last in prop::collection::vec(any::<u8>(), 0..50),
        data in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let element = SetElement { set, key, last, data };
        if let Some(spec) = element.spec() {
            prop_assert_eq!(SetElement::of(&spec), Some(element));
        }
    }

    #[test]
    fn any_text_is_a_locator_or_none(text in "[a-z_]{0,10} ?[0-9a-f]{0,90}( [0-9a-f]{0,90})?|.{0,40}") {
        let _ = SetElement::located(&text);
    }
}

#[test]
fn bytes_that_no_packet_matches_are_not_ours() {
    let element = SetElement::of(&tcp(80).spec).expect("a rule of this backend");
    // Padding, another protocol, port 0, a target without a port.
    for (at, byte) in [(1, 1), (0, 58), (5, 0), (6, 1)] {
        let mut odd = element.clone();
        odd.key[at] = byte;
        odd.last = odd.key.clone();
        assert_eq!(odd.spec(), None, "{at}");
    }
    for (at, byte) in [(17, 0), (18, 1)] {
        let mut odd = element.clone();
        odd.data[at] = byte;
        assert_eq!(odd.spec(), None, "{at}");
    }
    assert!(element.spec().is_some());
}

#[test]
fn a_range_that_is_no_prefix_is_not_ours() {
    let prefix = "fdfd::/64".parse().expect("valid");
    let mut element = SetElement::of(&RuleSpec::Element(Element::Prefix(prefix))).expect("ours");
    element.last[15] = 0xfe;
    assert_eq!(element.spec(), None);
}
