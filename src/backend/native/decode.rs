//! The messages: two requests, and what of a rule tells where it leads. Pure.
//!
//! Numbers from linux/netfilter/nf_tables.h, unless said otherwise. What is not known is passed
//! over: the rules are another program's, and only jumps and DNAT targets count.

use std::net::Ipv6Addr;

use rustix::io::Errno;

use crate::model::native::Target;
use crate::netlink::Malformed;
use crate::netlink::message::{
    ACK, Attrs, DONE, DUMP, DUMP_INTERRUPTED, ERROR, Messages, NFGENMSG_IPV6, OVERRUN, REQUEST,
    Writer,
};

/// `NFNL_SUBSYS_NFTABLES` (linux/netfilter/nfnetlink.h), in the upper byte of a message's type.
const NFTABLES: u16 = 10 << 8;
/// `NFT_MSG_GETTABLE`.
pub(super) const TABLE: u8 = 1;
/// `NFT_MSG_GETRULE`.
pub(super) const RULE: u8 = 7;
/// `NFT_MSG_NEWRULE`.
const NEW_RULE: u16 = NFTABLES | 6;
/// `NFTA_TABLE_NAME`, and `NFTA_RULE_TABLE`.
const NAME: u16 = 1;
/// `NFTA_RULE_CHAIN`.
const CHAIN: u16 = 2;
/// `NFTA_RULE_EXPRESSIONS`.
const EXPRESSIONS: u16 = 4;
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

/// A request for a table, or for the rules of a table or of one of its chains.
pub(super) fn request(seq: u32, what: u8, table: &str, chain: Option<&str>) -> Writer {
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    let flags = match what {
        RULE => REQUEST | DUMP,
        _ => REQUEST | ACK,
    };
    let mut writer = Writer::default();
    writer.message(NFTABLES | u16::from(what), flags, seq, |writer| {
        writer.raw(&NFGENMSG_IPV6);
        writer.attr(NAME, &text(table));
        if let Some(chain) = chain {
            writer.attr(CHAIN, &text(chain));
        }
    });
    writer
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    By(Errno),
    Malformed(Malformed),
}

impl From<Malformed> for Refused {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// The answer to one request.
#[derive(Debug)]
pub(super) struct Answer {
    seq: u32,
    /// Something changed while the kernel answered.
    pub(super) interrupted: bool,
}

impl Answer {
    pub(super) fn new(seq: u32) -> Self {
        Self {
            seq,
            interrupted: false,
        }
    }

    /// Takes one datagram and hands out its rules; whether the answer is complete.
    pub(super) fn take(
        &mut self,
        datagram: &[u8],
        each: &mut impl FnMut(Rule<'_>),
    ) -> Result<bool, Refused> {
        for message in Messages::new(datagram) {
            let message = message?;
            if message.seq != self.seq {
                continue;
            }
            self.interrupted |= message.flags & DUMP_INTERRUPTED != 0;
            match message.kind {
                NEW_RULE => {
                    let attributes = message.payload.get(NFGENMSG_IPV6.len()..);
                    if let Some(rule) = attributes.and_then(|all| find(all, EXPRESSIONS)) {
                        each(Rule(rule));
                    }
                }
                ERROR | DONE => {
                    return match message.code()? {
                        None => Ok(true),
                        Some(Errno::INTR) => {
                            self.interrupted = true;
                            Ok(true)
                        }
                        Some(errno) => Err(Refused::By(errno)),
                    };
                }
                OVERRUN => return Err(Refused::By(Errno::NOBUFS)),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// The expressions of somebody else's rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<'a>(&'a [u8]);

impl<'a> Rule<'a> {
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            seq in 0_u32..3,
        ) {
            let _ = Answer::new(seq).take(&bytes, &mut |rule| {
                let _ = (rule.target(), rule.jumps_to("DOCKER"));
            });
            let _ = (Rule(&bytes).target(), Rule(&bytes).jumps_to("DOCKER"));
        }
    }

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
