//! Maps a snapshot to forwards: each published port to a container's address.

pub use super::part::{Bounds, Resolved};
use super::parts::Parts;
use crate::model::container::Snapshot;

/// Maps a snapshot to forwards.
pub fn resolve(snapshot: &Snapshot, bounds: &Bounds) -> Resolved {
    Parts::default().resolve(snapshot, bounds)
}

#[cfg(test)]
pub(crate) mod samples {
    use std::collections::BTreeMap;

    use crate::model::container::{
        Bindings, Container, Endpoint, GatewayMode, HostIp, Network, PortRow, Snapshot, Start,
    };
    use crate::model::forward::Proto;
    use crate::model::text::Untrusted;

    /// A TCP row of the container port `inside`.
    pub(crate) fn row(ip: &str, host_port: Option<u16>, inside: u16) -> PortRow {
        PortRow {
            proto: Proto::Tcp,
            container_port: inside,
            host_ip: HostIp::parse(ip),
            host_port,
        }
    }

    /// TCP bindings of container port 80.
    pub(crate) fn known(rows: &[(&str, Option<u16>)]) -> Bindings {
        Bindings::Known {
            rows: rows.iter().map(|(ip, port)| row(ip, *port, 80)).collect(),
            publish_all: false,
        }
    }

    /// A container on the default bridge at `fd00::2`, publishing 8080 → 80.
    pub(crate) fn container(id: &str) -> Container {
        Container {
            id: id.into(),
            name: Untrusted::new(format!("name-{id}")),
            image: Untrusted::default(),
            start: Start::default(),
            created: 0,
            network_mode: "default".into(),
            endpoints: vec![Endpoint {
                network: "bridge".into(),
                network_id: String::new(),
                address: Some("fd00::2".parse().unwrap()),
                mac: None,
                gateway: Some("fd00::1".parse().unwrap()),
                gw_priority: 0,
                left: false,
            }],
            ports: vec![row("0.0.0.0", Some(8080), 80), row("::", Some(8080), 80)],
            bindings: Bindings::Unknown,
            labels: BTreeMap::new(),
            unreadable: Vec::new(),
        }
    }

    /// The network `n`, with Docker's defaults.
    pub(crate) fn network() -> Network {
        Network {
            id: "n".into(),
            name: "bridge".into(),
            driver: "bridge".into(),
            internal: false,
            subnets: vec!["fd00::/64".parse().unwrap()],
            gateway_mode: GatewayMode::Nat,
            masquerade: true,
            host_ipv6: None,
            bridge: None,
            ingress: false,
        }
    }

    /// The container `c1` and its network.
    pub(crate) fn snapshot() -> Snapshot {
        let mut c = container("c1");
        c.endpoints[0].network_id = "n".into();
        let network = network();
        Snapshot {
            containers: [(c.id.clone(), c.into())].into(),
            networks: [(network.id.clone(), network)].into(),
            ..Snapshot::default()
        }
    }
}

#[cfg(test)]
mod tests;
