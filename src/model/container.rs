//! Docker's containers, with their ports and addresses, and its networks.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use super::device::Device;
use super::forward::Proto;
use super::interface::MacAddr;
use super::shared::Shared;
use super::text::Untrusted;

/// Docker's state now: every running container and every network, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Running containers by their full id.
    pub containers: BTreeMap<String, Shared<Container>>,
    /// Networks by their full id.
    pub networks: BTreeMap<String, Network>,
    /// Containers that Docker has not answered about: either since the connection's first list
    /// named them, or in spite of repeated questions. By full id, with the name if it is known.
    /// They may publish more than the snapshot shows.
    pub unanswered: BTreeMap<String, Untrusted>,
    /// Containers about which Docker's last answer was malformed, and what was wrong with it.
    pub unreadable: BTreeMap<String, Untrusted>,
    /// Descriptions of rows in the last list that name no container.
    pub odd: Vec<Untrusted>,
    /// Addresses that Docker has given to containers that it is about to start.
    pub claims: BTreeMap<Ipv6Addr, Claim>,
}

/// The container that is about to start with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The container's full id.
    pub container_id: String,
    /// When the daemon received the claim, in the count of [`Start::sequence`].
    pub sequence: u64,
}

/// When a container started, compared with others. Docker gives the address of an ended container
/// to the next one up to a second before it reports the end (seen on Engine 28.5): if two
/// containers show one address, the one that started later has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    /// The number of its `start` among the events of this connection, counted from 1, or of the
    /// last event by which it joined a network; 0 for a container that ran before.
    pub sequence: u64,
    /// `State.StartedAt`, in nanoseconds since the epoch; 0 if Docker has not given it. Compared
    /// only between containers that ran before this connection.
    pub at: i64,
}

/// The part of a Docker network that concerns its containers' IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: Untrusted,
    /// `bridge`, `host`, `null`, `macvlan`, …
    pub driver: Untrusted,
    /// `Internal`: containers on it reach nobody outside, and nobody outside reaches them.
    pub internal: bool,
    /// IPv6 subnets of its address management (`IPAM.Config[*].Subnet`), masked. Empty where
    /// `EnableIPv6` is false.
    pub subnets: Vec<Ipv6Net>,
    /// The interface of a bridge network: option `com.docker.network.bridge.name`, else `br-` and
    /// the first twelve digits of the id. `None` for other drivers.
    pub bridge: Option<Device>,
    /// `Ingress`: through this network a Swarm publishes the ports of its services.
    pub ingress: bool,
    /// Option `com.docker.network.bridge.gateway_mode_ipv6` (Engine 27): how the bridge treats
    /// its containers' IPv6.
    pub gateway_mode: GatewayMode,
    /// Option `com.docker.network.bridge.enable_ip_masquerade`; true where absent.
    pub masquerade: bool,
    /// Option `com.docker.network.host_ipv6` (Engine 25): the source address of outgoing traffic,
    /// in place of the egress interface's own.
    pub host_ipv6: Option<Ipv6Addr>,
}

/// How a bridge network treats its containers' IPv6 (`gateway_mode_ipv6`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayMode {
    /// `nat`, the default: published ports are forwarded, outgoing traffic is masqueraded.
    Nat,
    /// `nat-unprotected`: as `nat`, and unpublished ports are open too.
    NatUnprotected,
    /// `routed`: clients reach containers at their own addresses; Docker rewrites nothing.
    Routed,
    /// `isolated`: no gateway at all.
    Isolated,
    /// A mode of a newer Engine; we forward nothing there.
    Unknown(Untrusted),
}

/// The part of a running container that concerns its published ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Full id: 64 hexadecimal digits in every known Engine, but any text is accepted.
    pub id: String,
    /// Name without the leading slash.
    pub name: Untrusted,
    /// `Image` of a list row, or `Config.Image`: as the user named it; in a list the id where the name
    /// has gone to another image.
    pub image: Untrusted,
    /// When it started.
    pub start: Start,
    /// When it was created, seconds since the epoch; 0 if Docker does not give it.
    pub created: i64,
    /// `HostConfig.NetworkMode`: `default`, `bridge`, `host`, `none`, `container:ID`, a network.
    pub network_mode: Untrusted,
    /// `NetworkSettings.Networks`.
    pub endpoints: Vec<Endpoint>,
    /// `NetworkSettings.Ports`, or `Ports` of a list row: what Docker has bound.
    pub ports: Vec<PortRow>,
    /// `HostConfig.PortBindings`: what the user requested.
    pub bindings: Bindings,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Descriptions of malformed rows (an unknown protocol, a malformed port). They publish nothing
    /// and are reported.
    pub unreadable: Vec<Untrusted>,
}

