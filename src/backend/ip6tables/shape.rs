//! The parts of a rule of ours, in between its meaning and its text.
//!
//! Pure. Both directions go through here: a rule is written from its [`Shape`], and a listed
//! one is believed if it has the shape of the rule that its comment names, whatever the order
//! of its options.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::model::rule::{Dnat, DnatKey, Guard, Hook, HostPort, RuleSpec, Via};

/// A table that holds rules of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::backend) enum Table {
    /// What passes and what does not.
    Filter,
    /// What is rewritten.
    Nat,
}

impl Table {
    /// Both, in the order of insertion: the filter before what it guards.
    pub(in crate::backend) const ALL: [Self; 2] = [Self::Filter, Self::Nat];

    /// The tools' name of it.
    pub(in crate::backend) fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// Both chains of our own, by the built-in chain that jumps to them.
pub(super) const HOOKS: [Hook; 2] = [Hook::Forward, Hook::Input];

/// The chain of our own in the filter table that a hook jumps to.
pub(super) fn own_chain(hook: Hook) -> &'static str {
    match hook {
        Hook::Forward => "DOCKER-NAT66",
        Hook::Input => "DOCKER-NAT66-IN",
    }
}

/// The built-in chain of a hook.
pub(super) fn built_in(hook: Hook) -> &'static str {
    match hook {
        Hook::Forward => "FORWARD",
        Hook::Input => "INPUT",
    }
}

/// Every chain in which a rule of ours can stand.
const CHAINS: [&str; 7] = [
    "FORWARD",
    "INPUT",
    "DOCKER-NAT66",
    "DOCKER-NAT66-IN",
    "PREROUTING",
    "OUTPUT",
    "POSTROUTING",
];

/// The name as one of [`CHAINS`].
pub(super) fn chain(name: &str) -> Option<&'static str> {
    CHAINS.into_iter().find(|chain| *chain == name)
}

/// States of a connection, as the conntrack match names them.
const EXISTING: &str = "RELATED,ESTABLISHED";
const REWRITTEN: &str = "DNAT";
const BEGUN: &str = "NEW";
const EXISTING_OR_REWRITTEN: &str = "RELATED,ESTABLISHED,DNAT";

/// A list of states as one of those above, in whatever order it is printed.
pub(super) fn states(list: &str) -> Option<&'static str> {
    let sorted = |list: &'_ str| {
        let mut names: Vec<String> = list.split(',').map(str::to_owned).collect();
        names.sort_unstable();
        names
    };
    [EXISTING, REWRITTEN, BEGUN, EXISTING_OR_REWRITTEN]
        .into_iter()
        .find(|known| sorted(known) == sorted(list))
}

/// The one use that we make of the addrtype match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddrType {
    /// The source is none of the host's own addresses.
    NotFromLocal,
    /// The destination is one of the host's own addresses.
    ToLocal,
}

/// What a rule does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Accept,
    Drop,
    Jump(Hook),
    Masquerade,
    Snat(Ipv6Addr),
    Dnat(Ipv6Addr, u16),
    /// What only a set of nftables holds; no batch of this backend has it.
    Nothing,
}

/// A rule without its comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) table: Table,
    pub(super) chain: &'static str,
    pub(super) dev_in: Option<Device>,
    pub(super) dev_out: Option<Device>,
    /// Sources, without "any", which the tools do not print. One at most can be said; the
    /// mapper makes no rule with two, and the tool would refuse it.
    pub(super) from: Vec<Ipv6Net>,
    /// Sources are all but [`LINK_LOCAL`].
    pub(super) not_from_link_local: bool,
    /// Destination; `true` for anything but that.
    pub(super) to: Option<(bool, Ipv6Net)>,
    pub(super) port: Option<(Proto, u16)>,
    /// States of its connection; `true` for none of them.
    pub(super) states: Option<(bool, &'static str)>,
    pub(super) addr_type: Option<AddrType>,
    pub(super) target: Target,
}

