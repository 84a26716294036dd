//! From an intent to the rules of this backend. Pure.

use ipnet::Ipv6Net;

use super::rule::{
    BEGUN, EXISTING, EXISTING_OR_REWRITTEN, OWN_FORWARD, OWN_INPUT, OWN_INSIDE, REWRITTEN,
    RuleParts, Short, Table,
};
use crate::backend::kind::LINK_LOCAL;
use crate::model::device::Device;
use crate::model::forward::{Forward, Sources};
use crate::model::intent::{Outgoing, Policy, Unpublished};
use crate::model::rule::Rule;

/// How many rules a forward needs that it does not share with others.
pub(crate) fn rules_of(policy: &Policy, forward: &Forward) -> usize {
    let devices = policy.devices.len();
    match &forward.sources {
        // One for each source, and one that refuses all others.
        Sources::Only(sources) => devices * (sources.len() + 1),
        Sources::Any if policy.hairpin.covers(forward) => devices + 1,
        Sources::Any => devices,
    }
}

/// What follows from the policy alone.
pub(crate) fn statics(policy: &Policy) -> Vec<Rule> {
    let mut all = Vec::new();
    if !policy.devices.is_empty() && !policy.prefixes.is_empty() {
        all.push(jump_forward());
    }
    for prefix in &policy.prefixes {
        for dev in &policy.devices {
            all.extend(guards(policy, dev, *prefix));
            all.push(leaving(dev, *prefix, "MASQUERADE"));
        }
    }
    rules(all)
}

/// Sources of their own.
pub(crate) fn snat(policy: &Policy) -> Vec<Rule> {
    let of_device = |dev| {
        let of_prefix = move |(prefix, source): &(Ipv6Net, _)| {
            leaving(dev, *prefix, "SNAT").with("--to-source", source)
        };
        policy.snat.iter().map(of_prefix)
    };
    rules(policy.devices.iter().flat_map(of_device))
}

/// Every rule that one forward needs.
pub(crate) fn of_forward(policy: &Policy, forward: &Forward) -> Vec<Rule> {
    let mut all = Vec::new();
    let outside = |dev| {
        let arriving = RuleParts::new(Table::Nat, "PREROUTING").with("-i", dev);
        to_container(arriving, forward).with("--dst-type", "LOCAL")
    };
    for dev in &policy.devices {
        match &forward.sources {
            Sources::Any => all.push(outside(dev).without("-s", LINK_LOCAL)),
            Sources::Only(sources) => {
                all.extend(
                    sources
                        .iter()
                        .map(|source| outside(dev).within("-s", *source)),
                );
                all.push(RuleParts::new(Table::Filter, "INPUT").with("-j", OWN_INPUT));
                let arriving = RuleParts::new(Table::Filter, OWN_INPUT).with("-i", dev);
                all.push(published(arriving, forward).with("-j", "DROP"));
            }
        }
    }
    // A port with limited sources serves these alone: not the host, and not its containers.
    if forward.sources == Sources::Any && policy.hairpin.covers(forward) {
        all.push(to_container(
            RuleParts::new(Table::Nat, OWN_INSIDE),
            forward,
        ));
        all.extend([jump_forward(), jump_host()]);
        let target = |to: &&Ipv6Net| to.contains(&forward.container_addr);
        for prefix in &policy.prefixes {
            all.extend([jump_containers(*prefix), hairpin(*prefix)]);
            for to in policy.prefixes.iter().filter(target) {
                all.extend([between(*prefix, *to), between(*to, *prefix)]);
            }
        }
    }
    rules(all)
}

fn rules(all: impl IntoIterator<Item = RuleParts>) -> Vec<Rule> {
    all.into_iter().filter_map(|parts| parts.rule()).collect()
}

fn jump_forward() -> RuleParts {
    RuleParts::new(Table::Filter, "FORWARD").with("-j", OWN_FORWARD)
}

/// What the host sends to itself, as far as it may go to a container: a packet from `::1` cannot leave.
fn jump_host() -> RuleParts {
    let sent = RuleParts::new(Table::Nat, "OUTPUT").without("-s", LINK_LOCAL);
    jump_inside(sent.without("-d", "::1"))
}

/// What containers of one prefix send to the host.
fn jump_containers(prefix: Ipv6Net) -> RuleParts {
    jump_inside(RuleParts::new(Table::Nat, "PREROUTING").within("-s", prefix))
}

