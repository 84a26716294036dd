//! Names what keeps packets from getting through, as far as the host and the options decide it.

use std::cmp::Reverse;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::compute::{Choice, HostFacts, MapperOptions};
use super::forwards::Resolved;
use super::skipped::{Reason, Skipped, container};
use crate::model::conditions::{Conditions, InterfaceState};
use crate::model::container::{Container, Network, Snapshot};
use crate::model::device::{Device, sysctl_key};
use crate::model::problem::{Problem, ProblemId};
use crate::model::shared::Shared;

/// The bridges whose state [`problems`] needs.
pub(crate) fn bridges(snapshot: Option<&Snapshot>) -> Vec<Device> {
    let networks = snapshot.into_iter().flat_map(|s| s.networks.values());
    let bridges = networks.filter_map(|network| network.bridge.clone());
    bridges.collect()
}

/// What keeps packets from getting through. While Docker's own NAT serves the ports, only the
/// problems of the whole host count.
pub(crate) fn problems(
    options: &MapperOptions,
    host: &HostFacts,
    conditions: &Conditions,
    docker: Option<(&Snapshot, &Resolved)>,
    standing_by: bool,
) -> Vec<Problem> {
    let mut found: Vec<Problem> = Vec::new();
    let devices = egress(options, host);
    found.extend(forwarding(devices, conditions));
    if standing_by {
        return found;
    }
    if options.devices == Choice::Auto && !host.routed {
        let what = "no IPv6 default route shows on which interface requests arrive";
        let remedy = "ip -6 route add default via ROUTER dev INTERFACE";
        found.push(Problem::new(ProblemId::NoEgress, what).with_remedy(remedy));
    }
    // Without a route, `devices` are those of an earlier route.
    if options.devices != Choice::Auto || host.routed {
        found.extend(devices.iter().filter_map(|d| interface(d, conditions)));
    }
    let prefixes = options.prefixes_of(docker.map(|(snapshot, _)| snapshot));
    found.extend(overlaps(devices, &prefixes, conditions));
    if let Some((snapshot, resolved)) = docker {
        if let Choice::Fixed(prefixes) = &options.prefixes {
            found.extend(no_prefix_match(prefixes, snapshot, resolved));
        }
        found.extend(wrong_netns(host, conditions, snapshot, resolved));
    }
    found
}

/// The egress interfaces, whose state [`problems`] needs.
pub(crate) fn egress<'a>(options: &'a MapperOptions, host: &'a HostFacts) -> &'a [Device] {
    match &options.devices {
        Choice::Fixed(devices) => devices,
        Choice::Auto => &host.default_devices,
    }
}

fn forwarding(devices: &[Device], conditions: &Conditions) -> Option<Problem> {
    // The bridges count too, because the containers' answers arrive there.
    let forced = |interface: &InterfaceState| match interface {
        InterfaceState::Here {
            force_forwarding, ..
        } => *force_forwarding,
        InterfaceState::Missing | InterfaceState::AnotherNameOf(_) => true,
    };
    let all_forced = conditions.interfaces.values().all(forced);
    match conditions.forwarding {
        None => Some(Problem::new(
            ProblemId::Ipv6Disabled,
            "this kernel has no IPv6, or was booted with ipv6.disable=1",
        )),
        Some(false) if devices.is_empty() || !all_forced => {
            let what = "net.ipv6.conf.all.forwarding is 0: no packet reaches a container";
            let remedy = "sysctl -w net.ipv6.conf.all.forwarding=1";
            Some(Problem::new(ProblemId::Forwarding, what).with_remedy(remedy))
        }
        Some(_) => None,
    }
}

