//! From an intent to the elements of our table. Pure.
//!
//! The table's chains say once what ip6tables needs a rule for on each interface and prefix: here is
//! one rule for each interface, each prefix and each forward. A set refuses intervals that overlap,
//! so prefixes are merged before rules are made of them.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::rule::{Key, SetElement};
use super::sets::Set;
use crate::model::forward::{Forward, Sources};
use crate::model::intent::{Policy, Unpublished};
use crate::model::rule::Rule;

/// What follows from the policy alone.
pub(crate) fn statics(policy: &Policy) -> Vec<Rule> {
    let prefixes = merged(&policy.prefixes);
    if policy.devices.is_empty() || prefixes.is_empty() {
        return Vec::new();
    }
    let devices = policy.devices.iter().map(|dev| Key::default().dev(dev));
    let mut all: Vec<SetElement> = devices
        .map(|key| SetElement::new(Set::Egress, key))
        .collect();
    all.extend(prefixes.iter().map(|net| within(Set::Prefixes, *net)));
    if policy.unpublished == Unpublished::Drop {
        all.extend(prefixes.iter().map(|net| within(Set::Guarded, *net)));
    }
    rules(all)
}

/// Sources of their own. Of subnets that overlap, which Docker does not make, the widest counts.
pub(crate) fn snat(policy: &Policy) -> Vec<Rule> {
    let mut wanted: Vec<(Ipv6Net, Ipv6Addr)> = policy.snat.clone();
    wanted.sort_by_key(|(prefix, source)| (prefix.prefix_len(), *prefix, *source));
    let mut taken: Vec<(Ipv6Net, Ipv6Addr)> = Vec::new();
    for (prefix, source) in wanted {
        if policy.devices.is_empty() || taken.iter().any(|(wider, _)| wider.contains(&prefix)) {
            continue;
        }
        taken.push((prefix, source));
    }
    let element = |(net, source)| within(Set::Sources, net).to(Key::default().addr(source));
    rules(taken.into_iter().map(element))
}

/// Every rule that one forward needs.
pub(crate) fn of_forward(policy: &Policy, forward: &Forward) -> Vec<Rule> {
    let element = |any, host, key: Key| {
        let set = if forward.host_addr.is_some() {
            host
        } else {
            any
        };
        SetElement::new(set, key.published(forward))
    };
    let container = || Key::default().container(forward);
    let mut all = Vec::new();
    match &forward.sources {
        // Where there is no interface to arrive on there is nothing to forward.
        _ if policy.devices.is_empty() => {}
        Sources::Any => {
            let forwarded = element(Set::Forwards, Set::ForwardsHost, Key::default());
            all.push(forwarded.to(container()));
        }
        Sources::Only(sources) => {
            let sources: Vec<Ipv6Net> = sources.iter().copied().collect();
            all.extend(merged(&sources).into_iter().map(|source| {
                let from = Key::default().net(source);
                element(Set::ForwardsFrom, Set::ForwardsFromHost, from).to(container())
            }));
            all.push(element(Set::Refused, Set::RefusedHost, Key::default()));
        }
    }
    if forward.sources == Sources::Any && policy.hairpin.covers(forward) {
        let inside = element(Set::ForwardsInside, Set::ForwardsInsideHost, Key::default());
        all.push(inside.to(container()));
        let within_both = |net| SetElement::new(Set::Hairpin, Key::default().net(net).net(net));
        all.extend(merged(&policy.prefixes).into_iter().map(within_both));
    }
    rules(all)
}

fn rules(all: impl IntoIterator<Item = SetElement>) -> Vec<Rule> {
    all.into_iter()
        .filter_map(|element| element.made())
        .collect()
}

fn within(set: Set, net: Ipv6Net) -> SetElement {
    SetElement::new(set, Key::default().net(net))
}

