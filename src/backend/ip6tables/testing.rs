//! Rules for the tests of this backend.

use proptest::prelude::*;

use ipnet::Ipv6Net;

pub(in crate::backend) use super::oracle::saved;
use super::{compile, rule};
use crate::model::forward::{Forward, Owner, Proto, Sources};
use crate::model::intent::{Hairpin, Policy};
use crate::model::rule::Rule;

/// The rule with this text.
pub(in crate::backend) fn rule(text: &str) -> Rule {
    let rule = rule::rule(text);
    rule.unwrap_or_else(|| panic!("no rule of this backend: {text:?}"))
}

/// A rule that masquerades.
pub(in crate::backend) fn masquerade(dev: &str, prefix: &str) -> Rule {
    rule(&format!(
        "nat POSTROUTING -o {dev} -s {prefix} -j MASQUERADE ! -d {prefix} \
         -m addrtype ! --src-type LOCAL"
    ))
}

/// A DNAT rule on an egress interface, for every source that can be forwarded.
pub(in crate::backend) fn dnat(
    dev: &str,
    proto: &str,
    host_addr: Option<&str>,
    host_port: u16,
    target: &str,
    target_port: u16,
) -> Rule {
    let to = host_addr.map_or_else(String::new, |addr| format!("-d {addr} "));
    rule(&format!(
        "nat PREROUTING -i {dev} -p {proto} --dport {host_port} -j DNAT \
         --to-destination [{target}]:{target_port} ! -s fe80::/10 {to}-m addrtype --dst-type LOCAL"
    ))
}

/// A jump to the chain of the guards.
pub(in crate::backend) fn jump() -> Rule {
    rule("filter FORWARD -j DOCKER-NAT66")
}

/// Filter rules on eth0: what drops spoofed sources, what accepts answers, and what drops the rest.
pub(in crate::backend) const SPOOFED: &str = "filter DOCKER-NAT66 -i eth0 -s fdfd::/64 -j DROP";
pub(in crate::backend) const REPLY: &str =
    "filter DOCKER-NAT66 -o eth0 -s fdfd::/64 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
pub(in crate::backend) const UNPUBLISHED: &str = "filter DOCKER-NAT66 -i eth0 -d fdfd::/64 \
     -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP";

/// One of every kind, and of every kind of DNAT rule.
pub(in crate::backend) const EVERY_KIND: [&str; 23] = [
    "filter FORWARD -j DOCKER-NAT66",
    "filter INPUT -j DOCKER-NAT66-IN",
    "nat OUTPUT ! -s fe80::/10 -j DOCKER-NAT66-INSIDE ! -d ::1 -m addrtype --dst-type LOCAL",
    "nat PREROUTING -s fdfd::/64 -j DOCKER-NAT66-INSIDE -m addrtype --dst-type LOCAL",
    "nat POSTROUTING -o eth0 -s fdfd::/64 -j SNAT --to-source 2001:db8::1 \
     ! -d fdfd::/64 -m addrtype ! --src-type LOCAL",
    "nat POSTROUTING -o eth0 -s fdfd::/64 -j MASQUERADE ! -d fdfd::/64 \
     -m addrtype ! --src-type LOCAL",
    "nat POSTROUTING -s fdfd::/64 -j MASQUERADE -d fdfd::/64 -m conntrack --ctstate DNAT",
    "filter DOCKER-NAT66 -s fdfd::/64 -d fdfd:1::/64 -m conntrack --ctstate DNAT -j ACCEPT",
    "filter DOCKER-NAT66-IN -i eth0 -p tcp --dport 80 -m addrtype --dst-type LOCAL -j DROP",
    "filter DOCKER-NAT66-IN -i eth0 -p tcp --dport 80 -d 2001:db8::1 \
     -m addrtype --dst-type LOCAL -j DROP",
    "nat PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 \
     -s 2001:db8:1::/48 -m addrtype --dst-type LOCAL",
    "nat OUTPUT -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 ! -s fe80::/10 \
     ! -d ::1 -m addrtype --dst-type LOCAL",
    "nat OUTPUT -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 ! -s fe80::/10 \
     -d 2001:db8::1 -m addrtype --dst-type LOCAL",
    "nat PREROUTING -s fdfd::/64 -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 \
     -m addrtype --dst-type LOCAL",
    "nat DOCKER-NAT66-INSIDE -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080",
    "nat DOCKER-NAT66-INSIDE -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 \
     -d 2001:db8::1",
    "nat PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:8080 \
     ! -s fe80::/10 -m addrtype --dst-type LOCAL",
    SPOOFED,
    "filter DOCKER-NAT66 -i eth0 -d fdfd::/64 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "filter DOCKER-NAT66 -i eth0 -d fdfd::/64 -m conntrack --ctstate DNAT -j ACCEPT",
    REPLY,
    "filter DOCKER-NAT66 -o eth0 -s fdfd::/64 -m conntrack --ctstate NEW -j ACCEPT",
    UNPUBLISHED,
];

pub(in crate::backend) fn every_kind() -> Vec<Rule> {
    EVERY_KIND.map(rule).into()
}

fn any_net(shortest: u8) -> impl Strategy<Value = Ipv6Net> + Clone {
    (any::<u128>(), shortest..=128).prop_map(|(addr, len)| {
        let net = Ipv6Net::new(addr.into(), len).expect("length in range");
        net.trunc()
    })
}

/// Any rule that the daemon can make. A prefix of length 0 is refused on the command line; any
/// source is not.
pub(in crate::backend) fn any_rule() -> impl Strategy<Value = Rule> {
    let dev = "[a-zA-Z_][a-zA-Z0-9_.@,=-]{0,14}".prop_map(|dev| dev.parse().expect("valid"));
    let proto = prop::sample::select(Proto::ALL.to_vec());
    let prefixes = prop::collection::vec(any_net(1), 1..3);
    let at = (proto, any::<Option<u128>>(), 1u16..);
    let policy = (dev, prefixes, any::<bool>(), any::<u128>()).prop_map(
        |(dev, prefixes, hairpin, source)| Policy {
            devices: vec![dev],
            snat: vec![(prefixes[0], source.into())],
            prefixes,
            hairpin: if hairpin { Hairpin::On } else { Hairpin::Off },
            ..Policy::default()
        },
    );
    let sources = prop_oneof![
        Just(Sources::Any),
        any_net(0).prop_map(|net| Sources::Only([net].into())),
    ];
    let forward = (at, any::<u128>(), 1u16.., sources).prop_map(
        |((proto, host_addr, host_port), container_addr, container_port, sources)| Forward {
            proto,
            host_addr: host_addr.map(Into::into),
            host_port,
            container_addr: container_addr.into(),
            container_port,
            sources,
            owner: Owner::new("c", "c", "bridge"),
        },
    );
    (policy, forward).prop_flat_map(|(policy, forward)| {
        let mut rules = compile::statics(&policy);
        rules.extend(compile::snat(&policy));
        rules.extend(compile::of_forward(&policy, &forward));
        prop::sample::select(rules)
    })
}
