//! What of a rule tells where it leads. Pure.
//!
//! Numbers from linux/netfilter/nf_tables.h, unless said otherwise. What is not known is passed
//! over: the rules are another program's, and only jumps and DNAT targets count.

use std::net::Ipv6Addr;

use crate::backend::nftables::wire::rule::EXPRESSIONS;
use crate::model::native::Target;
use crate::netlink::message::{Attrs, NFGENMSG_IPV6};

/// `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
const EXPR: (u16, u16) = (1, 2);
/// `NFTA_IMMEDIATE_DREG`, `NFTA_IMMEDIATE_DATA`.
const IMMEDIATE: (u16, u16) = (1, 2);
/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`.
const DATA: (u16, u16) = (1, 2);
/// `NFTA_VERDICT_CHAIN`.
const VERDICT_CHAIN: u16 = 2;
/// `NFTA_NAT_TYPE`, `NFTA_NAT_REG_ADDR_MIN`, `NFTA_NAT_REG_PROTO_MIN`.
const NAT: (u16, u16, u16) = (1, 3, 5);
/// `NFT_NAT_DNAT`.
const DNAT: u32 = 1;
/// `NFTA_TARGET_NAME`, `NFTA_TARGET_INFO` (linux/netfilter/nf_tables_compat.h).
const XT_TARGET: (u16, u16) = (1, 3);
/// In `struct nf_nat_range` and `nf_nat_range2` alike (linux/netfilter/nf_nat.h): flags u32,
/// lowest and highest address of 16 bytes each, lowest port.
const RANGE_ADDR: std::ops::Range<usize> = 4..20;
const RANGE_PORT: std::ops::Range<usize> = 36..38;

/// The expressions of somebody else's rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<'a>(&'a [u8]);

impl<'a> Rule<'a> {
    /// The rule in the payload of a message.
    pub(super) fn read(payload: &'a [u8]) -> Self {
        let attributes = payload.get(NFGENMSG_IPV6.len()..).unwrap_or_default();
        Self(find(attributes, EXPRESSIONS).unwrap_or_default())
    }

    /// Whether it sends packets to this chain.
    pub(super) fn jumps_to(self, chain: &str) -> bool {
        self.expressions().any(|(name, data)| {
            name == b"immediate"
                && find(data, IMMEDIATE.1)
                    .and_then(|value| find(value, DATA.1))
                    .and_then(|verdict| find(verdict, VERDICT_CHAIN))
                    .is_some_and(|name| text(name) == chain.as_bytes())
        })
    }

    /// Where its DNAT leads.
    pub(super) fn target(self) -> Option<Target> {
        let mut registers: Vec<(u32, &[u8])> = Vec::new();
        for (name, data) in self.expressions() {
            let number = |kind| find(data, kind).and_then(number);
            match name {
                b"immediate" => {
                    let value = find(data, IMMEDIATE.1).and_then(|value| find(value, DATA.0));
                    registers.extend(number(IMMEDIATE.0).zip(value));
                }
                b"nat" if number(NAT.0) == Some(DNAT) => {
                    let held = |kind| {
                        let register = number(kind)?;
                        let last = registers.iter().rev().find(|(r, _)| *r == register);
                        last.map(|(_, value)| *value)
                    };
                    return pair(held(NAT.1)?, held(NAT.2)?);
                }
                b"target" if find(data, XT_TARGET.0).map(text) == Some(b"DNAT") => {
                    let range = find(data, XT_TARGET.1)?;
                    return pair(range.get(RANGE_ADDR)?, range.get(RANGE_PORT)?);
                }
                _ => {}
            }
        }
        None
    }

    fn expressions(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let elements = Attrs::new(self.0).map_while(Result::ok);
        elements.filter_map(|(_, expression)| {
            let name = text(find(expression, EXPR.0)?);
            Some((name, find(expression, EXPR.1)?))
        })
    }
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

/// A string of the kernel's, without its NUL.
fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
}

/// The first attribute of this type.
fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = Attrs::new(attributes).map_while(Result::ok);
    all.find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::Writer;

    fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.attr(kind, value);
        writer.bytes().to_vec()
    }

    fn expression(name: &str, data: &[u8]) -> Vec<u8> {
        let name = attr(EXPR.0, &[name.as_bytes(), &[0]].concat());
        attr(1, &[name, attr(EXPR.1, data)].concat())
    }

    fn immediate(register: u32, value: &[u8]) -> Vec<u8> {
        let register = attr(IMMEDIATE.0, &register.to_be_bytes());
        let value = attr(IMMEDIATE.1, &attr(DATA.0, value));
        expression("immediate", &[register, value].concat())
    }

    fn nat(kind: u32, addr: u32, port: u32) -> Vec<u8> {
        let numbers = [(NAT.0, kind), (NAT.1, addr), (NAT.2, port)];
        let attrs: Vec<u8> = numbers
            .iter()
            .flat_map(|(kind, value)| attr(*kind, &value.to_be_bytes()))
            .collect();
        expression("nat", &attrs)
    }

    #[test]
    fn the_last_value_of_a_register_is_where_a_rule_leads() {
        let addr: Ipv6Addr = "fdfd::2".parse().expect("an address");
        let old = immediate(1, &[0; 16]);
        let rule = [
            old,
            immediate(1, &addr.octets()),
            immediate(2, &[0, 80]),
            nat(DNAT, 1, 2),
        ]
        .concat();
        assert_eq!(Rule(&rule).target(), Some((addr, 80)));
        let snat = [
            immediate(1, &addr.octets()),
            immediate(2, &[0, 80]),
            nat(0, 1, 2),
        ]
        .concat();
        assert_eq!(Rule(&snat).target(), None);
        let unset = [immediate(1, &addr.octets()), nat(DNAT, 1, 9)].concat();
        assert_eq!(Rule(&unset).target(), None);
    }
}
