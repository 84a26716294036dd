//! Reads where another program's rule leads. Pure.
//!
//! Only jumps, DNAT and drops count; other expressions are skipped.

use std::net::Ipv6Addr;

use crate::model::forward::Proto;
use crate::model::published::{HostForward, Target};
use crate::netlink::message::{address, find, text};
use crate::netlink::nf_tables::{
    BITWISE_DREG, CT_DREG, DATA_VALUE, DROP, FIB_DREG, REG_VERDICT, cmp, element, immediate,
    lookup, meta, nat, payload, xt,
};
use crate::netlink::shown::{self, ShownRule, number, string, verdict};

/// In `struct nf_nat_range` and `nf_nat_range2` alike (linux/netfilter/nf_nat.h): flags u32,
/// lowest and highest address of 16 bytes each, lowest port.
const RANGE_ADDR: std::ops::Range<usize> = 4..20;
const RANGE_PORT: std::ops::Range<usize> = 36..38;
/// Lowest and highest destination port in `struct xt_tcp` and `struct xt_udp`, and in
/// `struct xt_sctp_info`; in host byte order.
const XT_PORTS: std::ops::Range<usize> = 4..8;
const XT_SCTP_PORTS: std::ops::Range<usize> = 0..4;

/// The chains to which the elements in a message's payload lead.
pub(super) fn verdicts(payload: &[u8]) -> Vec<String> {
    let leads = |data| verdict(data)?.1;
    shown::elements(payload)
        .filter_map(|element| leads(find(element, element::DATA)?))
        .collect()
}

/// What another program's rule does, as far as it concerns us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: String,
    /// The chains to which it sends packets.
    pub(super) jumps: Vec<String>,
    /// The verdict maps that it looks up.
    pub(super) maps: Vec<String>,
    /// Its DNAT of one port.
    pub(super) forward: Option<HostForward>,
    /// Whether it drops packets.
    pub(super) drops: bool,
    /// The interface, if it matches packets that leave by this interface and came in by another.
    pub(super) bridge: Option<String>,
    pub(super) comment: String,
}

/// What a register holds of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    InterfaceIn,
    InterfaceOut,
    Proto,
    HostAddr,
    HostPort,
    Other,
}

/// The registers, and the matches found so far, on the way through a rule's expressions.
#[derive(Debug, Default)]
struct Way<'a> {
    values: Vec<(u32, &'a [u8])>,
    held: Vec<(u32, Held)>,
    not_in: Option<String>,
    out: Option<String>,
    proto: Option<Proto>,
    host_addr: Option<Ipv6Addr>,
    host_port: Option<u16>,
    target: Option<Target>,
}

impl Rule {
    /// The rule in the payload of a message.
    pub(super) fn read(payload: &[u8]) -> Self {
        let Some(shown) = ShownRule::read(payload) else {
            return Self::default();
        };
        let mut rule = Self {
            chain: shown.chain().unwrap_or_default(),
            comment: shown.comment().unwrap_or_default(),
            ..Self::default()
        };
        let mut way = Way::default();
        for one in shown.expressions() {
            if rule.verdict(one.name, one.data).is_none() {
                way.pass(one.name, one.data);
            }
        }
        let parts = way.proto.zip(way.host_port).zip(way.target);
        rule.forward = parts.map(|((proto, host_port), target)| HostForward {
            proto,
            host_addr: way.host_addr,
            host_port,
            target,
        });
        rule.bridge = way.out.filter(|out| way.not_in.as_ref() == Some(out));
        rule
    }

    /// Whether the rule sends packets to this chain.
    pub(super) fn jumps_to(&self, chain: &str) -> bool {
        self.jumps.iter().any(|jump| jump == chain)
    }

    /// Notes a verdict; `None` if the expression is none.
    fn verdict(&mut self, name: &[u8], data: &[u8]) -> Option<()> {
        match name {
            b"immediate" => {
                let (code, chain) = verdict(find(data, immediate::DATA)?)?;
                self.jumps.extend(chain);
                self.drops |= code == DROP;
            }
            b"lookup" => {
                let leads = find(data, lookup::DREG).and_then(number)? == REG_VERDICT;
                let map = find(data, lookup::SET).filter(|_| leads)?;
                self.maps.push(string(map));
            }
            _ => return None,
        }
        Some(())
    }
}

