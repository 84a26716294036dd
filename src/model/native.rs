//! What the kernel shows of Docker's own IPv6 NAT.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

/// Address and port of a container.
pub type Target = (Ipv6Addr, u16);

/// What is in the kernel of Docker's own IPv6 NAT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Native {
    /// The table `ip6 docker-bridges`, which an Engine with `--firewall-backend=nftables` keeps.
    /// It is there if and only if that Engine does IPv6 NAT.
    pub table: bool,
    /// The jump from nat/PREROUTING to Docker's chain `DOCKER`. An Engine leaves it behind: that
    /// of 20.10 also where it comes back with `--ip6tables=false`.
    pub jump: bool,
    /// Where the DNAT rules of that table and that chain lead.
    pub targets: BTreeSet<Target>,
}
