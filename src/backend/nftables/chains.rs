//! The chains of our table, which are the same on every host. Pure.
//!
//! ```text
//! chain prerouting {
//!   type nat hook prerouting priority dstnat; policy accept;
//!   ip6 saddr fe80::/10 return
//!   iifname @egress fib daddr type local meta l4proto tcp dnat to ip6 saddr . ip6 daddr . meta l4proto . th dport map @forwards_from_host
//!   … the same for udp and sctp, and for forwards_from without ip6 daddr
//!   iifname @egress fib daddr type local dnat to ip6 daddr . meta l4proto . th dport map @forwards_host
//!   iifname @egress fib daddr type local dnat to meta l4proto . th dport map @forwards
//!   ip6 saddr @prefixes fib daddr type local dnat to ip6 daddr . meta l4proto . th dport map @forwards_inside_host
//!   ip6 saddr @prefixes fib daddr type local dnat to meta l4proto . th dport map @forwards_inside
//! }
//! chain output {
//!   type nat hook output priority -100; policy accept;
//!   ip6 saddr fe80::/10 return
//!   ip6 daddr != ::1 fib daddr type local dnat to ip6 daddr . meta l4proto . th dport map @forwards_inside_host
//!   ip6 daddr != ::1 fib daddr type local dnat to meta l4proto . th dport map @forwards_inside
//! }
//! chain postrouting {
//!   type nat hook postrouting priority srcnat; policy accept;
//!   iifname != @egress oifname @egress ip6 daddr != @prefixes fib saddr type != local snat to ip6 saddr map @sources
//!   iifname != @egress oifname @egress ip6 saddr @prefixes ip6 daddr != @prefixes fib saddr type != local masquerade
//!   ip6 saddr . ip6 daddr @hairpin ct status dnat masquerade
//! }
//! chain forward {
//!   type filter hook forward priority filter; policy accept;
//!   iifname @egress ip6 saddr @prefixes counter drop
//!   iifname @egress ip6 daddr @prefixes ct state established,related accept
//!   iifname @egress ip6 daddr @prefixes ct status dnat accept
//!   iifname @egress ip6 daddr @guarded counter drop
//! }
//! chain input {
//!   type filter hook input priority filter; policy accept;
//!   iifname @egress fib daddr type local ip6 daddr . meta l4proto . th dport @refused_host counter drop
//!   iifname @egress fib daddr type local meta l4proto . th dport @refused counter drop
//! }
//! ```
//!
//! One rule for each protocol, where keys are ranges: nft 1.0.6 prints a rule without, but
//! refuses to load what it has printed ("transport protocol mapping is only valid after
//! transport protocol match").

use std::net::Ipv6Addr;

use super::expression::{Base, Ct, End, Expr, Meta, REG_1, VerdictCode};
use super::sets::{Field, Set};
use crate::backend::kind::LINK_LOCAL;
use crate::model::forward::Proto;

/// A base chain of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// `nat` or `filter`.
    pub(super) kind: &'static str,
    /// `enum nf_inet_hooks` (linux/netfilter.h).
    pub(super) hook: u32,
    /// `enum nf_ip6_hook_priorities` (linux/netfilter_ipv6.h).
    pub(super) priority: i32,
    pub(super) rules: Vec<Vec<Expr>>,
}

/// `NF_IP6_PRI_NAT_DST`, `NF_IP6_PRI_FILTER`, `NF_IP6_PRI_NAT_SRC`.
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;

/// `RTN_LOCAL` (linux/rtnetlink.h): the address is one of the host's own.
const LOCAL: u32 = 2;

/// `NF_CT_STATE_BIT` of established and related (linux/netfilter/nf_conntrack_common.h).
const EXISTING: u32 = 0x2 | 0x4;

/// `IPS_DST_NAT`.
const REWRITTEN: u32 = 0x20;

/// Offsets in the IPv6 header, and that of the destination port in those of TCP, UDP and SCTP.
const SOURCE: u32 = 8;
const DESTINATION: u32 = 24;
const PORT: u32 = 2;

/// `NFT_REG32_00`.
const REG32: u32 = 8;

/// The chains, in the order of the listing.
pub(super) fn chains() -> Vec<Chain> {
    let chain = |name, kind, hook, priority, rules| Chain {
        name,
        kind,
        hook,
        priority,
        rules,
    };
    vec![
        chain("prerouting", "nat", 0, DSTNAT, prerouting()),
        chain("output", "nat", 3, DSTNAT, output()),
        chain("postrouting", "nat", 4, SRCNAT, postrouting()),
        chain("forward", "filter", 2, FILTER, forward()),
        chain("input", "filter", 1, FILTER, input()),
    ]
}

/// A packet from a link-local address cannot be forwarded.
fn spare_link_local() -> Vec<Expr> {
    let equal = true;
    let value = LINK_LOCAL.addr().octets().into();
    vec![
        address(SOURCE, REG_1),
        Expr::Mask(LINK_LOCAL.netmask().octets().into()),
        Expr::Compare { equal, value },
        Expr::Verdict(VerdictCode::Return),
    ]
}

fn prerouting() -> Vec<Vec<Expr>> {
    let mut rules = vec![spare_link_local()];
    // Whose sources are limited first: the most is known of them.
    for map in [Set::ForwardsFromHost, Set::ForwardsFrom] {
        for proto in Proto::ALL {
            let head = [came_in(), to_local(), is_proto(proto)];
            rules.push(rule(head, dnat(map)));
        }
    }
    for map in [Set::ForwardsHost, Set::Forwards] {
        rules.push(rule([came_in(), to_local()], dnat(map)));
    }
    for map in [Set::ForwardsInsideHost, Set::ForwardsInside] {
        rules.push(rule(
            [addr(SOURCE, Set::Prefixes, true), to_local()],
            dnat(map),
        ));
    }
    rules
}

