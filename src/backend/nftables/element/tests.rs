//! Rules and elements mean the same.

use proptest::prelude::*;

use super::super::testing::{any_rule, tcp};
use super::*;

proptest! {
    #[test]
    fn every_rule_is_an_element_and_read_again(rule in any_rule()) {
        let item = Item::of(&rule.spec).expect("a rule of this backend");
        prop_assert_eq!(item.spec(), Some(rule.spec));
        prop_assert_eq!(item.key.len(), length(item.set.key()));
        prop_assert_eq!(item.data.len(), match item.set.data() {
            [] => 0,
            fields => length(fields),
        });
        let located = Item::located(&item.locator()).expect("its own locator");
        prop_assert_eq!((located.set, located.key, located.last), (item.set, item.key, item.last));
    }

    #[test]
    fn any_bytes_are_an_element_of_nobodys_or_of_ours(
        set in prop::sample::select(Set::ALL.to_vec()),
        key in prop::collection::vec(any::<u8>(), 0..50),
        last in prop::collection::vec(any::<u8>(), 0..50),
        data in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let item = Item { set, key, last, data };
        if let Some(spec) = item.spec() {
            prop_assert_eq!(Item::of(&spec), Some(item));
        }
    }

    #[test]
    fn any_text_is_a_locator_or_none(text in "[a-z_]{0,10} ?[0-9a-f]{0,90}( [0-9a-f]{0,90})?|.{0,40}") {
        let _ = Item::located(&text);
    }
}

#[test]
fn bytes_that_no_packet_matches_are_not_ours() {
    let item = Item::of(&tcp(80).spec).expect("a rule of this backend");
    // Padding, another protocol, port 0, a target without a port.
    for (at, byte) in [(1, 1), (0, 58), (5, 0), (6, 1)] {
        let mut odd = item.clone();
        odd.key[at] = byte;
        odd.last = odd.key.clone();
        assert_eq!(odd.spec(), None, "{at}");
    }
    for (at, byte) in [(17, 0), (18, 1)] {
        let mut odd = item.clone();
        odd.data[at] = byte;
        assert_eq!(odd.spec(), None, "{at}");
    }
    assert!(item.spec().is_some());
}

#[test]
fn a_range_that_is_no_prefix_is_not_ours() {
    let prefix = "fdfd::/64".parse().expect("valid");
    let mut item = Item::of(&RuleSpec::Element(Element::Prefix(prefix))).expect("ours");
    item.last[15] = 0xfe;
    assert_eq!(item.spec(), None);
}