impl<'a> Way<'a> {
    /// Notes what one expression loads, compares or rewrites; `None` if it is malformed.
    fn pass(&mut self, name: &[u8], data: &'a [u8]) -> Option<()> {
        let read = |kind| find(data, kind).and_then(number);
        match name {
            b"immediate" => {
                let value =
                    find(data, immediate::DATA).and_then(|value| find(value, DATA_VALUE))?;
                self.values.push((read(immediate::DREG)?, value));
            }
            b"meta" => {
                let held = match read(meta::KEY)? {
                    meta::INTERFACE_IN => Held::InterfaceIn,
                    meta::INTERFACE_OUT => Held::InterfaceOut,
                    meta::PROTO => Held::Proto,
                    _ => Held::Other,
                };
                self.held.push((read(meta::DREG)?, held));
            }
            b"payload" => {
                let held = match (
                    read(payload::BASE)?,
                    read(payload::OFFSET)?,
                    read(payload::LEN)?,
                ) {
                    payload::DADDR => Held::HostAddr,
                    payload::NEXT_HEADER => Held::Proto,
                    payload::DPORT => Held::HostPort,
                    _ => Held::Other,
                };
                self.held.push((read(payload::DREG)?, held));
            }
            b"cmp" => {
                let register = read(cmp::SREG)?;
                let (_, held) = self.held.iter().rev().find(|(r, _)| *r == register)?;
                let value = find(data, cmp::DATA).and_then(|value| find(value, DATA_VALUE))?;
                self.compare(*held, read(cmp::OP)?, value)?;
            }
            b"nat" if read(nat::TYPE) == Some(nat::DNAT) => {
                let value = |kind| {
                    let register = read(kind)?;
                    let last = self.values.iter().rev().find(|(r, _)| *r == register);
                    last.map(|(_, value)| *value)
                };
                self.target = Some(pair(value(nat::REG_ADDR_MIN)?, value(nat::REG_PROTO_MIN)?)?);
            }
            b"target" if text(find(data, xt::NAME)?) == b"DNAT" => {
                let range = find(data, xt::INFO)?;
                self.target = Some(pair(range.get(RANGE_ADDR)?, range.get(RANGE_PORT)?)?);
            }
            b"match" => {
                let proto: Proto = string(find(data, xt::NAME)?).parse().ok()?;
                let ports = match proto {
                    Proto::Tcp | Proto::Udp => XT_PORTS,
                    Proto::Sctp => XT_SCTP_PORTS,
                };
                let [a, b, c, d]: [u8; 4] = find(data, xt::INFO)?.get(ports)?.try_into().ok()?;
                let (low, high) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
                self.proto = Some(proto);
                self.host_port = (low == high).then_some(low);
            }
            // A register that was masked holds something else.
            b"bitwise" => self.held.push((read(BITWISE_DREG)?, Held::Other)),
            b"ct" => self.held.push((read(CT_DREG)?, Held::Other)),
            b"fib" => self.held.push((read(FIB_DREG)?, Held::Other)),
            _ => {}
        }
        Some(())
    }

    fn compare(&mut self, held: Held, how: u32, value: &[u8]) -> Option<()> {
        match (held, how) {
            (Held::InterfaceIn, cmp::UNEQUAL) => self.not_in = Some(interface(value)),
            (Held::InterfaceOut, cmp::EQUAL) => self.out = Some(interface(value)),
            (Held::Proto, cmp::EQUAL) => {
                self.proto = Some(Proto::from_number(*value.first()?)?);
            }
            (Held::HostAddr, cmp::EQUAL) => self.host_addr = Some(address(value)?),
            (Held::HostPort, cmp::EQUAL) => {
                self.host_port = Some(u16::from_be_bytes(value.get(..2)?.try_into().ok()?));
            }
            _ => {}
        }
        Some(())
    }
}

fn pair(addr: &[u8], port: &[u8]) -> Option<Target> {
    // A register holds four bytes at least.
    let port: [u8; 2] = port.get(..2)?.try_into().ok()?;
    Some((address(addr)?, u16::from_be_bytes(port)))
}

/// The name of an interface, which the kernel pads with NULs.
fn interface(value: &[u8]) -> String {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests;