/// What is wrong with an egress interface.
fn interface(device: &Device, conditions: &Conditions) -> Option<Problem> {
    let key = sysctl_key(device.as_str());
    match conditions.interfaces.get(device)? {
        InterfaceState::Missing => Some(
            Problem::new(
                ProblemId::NoDevice,
                format!(
                    "there is no interface {device} here: its rules take effect once it appears"
                ),
            )
            .with_remedy("ip -brief link, and restart with --dev and a name that it shows"),
        ),
        InterfaceState::AnotherNameOf(name) => Some(
            Problem::new(
                ProblemId::NoDevice,
                format!("{device} is another name of the interface {name}: no rule matches it"),
            )
            .with_remedy(format!("restart with --dev {name}")),
        ),
        // Before disable_ipv6: a port of a bridge usually has no IPv6 of its own.
        InterfaceState::Here {
            bridge: Some(bridge),
            ..
        } => Some(
            Problem::new(
                ProblemId::BridgePort,
                format!(
                    "{device} is a port of {bridge}: requests arrive on {bridge}, and no rule for \
                     {device} matches them"
                ),
            )
            .with_remedy(format!("restart with --dev {bridge}")),
        ),
        InterfaceState::Here {
            disable_ipv6: true, ..
        } => Some(
            Problem::new(
                ProblemId::Ipv6Disabled,
                format!("IPv6 is off on the interface {device}"),
            )
            .with_remedy(format!("sysctl -w net.ipv6.conf.{key}.disable_ipv6=0")),
        ),
        InterfaceState::Here { .. } => None,
    }
}

/// Prefixes that contain a whole network of an egress interface: the rules drop packets that come
/// from there with such a source, as forged.
fn overlaps(devices: &[Device], prefixes: &[Ipv6Net], conditions: &Conditions) -> Vec<Problem> {
    let mut found = Vec::new();
    for device in devices {
        let Some(InterfaceState::Here { networks, .. }) = conditions.interfaces.get(device) else {
            continue;
        };
        for network in networks {
            let around = prefixes.iter().find(|prefix| prefix.contains(network));
            if let Some(prefix) = around {
                let what = format!(
                    "the prefix {prefix} contains {network}, the network of {device}: requests \
                     from there are dropped as forged"
                );
                found.push(
                    Problem::new(ProblemId::PrefixOverlap, what).with_remedy(
                        "restart with a --prefix that holds only containers' addresses",
                    ),
                );
            }
        }
    }
    found
}

/// Containers publish ports, and none of these containers has an address in a prefix.
fn no_prefix_match(
    prefixes: &[Ipv6Net],
    snapshot: &Snapshot,
    resolved: &Resolved,
) -> Option<Problem> {
    let publishes = |c: &&Shared<Container>| c.ports.iter().any(|row| row.host_port.is_some());
    let publishing = || snapshot.containers.values().filter(publishes);
    let addresses = || {
        publishing()
            .flat_map(|c| &c.endpoints)
            .filter_map(|e| e.address)
    };
    let inside = |addr: Ipv6Addr| prefixes.iter().any(|prefix| prefix.contains(&addr));
    let without = |skipped: &Skipped| matches!(skipped.reason, Reason::NoAddress(_));
    if addresses().any(inside) || !resolved.skipped.iter().any(without) {
        return None;
    }
    let Some(addr) = addresses().next() else {
        let what = "no container that publishes a port has an IPv6 address: IPv6 is off in \
                    Docker, or on their networks";
        return Some(Problem::new(ProblemId::NoPrefixMatch, what));
    };
    let given: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    let what = format!(
        "no container that publishes a port has an address in --prefix {}",
        given.join(",")
    );
    let subnets = snapshot.networks.values().flat_map(|n| &n.subnets);
    let subnet = subnets.filter(|subnet| subnet.contains(&addr)).max();
    let right = subnet.map_or_else(|| "auto".to_owned(), ToString::to_string);
    let remedy = format!("restart with --prefix {right}");
    Some(Problem::new(ProblemId::NoPrefixMatch, what).with_remedy(remedy))
}

