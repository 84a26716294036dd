//! What we put into the kernel.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::device::Device;
use super::element::Element;
use super::forward::{Forward, Owner, Proto};
pub use super::identity::{COMMENT_PREFIX, RuleId};

/// Which program's rules they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendKind {
    /// Rules in the tables of ip6tables.
    Ip6tables,
    /// Elements of our own nftables table.
    Nftables,
}

impl BackendKind {
    /// The name used on the command line, in the journal and in `dump`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip6tables => "ip6tables",
            Self::Nftables => "nftables",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The kernel content of one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Where it lives.
    pub backend: BackendKind,
    /// What it does.
    pub spec: RuleSpec,
}

/// What a rule does. The order is the order of insertion: the filter before what it guards,
/// DNAT rules last. Removal goes the other way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSpec {
    /// An element of a set in our nftables table.
    Element(Element),
    /// Sends packets through a filter chain of our own.
    Jump(Hook),
    /// Filters what passes between an egress interface and the containers: in the chain that
    /// [`Hook::Forward`] jumps to. [`Guard::Spoofed`] stands first, for what it drops might pass
    /// for a connection; the others do not depend on their order.
    Guard {
        /// Egress interface.
        dev: Device,
        /// The containers' prefix.
        prefix: Ipv6Net,
        /// What is let through or dropped.
        guard: Guard,
    },
    /// Accepts what a container sends to another by way of a published port, and the answers,
    /// where the policy would not: in the chain of the guards. One between two prefixes needs
    /// another the other way, for the answers.
    HairpinGuard {
        /// The prefix of the container that sends.
        from: Ipv6Net,
        /// The prefix of the one that receives.
        to: Ipv6Net,
    },
    /// Gives what the containers of one network send out a source of its own:
    /// nat/POSTROUTING, before any masquerade.
    Snat {
        /// Egress interface.
        dev: Device,
        /// The network's subnet.
        prefix: Ipv6Net,
        /// The source address (`com.docker.network.host_ipv6`).
        source: Ipv6Addr,
    },
    /// Rewrites the source of what containers send out: nat/POSTROUTING. Never that of the
    /// host's own traffic, nor that of traffic inside the prefix.
    Masquerade {
        /// Egress interface.
        dev: Device,
        /// The containers' prefix.
        prefix: Ipv6Net,
    },
    /// Rewrites the source of what a container sends to a container by way of a published
    /// port, so that the answer comes back the same way: nat/POSTROUTING.
    HairpinMasquerade {
        /// The containers' prefix.
        prefix: Ipv6Net,
    },
    /// Drops what arrives for a published port of limited sources and was not rewritten, so
    /// that nothing else on the host answers it: in the chain that [`Hook::Input`] jumps to.
    Refuse(HostPort),
    /// Rewrites the destination of what arrives for a published port: nat/PREROUTING, or
    /// nat/OUTPUT for the host's own packets.
    Dnat(Dnat),
}

/// Where packets are sent through a chain of ours, in the filter table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// What the host forwards.
    Forward,
    /// What arrives for the host itself.
    Input,
}

/// What a filter rule between egress and containers does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// Drops what arrives from outside with a container's address as its source.
    Spoofed,
    /// Accepts what arrives for a connection that exists.
    Established,
    /// Accepts what arrives by way of a DNAT rule, ours or another program's.
    Forwarded,
    /// Accepts what containers send out for a connection that exists.
    Reply,
    /// Accepts the connections that containers begin by way of an egress interface, which the
    /// masquerade is for.
    Outgoing,
    /// Drops what else arrives for the containers.
    Unpublished,
}

impl Guard {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Spoofed,
        Self::Established,
        Self::Forwarded,
        Self::Reply,
        Self::Outgoing,
        Self::Unpublished,
    ];

    /// The name used in identities, the journal and `dump`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spoofed => "spoofed",
            Self::Established => "established",
            Self::Forwarded => "forwarded",
            Self::Reply => "reply",
            Self::Outgoing => "outgoing",
            Self::Unpublished => "unpublished",
        }
    }
}

