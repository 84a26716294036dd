//! The rule inside a record of version 1.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::model::device::Device;
use crate::model::element;
use crate::model::forward::Proto;
use crate::model::rule::{self, Dnat, DnatKey, HostPort, RuleSpec};

/// What a rule does. The order of the variants is part of the format.
#[derive(Serialize, Deserialize)]
pub(super) enum Rule {
    Masquerade {
        dev: String,
        prefix: Prefix,
    },
    Dnat {
        via: Via,
        at: Port,
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
        source: [u8; 16],
    },
    Hairpin {
        prefix: Prefix,
    },
    Refuse {
        dev: String,
        at: Port,
    },
    HairpinGuard {
        from: Prefix,
        to: Prefix,
    },
    Element(Element),
    /// As [`Rule::Dnat`] without a source, except that it spares packets from link-local addresses.
    SparingDnat {
        via: Via,
        at: Port,
        target: [u8; 16],
        target_port: u16,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) enum Element {
    Egress(String),
    Prefix(Prefix),
    Guarded(Prefix),
    Source { prefix: Prefix, source: [u8; 16] },
    Refused(Port),
}

/// Address and length.
#[derive(Serialize, Deserialize)]
pub(super) struct Prefix([u8; 16], u8);

/// A port on the host.
#[derive(Serialize, Deserialize)]
pub(super) struct Port {
    proto: Protocol,
    addr: Option<[u8; 16]>,
    port: u16,
}

#[derive(Serialize, Deserialize)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Via {
    Egress(String),
    Host,
    Containers(Prefix),
    Outside,
    Inside,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Hook {
    Forward,
    Input,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Guard {
    Spoofed,
    Established,
    Forwarded,
    Reply,
    Unpublished,
    Outgoing,
}

impl From<Ipv6Net> for Prefix {
    fn from(net: Ipv6Net) -> Self {
        Self(net.addr().octets(), net.prefix_len())
    }
}

impl TryFrom<Prefix> for Ipv6Net {
    type Error = String;

    fn try_from(Prefix(addr, len): Prefix) -> Result<Self, String> {
        Ipv6Net::new(addr.into(), len).map_err(|_| format!("a prefix has a length of {len}"))
    }
}

impl Port {
    fn new(proto: Proto, addr: Option<Ipv6Addr>, port: u16) -> Self {
        Self {
            proto: match proto {
                Proto::Tcp => Protocol::Tcp,
                Proto::Udp => Protocol::Udp,
                Proto::Sctp => Protocol::Sctp,
            },
            addr: addr.map(|addr| addr.octets()),
            port,
        }
    }

    fn read(self) -> Result<(Proto, Option<Ipv6Addr>, u16), String> {
        let proto = match self.proto {
            Protocol::Tcp => Proto::Tcp,
            Protocol::Udp => Proto::Udp,
            Protocol::Sctp => Proto::Sctp,
        };
        Ok((proto, self.addr.map(Ipv6Addr::from), nonzero(self.port)?))
    }
}

fn nonzero(port: u16) -> Result<u16, String> {
    match port {
        0 => Err("a port is 0".to_owned()),
        port => Ok(port),
    }
}

fn device(name: &str) -> Result<Device, String> {
    name.parse()
        .map_err(|error| format!("device {name:?}: {error}"))
}

impl From<&RuleSpec> for Rule {
    fn from(spec: &RuleSpec) -> Self {
        match spec {
            RuleSpec::Masquerade { dev, prefix } => Self::Masquerade {
                dev: dev.to_string(),
                prefix: (*prefix).into(),
            },
            RuleSpec::Dnat(dnat) => dnat.into(),
            RuleSpec::Jump(hook) => Self::Jump(match hook {
                rule::Hook::Forward => Hook::Forward,
                rule::Hook::Input => Hook::Input,
            }),
            RuleSpec::Guard { dev, prefix, guard } => Self::Guard {
                dev: dev.to_string(),
                prefix: (*prefix).into(),
                guard: match guard {
                    rule::Guard::Spoofed => Guard::Spoofed,
                    rule::Guard::Established => Guard::Established,
                    rule::Guard::Forwarded => Guard::Forwarded,
                    rule::Guard::Reply => Guard::Reply,
                    rule::Guard::Unpublished => Guard::Unpublished,
                    rule::Guard::Outgoing => Guard::Outgoing,
                },
            },
            RuleSpec::Snat {
                dev,
                prefix,
                source,
            } => Self::Snat {
                dev: dev.to_string(),
                prefix: (*prefix).into(),
                source: source.octets(),
            },
            RuleSpec::HairpinMasquerade { prefix } => Self::Hairpin {
                prefix: (*prefix).into(),
            },
            RuleSpec::Refuse(at) => Self::Refuse {
                dev: at.dev.to_string(),
                at: Port::new(at.proto, at.host_addr, at.host_port),
            },
            RuleSpec::HairpinGuard { from, to } => Self::HairpinGuard {
                from: (*from).into(),
                to: (*to).into(),
            },
            RuleSpec::Element(element) => Self::Element(element.into()),
        }
    }
}

impl From<&Dnat> for Rule {
    fn from(dnat: &Dnat) -> Self {
        let key = &dnat.key;
        let (target, target_port) = (dnat.target.octets(), dnat.target_port);
        let at = Port::new(key.proto, key.host_addr, key.host_port);
        let via = match &key.via {
            rule::Via::Egress(dev) => Via::Egress(dev.to_string()),
            rule::Via::Host => Via::Host,
            rule::Via::Containers(prefix) => Via::Containers((*prefix).into()),
            rule::Via::Outside => Via::Outside,
            rule::Via::Inside => Via::Inside,
        };
        if dnat.spares_link_local {
            return Self::SparingDnat {
                via,
                at,
                target,
                target_port,
            };
        }
        Self::Dnat {
            via,
            at,
            source: key.source.map(Into::into),
            target,
            target_port,
        }
    }
}

impl From<&element::Element> for Element {
    fn from(element: &element::Element) -> Self {
        match element {
            element::Element::Egress(dev) => Self::Egress(dev.to_string()),
            element::Element::Prefix(prefix) => Self::Prefix((*prefix).into()),
            element::Element::Guarded(prefix) => Self::Guarded((*prefix).into()),
            element::Element::Source { prefix, source } => Self::Source {
                prefix: (*prefix).into(),
                source: source.octets(),
            },
            element::Element::Refused {
                proto,
                host_addr,
                host_port,
            } => Self::Refused(Port::new(*proto, *host_addr, *host_port)),
        }
    }
}

impl TryFrom<Element> for element::Element {
    /// What is wrong with the element.
    type Error = String;

    fn try_from(element: Element) -> Result<Self, String> {
        Ok(match element {
            Element::Egress(dev) => Self::Egress(device(&dev)?),
            Element::Prefix(prefix) => Self::Prefix(prefix.try_into()?),
            Element::Guarded(prefix) => Self::Guarded(prefix.try_into()?),
            Element::Source { prefix, source } => Self::Source {
                prefix: prefix.try_into()?,
                source: source.into(),
            },
            Element::Refused(at) => {
                let (proto, host_addr, host_port) = at.read()?;
                Self::Refused {
                    proto,
                    host_addr,
                    host_port,
                }
            }
        })
    }
}

fn dnat(
    via: Via,
    at: Port,
    source: Option<Ipv6Net>,
    (target, target_port): ([u8; 16], u16),
    spares_link_local: bool,
) -> Result<Dnat, String> {
    let (proto, host_addr, host_port) = at.read()?;
    let via = match via {
        Via::Egress(dev) => rule::Via::Egress(device(&dev)?),
        Via::Host => rule::Via::Host,
        Via::Containers(prefix) => rule::Via::Containers(prefix.try_into()?),
        Via::Outside => rule::Via::Outside,
        Via::Inside => rule::Via::Inside,
    };
    Ok(Dnat {
        key: DnatKey {
            via,
            proto,
            host_addr,
            host_port,
            source,
        },
        target: target.into(),
        target_port: nonzero(target_port)?,
        spares_link_local,
    })
}

impl TryFrom<Rule> for RuleSpec {
    /// What is wrong with the rule.
    type Error = String;

    fn try_from(rule: Rule) -> Result<Self, String> {
        Ok(match rule {
            Rule::Masquerade { dev, prefix } => Self::Masquerade {
                dev: device(&dev)?,
                prefix: prefix.try_into()?,
            },
            Rule::Dnat {
                via,
                at,
                source,
                target,
                target_port,
            } => {
                let source = source.map(TryInto::try_into).transpose()?;
                Self::Dnat(dnat(via, at, source, (target, target_port), false)?)
            }
            Rule::SparingDnat {
                via,
                at,
                target,
                target_port,
            } => Self::Dnat(dnat(via, at, None, (target, target_port), true)?),
            Rule::Element(element) => Self::Element(element.try_into()?),
            Rule::Jump(Hook::Forward) => Self::Jump(rule::Hook::Forward),
            Rule::Jump(Hook::Input) => Self::Jump(rule::Hook::Input),
            Rule::Guard { dev, prefix, guard } => Self::Guard {
                dev: device(&dev)?,
                prefix: prefix.try_into()?,
                guard: match guard {
                    Guard::Spoofed => rule::Guard::Spoofed,
                    Guard::Established => rule::Guard::Established,
                    Guard::Forwarded => rule::Guard::Forwarded,
                    Guard::Reply => rule::Guard::Reply,
                    Guard::Unpublished => rule::Guard::Unpublished,
                    Guard::Outgoing => rule::Guard::Outgoing,
                },
            },
            Rule::Snat {
                dev,
                prefix,
                source,
            } => Self::Snat {
                dev: device(&dev)?,
                prefix: prefix.try_into()?,
                source: source.into(),
            },
            Rule::Hairpin { prefix } => Self::HairpinMasquerade {
                prefix: prefix.try_into()?,
            },
            Rule::Refuse { dev, at } => {
                let (proto, host_addr, host_port) = at.read()?;
                Self::Refuse(HostPort {
                    dev: device(&dev)?,
                    proto,
                    host_addr,
                    host_port,
                })
            }
            Rule::HairpinGuard { from, to } => Self::HairpinGuard {
                from: from.try_into()?,
                to: to.try_into()?,
            },
        })
    }
}
