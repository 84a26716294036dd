//! Reads from Docker's networks which prefixes we serve, and which source addresses they use.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::skipped::NotForwarding;
use crate::model::container::{Endpoint, GatewayMode, Network, Snapshot};

/// The IPv6 subnets that Docker's own NAT would masquerade: those of bridge networks that forward
/// ports and have `enable_ip_masquerade` on. Sorted, each once.
pub fn prefixes(snapshot: &Snapshot) -> Vec<Ipv6Net> {
    let mut prefixes: Vec<Ipv6Net> = snapshot
        .networks
        .values()
        .filter(|network| network.driver.raw() == "bridge" && network.masquerade)
        .filter(|network| forwards_ports(network))
        .flat_map(|network| network.subnets.iter().copied())
        .collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

/// The subnets in `prefixes` that have a source address of their own
/// (`com.docker.network.host_ipv6`). Sorted, each once.
pub fn sources(snapshot: &Snapshot, prefixes: &[Ipv6Net]) -> Vec<(Ipv6Net, Ipv6Addr)> {
    let served = |subnet: &Ipv6Net| prefixes.iter().any(|p| p.contains(subnet));
    let mut sources: Vec<(Ipv6Net, Ipv6Addr)> = snapshot
        .networks
        .values()
        .filter(|network| network.masquerade && forwards_ports(network))
        .filter_map(|network| Some((network, network.host_ipv6?)))
        .flat_map(|(network, source)| {
            let subnets = network.subnets.iter().copied().filter(served);
            subnets.map(move |subnet| (subnet, source))
        })
        .collect();
    sources.sort();
    sources.dedup();
    sources
}

/// Whether this endpoint's network forwards ports. A network that Docker names and has not listed
/// yet does not. If Docker names no network, the endpoint's address decides.
pub(super) fn serves(snapshot: &Snapshot, endpoint: &Endpoint) -> bool {
    why_not(snapshot, endpoint).is_none()
}

/// Why this endpoint's network forwards no ports.
pub(super) fn why_not(snapshot: &Snapshot, endpoint: &Endpoint) -> Option<NotForwarding> {
    if endpoint.network_id.is_empty() {
        return None;
    }
    match snapshot.networks.get(&endpoint.network_id) {
        Some(network) => forwards_none(network),
        None => Some(NotForwarding::NotListed),
    }
}

fn forwards_ports(network: &Network) -> bool {
    forwards_none(network).is_none()
}

fn forwards_none(network: &Network) -> Option<NotForwarding> {
    if network.internal {
        return Some(NotForwarding::Internal);
    }
    match &network.gateway_mode {
        GatewayMode::Nat | GatewayMode::NatUnprotected => None,
        GatewayMode::Routed => Some(NotForwarding::Routed),
        GatewayMode::Isolated => Some(NotForwarding::Isolated),
        GatewayMode::Unknown(mode) => Some(NotForwarding::Mode(mode.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(id: &str, subnet: &str) -> Network {
        Network {
            id: id.into(),
            name: id.into(),
            driver: "bridge".into(),
            internal: false,
            subnets: vec![subnet.parse().unwrap()],
            gateway_mode: GatewayMode::Nat,
            masquerade: true,
            host_ipv6: None,
            bridge: None,
            ingress: false,
        }
    }

    fn snapshot(networks: Vec<Network>) -> Snapshot {
        Snapshot {
            networks: networks.into_iter().map(|n| (n.id.clone(), n)).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn only_networks_that_docker_would_masquerade_are_served() {
        let nat = network("a", "fd00:a::/64");
        let changed = |id: &str, change: fn(&mut Network)| {
            let mut network = network(id, "fd00:b::/64");
            change(&mut network);
            network
        };
        let all = snapshot(vec![
            nat.clone(),
            changed("internal", |n| n.internal = true),
            changed("routed", |n| n.gateway_mode = GatewayMode::Routed),
            changed("isolated", |n| n.gateway_mode = GatewayMode::Isolated),
            changed("newer", |n| {
                n.gateway_mode = GatewayMode::Unknown("x".into())
            }),
            changed("bare", |n| n.masquerade = false),
            changed("macvlan", |n| n.driver = "macvlan".into()),
        ]);
        assert_eq!(prefixes(&all), nat.subnets);
        let open = changed("open", |n| n.gateway_mode = GatewayMode::NatUnprotected);
        assert_eq!(prefixes(&snapshot(vec![open.clone()])), open.subnets);
    }

    #[test]
    fn a_network_s_own_source_counts_inside_the_prefixes_only() {
        let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let mut inside = network("a", "fd00:a::/64");
        inside.host_ipv6 = Some(source);
        let mut outside = network("b", "fd01::/64");
        outside.host_ipv6 = Some(source);
        let all = snapshot(vec![inside.clone(), outside]);
        let served: Vec<Ipv6Net> = vec!["fd00::/16".parse().unwrap()];
        assert_eq!(sources(&all, &served), [(inside.subnets[0], source)]);
    }
}
