//! From an intent to the rules of this backend. Pure.

use ipnet::Ipv6Net;

use crate::model::forward::{Forward, Sources};
use crate::model::intent::{Outgoing, Policy, Unpublished};
use crate::model::rule::{Dnat, DnatKey, Guard, Hook, HostPort, RuleSpec, Via};

/// How many rules a forward needs that it does not share with others.
pub(crate) fn rules_of(policy: &Policy, forward: &Forward) -> usize {
    let devices = policy.devices.len();
    match &forward.sources {
        // One for each source, and one that refuses all others.
        Sources::Only(sources) => devices * (sources.len() + 1),
        Sources::Any if policy.hairpin.covers(forward) => devices + 1 + policy.prefixes.len(),
        Sources::Any => devices,
    }
}

/// What follows from the policy alone.
pub(crate) fn statics(policy: &Policy) -> Vec<RuleSpec> {
    let mut specs = Vec::new();
    if !policy.devices.is_empty() && !policy.prefixes.is_empty() {
        specs.push(RuleSpec::Jump(Hook::Forward));
    }
    for prefix in &policy.prefixes {
        for dev in &policy.devices {
            let (dev, prefix) = (dev.clone(), *prefix);
            let is_on = |guard: &Guard| match guard {
                Guard::Unpublished => policy.unpublished == Unpublished::Drop,
                Guard::Outgoing => policy.outgoing == Outgoing::Accept,
                _ => true,
            };
            specs.extend(Guard::ALL.into_iter().filter(is_on).map(|guard| {
                let dev = dev.clone();
                RuleSpec::Guard { dev, prefix, guard }
            }));
            specs.push(RuleSpec::Masquerade { dev, prefix });
        }
    }
    specs
}

/// Sources of their own.
pub(crate) fn snat(policy: &Policy) -> Vec<RuleSpec> {
    let of_device = |dev| {
        policy
            .snat
            .iter()
            .map(move |(prefix, source)| RuleSpec::Snat {
                dev: Clone::clone(dev),
                prefix: *prefix,
                source: *source,
            })
    };
    policy.devices.iter().flat_map(of_device).collect()
}

/// Every rule that one forward needs.
pub(crate) fn of_forward(policy: &Policy, forward: &Forward) -> Vec<RuleSpec> {
    let mut specs = Vec::new();
    for dev in &policy.devices {
        match &forward.sources {
            Sources::Any => specs.push(dnat(Via::Egress(dev.clone()), None, forward)),
            Sources::Only(sources) => {
                for source in sources {
                    specs.push(dnat(Via::Egress(dev.clone()), Some(*source), forward));
                }
                specs.push(RuleSpec::Jump(Hook::Input));
                specs.push(RuleSpec::Refuse(HostPort {
                    dev: dev.clone(),
                    proto: forward.proto,
                    host_addr: forward.host_addr,
                    host_port: forward.host_port,
                }));
            }
        }
    }
    // A limited port is for its sources alone, and only outside ones can be told apart.
    if forward.sources == Sources::Any && policy.hairpin.covers(forward) {
        specs.push(dnat(Via::Host, None, forward));
        specs.push(RuleSpec::Jump(Hook::Forward));
        let target = |to: &&Ipv6Net| to.contains(&forward.container_addr);
        for prefix in &policy.prefixes {
            specs.push(dnat(Via::Containers(*prefix), None, forward));
            specs.push(RuleSpec::HairpinMasquerade { prefix: *prefix });
            for to in policy.prefixes.iter().filter(target) {
                let between = |from, to| RuleSpec::HairpinGuard { from, to };
                specs.extend([between(*prefix, *to), between(*to, *prefix)]);
            }
        }
    }
    specs
}

/// The rule that rewrites what comes that way.
fn dnat(via: Via, source: Option<Ipv6Net>, forward: &Forward) -> RuleSpec {
    let spares_link_local = source.is_none() && matches!(via, Via::Egress(_) | Via::Host);
    RuleSpec::Dnat(Dnat {
        spares_link_local,
        ..Dnat::of(DnatKey::of(via, source, forward), forward)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::forward::{Owner, Proto};
    use crate::model::intent::Hairpin;

    #[test]
    fn as_many_rules_are_counted_as_are_made() {
        let policy = |hairpin| Policy {
            devices: ["eth0", "eth1"]
                .map(|dev| dev.parse().expect("a name"))
                .into(),
            prefixes: ["fd00::/64", "fd01::/64", "fd02::/64"]
                .map(|net| net.parse().expect("a prefix"))
                .into(),
            hairpin,
            ..Policy::default()
        };
        let forward = |sources| Forward {
            proto: Proto::Tcp,
            host_addr: None,
            host_port: 8080,
            container_addr: "fd00::2".parse().expect("an address"),
            container_port: 80,
            sources,
            owner: Owner {
                container_id: "c".into(),
                container_name: "c".into(),
                network: "bridge".into(),
            },
        };
        let nets = ["2001:db8::/32", "2001:db9::/32"].map(|net| net.parse().expect("a prefix"));
        for sources in [Sources::Any, Sources::Only(nets.into())] {
            for hairpin in [Hairpin::Off, Hairpin::On] {
                let (policy, forward) = (policy(hairpin), forward(sources.clone()));
                let wanted = of_forward(&policy, &forward);
                let own = wanted.iter().filter(|spec| !spec.is_shared()).count();
                assert_eq!(rules_of(&policy, &forward), own, "{policy:?}");
            }
        }
    }
}
