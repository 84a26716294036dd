//! Rules to test with, and any rule there can be.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use proptest::prelude::*;

use crate::model::element::Element;
use crate::model::forward::Proto;
use crate::model::rule::{BackendKind, Dnat, DnatKey, Rule, RuleSpec, Via};

/// A rule of this backend.
pub(super) fn rule(spec: RuleSpec) -> Rule {
    Rule {
        backend: BackendKind::Nftables,
        spec,
    }
}

/// A forward of a TCP port.
pub(super) fn tcp(host_port: u16) -> Rule {
    rule(RuleSpec::Dnat(Dnat {
        key: DnatKey {
            via: Via::Outside,
            proto: Proto::Tcp,
            host_addr: None,
            host_port,
            source: None,
        },
        target: "fdfd::2".parse().unwrap(),
        target_port: 80,
        spares_link_local: false,
    }))
}

/// A prefix of the containers.
pub(super) fn prefix(net: &str) -> Rule {
    rule(RuleSpec::Element(Element::Prefix(net.parse().unwrap())))
}

/// Any rule that this backend can hold.
pub(super) fn any_rule() -> impl Strategy<Value = Rule> {
    let dev = "[a-z][a-z0-9.]{0,14}".prop_map(|name| name.parse().unwrap());
    let addr = || any::<[u8; 16]>().prop_map(Ipv6Addr::from);
    let net =
        || (addr(), 0..=128_u8).prop_map(|(addr, len)| Ipv6Net::new(addr, len).unwrap().trunc());
    let proto = prop::sample::select(Proto::ALL.to_vec());
    let at = (proto, prop::option::of(addr()), 1_u16..);
    let from = prop_oneof![
        prop::option::of(net()).prop_map(|source| (Via::Outside, source)),
        Just((Via::Inside, None)),
    ];
    let refused = at
        .clone()
        .prop_map(|(proto, host_addr, host_port)| Element::Refused {
            proto,
            host_addr,
            host_port,
        });
    let element = prop_oneof![
        Just(())
            .prop_flat_map(move |()| dev.clone())
            .prop_map(Element::Egress),
        net().prop_map(Element::Prefix),
        net().prop_map(Element::Guarded),
        (net(), addr()).prop_map(|(prefix, source)| Element::Source { prefix, source }),
        refused,
    ];
    let dnat = (from, at, addr(), 1_u16..).prop_map(
        |((via, source), (proto, host_addr, host_port), target, target_port)| Dnat {
            key: DnatKey {
                via,
                proto,
                host_addr,
                host_port,
                source,
            },
            target,
            target_port,
            spares_link_local: false,
        },
    );
    prop_oneof![
        element.prop_map(RuleSpec::Element),
        net().prop_map(|prefix| RuleSpec::HairpinMasquerade { prefix }),
        dnat.prop_map(RuleSpec::Dnat),
    ]
    .prop_map(rule)
}