/// Containers to which we forward by one network, and whose answers leave by another one, which lies in
/// no prefix: a strict reverse path filter drops them there.
pub(crate) fn prefix_partial(
    options: &MapperOptions,
    snapshot: &Snapshot,
    resolved: &Resolved,
) -> Vec<Problem> {
    let Choice::Fixed(prefixes) = &options.prefixes else {
        return Vec::new();
    };
    let mut found: Vec<Problem> = Vec::new();
    let mut seen = None;
    for forward in &resolved.forwards {
        let owner = Some(&forward.owner);
        if std::mem::replace(&mut seen, owner) == owner {
            continue;
        }
        let Some(owner) = snapshot.containers.get(&forward.owner.container_id) else {
            continue;
        };
        let Some((network, addr)) = gateway(owner, snapshot) else {
            continue;
        };
        if prefixes.iter().any(|prefix| prefix.contains(&addr)) {
            continue;
        }
        let container = container(&owner.id, &owner.name);
        let what = format!(
            "{container} answers by its network {}, which lies in no --prefix, and a rule drops \
             what comes by another interface than its route: no answer reaches a client",
            network.name
        );
        let all = prefixes.iter().chain(network.subnets.iter());
        let all: Vec<String> = all.map(ToString::to_string).collect();
        let remedy = format!("restart with --prefix {}", all.join(","));
        let problem = Problem::new(ProblemId::PrefixPartial, what).with_remedy(remedy);
        if !found.contains(&problem) {
            found.push(problem);
        }
    }
    found
}

/// The network that Docker uses as a container's IPv6 gateway, and the container's address there.
fn gateway<'s>(owner: &Container, snapshot: &'s Snapshot) -> Option<(&'s Network, Ipv6Addr)> {
    let endpoints = owner.endpoints.iter().filter(|endpoint| !endpoint.left);
    let candidates = endpoints.filter_map(|endpoint| {
        let network = snapshot.networks.get(&endpoint.network_id)?;
        Some((endpoint, network, endpoint.address?)).filter(|_| !network.internal)
    });
    let first = candidates
        .min_by_key(|(endpoint, ..)| (Reverse(endpoint.gw_priority), endpoint.network.raw()));
    first.map(|(_, network, addr)| (network, addr))
}

/// Some ports are forwarded, and this network namespace has none of the bridges that they lead to:
/// neither the interface nor the address that is the containers' gateway.
fn wrong_netns(
    host: &HostFacts,
    conditions: &Conditions,
    snapshot: &Snapshot,
    resolved: &Resolved,
) -> Option<Problem> {
    let mut missing = None;
    let mut seen = None;
    for forward in &resolved.forwards {
        // Those of a container stand together, and lead to one address.
        let led = Some((&forward.owner, forward.container_addr));
        if std::mem::replace(&mut seen, led) == led {
            continue;
        }
        let owner = snapshot.containers.get(&forward.owner.container_id)?;
        match bridge(owner, forward.container_addr, snapshot, host) {
            Some(bridge) if conditions.interfaces.get(bridge) == Some(&InterfaceState::Missing) => {
                missing = Some(bridge);
            }
            _ => return None,
        }
    }
    let what = format!(
        "Docker's bridge {} is not in this network namespace: no packet reaches a container",
        missing?
    );
    let remedy = "run docker-nat66 where Docker runs: its container with --network host; for \
                  rootless Docker, in the namespace of rootlesskit";
    Some(Problem::new(ProblemId::WrongNetns, what).with_remedy(remedy))
}

/// The bridge through which packets reach a container's address; `None` if the host has the
/// container's gateway address, which proves that the bridge is here.
fn bridge<'s>(
    owner: &Container,
    addr: Ipv6Addr,
    snapshot: &'s Snapshot,
    host: &HostFacts,
) -> Option<&'s Device> {
    let mut endpoints = owner.endpoints.iter();
    let endpoint = endpoints.find(|endpoint| endpoint.address == Some(addr))?;
    let is_here = |gateway: Ipv6Addr| host.host_addrs.contains(&gateway);
    if endpoint.gateway.is_some_and(is_here) {
        return None;
    }
    let network: &Network = snapshot.networks.get(&endpoint.network_id)?;
    network.bridge.as_ref()
}

#[cfg(test)]
mod tests;
