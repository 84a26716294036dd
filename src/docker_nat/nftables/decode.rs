//! Reads where another program's rule leads. Pure.
//!
//! The numbers are from linux/netfilter/nf_tables.h unless a comment names another source. Only
//! jumps, DNAT and drops count; other expressions are skipped.

use std::net::Ipv6Addr;

use crate::model::forward::Proto;
use crate::model::published::{HostForward, Target};
use crate::netlink::message::{Attrs, NFGENMSG_IPV6, find, text};

/// `NFTA_RULE_CHAIN`, `NFTA_RULE_EXPRESSIONS`, `NFTA_RULE_USERDATA`.
const RULE: (u16, u16, u16) = (2, 4, 7);
/// `NFTA_CHAIN_TABLE`, `NFTA_CHAIN_NAME`, `NFTA_CHAIN_HOOK`, `NFTA_CHAIN_TYPE`; and
/// `NFTA_HOOK_HOOKNUM`.
const CHAIN: (u16, u16, u16, u16) = (1, 3, 4, 7);
const HOOK_NUMBER: u16 = 1;
/// `NFTA_SET_ELEM_LIST_ELEMENTS`, `NFTA_SET_ELEM_DATA`.
const ELEMENTS: (u16, u16) = (3, 2);
/// `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
const EXPR: (u16, u16) = (1, 2);
/// `NFTA_IMMEDIATE_DREG`, `NFTA_IMMEDIATE_DATA`.
const IMMEDIATE: (u16, u16) = (1, 2);
/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`.
const DATA: (u16, u16) = (1, 2);
/// `NFTA_VERDICT_CODE`, `NFTA_VERDICT_CHAIN`.
const VERDICT: (u16, u16) = (1, 2);
/// `NF_DROP`.
const DROP: u32 = 0;
/// `NFTA_LOOKUP_SET`, `NFTA_LOOKUP_DREG`; `NFT_REG_VERDICT`.
const LOOKUP: (u16, u16) = (1, 3);
const REG_VERDICT: u32 = 0;
/// `NFTA_META_DREG`, `NFTA_META_KEY`; `NFT_META_IIFNAME`, `NFT_META_OIFNAME`,
/// `NFT_META_L4PROTO`.
const META: (u16, u16) = (1, 2);
const META_KEYS: (u32, u32, u32) = (6, 7, 16);
/// `NFTA_PAYLOAD_DREG`, `NFTA_PAYLOAD_BASE`, `NFTA_PAYLOAD_OFFSET`, `NFTA_PAYLOAD_LEN`.
const PAYLOAD: (u16, u16, u16, u16) = (1, 2, 3, 4);
/// Base, offset and length of an IPv6 header's destination and next header, and of the
/// destination port.
const DADDR: (u32, u32, u32) = (1, 24, 16);
const NEXT_HEADER: (u32, u32, u32) = (1, 6, 1);
const DPORT: (u32, u32, u32) = (2, 2, 2);
/// `NFTA_BITWISE_DREG`; `NFTA_CT_DREG` and `NFTA_FIB_DREG`.
const BITWISE_DREG: u16 = 2;
const DREG: u16 = 1;
/// `NFTA_CMP_SREG`, `NFTA_CMP_OP`, `NFTA_CMP_DATA`; `NFT_CMP_EQ`, `NFT_CMP_NEQ`.
const CMP: (u16, u16, u16) = (1, 2, 3);
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
/// `NFTA_NAT_TYPE`, `NFTA_NAT_REG_ADDR_MIN`, `NFTA_NAT_REG_PROTO_MIN`.
const NAT: (u16, u16, u16) = (1, 3, 5);
/// `NFT_NAT_DNAT`.
const DNAT: u32 = 1;
/// `NFTA_TARGET_NAME`, `NFTA_TARGET_INFO`, and the same of a match
/// (linux/netfilter/nf_tables_compat.h).
const XT: (u16, u16) = (1, 3);
/// In `struct nf_nat_range` and `nf_nat_range2` alike (linux/netfilter/nf_nat.h): flags u32,
/// lowest and highest address of 16 bytes each, lowest port.
const RANGE_ADDR: std::ops::Range<usize> = 4..20;
const RANGE_PORT: std::ops::Range<usize> = 36..38;
/// Lowest and highest destination port in `struct xt_tcp` and `struct xt_udp`, and in
/// `struct xt_sctp_info`; in host byte order.
const XT_PORTS: std::ops::Range<usize> = 4..8;
const XT_SCTP_PORTS: std::ops::Range<usize> = 0..4;

/// A base chain: its name, its type and the number of its hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BaseChain {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) hook: u32,
}

impl BaseChain {
    /// The base chain in the payload of a message; `None` for a chain without a hook.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let attributes = payload.get(NFGENMSG_IPV6.len()..)?;
        let hook = find(attributes, CHAIN.2)?;
        Some(Self {
            table: string(find(attributes, CHAIN.0)?),
            name: string(find(attributes, CHAIN.1)?),
            kind: string(find(attributes, CHAIN.3)?),
            hook: number(find(hook, HOOK_NUMBER)?)?,
        })
    }
}

/// The chains to which the elements in a message's payload lead.
pub(super) fn verdicts(payload: &[u8]) -> Vec<String> {
    let attributes = payload.get(NFGENMSG_IPV6.len()..).unwrap_or_default();
    let elements = find(attributes, ELEMENTS.0).unwrap_or_default();
    let elements = Attrs::new(elements).map_while(Result::ok);
    elements
        .filter_map(|(_, element)| chain_of(find(element, ELEMENTS.1)?))
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
        let attributes = payload.get(NFGENMSG_IPV6.len()..).unwrap_or_default();
        let part = |kind| find(attributes, kind).unwrap_or_default();
        let mut rule = Self::of(part(RULE.1));
        rule.chain = string(part(RULE.0));
        rule.comment = comment(part(RULE.2)).unwrap_or_default();
        rule
    }

    fn of(expressions: &[u8]) -> Self {
        let mut rule = Self::default();
        let mut way = Way::default();
        let elements = Attrs::new(expressions).map_while(Result::ok);
        for (_, expression) in elements {
            let name = text(find(expression, EXPR.0).unwrap_or_default());
            // A masquerade expression may come without data.
            let data = find(expression, EXPR.1).unwrap_or_default();
            if rule.verdict(name, data).is_none() {
                way.pass(name, data);
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
                let data = find(data, IMMEDIATE.1)?;
                let verdict = find(data, DATA.1)?;
                self.jumps.extend(chain_of(data));
                self.drops |= find(verdict, VERDICT.0).and_then(number) == Some(DROP);
            }
            b"lookup" => {
                let leads = find(data, LOOKUP.1).and_then(number)? == REG_VERDICT;
                let map = find(data, LOOKUP.0).filter(|_| leads)?;
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
                let value = find(data, IMMEDIATE.1).and_then(|value| find(value, DATA.0))?;
                self.values.push((read(IMMEDIATE.0)?, value));
            }
            b"meta" => {
                let held = match read(META.1)? {
                    key if key == META_KEYS.0 => Held::InterfaceIn,
                    key if key == META_KEYS.1 => Held::InterfaceOut,
                    key if key == META_KEYS.2 => Held::Proto,
                    _ => Held::Other,
                };
                self.held.push((read(META.0)?, held));
            }
            b"payload" => {
                let held = match (read(PAYLOAD.1)?, read(PAYLOAD.2)?, read(PAYLOAD.3)?) {
                    DADDR => Held::HostAddr,
                    NEXT_HEADER => Held::Proto,
                    DPORT => Held::HostPort,
                    _ => Held::Other,
                };
                self.held.push((read(PAYLOAD.0)?, held));
            }
            b"cmp" => {
                let register = read(CMP.0)?;
                let (_, held) = self.held.iter().rev().find(|(r, _)| *r == register)?;
                let value = find(data, CMP.2).and_then(|value| find(value, DATA.0))?;
                self.compare(*held, read(CMP.1)?, value)?;
            }
            b"nat" if read(NAT.0) == Some(DNAT) => {
                let value = |kind| {
                    let register = read(kind)?;
                    let last = self.values.iter().rev().find(|(r, _)| *r == register);
                    last.map(|(_, value)| *value)
                };
                self.target = Some(pair(value(NAT.1)?, value(NAT.2)?)?);
            }
            b"target" if text(find(data, XT.0)?) == b"DNAT" => {
                let range = find(data, XT.1)?;
                self.target = Some(pair(range.get(RANGE_ADDR)?, range.get(RANGE_PORT)?)?);
            }
            b"match" => {
                let proto: Proto = string(find(data, XT.0)?).parse().ok()?;
                let ports = match proto {
                    Proto::Tcp | Proto::Udp => XT_PORTS,
                    Proto::Sctp => XT_SCTP_PORTS,
                };
                let [a, b, c, d]: [u8; 4] = find(data, XT.1)?.get(ports)?.try_into().ok()?;
                let (low, high) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
                self.proto = Some(proto);
                self.host_port = (low == high).then_some(low);
            }
            // A register that was masked holds something else.
            b"bitwise" => self.held.push((read(BITWISE_DREG)?, Held::Other)),
            b"ct" | b"fib" => self.held.push((read(DREG)?, Held::Other)),
            _ => {}
        }
        Some(())
    }

    fn compare(&mut self, held: Held, how: u32, value: &[u8]) -> Option<()> {
        match (held, how) {
            (Held::InterfaceIn, UNEQUAL) => self.not_in = Some(interface(value)),
            (Held::InterfaceOut, EQUAL) => self.out = Some(interface(value)),
            (Held::Proto, EQUAL) => {
                self.proto = Some(Proto::from_number(*value.first()?)?);
            }
            (Held::HostAddr, EQUAL) => {
                let addr: [u8; 16] = value.try_into().ok()?;
                self.host_addr = Some(addr.into());
            }
            (Held::HostPort, EQUAL) => {
                self.host_port = Some(u16::from_be_bytes(value.get(..2)?.try_into().ok()?));
            }
            _ => {}
        }
        Some(())
    }
}

/// The chain of a verdict in an expression's or an element's data.
fn chain_of(data: &[u8]) -> Option<String> {
    Some(string(find(find(data, DATA.1)?, VERDICT.1)?))
}

fn pair(addr: &[u8], port: &[u8]) -> Option<Target> {
    let addr: [u8; 16] = addr.try_into().ok()?;
    // A register holds four bytes at least.
    let port: [u8; 2] = port.get(..2)?.try_into().ok()?;
    Some((Ipv6Addr::from(addr), u16::from_be_bytes(port)))
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn string(value: &[u8]) -> String {
    String::from_utf8_lossy(text(value)).into_owned()
}

/// The name of an interface, which the kernel pads with NULs.
fn interface(value: &[u8]) -> String {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The comment in the user data that nft and iptables store with a rule.
fn comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*length))?;
        if *kind == 0 {
            return Some(string(value));
        }
        userdata = &rest[value.len()..];
    }
    None
}

#[cfg(test)]
mod tests;
