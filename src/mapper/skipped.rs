//! The containers and ports that open nothing over IPv6, and the reasons.

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
    /// The port; `None` for the whole container.
    pub port: Option<(Proto, u16)>,
    /// The reason.
    pub reason: Reason,
}

/// Why a container or port opens nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The binding does not reach IPv6.
    NotPublished(NotPublished),
    /// The container has no network of its own (`host`, `none`, `container:ID`).
    NoOwnNetwork(Untrusted),
    /// The container has only these addresses, and none of them lies in a prefix.
    NoAddress(Vec<Ipv6Addr>),
    /// This address of the container must never be a target.
    Refused(Ipv6Addr, Refusal),
    /// The port is zero.
    PortZero,
    /// The container's labels close it.
    Label(labels::ClosedByLabel),
    /// The label `docker-nat66.ports` does not name the port.
    NotListed,
    /// The container's network forwards no ports.
    NotForwarding(Untrusted, NotForwarding),
    /// The container is part of a Swarm service, whose ports Swarm publishes itself.
    SwarmIngress,
    /// The container has left this network, to which its port led.
    LeftNetwork(Untrusted),
    /// Docker has given this address of the container to this other one, which started later.
    AddressOf(Ipv6Addr, String),
    /// This other container, which started later, publishes the same port.
    TakenBy(String),
    /// With this container's rules there would be more than ip6tables can remove.
    TooMany {
        /// How many rules the container needs.
        rules: usize,
        /// The limit for all containers together.
        most: usize,
    },
    /// This row of Docker's answer is malformed.
    Unreadable(Untrusted),
}

/// Why an address is never a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is the host's own: a DNAT rule to it would publish the host's own port.
    HostsOwn,
    /// It is the network's gateway, which is the host.
    Gateway,
    /// It is the prefix's subnet-router anycast address (RFC 4291, 2.6.1).
    SubnetRouter,
}

/// Why a network forwards no ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotForwarding {
    /// `docker network create --internal`.
    Internal,
    /// Gateway mode `routed`.
    Routed,
    /// Gateway mode `isolated`.
    Isolated,
    /// An unknown gateway mode.
    Mode(Untrusted),
    /// Docker has named the network and has not listed it yet.
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
            Self::NotPublished(closed) => closed.fmt(f),
            Self::NoOwnNetwork(mode) => {
                write!(f, "network mode \"{mode}\" has no address of its own")
            }
            Self::NoAddress(has) if has.is_empty() => {
                let answers = "if docker-proxy serves the port, it answers for the container, which \
                               then sees the bridge's address as the client's";
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
                "Swarm itself forwards what its service publishes through the ingress network"
            ),
            Self::PortZero => write!(f, "port 0 cannot be forwarded"),
            Self::LeftNetwork(network) => write!(f, "it has left the network {network}"),
            Self::AddressOf(addr, id) => {
                write!(f, "its address {addr} now belongs to container {id}")
            }
            Self::TakenBy(id) => write!(f, "the port belongs to container {id}"),
            Self::TooMany { rules, most } => write!(
                f,
                "it needs {rules} rules, and ip6tables can reliably remove no more than {most} in \
                 all: --backend nftables has no such limit"
            ),
            Self::Unreadable(what) => write!(f, "cannot be read: {what}"),
        }
    }
}

