//! Rules and elements mean the same.

use proptest::prelude::*;

use super::super::testing::{any_rule, tcp};
use super::*;

proptest! {
    #[test]
    fn every_rule_is_an_element_and_read_again(rule in any_rule()) {
        let element = SetElement::read(&rule.text).expect("a rule of this backend");
        prop_assert_eq!(element.rule(), Some(rule));
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
        if let Some(rule) = element.rule() {
            prop_assert_eq!(SetElement::read(&rule.text), Some(element));
        }
    }

    #[test]
    fn any_text_is_a_locator_or_none(text in "[a-z_]{0,10} ?[0-9a-f]{0,90}( [0-9a-f]{0,90})?|.{0,40}") {
        let _ = SetElement::located(&text);
    }
}

#[test]
fn a_text_has_the_fields_of_its_set_and_no_others() {
    for text in [
        "",
        "forwards",
        "forwards { tcp . 80 }",
        "forwards { tcp . 80 : fdfd::2 }",
        "forwards { tcp . 80 . 81 : fdfd::2 . 80 }",
        "forwards { tcp : fdfd::2 . 80 }",
        "forwards { tcp . 80 : fdfd::2 . 80 . 81 }",
        "forwards { tcp . 80 : fdfd::2 . 80 ",
        "forwards {tcp . 80 : fdfd::2 . 80}",
        "backwards { tcp . 80 : fdfd::2 . 80 }",
        "prefixes { fdfd::/129 }",
        "prefixes { fdfd::/64 : fdfd::1 }",
        "egress { eth0 }",
        "egress { \"a b\" }",
    ] {
        let rule = SetElement::read(text).and_then(|element| element.rule());
        assert_eq!(rule, None, "{text:?}");
    }
}

#[test]
fn bytes_that_no_packet_matches_are_not_ours() {
    let element = SetElement::read(&tcp(80).text).expect("a rule of this backend");
    // Padding, another protocol, port 0, a target without a port.
    for (at, byte) in [(1, 1), (0, 58), (5, 0), (6, 1)] {
        let mut odd = element.clone();
        odd.key[at] = byte;
        odd.last = odd.key.clone();
        assert_eq!(odd.rule(), None, "{at}");
    }
    for (at, byte) in [(17, 0), (18, 1)] {
        let mut odd = element.clone();
        odd.data[at] = byte;
        assert_eq!(odd.rule(), None, "{at}");
    }
    assert!(element.rule().is_some());
}

#[test]
fn a_range_that_is_no_prefix_is_not_ours() {
    let mut element = SetElement::read("prefixes { fdfd::/64 }").expect("ours");
    element.last[15] = 0xfe;
    assert_eq!(element.rule(), None);
}
