//! Where in the kernel a chain stands, and where our own chains stand to see the packet pass. Pure.

use std::fmt;

/// The hooks of the IPv6 stack that packets pass (linux/netfilter.h, `enum nf_inet_hooks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Hook {
    /// As the packet comes from the interface.
    Ingress,
    /// Before it is decided where it goes.
    Prerouting,
    /// To the host itself.
    Input,
    /// Through the host.
    Forward,
    /// From the host itself.
    Output,
    /// Before it leaves.
    Postrouting,
}

impl Hook {
    /// Its number, for a table of the families inet and ip6.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
            Self::Ingress => 5,
        }
    }

    /// The hook of this number in a table of this family; `None` for those that are not known
    /// here, such as the hooks of bridges.
    pub(super) fn of(family: u8, number: u32) -> Option<Self> {
        /// `NFPROTO_INET`, `NFPROTO_NETDEV` and `NFPROTO_IPV6`.
        const INET: u8 = 1;
        const NETDEV: u8 = 5;
        const IPV6: u8 = 10;
        match (family, number) {
            // `NF_NETDEV_INGRESS`.
            (NETDEV, 0) => Some(Self::Ingress),
            (INET, 5) => Some(Self::Ingress),
            (INET | IPV6, 0) => Some(Self::Prerouting),
            (INET | IPV6, 1) => Some(Self::Input),
            (INET | IPV6, 2) => Some(Self::Forward),
            (INET | IPV6, 3) => Some(Self::Output),
            (INET | IPV6, 4) => Some(Self::Postrouting),
            _ => None,
        }
    }

    /// Its name, as nft has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A hook and the priority at which something stands there: lower ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
}

const fn at(hook: Hook, priority: i32) -> Place {
    Place { hook, priority }
}

/// Just before conntrack confirms an entry, at `NF_IP6_PRI_LAST` (linux/netfilter_ipv6.h).
const LAST: i32 = i32::MAX - 1;

/// Where the packet is marked for tracing as it comes from the wire, and again before all else.
pub(super) const WIRE: Place = at(Hook::Ingress, i32::MIN);
pub(super) const FIRST: Place = at(Hook::Prerouting, i32::MIN);

/// Where it is dropped, on its way to the host itself and on its way out.
pub(super) const LAST_IN: Place = at(Hook::Input, LAST);
pub(super) const LAST_OUT: Place = at(Hook::Postrouting, LAST);

/// Where it is counted: between these stand the hooks of the kernel and the tables of
/// ip6tables-legacy (`NF_IP6_PRI_*`), which report nothing.
pub(super) const BRACKETS: [Place; 18] = [
    at(Hook::Prerouting, -299),
    at(Hook::Prerouting, -199),
    at(Hook::Prerouting, -149),
    at(Hook::Prerouting, -99),
    at(Hook::Prerouting, LAST),
    at(Hook::Input, i32::MIN),
    at(Hook::Input, -149),
    at(Hook::Input, 1),
    at(Hook::Input, 51),
    at(Hook::Forward, i32::MIN),
    at(Hook::Forward, -149),
    at(Hook::Forward, 1),
    at(Hook::Forward, 51),
    at(Hook::Forward, LAST),
    at(Hook::Postrouting, i32::MIN),
    at(Hook::Postrouting, -149),
    at(Hook::Postrouting, 1),
    at(Hook::Postrouting, 101),
];

/// The last place before routing.
pub(super) const BEFORE_ROUTING: Place = at(Hook::Prerouting, LAST);

/// What stands right behind this place and would report nothing of a drop, in words.
pub(super) fn untraced_behind(place: Place) -> &'static str {
    match (place.hook, place.priority) {
        (Hook::Ingress, _) => "the kernel's own checks of an IPv6 header",
        (Hook::Prerouting, i32::MIN) => "the raw table of ip6tables-legacy, or defragmentation",
        (Hook::Prerouting, -299) => "connection tracking",
        (Hook::Prerouting, -199) => "the mangle table of ip6tables-legacy",
        (Hook::Prerouting, -149) => "the nat table of ip6tables-legacy",
        (Hook::Input | Hook::Forward, i32::MIN) => "the mangle table of ip6tables-legacy",
        (Hook::Input | Hook::Forward, -149) => "the filter table of ip6tables-legacy",
        (Hook::Input | Hook::Forward, 1) => "the security table of ip6tables-legacy",
        (Hook::Input, 51) => "the nat table of ip6tables-legacy, or IPVS",
        (Hook::Postrouting, i32::MIN) => "the mangle table of ip6tables-legacy",
        (Hook::Postrouting, 1) => "the nat table of ip6tables-legacy",
        _ => "a BPF program or a kernel module",
    }
}