/// The widest of those that overlap. What lies side by side stays apart, though fewer prefixes
/// would do: each has its elements, which come and go without touching the others'.
fn merged(prefixes: &[Ipv6Net]) -> Vec<Ipv6Net> {
    let mut wanted: Vec<Ipv6Net> = prefixes.iter().map(Ipv6Net::trunc).collect();
    // A wider prefix comes before those within it.
    wanted.sort();
    wanted.dedup_by(|next, widest| widest.contains(&*next));
    wanted
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::backend::compile::{self, desired};
    use crate::model::forward::{Owner, Proto};
    use crate::model::intent::{Hairpin, Intent};
    use crate::model::rule::{BackendKind, OwnedRule, RuleId};

    fn rule(text: &str) -> Rule {
        compile::rule(BackendKind::Nftables, text).unwrap()
    }

    fn nets(texts: &[&str]) -> Vec<Ipv6Net> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn policy(prefixes: &[&str]) -> Policy {
        Policy {
            devices: vec!["eth0".parse().unwrap(), "eth1".parse().unwrap()],
            prefixes: nets(prefixes),
            hairpin: Hairpin::On,
            ..Policy::default()
        }
    }

    fn forward(sources: Sources) -> Forward {
        Forward {
            proto: Proto::Tcp,
            host_addr: None,
            host_port: 8080,
            container_addr: "fd00::2".parse().unwrap(),
            container_port: 80,
            sources,
            owner: Owner::new("c", "c", "bridge"),
        }
    }

    fn rules(policy: &Policy, forwards: &[Forward]) -> BTreeMap<RuleId, OwnedRule> {
        let intent = Intent::new(policy.clone(), Some(forwards.to_vec()));
        desired(BackendKind::Nftables, &intent).rules
    }

    fn kinds(policy: &Policy, forwards: &[Forward]) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for owned in rules(policy, forwards).values() {
            *kinds.entry(owned.rule.facts.kind.to_string()).or_default() += 1;
        }
        kinds
    }

    #[test]
    fn the_number_of_forwards_does_not_depend_on_that_of_interfaces_and_prefixes() {
        let any = [forward(Sources::Any)];
        let expected = [
            ("dnat", 2),
            ("egress", 2),
            ("guarded", 2),
            ("hairpin", 2),
            ("prefix", 2),
        ];
        let two = policy(&["fd00::/64", "fd02::/64"]);
        assert_eq!(
            kinds(&two, &any),
            expected
                .map(|(kind, count)| (kind.to_owned(), count))
                .into()
        );
    }

    #[test]
    fn prefixes_and_sources_that_overlap_are_merged() {
        let overlapping = policy(&["fd00::/64", "fd00::/48", "fd00:0:0:7::/64", "fd00::/64"]);
        let sources = nets(&["2001:db8::/32", "2001:db8:1::/48", "2001:db9::/32"]);
        let limited = forward(Sources::Only(sources.into_iter().collect::<BTreeSet<_>>()));
        let expected = [
            ("dnat", 2),
            ("egress", 2),
            ("guarded", 1),
            ("prefix", 1),
            ("refuse", 1),
        ];
        assert_eq!(
            kinds(&overlapping, &[limited]),
            expected
                .map(|(kind, count)| (kind.to_owned(), count))
                .into()
        );
        assert!(statics(&overlapping).contains(&rule("prefixes { fd00::/48 }")));
    }

    /// Otherwise all that hangs on the other's prefix would go for a moment, and without a disk
    /// to write to, for good.
    #[test]
    fn a_prefix_that_comes_beside_another_leaves_its_elements_alone() {
        let any = [forward(Sources::Any)];
        let before = rules(&policy(&["fd00:0:0:2::/64"]), &any);
        let both = policy(&["fd00:0:0:2::/64", "fd00:0:0:3::/64"]);
        let after = rules(&both, &any);
        let gone: Vec<_> = before.values().collect();
        let gone = gone.iter().filter(|r| !after.contains_key(&r.rule.id()));
        assert_eq!(gone.count(), 0);
    }

    #[test]
    fn of_overlapping_subnets_with_sources_the_widest_counts() {
        let mut own = policy(&["fd00::/48"]);
        let source = "2001:db8::1".parse().unwrap();
        let subnets = nets(&["fd00:0:0:1::/64", "fd00::/56", "fd00:0:0:200::/64"]);
        own.snat = subnets.into_iter().map(|net| (net, source)).collect();
        let taken = ["fd00::/56", "fd00:0:0:200::/64"]
            .map(|net| rule(&format!("sources {{ {net} : {source} }}")));
        assert_eq!(snat(&own), taken);
    }

    #[test]
    fn without_an_interface_or_a_prefix_nothing_is_static() {
        let mut none = policy(&["fd00::/64"]);
        none.devices.clear();
        assert_eq!(statics(&none), []);
        assert_eq!(statics(&policy(&[])), []);
        let mut open = policy(&["fd00::/64"]);
        open.unpublished = Unpublished::Accept;
        assert!(!kinds(&open, &[]).contains_key("guarded"));
    }
}
