//! What Docker publishes over IPv6, in a form that compares with DNAT rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;

use super::forward::Proto;

/// Address and port of a container.
pub(crate) type Target = (Ipv6Addr, u16);

/// A published port and its target: what a DNAT rule does, ours or another program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostForward {
    /// Transport protocol.
    pub proto: Proto,
    /// The host's address; `None` for any local one.
    pub host_addr: Option<Ipv6Addr>,
    /// The host's port.
    pub host_port: u16,
    /// The container's address and port.
    pub target: Target,
}

impl fmt::Display for HostForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_addr {
            Some(addr) => write!(f, "[{addr}]:{}", self.host_port)?,
            None => write!(f, "{}", self.host_port)?,
        }
        let (addr, port) = self.target;
        write!(f, "/{} to [{addr}]:{port}", self.proto)
    }
}

/// What Docker publishes over IPv6, independent of our own prefixes and labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// The ports that Docker's own NAT would serve.
    pub forwards: BTreeSet<HostForward>,
    /// The ports bound to `::1`. Docker's own NAT may have a rule for them, but only the host
    /// itself can use it.
    pub local: BTreeSet<HostForward>,
    /// The ports of both sets that one of our labels closes, or opens only to some sources.
    pub closed: BTreeSet<HostForward>,
    /// The ports that are shown as bound to `0.0.0.0` alone, each with the line that reports it as
    /// closed. Podman (5.8) shows every port without an address of its own like this, and its NAT
    /// serves the port over IPv6 as well.
    pub any_v4: BTreeMap<HostForward, String>,
    /// Whether Docker has yet to answer about some containers, which may publish more.
    pub partial: bool,
    /// The addresses of the containers that Docker has answered about.
    pub answered: BTreeSet<Ipv6Addr>,
}