/// A container's place in one Docker network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The network's name.
    pub network: Untrusted,
    /// The network's full id; empty if Docker does not give it.
    pub network_id: String,
    /// `GlobalIPv6Address`; `None` before Docker assigns it and after it has cleared it.
    pub address: Option<Ipv6Addr>,
    /// `MacAddress`, that of the container's interface; `None` if Docker gives none.
    pub mac: Option<MacAddr>,
    /// `IPv6Gateway`, the host's end of the bridge.
    pub gateway: Option<Ipv6Addr>,
    /// `GwPriority` (API 1.48); 0 before.
    pub gw_priority: i64,
    /// Docker or the kernel has reported that the container left this network, and Docker has not
    /// answered about the container since. Nothing is forwarded to this address.
    pub left: bool,
}

/// One row of `Ports`: a container port and what it is bound to on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRow {
    /// Transport protocol.
    pub proto: Proto,
    /// Port inside the container.
    pub container_port: u16,
    /// The host's address in the row.
    pub host_ip: HostIp,
    /// The host's port; `None` for a port that is only exposed, or routed.
    pub host_port: Option<u16>,
}

impl PortRow {
    /// `::` without a host port: the row with which an Engine (from 27 on) shows a published port
    /// that it routes, so that clients reach the container at its own IPv6 address.
    pub(crate) fn is_routed_v6(&self) -> bool {
        self.host_port.is_none() && self.host_ip == HostIp::V6(Ipv6Addr::UNSPECIFIED)
    }
}

/// The address column of a port row or binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostIp {
    /// Empty or absent.
    Empty,
    /// An IPv4 address, `0.0.0.0` included.
    V4(Ipv4Addr),
    /// An IPv6 address, `::` included.
    V6(Ipv6Addr),
    /// Anything else; opens nothing.
    Malformed(Untrusted),
}

impl HostIp {
    /// Reads the column as Docker writes it; brackets around an IPv6 address are accepted.
    pub fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::Empty;
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        match bare.parse() {
            Ok(std::net::IpAddr::V4(v4)) => Self::V4(v4),
            Ok(std::net::IpAddr::V6(v6)) => Self::V6(v6),
            Err(_) => Self::Malformed(Untrusted::new(text)),
        }
    }

    /// `0.0.0.0`, or no address at all.
    pub(crate) fn is_empty_or_any_v4(&self) -> bool {
        matches!(self, Self::Empty) || *self == Self::V4(Ipv4Addr::UNSPECIFIED)
    }
}

/// `HostConfig.PortBindings` and `PublishAllPorts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bindings {
    /// Not known: the rows of the container list do not have them.
    Unknown,
    /// As requested at `docker run`.
    Known {
        /// One row per binding; an empty or zero `HostPort` is `None`.
        rows: Vec<PortRow>,
        /// `-P`.
        publish_all: bool,
    },
}

/// Rows by container port, because a container may have tens of thousands.
#[derive(Debug, Default)]
pub(crate) struct Rows<'c>(HashMap<(Proto, u16), Vec<&'c PortRow>>);

impl<'c> Rows<'c> {
    /// Indexes all rows.
    pub(crate) fn of(rows: &'c [PortRow]) -> Self {
        let mut by_port: HashMap<_, Vec<&PortRow>> = HashMap::with_capacity(rows.len());
        for row in rows {
            let port = (row.proto, row.container_port);
            by_port.entry(port).or_default().push(row);
        }
        Self(by_port)
    }

    /// The rows for the same container port as `row`, in order.
    pub(crate) fn like(&self, row: &PortRow) -> impl Iterator<Item = &'c PortRow> {
        let same = self.0.get(&(row.proto, row.container_port));
        same.into_iter().flatten().copied()
    }

    /// Whether a row publishes that port on `::`.
    pub(crate) fn show_any_v6(&self, row: &PortRow) -> bool {
        let any = HostIp::V6(Ipv6Addr::UNSPECIFIED);
        self.like(row)
            .any(|row| row.host_port.is_some() && row.host_ip == any)
    }

    /// Whether a row shows that Docker routes that port over IPv6, without publishing it at an
    /// address of the host.
    pub(crate) fn show_routed_v6(&self, row: &PortRow) -> bool {
        self.like(row).any(PortRow::is_routed_v6)
    }
}

impl Container {
    /// Whether the ports' meaning depends on unknown [`Bindings`]: some port is bound to `0.0.0.0`
    /// (or nothing) and none of its rows shows `::`. Then only an inspect distinguishes an explicit
    /// `0.0.0.0` and a routed port (nothing over IPv6) from an Engine before 20.10.6.
    pub(crate) fn needs_bindings(&self) -> bool {
        if self.bindings != Bindings::Unknown {
            return false;
        }
        let rows = Rows::of(&self.ports);
        self.ports.iter().any(|row| {
            row.host_port.is_some()
                && row.host_ip.is_empty_or_any_v4()
                && !rows.show_any_v6(row)
                && !rows.show_routed_v6(row)
        })
    }

