//! Rules as elements of our sets, and back. Pure.
//!
//! A rule's text names its set and its key, and what a map makes of it, in the words of nft:
//! `forwards { tcp . 8080 : fdfd::2 . 80 }`.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::sets::{Field, Set, length};
use crate::model::device::Device;
use crate::model::forward::{Forward, Proto};
use crate::model::rule::{BackendKind, ContainerPort, HostPort, Rule, RuleFacts};

/// The rule with this text; `None` if no rule of this backend has it.
pub(in crate::backend) fn rule(text: &str) -> Option<Rule> {
    SetElement::read(text)?.rule()
}

/// Bytes of most texts.
const TEXT: usize = 96;

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
pub(super) struct Key {
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

    pub(super) fn dev(self, dev: &Device) -> Self {
        let mut name = dev.as_str().as_bytes().to_vec();
        name.resize(Field::Interface.length(), 0);
        self.exact(&name)
    }

    pub(super) fn addr(self, addr: Ipv6Addr) -> Self {
        self.exact(&addr.octets())
    }

    pub(super) fn net(self, net: Ipv6Net) -> Self {
        self.range(&net.network().octets(), &net.broadcast().octets())
    }

    fn proto(self, proto: Proto) -> Self {
        self.exact(&[proto.number()])
    }

    fn port(self, port: u16) -> Self {
        self.exact(&port.to_be_bytes())
    }

    /// The published port of a forward.
    pub(super) fn published(self, forward: &Forward) -> Self {
        let key = match forward.host_addr {
            Some(addr) => self.addr(addr),
            None => self,
        };
        key.proto(forward.proto).port(forward.host_port)
    }

    /// The container that a forward leads to.
    pub(super) fn container(self, forward: &Forward) -> Self {
        self.addr(forward.container_addr)
            .port(forward.container_port)
    }

    /// Adds what a text says of a field.
    fn read(self, field: Field, text: &str) -> Option<Self> {
        Some(match field {
            Field::Interface => self.dev(&text.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?),
            Field::Prefix | Field::Source if text.contains('/') => self.net(text.parse().ok()?),
            Field::Prefix | Field::Source | Field::HostAddr | Field::Addr => {
                self.addr(text.parse().ok()?)
            }
            Field::Proto => self.proto(text.parse().ok()?),
            Field::Port => self.port(text.parse().ok()?),
        })
    }
}

/// Every field of a key, or of what it leads to, in the text.
fn read_all(fields: &[Field], text: &str) -> Option<Key> {
    let mut parts = text.split(" . ");
    let mut key = Key::default();
    for field in fields {
        key = key.read(*field, parts.next()?)?;
    }
    parts.next().is_none().then_some(key)
}

impl SetElement {
    /// An element of a set.
    pub(super) fn new(set: Set, key: Key) -> Self {
        Self {
            set,
            key: key.first,
            last: key.last,
            data: Vec::new(),
        }
    }

    /// The same, leading to this.
    pub(super) fn to(mut self, data: Key) -> Self {
        self.data = data.first;
        self
    }

    /// Reads the text of a rule; `None` if no rule of this backend has it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once(" { ")?;
        let set = Set::named(name)?;
        let rest = rest.strip_suffix(" }")?;
        let (key, data) = match set.data() {
            [] => (rest, None),
            _ => rest
                .split_once(" : ")
                .map(|(key, data)| (key, Some(data)))?,
        };
        let element = Self::new(set, read_all(set.key(), key)?);
        Some(match data {
            Some(data) => element.to(read_all(set.data(), data)?),
            None => element,
        })
    }

    /// The rule that an element stands for; `None` if our rules have no such element.
    pub(super) fn rule(&self) -> Option<Rule> {
        let text = self.text()?;
        // An element of ours has exactly the bytes that we would write: no padding, hidden bytes or
        // odd ranges.
        if Self::read(&text).as_ref() != Some(self) {
            return None;
        }
        Some(Rule::new(BackendKind::Nftables, text, self.facts()?))
    }

    /// The rule that an element of our own making stands for: its bytes are what we would write.
    pub(super) fn made(&self) -> Option<Rule> {
        let rule = Rule::new(BackendKind::Nftables, self.text()?, self.facts()?);
        debug_assert_eq!(Self::read(&rule.text).as_ref(), Some(self));
        Some(rule)
    }

    fn text(&self) -> Option<String> {
        let mut text = String::with_capacity(TEXT);
        write!(text, "{} {{ ", self.set.name()).ok()?;
        Reader::new(&self.key, &self.last).write(&mut text, self.set.key())?;
        if !self.set.data().is_empty() {
            text.push_str(" : ");
            Reader::new(&self.data, &self.data).write(&mut text, self.set.data())?;
        }
        text.push_str(" }");
        Some(text)
    }

    fn facts(&self) -> Option<RuleFacts> {
        let mut facts = self.set.kind().facts();
        let mut read = Reader::new(&self.key, &self.last);
        let (mut addr, mut proto) = (None, None);
        for field in self.set.key() {
            match field {
                Field::Interface => facts.dev = Some(read.dev()?),
                Field::Prefix => {
                    let prefix = read.net()?;
                    // Where there are two, they are the same.
                    if facts.prefix.replace(prefix).is_some_and(|it| it != prefix) {
                        return None;
                    }
                }
                Field::Source => facts.source = Some(read.net()?),
                Field::HostAddr => addr = Some(read.addr()?),
                Field::Proto => proto = Some(read.proto()?),
                Field::Port => {
                    let (proto, port) = (proto?, read.port()?);
                    facts.port = Some(HostPort { proto, addr, port });
                }
                Field::Addr => return None,
            }
        }
        if let [Field::Addr, Field::Port] = self.set.data() {
            let mut data = Reader::new(&self.data, &self.data);
            facts.target = Some(ContainerPort {
                addr: data.addr()?,
                port: data.port()?,
            });
        }
        Some(facts)
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

/// Reads both ends of a concatenation side by side.
struct Reader<'a> {
    first: &'a [u8],
    last: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(first: &'a [u8], last: &'a [u8]) -> Self {
        Self { first, last }
    }

    /// Writes every field as nft does; `None` where one cannot be read.
    fn write(&mut self, text: &mut String, fields: &[Field]) -> Option<()> {
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                text.push_str(" . ");
            }
            match field {
                Field::Interface => write!(text, "\"{}\"", self.dev()?),
                Field::Prefix | Field::Source => match self.net()? {
                    net if net.prefix_len() == 128 => write!(text, "{}", net.addr()),
                    net => write!(text, "{net}"),
                },
                Field::HostAddr | Field::Addr => write!(text, "{}", self.addr()?),
                Field::Proto => write!(text, "{}", self.proto()?),
                Field::Port => write!(text, "{}", self.port()?),
            }
            .ok()?;
        }
        Some(())
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

    fn dev(&mut self) -> Option<Device> {
        let name = self.exact::<16>()?;
        let end = name.iter().position(|b| *b == 0)?;
        std::str::from_utf8(&name[..end]).ok()?.parse().ok()
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

    fn proto(&mut self) -> Option<Proto> {
        let [protocol] = self.exact()?;
        Proto::from_number(protocol)
    }

    fn port(&mut self) -> Option<u16> {
        let port = u16::from_be_bytes(self.exact()?);
        (port != 0).then_some(port)
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
