//! What is to be open on this host, and under which policy. Tables, chains and sets are the
//! backends' business, and do not occur here.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::change::{Known, Undecided};
use super::device::Device;
use super::forward::{Forward, Proto};
use super::forwards::Forwards;
use super::shared::Shared;

/// What should be reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The published ports to forward; `None` until Docker has answered.
    pub forwards: Option<Forwards>,
    /// The policy for all forwards, and for containers that publish nothing.
    pub policy: Policy,
    /// Which of the applied rules this intent decides about.
    pub known: Known,
    /// The containers that Docker has named and has not answered about.
    pub undecided: Undecided,
}

/// What the rules depend on besides the forwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Egress interfaces.
    pub devices: Vec<Device>,
    /// The containers' prefixes.
    pub prefixes: Vec<Ipv6Net>,
    /// What happens to packets for unpublished ports.
    pub unpublished: Unpublished,
    /// What happens to connections that containers open.
    pub outgoing: Outgoing,
    /// Whether our rules lead the host and the containers to published ports at the host's
    /// addresses.
    pub hairpin: Hairpin,
    /// Subnets whose outgoing traffic gets a source address of its own.
    pub snat: Vec<(Ipv6Net, Ipv6Addr)>,
}

/// `--unpublished`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unpublished {
    /// Our rules drop them.
    #[default]
    Drop,
    /// The rest of the firewall decides.
    Accept,
}

/// `--outgoing`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outgoing {
    /// Our rules accept them, if our accept is final: in our nftables table it is not.
    #[default]
    Accept,
    /// The rest of the firewall decides.
    Leave,
}

/// `--hairpin`, with `auto` resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hairpin {
    /// Never.
    #[default]
    Off,
    /// Always.
    On,
    /// For these host ports, which no other program serves.
    Only(Shared<BTreeSet<(Proto, u16)>>),
}

impl Hairpin {
    /// Whether our rules serve a forward to the host and to containers, too.
    pub(crate) fn covers(&self, forward: &Forward) -> bool {
        match self {
            Self::Off => false,
            Self::On => true,
            Self::Only(ports) => ports.contains(&(forward.proto, forward.host_port)),
        }
    }
}

impl Intent {
    /// These forwards under this policy, with everything known. Before Docker has answered
    /// (`None`), nothing is known of forwards.
    pub fn new(policy: Policy, forwards: Option<Vec<Forward>>) -> Self {
        Self {
            known: Known {
                statics: true,
                forwards: forwards.is_some(),
            },
            forwards: forwards.map(Into::into),
            policy,
            undecided: Undecided::default(),
        }
    }

    /// Nothing is to be open, and no rule of ours stays: the intent of a daemon that stops.
    pub fn nothing() -> Self {
        Self::new(Policy::default(), Some(Vec::new()))
    }
}

/// How many rules for forwards a backend can hold and remove in time.
#[derive(Debug, Clone, Copy)]
pub struct RuleLimit {
    /// The limit.
    pub most: usize,
    /// How many rules of its own one forward needs.
    pub rules_of: fn(&Policy, &Forward) -> usize,
}