impl Reason {
    /// The reason in a few words, for a cell of a table.
    pub fn brief(&self) -> String {
        match self {
            Self::NotPublished(closed) => match closed {
                NotPublished::BoundToV4(_) => "IPv4 only".to_owned(),
                NotPublished::NotRoutable(addr) => format!("bound to {addr}"),
                NotPublished::Routed => "routed".to_owned(),
                NotPublished::BindingsUnknown => "not known yet".to_owned(),
                NotPublished::Malformed(_) => "cannot be read".to_owned(),
            },
            Self::NoOwnNetwork(mode) => format!("network mode {mode}"),
            Self::NoAddress(has) if has.is_empty() => "no IPv6 address".to_owned(),
            Self::NoAddress(_) => "outside --prefix".to_owned(),
            Self::Refused(_, Refusal::HostsOwn) => "has the host's address".to_owned(),
            Self::Refused(_, Refusal::Gateway) => "has the gateway's address".to_owned(),
            Self::Refused(_, Refusal::SubnetRouter) => "has the prefix's address".to_owned(),
            Self::PortZero => "port 0".to_owned(),
            Self::Label(labels::ClosedByLabel::Malformed { .. }) => "malformed label".to_owned(),
            Self::Label(_) | Self::NotListed => "closed by label".to_owned(),
            Self::NotForwarding(_, why) => match why {
                NotForwarding::Internal => "internal network".to_owned(),
                NotForwarding::Routed => "routed".to_owned(),
                NotForwarding::Isolated => "isolated network".to_owned(),
                NotForwarding::Mode(_) => "unknown gateway mode".to_owned(),
                NotForwarding::NotListed => "network not known yet".to_owned(),
            },
            Self::SwarmIngress => "published by Swarm".to_owned(),
            Self::LeftNetwork(_) => "has left its network".to_owned(),
            Self::AddressOf(..) => "address given away".to_owned(),
            Self::TakenBy(_) => "port taken".to_owned(),
            Self::TooMany { .. } => "too many rules".to_owned(),
            Self::Unreadable(_) => "cannot be read".to_owned(),
        }
    }
}

/// Names a container for people, by its name and the first digits of its id.
pub(crate) fn container(id: &str, name: &Untrusted) -> String {
    let id: String = id.chars().take(12).collect();
    format!("container {name} ({})", Untrusted::new(id))
}

impl Reason {
    /// All that [`Reason::word`] may say.
    pub(crate) const WORDS: [&str; 14] = [
        "binding",
        "routed",
        "no-network",
        "no-address",
        "outside-prefix",
        "refused-address",
        "label",
        "not-forwarding",
        "swarm",
        "left-network",
        "address-moved",
        "port-taken",
        "too-many",
        "unreadable",
    ];

    /// A word for it. The words are stable, because monitoring counts by them.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::NotPublished(NotPublished::Routed) => "routed",
            Self::NotPublished(NotPublished::Malformed(_)) | Self::Unreadable(_) => "unreadable",
            Self::NotPublished(_) | Self::PortZero => "binding",
            Self::NoOwnNetwork(_) => "no-network",
            Self::NoAddress(has) if has.is_empty() => "no-address",
            Self::NoAddress(_) => "outside-prefix",
            Self::Refused(..) => "refused-address",
            Self::Label(_) | Self::NotListed => "label",
            Self::NotForwarding(_, NotForwarding::Routed) => "routed",
            Self::NotForwarding(..) => "not-forwarding",
            Self::SwarmIngress => "swarm",
            Self::LeftNetwork(_) => "left-network",
            Self::AddressOf(..) => "address-moved",
            Self::TakenBy(_) => "port-taken",
            Self::TooMany { .. } => "too-many",
        }
    }

    /// Whether it surprises the operator; the rest is Docker's everyday business.
    pub(crate) fn is_unexpected(&self) -> bool {
        match self {
            Self::NotPublished(NotPublished::NotRoutable(_) | NotPublished::Malformed(_))
            | Self::Refused(..)
            | Self::PortZero
            | Self::TakenBy(_)
            | Self::TooMany { .. }
            | Self::Unreadable(_) => true,
            Self::Label(_) => self.is_malformed_label(),
            Self::NotPublished(
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

    /// Whether Docker's answer is malformed.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(_) | Self::NotPublished(NotPublished::Malformed(_))
        )
    }

    /// Whether the backend has no room for the container's rules.
    pub(crate) fn is_too_many(&self) -> bool {
        matches!(self, Self::TooMany { .. })
    }

    /// Whether a label is malformed or unknown.
    pub(crate) fn is_malformed_label(&self) -> bool {
        matches!(self, Self::Label(labels::ClosedByLabel::Malformed { .. }))
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
