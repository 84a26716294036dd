//! What must hold of chains, rules and sets of nf_tables that others have written, and of what the
//! legacy tools print.

use super::decode::{base_chain, draft};
use super::walk::drops;
use super::{Home, Packet, Place, Ruleset, Verdict, sets, text};
use crate::netlink::message::{INET, IPV6, Messages};
use crate::netlink::shown::ShownRule;

/// The input is messages, each of which is read as a chain, as a rule and as elements; and a listing.
pub(crate) fn check(bytes: &[u8]) {
    let mut rules = Ruleset::default();
    for message in Messages::new(bytes).map_while(Result::ok) {
        let elements = sets::elements(message.payload);
        if let Some(elements) = &elements {
            // An attribute takes at least four bytes.
            assert!(elements.len() * 4 <= message.payload.len());
        }
        if let Some(chain) = base_chain(message.payload) {
            check_place(&chain.place, message.payload);
            rules.chains.push(chain);
        }
        let Some(read) = draft(message.payload) else {
            continue;
        };
        check_place(&read.rule.place, message.payload);
        let shown = ShownRule::read(message.payload).expect("a rule");
        let conditions = read.rule.matches.len() + read.lookups.len();
        assert!(conditions <= shown.expressions().count());
        let handle = read.rule.handle;
        let most = elements.as_ref().map_or(1, |all| all.len().max(1));
        let resolved = sets::resolve(read, &|_| elements.clone());
        assert!(resolved.len() <= most);
        assert!(resolved.iter().all(|rule| rule.handle == handle));
        rules.rules.extend(resolved);
    }
    let listing = String::from_utf8_lossy(bytes);
    let listed = text::read("filter", &listing);
    assert!(listed.rules.len() + listed.chains.len() <= listing.lines().count());
    rules.add(listed);
    check_drops(&rules);
}

fn check_place(place: &Place, payload: &[u8]) {
    assert!([Home::Nft(INET), Home::Nft(IPV6)].contains(&place.home));
    // A byte that is no text becomes a character of three.
    assert!(place.table.len() + place.chain.len() <= 3 * payload.len());
}

/// What is said to drop stands there, and drops.
fn check_drops(rules: &Ruleset) {
    let packet = Packet {
        from: vec!["eth0".to_owned()],
        to: vec!["fd00::/64".parse().expect("a network")],
    };
    for base in &rules.chains {
        let Some(found) = drops(rules, base, &packet) else {
            continue;
        };
        assert_eq!(found.base, base.place);
        match found.handle {
            None => assert!(base.drops && found.at == base.place),
            Some(handle) => {
                let mut there = rules.of(&found.at);
                assert!(there.any(|it| it.handle == handle && it.verdict == Verdict::Drop));
            }
        }
    }
}
