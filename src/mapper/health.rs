//! Whether packets can get through, as far as the host and the settings decide it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::compute::{Choice, HostFacts, MapperOptions};
use super::forwards::Resolved;
use super::skipped::{Reason, Skipped};
use crate::model::container::{Container, Network, Snapshot};
use crate::model::device::Device;
use crate::model::problem::{Problem, ProblemId};

/// What of the host decides whether packets get through, apart from rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `net.ipv6.conf.all.forwarding`; `None` where the kernel has no IPv6.
    pub forwarding: Option<bool>,
    /// The interfaces that were asked for, by the name given: egress interfaces, and the bridges
    /// of Docker's networks.
    pub interfaces: BTreeMap<Device, Interface>,
}

/// An interface of this network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interface {
    /// There is none of this name.
    Missing,
    /// The name is another name (altname) of the interface with this name.
    AnotherNameOf(String),
    /// It is there.
    Here {
        /// `net.ipv6.conf.IF.disable_ipv6`.
        disable_ipv6: bool,
        /// `net.ipv6.conf.IF.force_forwarding` (kernel 6.17): packets that come in here are
        /// forwarded whatever `all` says.
        force_forwarding: bool,
        /// The bridge, bond or team whose port it is.
        bridge: Option<String>,
        /// The networks that its addresses lie in.
        networks: Vec<Ipv6Net>,
    },
}

/// The bridges whose state [`problems`] asks about.
pub fn bridges(snapshot: Option<&Snapshot>) -> Vec<Device> {
    let networks = snapshot.into_iter().flat_map(|s| s.networks.values());
    let bridges = networks.filter_map(|network| network.bridge.clone());
    bridges.collect()
}

/// What keeps packets from getting through. Where Docker's own NAT serves the ports, only what
/// concerns the whole host does.
pub fn problems(
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
        let what = "no IPv6 default route tells on which interface requests arrive";
        let remedy = "ip -6 route add default via ROUTER dev INTERFACE";
        found.push(Problem::new(ProblemId::NoEgress, what).with_remedy(remedy));
    }
    // Without a route the interfaces are those of before.
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

/// The egress interfaces, whose state [`problems`] asks about.
pub fn egress<'a>(options: &'a MapperOptions, host: &'a HostFacts) -> &'a [Device] {
    match &options.devices {
        Choice::Fixed(devices) => devices,
        Choice::Auto => &host.default_devices,
    }
}

fn forwarding(devices: &[Device], conditions: &Conditions) -> Option<Problem> {
    // On the bridges too, for that is where answers come in.
    let forced = |interface: &Interface| match interface {
        Interface::Here {
            force_forwarding, ..
        } => *force_forwarding,
        Interface::Missing | Interface::AnotherNameOf(_) => true,
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
    // In a sysctl's name a dot in the interface's is a slash (sysctl.d(5)).
    let key = device.as_str().replace('.', "/");
    match conditions.interfaces.get(device)? {
        Interface::Missing => Some(
            Problem::new(
                ProblemId::NoDevice,
                format!("there is no interface {device} here: its rules work once it appears"),
            )
            .with_remedy("ip -brief link, and restart with --dev and a name that it shows"),
        ),
        Interface::AnotherNameOf(name) => Some(
            Problem::new(
                ProblemId::NoDevice,
                format!("{device} is another name of the interface {name}, which rules do not see"),
            )
            .with_remedy(format!("restart with --dev {name}")),
        ),
        // First: a bridge's ports have no IPv6 of their own as a rule.
        Interface::Here {
            bridge: Some(bridge),
            ..
        } => Some(
            Problem::new(
                ProblemId::BridgePort,
                format!(
                    "{device} is a port of {bridge}: requests arrive on {bridge}, and rules see \
                     none on {device}"
                ),
            )
            .with_remedy(format!("restart with --dev {bridge}")),
        ),
        Interface::Here {
            disable_ipv6: true, ..
        } => Some(
            Problem::new(
                ProblemId::Ipv6Disabled,
                format!("IPv6 is off on the interface {device}"),
            )
            .with_remedy(format!("sysctl -w net.ipv6.conf.{key}.disable_ipv6=0")),
        ),
        Interface::Here { .. } => None,
    }
}

/// Prefixes that take in a whole network of an egress interface: what comes from there with such
/// a source is dropped as forged.
fn overlaps(devices: &[Device], prefixes: &[Ipv6Net], conditions: &Conditions) -> Vec<Problem> {
    let mut found = Vec::new();
    for device in devices {
        let Some(Interface::Here { networks, .. }) = conditions.interfaces.get(device) else {
            continue;
        };
        for network in networks {
            let around = prefixes.iter().find(|prefix| prefix.contains(network));
            if let Some(prefix) = around {
                let what = format!(
                    "the prefix {prefix} takes in {network}, the network of {device}: requests \
                     from there are dropped as forged"
                );
                found.push(
                    Problem::new(ProblemId::PrefixOverlap, what)
                        .with_remedy("restart with the prefix of the containers' addresses alone"),
                );
            }
        }
    }
    found
}

/// Ports are published, and no container that does has an address in a prefix.
fn no_prefix_match(
    prefixes: &[Ipv6Net],
    snapshot: &Snapshot,
    resolved: &Resolved,
) -> Option<Problem> {
    let publishes = |c: &&Container| c.ports.iter().any(|row| row.host_port.is_some());
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

/// Ports lead to containers, and none of their bridges is here: neither the interface nor the
/// address that is the containers' gateway.
fn wrong_netns(
    host: &HostFacts,
    conditions: &Conditions,
    snapshot: &Snapshot,
    resolved: &Resolved,
) -> Option<Problem> {
    let mut missing = None;
    for forward in &resolved.forwards {
        let owner = snapshot.containers.get(&forward.owner.container_id)?;
        match bridge(owner, forward.container_addr, snapshot, host) {
            Some(bridge) if conditions.interfaces.get(bridge) == Some(&Interface::Missing) => {
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

/// The bridge by which a container's address is reached; `None` where it need not be looked for,
/// for its end of the network is here.
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
