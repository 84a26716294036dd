//! What opens nothing over IPv6, and why.

use std::fmt;
use std::net::Ipv6Addr;

use super::labels;
use super::publish::NotPublished;
use crate::model::forward::Proto;
use crate::model::text::Untrusted;

/// A container or one of its published ports that opens nothing over IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Full id of the container.
    pub container_id: String,
    /// Name of the container.
    pub container_name: Untrusted,
    /// The port; `None` for all of the container's.
    pub port: Option<(Proto, u16)>,
    /// Why.
    pub reason: Reason,
}

/// Why something opens nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The binding does not reach IPv6.
    Closed(NotPublished),
    /// The container has no network of its own (`host`, `none`, `container:ID`).
    NoOwnNetwork(Untrusted),
    /// None of the container's addresses lies in a prefix; carries those it has.
    NoAddress(Vec<Ipv6Addr>),
    /// The container's address must never be a target.
    Refused(Ipv6Addr, Refusal),
    /// The port is zero.
    PortZero,
    /// The container's labels keep it, or this port, out.
    Label(labels::Closed),
    /// The label `docker-nat66.ports` does not name the port.
    NotListed,
    /// The network that holds the container's address forwards no ports.
    NotForwarding(Untrusted, NotForwarding),
    /// The container is part of a Swarm's service, whose ports Swarm publishes itself.
    SwarmIngress,
    /// The container has left the network that its port led to.
    LeftNetwork(Untrusted),
    /// Docker has given the container's address to another one, which started later.
    AddressOf(Ipv6Addr, String),
    /// Another container published the same port later.
    TakenBy(String),
    /// With this container's rules there would be more than ip6tables could give back.
    TooMany {
        /// How many it needs.
        rules: usize,
        /// How many there may be, those of all containers together.
        most: usize,
    },
    /// A row of Docker's answer that could not be read.
    Unreadable(Untrusted),
}

/// Why an address is never a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is the host's own: a DNAT to it would publish the host's own port.
    HostsOwn,
    /// It is the network's gateway, which is the host.
    Gateway,
    /// It is the prefix's subnet-router anycast address (RFC 4291, 2.6.1).
    SubnetRouter,
}

/// Why ports of containers on a network are not forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotForwarding {
    /// `docker network create --internal`.
    Internal,
    /// Gateway mode `routed`.
    Routed,
    /// Gateway mode `isolated`.
    Isolated,
    /// A gateway mode that is not known.
    Mode(Untrusted),
    /// Docker has named the network, and not listed it yet.
    NotListed,
}

impl fmt::Display for NotForwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internal => write!(f, "is internal"),
            Self::Routed => write!(
                f,
                "is routed: over IPv6 the container is reached at its own addresses"
            ),
            Self::Isolated => write!(f, "is isolated: it has no gateway"),
            Self::Mode(mode) => write!(f, "has the unknown gateway mode \"{mode}\""),
            Self::NotListed => write!(f, "is not known yet"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(closed) => closed.fmt(f),
            Self::NoOwnNetwork(mode) => {
                write!(f, "network mode \"{mode}\" has no address of its own")
            }
            Self::NoAddress(has) if has.is_empty() => {
                let answers = "where docker-proxy serves the port, it answers in its stead, and the \
                               container sees the bridge's address as the client's";
                write!(f, "the container has no IPv6 address; {answers}")
            }
            Self::NoAddress(has) => {
                write!(f, "no address of the container lies in a --prefix, it has")?;
                has.iter().try_for_each(|addr| write!(f, " {addr}"))
            }
            Self::Refused(addr, Refusal::HostsOwn) => write!(f, "{addr} is the host's own address"),
            Self::Refused(addr, Refusal::Gateway) => write!(f, "{addr} is the network's gateway"),
            Self::Refused(addr, Refusal::SubnetRouter) => {
                write!(f, "{addr} is the prefix's own address")
            }
            Self::Label(closed) => closed.fmt(f),
            Self::NotListed => write!(f, "label docker-nat66.ports does not name it"),
            Self::NotForwarding(network, why) => write!(f, "its network {network} {why}"),
            Self::SwarmIngress => write!(
                f,
                "what its service publishes through Swarm's ingress network is not ours to forward"
            ),
            Self::PortZero => write!(f, "port 0 cannot be forwarded"),
            Self::LeftNetwork(network) => write!(f, "it has left the network {network}"),
            Self::AddressOf(addr, id) => {
                write!(f, "its address {addr} belongs to container {id} by now")
            }
            Self::TakenBy(id) => write!(f, "the port belongs to container {id}"),
            Self::TooMany { rules, most } => write!(
                f,
                "it needs {rules} rules, and ip6tables cannot be relied on to remove more than \
                 {most} in all: with --backend nftables there is no such limit"
            ),
            Self::Unreadable(what) => write!(f, "cannot be read: {what}"),
        }
    }
}

/// How a container is named to people: with its name and the first digits of its id.
pub fn container(id: &str, name: &Untrusted) -> String {
    let id: String = id.chars().take(12).collect();
    format!("container {name} ({})", Untrusted::new(id))
}

impl Reason {
    /// Whether the operator would not expect it; the rest is Docker's everyday.
    pub fn is_unexpected(&self) -> bool {
        match self {
            Self::Closed(NotPublished::NotRoutable(_) | NotPublished::Malformed(_))
            | Self::Refused(..)
            | Self::PortZero
            | Self::TakenBy(_)
            | Self::TooMany { .. }
            | Self::Unreadable(_) => true,
            Self::Label(_) => self.is_malformed_label(),
            Self::Closed(
                NotPublished::BoundToV4(_) | NotPublished::Routed | NotPublished::BindingsUnknown,
            )
            | Self::NotListed
            | Self::NotForwarding(..)
            | Self::SwarmIngress
            | Self::NoOwnNetwork(_)
            | Self::LeftNetwork(_)
            | Self::AddressOf(..)
            | Self::NoAddress(_) => false,
        }
    }

    /// Whether what Docker says of it cannot be read.
    pub fn is_unreadable(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(_) | Self::Closed(NotPublished::Malformed(_))
        )
    }

    /// Whether there would be too many rules.
    pub fn is_too_many(&self) -> bool {
        matches!(self, Self::TooMany { .. })
    }

    /// Whether a label could not be understood.
    pub fn is_malformed_label(&self) -> bool {
        matches!(self, Self::Label(labels::Closed::Malformed { .. }))
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((proto, port)) = self.port {
            write!(f, "port {port}/{proto} of ")?;
        }
        let container = container(&self.container_id, &self.container_name);
        write!(f, "{container}: {}", self.reason)
    }
}
