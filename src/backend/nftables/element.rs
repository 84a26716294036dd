//! Rules as elements of our sets, and back. Pure.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::sets::{Field, Set, length};
use crate::model::element::Element;
use crate::model::forward::Proto;
use crate::model::rule::{Dnat, DnatKey, RuleSpec, Via};

/// An element without its comment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetElement {
    pub(super) set: Set,
    /// Its key; in a set of ranges the first.
    pub(super) key: Vec<u8>,
    /// The last key of its range; in others equal to the first.
    pub(super) last: Vec<u8>,
    /// What it leads to; empty in a set.
    pub(super) data: Vec<u8>,
}

/// A concatenation under construction, both ends of its range.
#[derive(Default)]
struct Key {
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Key {
    fn range(mut self, first: &[u8], last: &[u8]) -> Self {
        for (key, part) in [(&mut self.first, first), (&mut self.last, last)] {
            key.extend(part);
            key.resize(key.len().next_multiple_of(4), 0);
        }
        self
    }

    fn exact(self, part: &[u8]) -> Self {
        self.range(part, part)
    }

    fn addr(self, addr: Option<Ipv6Addr>) -> Self {
        match addr {
            Some(addr) => self.exact(&addr.octets()),
            None => self,
        }
    }

    fn net(self, net: Option<Ipv6Net>) -> Self {
        match net {
            Some(net) => self.range(&net.network().octets(), &net.broadcast().octets()),
            None => self,
        }
    }

    fn port(self, proto: Proto, port: u16) -> Self {
        self.exact(&[proto.number()]).exact(&port.to_be_bytes())
    }
}

impl SetElement {
    fn new(set: Set, key: Key, data: Vec<u8>) -> Self {
        Self {
            set,
            key: key.first,
            last: key.last,
            data,
        }
    }

    /// The element that a rule is; `None` for what is no rule of this backend.
    pub(super) fn of(spec: &RuleSpec) -> Option<Self> {
        let key = Key::default();
        Some(match spec {
            RuleSpec::Element(Element::Egress(dev)) => {
                let mut name = dev.as_str().as_bytes().to_vec();
                name.resize(Field::Interface.length(), 0);
                Self::new(Set::Egress, key.exact(&name), Vec::new())
            }
            RuleSpec::Element(Element::Prefix(net)) => {
                Self::new(Set::Prefixes, key.net(Some(*net)), Vec::new())
            }
            RuleSpec::Element(Element::Guarded(net)) => {
                Self::new(Set::Guarded, key.net(Some(*net)), Vec::new())
            }
            RuleSpec::Element(Element::Source { prefix, source }) => {
                let source = source.octets().into();
                Self::new(Set::Sources, key.net(Some(*prefix)), source)
            }
            RuleSpec::Element(Element::Refused {
                proto,
                host_addr,
                host_port,
            }) => {
                let set = match host_addr {
                    Some(_) => Set::RefusedHost,
                    None => Set::Refused,
                };
                let key = key.addr(*host_addr).port(*proto, *host_port);
                Self::new(set, key, Vec::new())
            }
            RuleSpec::HairpinMasquerade { prefix } => {
                let key = key.net(Some(*prefix)).net(Some(*prefix));
                Self::new(Set::Hairpin, key, Vec::new())
            }
            RuleSpec::Dnat(dnat) => {
                let at = &dnat.key;
                let set = map(at)?;
                let key = key.net(at.source).addr(at.host_addr);
                let target = Key::default()
                    .exact(&dnat.target.octets())
                    .exact(&dnat.target_port.to_be_bytes());
                Self::new(set, key.port(at.proto, at.host_port), target.first)
            }
            RuleSpec::Jump(_)
            | RuleSpec::Guard { .. }
            | RuleSpec::Snat { .. }
            | RuleSpec::Masquerade { .. }
            | RuleSpec::HairpinGuard { .. }
            | RuleSpec::Refuse(_) => return None,
        })
    }

    /// The rule that an element is; `None` where it is none that we would options.
    pub(super) fn spec(&self) -> Option<RuleSpec> {
        let mut read = Reader::new(self)?;
        let spec = match self.set {
            Set::Egress => {
                let name = read.exact::<16>()?;
                let end = name.iter().position(|b| *b == 0)?;
                let name = std::str::from_utf8(&name[..end]).ok()?;
                RuleSpec::Element(Element::Egress(name.parse().ok()?))
            }
            Set::Prefixes => RuleSpec::Element(Element::Prefix(read.net()?)),
            Set::Guarded => RuleSpec::Element(Element::Guarded(read.net()?)),
            Set::Hairpin => RuleSpec::HairpinMasquerade {
                prefix: read.net()?,
            },
            Set::Sources => RuleSpec::Element(Element::Source {
                prefix: read.net()?,
                source: <[u8; 16]>::try_from(&self.data[..]).ok()?.into(),
            }),
            Set::Refused | Set::RefusedHost => {
                let host_addr = match self.set {
                    Set::RefusedHost => Some(read.addr()?),
                    _ => None,
                };
                let (proto, host_port) = read.port()?;
                RuleSpec::Element(Element::Refused {
                    proto,
                    host_addr,
                    host_port,
                })
            }
            Set::Forwards
            | Set::ForwardsHost
            | Set::ForwardsFrom
            | Set::ForwardsFromHost
            | Set::ForwardsInside
            | Set::ForwardsInsideHost => self.forward(&mut read)?,
        };
        // An element of ours has exactly the bytes that we would write: no padding, hidden bytes or
        // odd ranges.
        (Self::of(&spec).as_ref() == Some(self)).then_some(spec)
    }

