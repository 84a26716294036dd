//! From forwards to the rules that a backend should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::elements;
use crate::model::change::{Desired, Known, Undecided};
use crate::model::device::Device;
use crate::model::forward::{Forward, Owner, Proto, Sources};
use crate::model::rule::{
    BackendKind, Dnat, DnatKey, Guard, Hook, HostPort, OwnedRule, Rule, RuleId, RuleSpec, Via,
};

/// What the rules hang on, besides the forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Whose rules they are.
    pub backend: BackendKind,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpublished {
    /// They are dropped.
    Drop,
    /// They are none of our business.
    Accept,
}

/// `--outgoing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// They are accepted, where an accept of ours decides: not in our nftables table.
    Accept,
    /// They are left to the rest of the firewall.
    Leave,
}

/// `--hairpin`, and what `auto` has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hairpin {
    /// Never.
    Off,
    /// Always.
    On,
    /// For these host ports, which nobody else serves.
    Only(BTreeSet<(Proto, u16)>),
}

impl Hairpin {
    pub(super) fn covers(&self, forward: &Forward) -> bool {
        match self {
            Self::Off => false,
            Self::On => true,
            Self::Only(ports) => ports.contains(&(forward.proto, forward.host_port)),
        }
    }
}

/// What should be in the kernel. `forwards` is `None` until Docker has been heard.
pub fn desired(layout: &Layout, forwards: Option<&[Forward]>) -> Desired {
    let mut rules = Rules {
        backend: layout.backend,
        rules: BTreeMap::new(),
    };
    match layout.backend {
        BackendKind::Ip6tables => statics(layout, &mut rules),
        BackendKind::Nftables => rules.want_all(elements::statics(layout)),
    }
    if forwards.is_some() && layout.backend == BackendKind::Nftables {
        rules.want_all(elements::snat(layout));
    } else if forwards.is_some() {
        for dev in &layout.devices {
            for (prefix, source) in &layout.snat {
                let (dev, prefix, source) = (dev.clone(), *prefix, *source);
                rules.want(
                    RuleSpec::Snat {
                        dev,
                        prefix,
                        source,
                    },
                    None,
                );
            }
        }
    }
    for forward in forwards.unwrap_or_default() {
        let specs = match layout.backend {
            BackendKind::Ip6tables => of_forward(layout, forward),
            BackendKind::Nftables => elements::of_forward(layout, forward),
        };
        for spec in specs {
            // What all forwards share has no owners: their number has no bound, a record has.
            let owner = (!spec.is_shared()).then_some(&forward.owner);
            rules.want(spec, owner);
        }
    }
    Desired {
        rules: rules.rules,
        known: Known {
            statics: true,
            forwards: forwards.is_some(),
        },
        undecided: Undecided::default(),
        published: None,
    }
}

struct Rules {
    backend: BackendKind,
    rules: BTreeMap<RuleId, OwnedRule>,
}

impl Rules {
    fn want(&mut self, spec: RuleSpec, owner: Option<&Owner>) {
        let rule = Rule {
            backend: self.backend,
            spec,
        };
        let owned = self.rules.entry(rule.id()).or_insert_with(|| OwnedRule {
            rule,
            owners: BTreeSet::new(),
        });
        owned.owners.extend(owner.cloned());
    }

    /// Rules without owners.
    fn want_all(&mut self, specs: Vec<RuleSpec>) {
        for spec in specs {
            self.want(spec, None);
        }
    }
}

fn statics(layout: &Layout, rules: &mut Rules) {
    if !layout.devices.is_empty() && !layout.prefixes.is_empty() {
        rules.want(RuleSpec::Jump(Hook::Forward), None);
    }
    for prefix in &layout.prefixes {
        for dev in &layout.devices {
            let (dev, prefix) = (dev.clone(), *prefix);
            for guard in Guard::ALL {
                let is_off = match guard {
                    Guard::Unpublished => layout.unpublished == Unpublished::Accept,
                    Guard::Outgoing => layout.outgoing == Outgoing::Leave,
                    _ => false,
                };
                if is_off {
                    continue;
                }
                let dev = dev.clone();
                rules.want(RuleSpec::Guard { dev, prefix, guard }, None);
            }
            rules.want(RuleSpec::Masquerade { dev, prefix }, None);
        }
    }
}

/// Every rule that one forward needs.
pub(super) fn of_forward(layout: &Layout, forward: &Forward) -> Vec<RuleSpec> {
    let mut specs = Vec::new();
    for dev in &layout.devices {
        match &forward.sources {
            Sources::Any => specs.push(dnat(Via::Egress(dev.clone()), None, forward)),
            Sources::Only(sources) => {
                for source in sources {
                    specs.push(dnat(Via::Egress(dev.clone()), Some(*source), forward));
                }
                specs.push(RuleSpec::Jump(Hook::Input));
                specs.push(RuleSpec::Refuse(HostPort {
                    dev: dev.clone(),
                    proto: forward.proto,
                    host_addr: forward.host_addr,
                    host_port: forward.host_port,
                }));
            }
        }
    }
    // A limited port is for its sources alone, and only outside ones can be told apart.
    if forward.sources == Sources::Any && layout.hairpin.covers(forward) {
        specs.push(dnat(Via::Host, None, forward));
        specs.push(RuleSpec::Jump(Hook::Forward));
        let target = |to: &&Ipv6Net| to.contains(&forward.container_addr);
        for prefix in &layout.prefixes {
            specs.push(dnat(Via::Containers(*prefix), None, forward));
            specs.push(RuleSpec::HairpinMasquerade { prefix: *prefix });
            for to in layout.prefixes.iter().filter(target) {
                let between = |from, to| RuleSpec::HairpinGuard { from, to };
                specs.extend([between(*prefix, *to), between(*to, *prefix)]);
            }
        }
    }
    specs
}

/// The rule that rewrites what comes that way.
pub(super) fn dnat(via: Via, source: Option<Ipv6Net>, forward: &Forward) -> RuleSpec {
    let spares_link_local = source.is_none() && matches!(via, Via::Egress(_) | Via::Host);
    RuleSpec::Dnat(Dnat {
        key: DnatKey {
            via,
            proto: forward.proto,
            host_addr: forward.host_addr,
            host_port: forward.host_port,
            source,
        },
        target: forward.container_addr,
        target_port: forward.container_port,
        spares_link_local,
    })
}