fn output() -> Vec<Vec<Expr>> {
    // A packet from ::1 cannot leave for a container.
    let not_loopback = vec![
        address(DESTINATION, REG_1),
        Expr::Compare {
            equal: false,
            value: Ipv6Addr::LOCALHOST.octets().into(),
        },
    ];
    let rewrite = |map| rule([not_loopback.clone(), to_local()], dnat(map));
    vec![
        spare_link_local(),
        rewrite(Set::ForwardsInsideHost),
        rewrite(Set::ForwardsInside),
    ]
}

fn postrouting() -> Vec<Vec<Expr>> {
    let leaves = || {
        [
            interface(Meta::InterfaceIn, false),
            interface(Meta::InterfaceOut, true),
        ]
    };
    let not_inside = || addr(DESTINATION, Set::Prefixes, false);
    let not_from_host = || addr_type(End::Source, false);
    let snat = vec![address(SOURCE, REG_1), Expr::Map(Set::Sources), Expr::Snat];
    let hairpin = vec![
        address(SOURCE, REG_1),
        address(DESTINATION, REG_1 + 1),
        Expr::Lookup {
            set: Set::Hairpin,
            is_in: true,
        },
    ];
    vec![
        rule(
            leaves().into_iter().chain([not_inside(), not_from_host()]),
            snat,
        ),
        rule(
            leaves().into_iter().chain([
                addr(SOURCE, Set::Prefixes, true),
                not_inside(),
                not_from_host(),
            ]),
            vec![Expr::Masquerade],
        ),
        rule(
            [hairpin, connection(Ct::Status, REWRITTEN)],
            vec![Expr::Masquerade],
        ),
    ]
}

fn forward() -> Vec<Vec<Expr>> {
    let for_prefix = || [came_in(), addr(DESTINATION, Set::Prefixes, true)];
    let accepted = |connection: Vec<Expr>| {
        rule(
            for_prefix().into_iter().chain([connection]),
            vec![Expr::Verdict(VerdictCode::Accept)],
        )
    };
    vec![
        rule([came_in(), addr(SOURCE, Set::Prefixes, true)], dropped()),
        accepted(connection(Ct::State, EXISTING)),
        accepted(connection(Ct::Status, REWRITTEN)),
        rule(
            [came_in(), addr(DESTINATION, Set::Guarded, true)],
            dropped(),
        ),
    ]
}

fn input() -> Vec<Vec<Expr>> {
    [Set::RefusedHost, Set::Refused]
        .map(|set| {
            let mut listed = key(set);
            listed.push(Expr::Lookup { set, is_in: true });
            rule([came_in(), to_local(), listed], dropped())
        })
        .into()
}

fn rule(parts: impl IntoIterator<Item = Vec<Expr>>, end: Vec<Expr>) -> Vec<Expr> {
    parts.into_iter().flatten().chain(end).collect()
}

fn dropped() -> Vec<Expr> {
    vec![Expr::Counter, Expr::Verdict(VerdictCode::Drop)]
}

fn interface(which: Meta, is_in: bool) -> Vec<Expr> {
    let set = Set::Egress;
    vec![Expr::Meta(which, REG_1), Expr::Lookup { set, is_in }]
}

fn came_in() -> Vec<Expr> {
    interface(Meta::InterfaceIn, true)
}

fn to_local() -> Vec<Expr> {
    addr_type(End::Destination, true)
}

fn addr_type(end: End, is_local: bool) -> Vec<Expr> {
    let value = LOCAL.to_ne_bytes().into();
    let equal = is_local;
    vec![Expr::AddrType(end), Expr::Compare { equal, value }]
}

fn is_proto(proto: Proto) -> Vec<Expr> {
    let value = vec![proto.number()];
    let equal = true;
    vec![
        Expr::Meta(Meta::Proto, REG_1),
        Expr::Compare { equal, value },
    ]
}

fn address(offset: u32, register: u32) -> Expr {
    Expr::Payload {
        base: Base::Network,
        offset,
        length: 16,
        register,
    }
}

fn addr(offset: u32, set: Set, is_in: bool) -> Vec<Expr> {
    vec![address(offset, REG_1), Expr::Lookup { set, is_in }]
}

fn connection(what: Ct, bits: u32) -> Vec<Expr> {
    let none = vec![0; 4];
    vec![
        Expr::Ct(what),
        Expr::Mask(bits.to_ne_bytes().into()),
        Expr::Compare {
            equal: false,
            value: none,
        },
    ]
}

/// Loads the key of a set for published ports.
fn key(set: Set) -> Vec<Expr> {
    let mut register = REG_1;
    let mut load = Vec::new();
    for field in set.key() {
        let offset = match field {
            Field::Source => SOURCE,
            Field::HostAddr => DESTINATION,
            _ => continue,
        };
        load.push(address(offset, register));
        register += 1;
    }
    load.push(Expr::Meta(Meta::Proto, register));
    load.push(Expr::Payload {
        base: Base::Transport,
        offset: PORT,
        length: 2,
        // The four bytes behind the protocol.
        register: REG32 + 4 * (register - REG_1) + 1,
    });
    load
}

fn dnat(map: Set) -> Vec<Expr> {
    let mut rewrite = key(map);
    rewrite.extend([Expr::Map(map), Expr::Dnat]);
    rewrite
}