    fn forward(&self, read: &mut Reader<'_>) -> Option<RuleSpec> {
        let via = match self.set {
            Set::ForwardsInside | Set::ForwardsInsideHost => Via::Inside,
            _ => Via::Outside,
        };
        let source = match self.set {
            Set::ForwardsFrom | Set::ForwardsFromHost => Some(read.net()?),
            _ => None,
        };
        let host_addr = match self.set {
            Set::ForwardsHost | Set::ForwardsFromHost | Set::ForwardsInsideHost => {
                Some(read.addr()?)
            }
            _ => None,
        };
        let (proto, host_port) = read.port()?;
        let (target, rest) = self.data.split_first_chunk::<16>()?;
        let target_port = u16::from_be_bytes(*rest.first_chunk()?);
        if target_port == 0 {
            return None;
        }
        Some(RuleSpec::Dnat(Dnat {
            key: DnatKey {
                via,
                proto,
                host_addr,
                host_port,
                source,
            },
            target: (*target).into(),
            target_port,
            spares_link_local: false,
        }))
    }

    /// What identifies it for a removal: the set's name, the key, and in a set of ranges the last
    /// key.
    pub(super) fn locator(&self) -> String {
        let name = self.set.name();
        match self.set.is_interval() {
            true => format!("{name} {} {}", hex(&self.key), hex(&self.last)),
            false => format!("{name} {}", hex(&self.key)),
        }
    }

    /// Reads a locator. The element has no data; its removal needs none.
    pub(super) fn located(locator: &str) -> Option<Self> {
        let mut parts = locator.split(' ');
        let set = Set::named(parts.next()?)?;
        let key = unhex(parts.next()?)?;
        let last = match set.is_interval() {
            true => unhex(parts.next()?)?,
            false => key.clone(),
        };
        let wanted = length(set.key());
        if parts.next().is_some() || key.len() != wanted || last.len() != wanted {
            return None;
        }
        Some(Self {
            set,
            key,
            last,
            data: Vec::new(),
        })
    }
}

fn map(at: &DnatKey) -> Option<Set> {
    Some(match (&at.via, at.source, at.host_addr) {
        (Via::Outside, None, None) => Set::Forwards,
        (Via::Outside, None, Some(_)) => Set::ForwardsHost,
        (Via::Outside, Some(_), None) => Set::ForwardsFrom,
        (Via::Outside, Some(_), Some(_)) => Set::ForwardsFromHost,
        (Via::Inside, None, None) => Set::ForwardsInside,
        (Via::Inside, None, Some(_)) => Set::ForwardsInsideHost,
        (Via::Inside, Some(_), _) | (Via::Egress(_) | Via::Host | Via::Containers(_), ..) => {
            return None;
        }
    })
}

/// Reads both ends of a key side by side.
struct Reader<'a> {
    first: &'a [u8],
    last: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(element: &'a SetElement) -> Option<Self> {
        let wanted = length(element.set.key());
        let fits = element.key.len() == wanted && element.last.len() == wanted;
        fits.then_some(Self {
            first: &element.key,
            last: &element.last,
        })
    }

    fn range<const N: usize>(&mut self) -> Option<([u8; N], [u8; N])> {
        let take = |key: &mut &'a [u8]| -> Option<[u8; N]> {
            let part = *key.first_chunk::<N>()?;
            *key = key.get(N.next_multiple_of(4)..).unwrap_or(&[]);
            Some(part)
        };
        Some((take(&mut self.first)?, take(&mut self.last)?))
    }

    fn exact<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, last) = self.range()?;
        (first == last).then_some(first)
    }

    fn addr(&mut self) -> Option<Ipv6Addr> {
        self.exact::<16>().map(Ipv6Addr::from)
    }

    fn net(&mut self) -> Option<Ipv6Net> {
        let (first, last) = self.range::<16>()?;
        let differing = u128::from_be_bytes(first) ^ u128::from_be_bytes(last);
        // At most 128.
        let length = differing.leading_zeros() as u8;
        Ipv6Net::new(first.into(), length).ok()
    }

    fn port(&mut self) -> Option<(Proto, u16)> {
        let [protocol] = self.exact()?;
        let port = u16::from_be_bytes(self.exact()?);
        let proto = Proto::from_number(protocol)?;
        (port != 0).then_some((proto, port))
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.extend([digit(byte >> 4), digit(byte & 0xf)]);
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits?;
    if digits.len() % 2 != 0 {
        return None;
    }
    // Two digits of 4 bits each.
    let byte = |pair: &[u32]| (pair[0] << 4 | pair[1]) as u8;
    Some(digits.chunks(2).map(byte).collect())
}

#[cfg(test)]
mod tests;
