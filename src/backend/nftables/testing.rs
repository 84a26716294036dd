//! Rules to test with, and any rule there can be.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use proptest::prelude::*;

use crate::model::forward::Proto;
use crate::model::rule::Rule;

/// The rule with this text.
pub(super) fn rule(text: &str) -> Rule {
    super::rule::rule(text).unwrap_or_else(|| panic!("no rule of this backend: {text:?}"))
}

/// A forward of a TCP port.
pub(super) fn tcp(host_port: u16) -> Rule {
    rule(&format!("forwards {{ tcp . {host_port} : fdfd::2 . 80 }}"))
}

/// A prefix of the containers.
pub(super) fn prefix(net: &str) -> Rule {
    rule(&format!("prefixes {{ {net} }}"))
}

/// Any rule that this backend can hold.
pub(super) fn any_rule() -> impl Strategy<Value = Rule> {
    let dev = "[a-z][a-z0-9.]{0,14}";
    let addr = || any::<[u8; 16]>().prop_map(Ipv6Addr::from);
    let net =
        || (addr(), 0..=128_u8).prop_map(|(addr, len)| Ipv6Net::new(addr, len).unwrap().trunc());
    let proto = prop::sample::select(Proto::ALL.to_vec());
    let at = (prop::option::of(addr()), proto, 1_u16..).prop_map(|(addr, proto, port)| {
        let host = if addr.is_some() { "_host" } else { "" };
        let addr = addr.map_or_else(String::new, |addr| format!("{addr} . "));
        (host, format!("{addr}{proto} . {port}"))
    });
    let from = prop_oneof![
        net().prop_map(|net| ("forwards_from", format!("{net} . "))),
        Just(("forwards", String::new())),
        Just(("forwards_inside", String::new())),
    ];
    let forward =
        (from, at.clone(), addr(), 1_u16..).prop_map(|((map, from), (host, at), target, port)| {
            format!("{map}{host} {{ {from}{at} : {target} . {port} }}")
        });
    prop_oneof![
        Just(())
            .prop_flat_map(move |()| dev)
            .prop_map(|dev| format!("egress {{ \"{dev}\" }}")),
        net().prop_map(|net| format!("prefixes {{ {net} }}")),
        net().prop_map(|net| format!("guarded {{ {net} }}")),
        net().prop_map(|net| format!("hairpin {{ {net} . {net} }}")),
        (net(), addr()).prop_map(|(net, source)| format!("sources {{ {net} : {source} }}")),
        at.prop_map(|(host, at)| format!("refused{host} {{ {at} }}")),
        forward,
    ]
    .prop_map(|text| rule(&text))
}
