//! Rules for the tests of this backend.

use proptest::prelude::*;

use ipnet::Ipv6Net;

pub(in crate::backend) use super::oracle::saved;
use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::model::rule::{BackendKind, Dnat, DnatKey, Guard, Hook, HostPort, Rule, RuleSpec, Via};

/// A rule that masquerades.
pub(in crate::backend) fn masquerade(dev: &str, prefix: &str) -> Rule {
    Rule {
        backend: BackendKind::Ip6tables,
        spec: RuleSpec::Masquerade {
            dev: dev.parse().expect("valid"),
            prefix: prefix.parse().expect("valid"),
        },
    }
}

/// A rule of any kind.
pub(in crate::backend) fn rule(spec: RuleSpec) -> Rule {
    Rule {
        backend: BackendKind::Ip6tables,
        spec,
    }
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
    rule(RuleSpec::Dnat(Dnat {
        key: DnatKey {
            via: Via::Egress(dev.parse().expect("valid")),
            proto: proto.parse().expect("valid"),
            host_addr: host_addr.map(|a| a.parse().expect("valid")),
            host_port,
            source: None,
        },
        target: target.parse().expect("valid"),
        target_port,
        spares_link_local: true,
    }))
}

/// The same rule, changed.
pub(in crate::backend) fn with_key(rule: &Rule, change: impl FnOnce(&mut DnatKey)) -> Rule {
    let mut changed = rule.clone();
    match &mut changed.spec {
        RuleSpec::Dnat(dnat) => {
            change(&mut dnat.key);
            dnat.spares_link_local = may_spare(&dnat.key);
        }
        other => panic!("no DNAT rule: {other:?}"),
    }
    changed
}

/// Whether a DNAT rule with this key spares link-local sources, as the mapper makes them.
fn may_spare(key: &DnatKey) -> bool {
    key.source.is_none() && !matches!(key.via, Via::Containers(_))
}

/// A filter rule on eth0.
pub(in crate::backend) fn guard(guard: Guard) -> Rule {
    rule(RuleSpec::Guard {
        dev: "eth0".parse().expect("valid"),
        prefix: "fdfd::/64".parse().expect("valid"),
        guard,
    })
}

/// One of every kind, and of every kind of DNAT rule.
pub(in crate::backend) fn every_kind() -> Vec<Rule> {
    let published = dnat("eth0", "tcp", None, 80, "fdfd::2", 8080);
    let prefix: Ipv6Net = "fdfd::/64".parse().expect("valid");
    let at = |host_addr: Option<&str>| HostPort {
        dev: "eth0".parse().expect("valid"),
        proto: Proto::Tcp,
        host_addr: host_addr.map(|a| a.parse().expect("valid")),
        host_port: 80,
    };
    let mut rules = vec![
        rule(RuleSpec::Jump(Hook::Forward)),
        rule(RuleSpec::Jump(Hook::Input)),
        rule(RuleSpec::Snat {
            dev: "eth0".parse().expect("valid"),
            prefix,
            source: "2001:db8::1".parse().expect("valid"),
        }),
        masquerade("eth0", "fdfd::/64"),
        rule(RuleSpec::HairpinMasquerade { prefix }),
        rule(RuleSpec::HairpinGuard {
            from: prefix,
            to: "fdfd:1::/64".parse().expect("valid"),
        }),
        rule(RuleSpec::Refuse(at(None))),
        rule(RuleSpec::Refuse(at(Some("2001:db8::1")))),
        with_key(&published, |key| {
            key.source = Some("2001:db8:1::/48".parse().expect("valid"));
        }),
        with_key(&published, |key| key.via = Via::Host),
        with_key(&published, |key| {
            key.via = Via::Host;
            key.host_addr = Some("2001:db8::1".parse().expect("valid"));
        }),
        with_key(&published, |key| key.via = Via::Containers(prefix)),
        published,
    ];
    rules.extend(Guard::ALL.map(guard));
    rules
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
    let dev = "[a-zA-Z_][a-zA-Z0-9_.@,=-]{0,14}";
    let dev = dev.prop_map(|dev| dev.parse::<Device>().expect("valid"));
    let hook = prop::sample::select(vec![Hook::Forward, Hook::Input]);
    let guard = prop::sample::select(Guard::ALL.to_vec());
    let via = prop_oneof![
        (dev.clone(), prop::option::of(any_net(0)))
            .prop_map(|(dev, source)| (Via::Egress(dev), source)),
        prop::option::of(any_net(0)).prop_map(|source| (Via::Host, source)),
        any_net(1).prop_map(|prefix| (Via::Containers(prefix), None)),
    ];
    let proto = prop::sample::select(Proto::ALL.to_vec());
    let at = (proto, any::<Option<u128>>(), 1u16..);
    let outgoing = (dev.clone(), any_net(1));
    let spec = prop_oneof![
        1 => hook.prop_map(RuleSpec::Jump),
        2 => (outgoing.clone(), guard).prop_map(|((dev, prefix), guard)| RuleSpec::Guard {
            dev,
            prefix,
            guard,
        }),
        2 => (outgoing.clone(), any::<u128>()).prop_map(|((dev, prefix), source)| {
            RuleSpec::Snat {
                dev,
                prefix,
                source: source.into(),
            }
        }),
        2 => outgoing.prop_map(|(dev, prefix)| RuleSpec::Masquerade { dev, prefix }),
        1 => any_net(1).prop_map(|prefix| RuleSpec::HairpinMasquerade { prefix }),
        1 => (any_net(1), any_net(1)).prop_map(|(from, to)| RuleSpec::HairpinGuard { from, to }),
        2 => (dev, at.clone()).prop_map(|(dev, (proto, host_addr, host_port))| {
            RuleSpec::Refuse(HostPort {
                dev,
                proto,
                host_addr: host_addr.map(Into::into),
                host_port,
            })
        }),
        6 => (via, at, (any::<u128>(), 1u16..), any::<bool>()).prop_map(
            |((via, source), (proto, host_addr, host_port), (target, target_port), spares)| {
                let key = DnatKey {
                    via,
                    proto,
                    host_addr: host_addr.map(Into::into),
                    host_port,
                    source,
                };
                RuleSpec::Dnat(Dnat {
                    spares_link_local: spares && may_spare(&key),
                    key,
                    target: target.into(),
                    target_port,
                })
            },
        ),
    ];
    spec.prop_map(rule)
}