impl Shape {
    fn new(table: Table, chain: &'static str, target: Target) -> Self {
        Self {
            table,
            chain,
            dev_in: None,
            dev_out: None,
            from: Vec::new(),
            not_from_link_local: false,
            to: None,
            port: None,
            states: None,
            addr_type: None,
            target,
        }
    }

    /// The shape of a rule.
    pub(super) fn of(spec: &RuleSpec) -> Self {
        match spec {
            RuleSpec::Jump(hook) => Self::new(Table::Filter, built_in(*hook), Target::Jump(*hook)),
            RuleSpec::Guard { dev, prefix, guard } => Self::of_guard(dev, *prefix, *guard),
            RuleSpec::HairpinGuard { from, to } => Self {
                from: sources([*from]),
                to: Some((false, *to)),
                states: Some((false, REWRITTEN)),
                ..Self::new(Table::Filter, own_chain(Hook::Forward), Target::Accept)
            },
            RuleSpec::Refuse(at) => Self {
                dev_in: Some(at.dev.clone()),
                to: at.host_addr.map(|addr| (false, addr.into())),
                port: Some((at.proto, at.host_port)),
                addr_type: Some(AddrType::ToLocal),
                ..Self::new(Table::Filter, own_chain(Hook::Input), Target::Drop)
            },
            RuleSpec::Snat {
                dev,
                prefix,
                source,
            } => Self::of_outgoing(dev, *prefix, Target::Snat(*source)),
            RuleSpec::Masquerade { dev, prefix } => {
                Self::of_outgoing(dev, *prefix, Target::Masquerade)
            }
            RuleSpec::HairpinMasquerade { prefix } => Self {
                from: sources([*prefix]),
                to: Some((false, *prefix)),
                states: Some((false, REWRITTEN)),
                ..Self::new(Table::Nat, "POSTROUTING", Target::Masquerade)
            },
            RuleSpec::Dnat(dnat) => Self::of_dnat(dnat),
            RuleSpec::Element(_) => Self::new(Table::Filter, "FORWARD", Target::Nothing),
        }
    }

    fn of_guard(dev: &Device, prefix: Ipv6Net, guard: Guard) -> Self {
        let rule = |target| Self::new(Table::Filter, own_chain(Hook::Forward), target);
        let incoming = |target, states| Self {
            dev_in: Some(dev.clone()),
            to: Some((false, prefix)),
            states: Some(states),
            ..rule(target)
        };
        let leaving = |states| Self {
            dev_out: Some(dev.clone()),
            from: sources([prefix]),
            states: Some((false, states)),
            ..rule(Target::Accept)
        };
        match guard {
            Guard::Spoofed => Self {
                dev_in: Some(dev.clone()),
                from: sources([prefix]),
                ..rule(Target::Drop)
            },
            Guard::Established => incoming(Target::Accept, (false, EXISTING)),
            Guard::Forwarded => incoming(Target::Accept, (false, REWRITTEN)),
            Guard::Reply => leaving(EXISTING),
            Guard::Outgoing => leaving(BEGUN),
            // What the two above accept is left out, so that it is right wherever it stands.
            Guard::Unpublished => incoming(Target::Drop, (true, EXISTING_OR_REWRITTEN)),
        }
    }

    fn of_outgoing(dev: &Device, prefix: Ipv6Net, target: Target) -> Self {
        Self {
            dev_out: Some(dev.clone()),
            from: sources([prefix]),
            to: Some((true, prefix)),
            addr_type: Some(AddrType::NotFromLocal),
            ..Self::new(Table::Nat, "POSTROUTING", target)
        }
    }