/// Only what is for the host itself: the way of what else leaves does not get longer by the published
/// ports.
fn jump_inside(sent: RuleParts) -> RuleParts {
    sent.with("-j", OWN_INSIDE).with("--dst-type", "LOCAL")
}

/// What is let through and what is dropped between an egress interface and the containers.
fn guards(policy: &Policy, dev: &Device, prefix: Ipv6Net) -> Vec<RuleParts> {
    let guard = || RuleParts::new(Table::Filter, OWN_FORWARD);
    let arriving = || guard().with("-i", dev).within("-d", prefix);
    let going = || guard().with("-o", dev).within("-s", prefix);
    let mut all = vec![
        guard()
            .with("-i", dev)
            .within("-s", prefix)
            .with("-j", "DROP"),
        arriving().with("--ctstate", EXISTING).with("-j", "ACCEPT"),
        arriving().with("--ctstate", REWRITTEN).with("-j", "ACCEPT"),
        going().with("--ctstate", EXISTING).with("-j", "ACCEPT"),
    ];
    if policy.outgoing == Outgoing::Accept {
        all.push(going().with("--ctstate", BEGUN).with("-j", "ACCEPT"));
    }
    if policy.unpublished == Unpublished::Drop {
        // What the others accept is left out, so that it is right wherever it stands.
        let unpublished = arriving().without("--ctstate", EXISTING_OR_REWRITTEN);
        all.push(unpublished.with("-j", "DROP"));
    }
    all
}

/// Rewrites the source of what leaves the prefix by way of an egress interface.
fn leaving(dev: &Device, prefix: Ipv6Net, target: &str) -> RuleParts {
    let leaving = RuleParts::new(Table::Nat, "POSTROUTING").with("-o", dev);
    leaving
        .within("-s", prefix)
        .with("-j", target)
        .without("-d", Short(prefix))
        .without("--src-type", "LOCAL")
}

/// Rewrites the source of what was led back into the prefix.
fn hairpin(prefix: Ipv6Net) -> RuleParts {
    let inside = RuleParts::new(Table::Nat, "POSTROUTING")
        .within("-s", prefix)
        .within("-d", prefix);
    inside.with("--ctstate", REWRITTEN).with("-j", "MASQUERADE")
}

/// Accepts what was led from one prefix to the other.
fn between(from: Ipv6Net, to: Ipv6Net) -> RuleParts {
    let between = RuleParts::new(Table::Filter, OWN_FORWARD)
        .within("-s", from)
        .within("-d", to);
    between.with("--ctstate", REWRITTEN).with("-j", "ACCEPT")
}

/// Matches the published port at the host's addresses.
fn published(parts: RuleParts, forward: &Forward) -> RuleParts {
    port(parts, forward).with("--dst-type", "LOCAL")
}

/// Matches the published port, where only what is for the host itself arrives.
fn port(parts: RuleParts, forward: &Forward) -> RuleParts {
    let parts = parts
        .with("-p", forward.proto)
        .with("--dport", forward.host_port);
    match forward.host_addr {
        Some(addr) => parts.with("-d", addr),
        None => parts,
    }
}

/// Leads what comes to the published port to the container.
fn to_container(parts: RuleParts, forward: &Forward) -> RuleParts {
    let target = format!("[{}]:{}", forward.container_addr, forward.container_port);
    port(parts, forward)
        .with("-j", "DNAT")
        .with("--to-destination", target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::forward::{Owner, Proto};
    use crate::model::intent::Hairpin;
    use crate::model::rule::Basis;

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
            owner: Owner::new("c", "c", "bridge"),
        };
        let nets = ["2001:db8::/32", "2001:db9::/32"].map(|net| net.parse().expect("a prefix"));
        for sources in [Sources::Any, Sources::Only(nets.into())] {
            for hairpin in [Hairpin::Off, Hairpin::On] {
                let (policy, forward) = (policy(hairpin), forward(sources.clone()));
                let wanted = of_forward(&policy, &forward);
                let own = wanted
                    .iter()
                    .filter(|rule| rule.facts.basis == Basis::Forward)
                    .count();
                assert_eq!(rules_of(&policy, &forward), own, "{policy:?}");
            }
        }
    }
}
