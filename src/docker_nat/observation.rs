//! What the kernel shows of Docker's own IPv6 NAT. Pure values.

use std::collections::BTreeSet;

use crate::model::published::{HostForward, Published};

/// The chain in which an Engine that uses ip6tables keeps its rules, in the nat table and in the
/// filter table.
pub(super) const DOCKER: &str = "DOCKER";

/// A rule that an Engine leaves behind when it comes back without IPv6 NAT, and that drops what
/// our rules forward.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftBehind {
    /// The chain and its table, for the operator.
    pub place: String,
    /// The command that removes it.
    pub remedy: String,
}

impl LeftBehind {
    /// The rule that an Engine from 28 on puts at the end of the chain `DOCKER` of the filter table
    /// for each bridge. `tool` removes it.
    pub(super) fn drop_of(bridge: &str, tool: &str) -> Self {
        Self {
            place: format!("chain {DOCKER} of table ip6 filter"),
            remedy: format!("{tool} -t filter -D {DOCKER} ! -i {bridge} -o {bridge} -j DROP"),
        }
    }
}

/// Docker's own IPv6 NAT, and Podman's, as the kernel shows it. Only rules that a packet reaches
/// count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerNat {
    /// Whether packets are led to Docker's chains of DNAT rules: from nat/PREROUTING to the chain
    /// `DOCKER`, or within the table `ip6 docker-bridges`. An Engine leaves these chains behind,
    /// so they prove nothing.
    pub chains: bool,
    /// The DNAT rules in Docker's chains.
    pub forwards: BTreeSet<HostForward>,
    /// Whether packets are led through the chains of netavark, which does Podman's NAT.
    pub netavark: bool,
    /// The DNAT rules in netavark's chains. They count only where they serve what Docker's API
    /// publishes, that is where Podman answers there; on a host with Docker they serve Podman's
    /// own containers.
    pub podman: BTreeSet<HostForward>,
    /// The rules that drop what we forward, unless an Engine with its NAT on maintains them.
    pub left_behind: BTreeSet<LeftBehind>,
}

impl DockerNat {
    /// Adds what another reader has found.
    pub(super) fn add(&mut self, other: Self) {
        self.chains |= other.chains;
        self.forwards.extend(other.forwards);
        self.netavark |= other.netavark;
        self.podman.extend(other.podman);
        self.left_behind.extend(other.left_behind);
    }

    /// The ports that are shown as bound to `0.0.0.0` alone and that Podman's NAT serves over IPv6,
    /// each with the line that reports it as closed: see [`Published::any_v4`].
    pub(super) fn any_v4_served<'p>(
        &self,
        published: &'p Published,
    ) -> impl Iterator<Item = (&'p HostForward, &'p String)> {
        let shown = published.any_v4.iter();
        shown.filter(|(forward, _)| self.podman.contains(forward))
    }
}