    /// Whether the daemon must ask Docker before it knows everything that the container publishes.
    pub(crate) fn needs_answer(&self) -> bool {
        self.needs_bindings() || self.endpoints.iter().any(|e| e.left)
    }

    /// Completes a row of the list from an earlier inspect of this container: the requested
    /// bindings, and the ports that are routed over IPv6, which Engine 29 lists as `0.0.0.0` alone.
    /// If the row shows other ports than that inspect, Docker has bound them anew (because the
    /// container has another IPv6 gateway, say), and a new inspect is needed.
    ///
    /// The image stays as it was first shown: a list shows the id once the tag has moved.
    pub(crate) fn complete_from(&mut self, known: &Self) {
        if !known.image.is_empty() {
            self.image = known.image.clone();
        }
        let bound = |container: &Self| -> Vec<PortRow> {
            let rows = container.ports.iter().filter(|row| !row.is_routed_v6());
            rows.cloned().collect()
        };
        if bound(self) != bound(known) {
            return;
        }
        self.bindings = known.bindings.clone();
        if known.ports.len() > self.ports.len() {
            self.ports = known.ports.clone();
        }
    }

    /// Marks as left the endpoints that `known` has left and that are the same here.
    pub(crate) fn leave_as(&mut self, known: &Self) {
        let same = |a: &Endpoint, b: &Endpoint| {
            (&a.network_id, a.address, a.mac) == (&b.network_id, b.address, b.mac)
        };
        for endpoint in &mut self.endpoints {
            let mut before = known.endpoints.iter();
            endpoint.left |= before.any(|e| e.left && same(e, endpoint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_column_is_read_as_docker_writes_it() {
        let cases = [
            ("", HostIp::Empty),
            ("0.0.0.0", HostIp::V4(Ipv4Addr::UNSPECIFIED)),
            ("127.0.0.1", HostIp::V4(Ipv4Addr::LOCALHOST)),
            ("::", HostIp::V6(Ipv6Addr::UNSPECIFIED)),
            ("[::1]", HostIp::V6(Ipv6Addr::LOCALHOST)),
        ];
        for (text, ip) in cases {
            assert_eq!(HostIp::parse(text), ip, "{text:?}");
        }
        for text in ["fe80::1%eth0", "[::", "localhost", " ::"] {
            assert!(
                matches!(HostIp::parse(text), HostIp::Malformed(_)),
                "{text:?}"
            );
        }
    }

    fn publishing(rows: &[(&str, Option<u16>)], bindings: Bindings) -> Container {
        let row = |(ip, host_port): &(&str, Option<u16>)| PortRow {
            proto: Proto::Tcp,
            container_port: 80,
            host_ip: HostIp::parse(ip),
            host_port: *host_port,
        };
        Container {
            id: "c1".into(),
            name: "c1".into(),
            image: Untrusted::default(),
            start: Start::default(),
            created: 0,
            network_mode: "default".into(),
            endpoints: Vec::new(),
            ports: rows.iter().map(row).collect(),
            bindings,
            labels: BTreeMap::new(),
            unreadable: Vec::new(),
        }
    }

    /// Engine 29 lists a routed port as `0.0.0.0` alone.
    #[test]
    fn the_last_inspect_counts_while_the_ports_are_the_same() {
        let asked_for = Bindings::Known {
            rows: Vec::new(),
            publish_all: true,
        };
        let routed = [("0.0.0.0", Some(8080)), ("::", None)];
        let known = publishing(&routed, asked_for);
        let completed = |rows: &[(&str, Option<u16>)]| {
            let mut row = publishing(rows, Bindings::Unknown);
            row.complete_from(&known);
            row
        };
        assert_eq!(completed(&[("0.0.0.0", Some(8080))]), known);
        // Engine 28 lists both rows.
        assert_eq!(completed(&routed), known);
        // The container's IPv6 gateway is now on a network that is not routed.
        let open = [("0.0.0.0", Some(8080)), ("::", Some(8080))];
        assert_eq!(completed(&open), publishing(&open, Bindings::Unknown));
        // The container has restarted, and the daemon missed its start.
        assert!(completed(&[("0.0.0.0", Some(9090))]).needs_bindings());
    }

    #[test]
    fn a_row_that_shows_a_routed_port_needs_no_inspect() {
        let needs = |rows| publishing(rows, Bindings::Unknown).needs_bindings();
        assert!(needs(&[("0.0.0.0", Some(8080))]));
        assert!(!needs(&[("0.0.0.0", Some(8080)), ("::", None)]));
        assert!(!needs(&[("0.0.0.0", Some(8080)), ("::", Some(8080))]));
    }
}