/// A DNAT rule: its key (everything before the target), and its target.
///
/// Packets from link-local addresses cannot be forwarded (RFC 4291, section 2.5.6): rewritten, they
/// would be answered with an error. Spared, they reach what listens on the host, as without us. In
/// our nftables table a rule of its own spares them, before any map is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dnat {
    /// What it matches.
    pub key: DnatKey,
    /// The container's address.
    pub target: Ipv6Addr,
    /// The container's port, never 0.
    pub target_port: u16,
    /// Whether the rule itself spares packets from [`LINK_LOCAL`] sources; never with a source in
    /// its key.
    pub spares_link_local: bool,
}

/// Link-local addresses, as a rule writes them: fe80::/10 (RFC 4291, section 2.4).
pub const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// What a DNAT rule matches. Two DNAT rules with one key and different targets contradict
/// each other: one replaces the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnatKey {
    /// Where packets come from.
    pub via: Via,
    /// Transport protocol.
    pub proto: Proto,
    /// Destination address; `None` for any local address.
    pub host_addr: Option<Ipv6Addr>,
    /// Destination port, never 0.
    pub host_port: u16,
    /// Source addresses; `None` for all of them.
    pub source: Option<Ipv6Net>,
}

impl Dnat {
    /// A rule that leads to a forward's container, and spares no source.
    pub fn of(key: DnatKey, forward: &Forward) -> Self {
        Self {
            key,
            target: forward.container_addr,
            target_port: forward.container_port,
            spares_link_local: false,
        }
    }
}

impl DnatKey {
    /// What matches packets for a forward that come this way.
    pub fn of(via: Via, source: Option<Ipv6Net>, forward: &Forward) -> Self {
        Self {
            via,
            proto: forward.proto,
            host_addr: forward.host_addr,
            host_port: forward.host_port,
            source,
        }
    }
}

/// Where the packets of a DNAT rule come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// They arrive on this interface.
    Egress(Device),
    /// The host itself sends them to one of its own addresses, other than `::1`.
    Host,
    /// A container sends them, from this prefix.
    Containers(Ipv6Net),
    /// They arrive on any egress interface of [`Element::Egress`].
    Outside,
    /// The host itself sends them to one of its own addresses, other than `::1`, or a
    /// container does, from a prefix of [`Element::Prefix`].
    Inside,
}

/// A published port on one egress interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Egress interface.
    pub dev: Device,
    /// Transport protocol.
    pub proto: Proto,
    /// Destination address; `None` for any local address.
    pub host_addr: Option<Ipv6Addr>,
    /// Destination port, never 0.
    pub host_port: u16,
}

impl RuleSpec {
    /// Whether it belongs to all forwards together, however many there are.
    pub fn is_shared(&self) -> bool {
        matches!(
            self,
            Self::HairpinGuard { .. } | Self::HairpinMasquerade { .. } | Self::Jump(_)
        )
    }

    /// The key of a DNAT rule; `None` for any other, which has no target to replace.
    pub fn dnat_key(&self) -> Option<&DnatKey> {
        match self {
            Self::Dnat(dnat) => Some(&dnat.key),
            _ => None,
        }
    }

    /// Whether the rule follows from the settings alone, and not from what Docker says.
    pub fn is_static(&self) -> bool {
        match self {
            Self::Element(element) => element.is_static(),
            Self::Jump(Hook::Forward) | Self::Guard { .. } | Self::Masquerade { .. } => true,
            Self::Jump(Hook::Input)
            | Self::HairpinGuard { .. }
            | Self::Snat { .. }
            | Self::HairpinMasquerade { .. }
            | Self::Refuse(_)
            | Self::Dnat(_) => false,
        }
    }

    /// The name of its kind, as in the journal and `dump`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Element(element) => element.kind(),
            Self::Jump(_) => "jump",
            Self::Guard { .. } => "guard",
            Self::HairpinGuard { .. } => "hairpin-guard",
            Self::Snat { .. } => "snat",
            Self::Masquerade { .. } => "masquerade",
            Self::HairpinMasquerade { .. } => "hairpin",
            Self::Refuse(_) => "refuse",
            Self::Dnat(_) => "dnat",
        }
    }
}

/// A rule and the containers that want it. Static rules have no owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRule {
    /// The kernel content.
    pub rule: Rule,
    /// Who wants it.
    pub owners: BTreeSet<Owner>,
}
