//! What is to be open on this host, and under which policy. No word of tables, chains or sets: how
//! it is written down is each backend's matter.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::change::{Known, Undecided};
use super::device::Device;
use super::forward::{Forward, Proto};

/// What should be reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The published ports to forward; `None` until Docker has been heard.
    pub forwards: Option<Vec<Forward>>,
    /// What holds for all of them, and for the containers that publish nothing.
    pub policy: Policy,
    /// How much of what is applied this speaks of.
    pub known: Known,
    /// The containers that Docker has named and not answered about.
    pub undecided: Undecided,
}

/// What the rules depend on besides the forwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Egress interfaces.
    pub devices: Vec<Device>,
    /// The containers' prefixes.
    pub prefixes: Vec<Ipv6Net>,
    /// What becomes of packets for ports that are not published.
    pub unpublished: Unpublished,
    /// What becomes of the connections that containers begin.
    pub outgoing: Outgoing,
    /// Whether the host and the containers reach published ports at the host's addresses.
    pub hairpin: Hairpin,
    /// Subnets whose outgoing traffic gets a source address of its own.
    pub snat: Vec<(Ipv6Net, Ipv6Addr)>,
}

/// `--unpublished`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unpublished {
    /// They are dropped.
    #[default]
    Drop,
    /// They are left to the rest of the firewall.
    Accept,
}

/// `--outgoing`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outgoing {
    /// They are accepted, where an accept of ours decides: not in our nftables table.
    #[default]
    Accept,
    /// They are left to the rest of the firewall.
    Leave,
}

/// `--hairpin`, and what `auto` has found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hairpin {
    /// Never.
    #[default]
    Off,
    /// Always.
    On,
    /// For these host ports, which nobody else serves.
    Only(BTreeSet<(Proto, u16)>),
}

impl Hairpin {
    /// Whether a forward is to be reached from the host and from containers, too.
    pub fn covers(&self, forward: &Forward) -> bool {
        match self {
            Self::Off => false,
            Self::On => true,
            Self::Only(ports) => ports.contains(&(forward.proto, forward.host_port)),
        }
    }
}

impl Intent {
    /// All that there is to know: these forwards under this policy. Before Docker has been heard
    /// (`None`) nothing is known of forwards.
    pub fn new(policy: Policy, forwards: Option<Vec<Forward>>) -> Self {
        Self {
            known: Known {
                statics: true,
                forwards: forwards.is_some(),
            },
            forwards,
            policy,
            undecided: Undecided::default(),
        }
    }

    /// Nothing is to be open, and nothing of ours is to stay: what a daemon wants when it leaves.
    pub fn nothing() -> Self {
        Self::new(Policy::default(), Some(Vec::new()))
    }
}

/// How many rules for forwards a backend can hold and give back in time.
#[derive(Debug, Clone, Copy)]
pub struct RuleLimit {
    /// Most rules.
    pub most: usize,
    /// How many rules one forward needs of its own.
    pub rules_of: fn(&Policy, &Forward) -> usize,
}
