//! Version 1 of a record's body, which is read and no more written: it named each kind of rule, and
//! not its text. Frozen.

use ipnet::Ipv6Net;
use std::collections::BTreeSet;

use serde::Deserialize;

use super::parts::{Backend, HostPort, Owner, Prefix, RecordedState, device, nonzero};
use crate::backend::ip6tables::facts as ip6tables;
use crate::backend::kind::{self, Kind};
use crate::backend::nftables::sets as nftables;
use crate::journal::record::Record;
use crate::model::boot::BootId;
use crate::model::rule::{self, ContainerPort, OwnedRule, RuleFacts, RuleId};

#[derive(Deserialize)]
pub(super) struct RecordV1 {
    state: RecordedState,
    inserted_at: u64,
    boot_id: String,
    backend: Backend,
    rule: Rule,
    owners: Vec<Owner<'static>>,
}

/// What a rule does. The order of the variants is part of the format.
#[derive(Deserialize)]
enum Rule {
    Masquerade {
        dev: String,
        prefix: Prefix,
    },
    Dnat {
        via: Via,
        at: HostPort,
        source: Option<Prefix>,
        target: [u8; 16],
        target_port: u16,
    },
    Jump(Hook),
    Guard {
        dev: String,
        prefix: Prefix,
        guard: Guard,
    },
    Snat {
        dev: String,
        prefix: Prefix,
        #[expect(dead_code, reason = "only the kernel's own text needs it")]
        source: [u8; 16],
    },
    Hairpin {
        prefix: Prefix,
    },
    Refuse {
        dev: String,
        at: HostPort,
    },
    HairpinGuard {
        from: Prefix,
        to: Prefix,
    },
    Element(Element),
    /// As [`Rule::Dnat`] without a source, except that it spares packets from link-local addresses.
    SparingDnat {
        via: Via,
        at: HostPort,
        target: [u8; 16],
        target_port: u16,
    },
}

#[derive(Deserialize)]
enum Element {
    Egress(String),
    Prefix(Prefix),
    Guarded(Prefix),
    Source {
        prefix: Prefix,
        #[expect(dead_code, reason = "only the kernel's own text needs it")]
        source: [u8; 16],
    },
    Refused(HostPort),
}

#[derive(Deserialize)]
enum Via {
    Egress(String),
    Host,
    Containers(Prefix),
    Outside,
    Inside,
}

#[derive(Deserialize)]
enum Hook {
    Forward,
    Input,
}

#[derive(Deserialize)]
enum Guard {
    Spoofed,
    Established,
    Forwarded,
    Reply,
    Unpublished,
    Outgoing,
}

impl RecordV1 {
    /// The record under this key. Its rule has no text: the kernel's listing will show it.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub(super) fn record(self, key: RuleId) -> Result<Record, String> {
        let facts = self.rule.facts()?;
        Ok(Record {
            owned: OwnedRule {
                rule: rule::Rule::recorded(key, self.backend.into(), "".into(), facts),
                owners: self
                    .owners
                    .into_iter()
                    .map(Into::into)
                    .collect::<BTreeSet<_>>()
                    .into(),
            },
            state: self.state.into(),
            inserted_at: self.inserted_at,
            boot_id: BootId::new(self.boot_id),
        })
    }
}

impl Rule {
    fn facts(self) -> Result<RuleFacts, String> {
        Ok(match self {
            Self::Masquerade { dev, prefix } => outgoing(&ip6tables::MASQUERADE, &dev, prefix)?,
            Self::Snat { dev, prefix, .. } => outgoing(&kind::SNAT, &dev, prefix)?,
            Self::Guard { dev, prefix, guard } => outgoing(guard.kind(), &dev, prefix)?,
            Self::Jump(Hook::Forward) => ip6tables::JUMP_FORWARD.facts(),
            Self::Jump(Hook::Input) => ip6tables::JUMP_INPUT.facts(),
            Self::Hairpin { prefix } => within(&kind::HAIRPIN, prefix)?,
            Self::HairpinGuard { from, to } => RuleFacts {
                source: Some(from.try_into()?),
                ..within(&ip6tables::HAIRPIN_GUARD, to)?
            },
            Self::Refuse { dev, at } => RuleFacts {
                dev: Some(device(&dev)?),
                ..at_port(&kind::REFUSE, at)?
            },
            Self::Element(Element::Egress(dev)) => RuleFacts {
                dev: Some(device(&dev)?),
                ..nftables::EGRESS.facts()
            },
            Self::Element(Element::Prefix(prefix)) => within(&nftables::PREFIX, prefix)?,
            Self::Element(Element::Guarded(prefix)) => within(&nftables::GUARDED, prefix)?,
            Self::Element(Element::Source { prefix, .. }) => within(&kind::SNAT, prefix)?,
            Self::Element(Element::Refused(at)) => at_port(&kind::REFUSE, at)?,
            Self::Dnat {
                via,
                at,
                source,
                target,
                target_port,
            } => {
                let source: Option<Ipv6Net> = source.map(TryInto::try_into).transpose()?;
                RuleFacts {
                    // "Any" is not in the text.
                    source: source.filter(|net| net.prefix_len() != 0),
                    ..dnat(via, at, target, target_port)?
                }
            }
            Self::SparingDnat {
                via,
                at,
                target,
                target_port,
            } => dnat(via, at, target, target_port)?,
        })
    }
}

impl Guard {
    fn kind(&self) -> &'static Kind {
        match self {
            Self::Spoofed => &ip6tables::SPOOFED,
            Self::Established => &ip6tables::ESTABLISHED,
            Self::Forwarded => &ip6tables::FORWARDED,
            Self::Reply => &ip6tables::REPLY,
            Self::Unpublished => &ip6tables::UNPUBLISHED,
            Self::Outgoing => &ip6tables::OUTGOING,
        }
    }
}

fn within(kind: &Kind, prefix: Prefix) -> Result<RuleFacts, String> {
    Ok(RuleFacts {
        prefix: Some(prefix.try_into()?),
        ..kind.facts()
    })
}

fn outgoing(kind: &Kind, dev: &str, prefix: Prefix) -> Result<RuleFacts, String> {
    Ok(RuleFacts {
        dev: Some(device(dev)?),
        ..within(kind, prefix)?
    })
}

fn at_port(kind: &Kind, at: HostPort) -> Result<RuleFacts, String> {
    Ok(RuleFacts {
        port: Some(at.try_into()?),
        ..kind.facts()
    })
}

fn dnat(via: Via, at: HostPort, target: [u8; 16], target_port: u16) -> Result<RuleFacts, String> {
    let kind = match &via {
        Via::Egress(_) | Via::Outside => &kind::DNAT_OUTSIDE,
        Via::Host => &kind::DNAT_HOST,
        Via::Containers(_) => &kind::DNAT_CONTAINERS,
        Via::Inside => &kind::DNAT_INSIDE,
    };
    let mut facts = at_port(kind, at)?;
    match via {
        Via::Egress(dev) => facts.dev = Some(device(&dev)?),
        Via::Containers(prefix) => facts.prefix = Some(prefix.try_into()?),
        Via::Host | Via::Outside | Via::Inside => {}
    }
    facts.target = Some(ContainerPort {
        addr: target.into(),
        port: nonzero(target_port)?,
    });
    Ok(facts)
}

#[cfg(test)]
pub(crate) mod tests;
