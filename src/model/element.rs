//! What stands in the sets of our nftables table, besides forwards.
//!
//! There the chains are the same on every host, and only elements say which interfaces,
//! prefixes and ports are meant: so these are the rules of that backend. No interface is in
//! the key of a forward, for all egress interfaces are in one set.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::device::Device;
use super::forward::Proto;

/// An element of a set that is no forward.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// An egress interface.
    Egress(Device),
    /// A prefix of the containers: masqueraded, not to be spoofed, and where the host's
    /// published ports are asked for from inside. No two overlap.
    Prefix(Ipv6Net),
    /// A prefix whose unpublished ports are not reachable. No two overlap.
    Guarded(Ipv6Net),
    /// What the containers of one network send out gets this source. No two overlap.
    Source {
        /// The network's subnet.
        prefix: Ipv6Net,
        /// The source address (`com.docker.network.host_ipv6`).
        source: Ipv6Addr,
    },
    /// What arrives for a published port of limited sources and was not rewritten is dropped.
    Refused {
        /// Transport protocol.
        proto: Proto,
        /// Destination address; `None` for any local address.
        host_addr: Option<Ipv6Addr>,
        /// Destination port, never 0.
        host_port: u16,
    },
}

impl Element {
    /// The name of its kind, as in the journal and `dump`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Egress(_) => "egress",
            Self::Prefix(_) => "prefix",
            Self::Guarded(_) => "guarded",
            Self::Source { .. } => "snat",
            Self::Refused { .. } => "refuse",
        }
    }

    /// Whether it follows from the settings alone.
    pub fn is_static(&self) -> bool {
        match self {
            Self::Egress(_) | Self::Prefix(_) | Self::Guarded(_) => true,
            Self::Source { .. } | Self::Refused { .. } => false,
        }
    }
}
