//! The settings and interfaces of the host that decide whether packets get through.

use std::collections::BTreeMap;

use ipnet::Ipv6Net;

use super::device::Device;
use super::problem::Problem;

/// Everything on the host, apart from rules, that decides whether packets get through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// `net.ipv6.conf.all.forwarding`; `None` where the kernel has no IPv6.
    pub forwarding: Option<bool>,
    /// The state of each requested interface, under the requested name: egress interfaces, and
    /// the bridges of Docker's networks.
    pub interfaces: BTreeMap<Device, InterfaceState>,
}

/// An interface of this network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InterfaceState {
    /// No interface has this name.
    Missing,
    /// The name is an alternative name (altname) of the interface with this name.
    AnotherNameOf(String),
    /// The interface exists.
    Here {
        /// `net.ipv6.conf.IF.disable_ipv6`.
        disable_ipv6: bool,
        /// `net.ipv6.conf.IF.force_forwarding` (kernel 6.17): the kernel forwards packets that
        /// arrive here, whatever the value for `all` is.
        force_forwarding: bool,
        /// The bridge, bond or team that has this interface as a port.
        bridge: Option<String>,
        /// The networks of its addresses.
        networks: Vec<Ipv6Net>,
    },
}

/// What rules of other programs do to packets that we forward.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignRules {
    /// Each chain that drops every new connection to a published port.
    pub drops: Vec<Problem>,
    /// Whether a rule drops packets to whose source no route leads back by the interface on which
    /// they came (a strict reverse path filter).
    pub strict_way_back: bool,
}
