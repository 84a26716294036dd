//! What the kernel shows of an Engine's own IPv6 NAT, and what Docker publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;

use super::forward::Proto;

/// Address and port of a container.
pub type Target = (Ipv6Addr, u16);

/// A published port and where it leads: what a DNAT rule does, whoever owns it.
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

/// A rule that an Engine leaves behind where it comes back without IPv6 NAT, and that drops what
/// our rules forward.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftBehind {
    /// The chain and its table, for people.
    pub place: String,
    /// The command that removes it.
    pub remedy: String,
}

/// What is in the kernel of an Engine's own IPv6 NAT. Only rules that a packet reaches count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Native {
    /// Whether packets are led to Docker's chains of DNAT rules: from nat/PREROUTING to the chain
    /// `DOCKER`, or within the table `ip6 docker-bridges`. An Engine leaves these chains behind,
    /// so they prove nothing.
    pub chains: bool,
    /// The DNAT rules in Docker's chains.
    pub forwards: BTreeSet<HostForward>,
    /// Whether packets are led through the chains of netavark, which does Podman's NAT.
    pub netavark: bool,
    /// The DNAT rules in netavark's chains. On a host with Docker they are nobody's business of
    /// ours; where Podman plays Docker's part, they serve what it publishes.
    pub podman: BTreeSet<HostForward>,
    /// What drops our forwards, unless an Engine with its NAT on looks after it.
    pub left_behind: BTreeSet<LeftBehind>,
}

impl Native {
    /// Adds what was seen elsewhere.
    pub fn add(&mut self, other: Self) {
        self.chains |= other.chains;
        self.forwards.extend(other.forwards);
        self.netavark |= other.netavark;
        self.podman.extend(other.podman);
        self.left_behind.extend(other.left_behind);
    }
}

/// What Docker publishes over IPv6, whatever our own prefixes and labels say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// What Docker's own NAT would serve.
    pub forwards: BTreeSet<HostForward>,
    /// What it may serve, though nobody outside can see whether it does: bound to `::1`.
    pub local: BTreeSet<HostForward>,
    /// What of both a label of ours closes, or opens to some sources only.
    pub closed: BTreeSet<HostForward>,
    /// What is shown as bound to `0.0.0.0` alone, and how it is told as closed. Podman (5.8) shows
    /// all that is bound to no address of its own so, and its NAT serves it over IPv6 too.
    pub any_v4: BTreeMap<HostForward, String>,
    /// Whether there may be more, of containers that Docker has not answered about.
    pub partial: bool,
    /// The addresses of the containers that it has answered about.
    pub answered: BTreeSet<Ipv6Addr>,
}