    fn of_dnat(dnat: &Dnat) -> Self {
        let DnatKey {
            via,
            proto,
            host_addr,
            host_port,
            source,
        } = &dnat.key;
        let target = Target::Dnat(dnat.target, dnat.target_port);
        let rule = |chain| Self {
            from: sources(*source),
            not_from_link_local: dnat.spares_link_local,
            to: host_addr.map(|addr| (false, addr.into())),
            port: Some((*proto, *host_port)),
            addr_type: Some(AddrType::ToLocal),
            ..Self::new(Table::Nat, chain, target)
        };
        match via {
            Via::Egress(dev) => Self {
                dev_in: Some(dev.clone()),
                ..rule("PREROUTING")
            },
            Via::Outside => rule("PREROUTING"),
            Via::Host | Via::Inside => {
                let mut rule = rule("OUTPUT");
                // A packet from ::1 cannot leave for a container.
                let not_loopback = (true, Ipv6Addr::LOCALHOST.into());
                rule.to = rule.to.or(Some(not_loopback));
                rule
            }
            Via::Containers(prefix) => Self {
                from: sources([*prefix].into_iter().chain(*source)),
                ..rule("PREROUTING")
            },
        }
    }

    /// Every rule that may have this shape: the one whose identity it carries is meant.
    pub(super) fn candidates(&self) -> Vec<RuleSpec> {
        let from = self.from.first().copied();
        let prefix = from.unwrap_or_default();
        match (&self.target, self.chain) {
            (Target::Jump(hook), _) => vec![RuleSpec::Jump(*hook)],
            (Target::Accept | Target::Drop, "DOCKER-NAT66") => {
                let to = self.to.map(|(_, to)| to);
                let Some(dev) = self.dev_in.as_ref().or(self.dev_out.as_ref()) else {
                    let to = to.unwrap_or_default();
                    return vec![RuleSpec::HairpinGuard { from: prefix, to }];
                };
                let prefix = to.unwrap_or(prefix);
                let guards = Guard::ALL.into_iter().map(|guard| RuleSpec::Guard {
                    dev: dev.clone(),
                    prefix,
                    guard,
                });
                guards.collect()
            }
            (Target::Drop, _) => {
                let (Some(dev), Some((proto, host_port))) = (self.dev_in.clone(), self.port) else {
                    return Vec::new();
                };
                vec![RuleSpec::Refuse(HostPort {
                    dev,
                    proto,
                    host_addr: self.host_addr(),
                    host_port,
                })]
            }
            (Target::Accept | Target::Nothing, _) => Vec::new(),
            (Target::Snat(source), _) => match self.dev_out.clone() {
                Some(dev) => vec![RuleSpec::Snat {
                    dev,
                    prefix,
                    source: *source,
                }],
                None => Vec::new(),
            },
            (Target::Masquerade, _) => vec![match self.dev_out.clone() {
                Some(dev) => RuleSpec::Masquerade { dev, prefix },
                None => RuleSpec::HairpinMasquerade { prefix },
            }],
            (Target::Dnat(target, target_port), chain) => {
                let Some((proto, host_port)) = self.port else {
                    return Vec::new();
                };
                let (via, sources) = match (self.dev_in.clone(), chain) {
                    // Any source is not printed, whether it was asked for or not.
                    (Some(dev), _) => (Via::Egress(dev), [from, Some(prefix)]),
                    (None, "OUTPUT") => (Via::Host, [from, Some(prefix)]),
                    (None, _) => (Via::Containers(prefix), [None, None]),
                };
                let dnat = |source| {
                    RuleSpec::Dnat(Dnat {
                        key: DnatKey {
                            via: via.clone(),
                            proto,
                            host_addr: self.host_addr(),
                            host_port,
                            source,
                        },
                        target: *target,
                        target_port: *target_port,
                        spares_link_local: self.not_from_link_local,
                    })
                };
                sources.map(dnat).into()
            }
        }
    }

    fn host_addr(&self) -> Option<Ipv6Addr> {
        match self.to {
            Some((false, net)) if net.prefix_len() == 128 => Some(net.addr()),
            _ => None,
        }
    }
}

/// What is printed of sources: "any" is not.
fn sources(nets: impl IntoIterator<Item = Ipv6Net>) -> Vec<Ipv6Net> {
    let nets = nets.into_iter().filter(|net| net.prefix_len() != 0);
    nets.collect()
}
