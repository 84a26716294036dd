//! The expressions that rules of our chains are made of. Pure.
//!
//! They are written in full, so that what the kernel prints of a rule can be compared with what it
//! was sent: it prints at least that, and newer kernels print more.

use super::sets::Set;
use crate::netlink::message::{Attrs, Malformed, Writer};
use crate::netlink::nf_tables::{
    DATA_VALUE, DATA_VERDICT, EXPR_DATA, EXPR_NAME, LIST_ELEM, VERDICT_CODE,
};

/// `NFT_REG_1` and `NFT_REG_2`, of 16 bytes each; between them lie registers of four bytes
/// each, `NFT_REG32_00` (8) and following. A key is loaded into consecutive bytes.
pub(super) const REG_1: u32 = 1;
/// See [`REG_1`].
pub(super) const REG_2: u32 = 2;

/// `NFPROTO_IPV6`.
const IPV6: u32 = 10;

/// One expression, with the numbers of linux/netfilter/nf_tables.h.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    /// Loads something about the packet.
    Meta(Meta, u32),
    /// Loads bytes of the IPv6 header or of the transport header.
    Payload {
        base: Base,
        offset: u32,
        length: u32,
        register: u32,
    },
    /// Loads the type of the source's or the destination's address, for this host.
    AddrType(End),
    /// Loads the state or status of the packet's connection.
    Ct(Ct),
    /// Goes on if register 1 is, or is not, equal.
    Compare { equal: bool, value: Vec<u8> },
    /// Keeps these bits of register 1.
    Mask(Vec<u8>),
    /// Goes on if the key in register 1 is in a set, or is not.
    Lookup { set: Set, is_in: bool },
    /// Goes on if the key in register 1 is in a map, and loads where it leads.
    Map(Set),
    /// Rewrites the destination to register 1 and the port in register 2.
    Dnat,
    /// Rewrites the source to register 1.
    Snat,
    /// Rewrites the source to the outgoing interface's.
    Masquerade,
    /// Counts.
    Counter,
    /// Ends.
    Verdict(VerdictCode),
}

/// `enum nft_meta_keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Meta {
    InterfaceIn = 6,
    InterfaceOut = 7,
    Proto = 16,
}

/// `enum nft_payload_bases`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Base {
    Network = 1,
    Transport = 2,
}

/// `enum nft_fib_flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum End {
    Source = 1,
    Destination = 2,
}

/// `enum nft_ct_keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Ct {
    State = 0,
    Status = 2,
}

/// `NF_DROP`, `NF_ACCEPT`, and `NFT_RETURN` (-5), which in a base chain means its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum VerdictCode {
    Drop = 0,
    Accept = 1,
    Return = 0xffff_fffb,
}

/// `NFT_FIB_RESULT_ADDRTYPE`.
const RESULT_ADDRTYPE: u32 = 3;

impl Expr {
    fn name(&self) -> &'static str {
        match self {
            Self::Meta(..) => "meta",
            Self::Payload { .. } => "payload",
            Self::AddrType(_) => "fib",
            Self::Ct(_) => "ct",
            Self::Compare { .. } => "cmp",
            Self::Mask(_) => "bitwise",
            Self::Lookup { .. } | Self::Map(_) => "lookup",
            Self::Dnat | Self::Snat => "nat",
            Self::Masquerade => "masq",
            Self::Counter => "counter",
            Self::Verdict(_) => "immediate",
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.nested(LIST_ELEM, |writer| {
            writer.text(EXPR_NAME, self.name());
            writer.nested(EXPR_DATA, |writer| self.write_data(writer));
        });
    }

    fn write_data(&self, writer: &mut Writer) {
        let mut numbers = |numbers: &[(u16, u32)]| {
            for (kind, number) in numbers {
                writer.number(*kind, *number);
            }
        };
        match self {
            Self::Meta(key, register) => numbers(&[(1, *register), (2, *key as u32)]),
            Self::Payload {
                base,
                offset,
                length,
                register,
            } => numbers(&[
                (1, *register),
                (2, *base as u32),
                (3, *offset),
                (4, *length),
            ]),
            Self::AddrType(end) => numbers(&[(1, REG_1), (2, RESULT_ADDRTYPE), (3, *end as u32)]),
            Self::Ct(key) => numbers(&[(1, REG_1), (2, *key as u32)]),
            Self::Compare { equal, value } => {
                numbers(&[(1, REG_1), (2, u32::from(!equal))]);
                writer.nested(3, |writer| writer.attr(DATA_VALUE, value));
            }
            Self::Mask(bits) => {
                // 16 bytes are the most that a register holds.
                let len = u32::try_from(bits.len()).unwrap_or(u32::MAX);
                numbers(&[(1, REG_1), (2, REG_1), (3, len)]);
                writer.nested(4, |writer| writer.attr(DATA_VALUE, bits));
                writer.nested(5, |writer| writer.attr(DATA_VALUE, &vec![0; bits.len()]));
            }
            Self::Lookup { set, is_in } => {
                writer.text(1, set.name());
                writer.number(2, REG_1);
                writer.number(5, u32::from(!is_in));
            }
            Self::Map(map) => {
                writer.text(1, map.name());
                writer.number(2, REG_1);
                writer.number(3, REG_1);
            }
            Self::Dnat => numbers(&[(1, 1), (2, IPV6), (3, REG_1), (5, REG_2)]),
            Self::Snat => numbers(&[(1, 0), (2, IPV6), (3, REG_1)]),
            Self::Masquerade | Self::Counter => {}
            Self::Verdict(verdict) => {
                writer.number(1, 0);
                writer.nested(2, |writer| {
                    writer.nested(DATA_VERDICT, |writer| {
                        writer.number(VERDICT_CODE, *verdict as u32);
                    });
                });
            }
        }
    }
}

/// The content of `NFTA_RULE_EXPRESSIONS`.
pub(super) fn encode(expressions: &[Expr]) -> Vec<u8> {
    let mut writer = Writer::default();
    for expression in expressions {
        expression.write(&mut writer);
    }
    writer.bytes().to_vec()
}

/// Whether a rule that the kernel prints so is what was `sent`: the same expressions in the same
/// order, each with at least the attributes that were sent.
pub(super) fn is_as_sent(sent: &[u8], printed: &[u8]) -> bool {
    let split = |bytes| -> Result<Vec<&[u8]>, Malformed> {
        let values = Attrs::new(bytes).map(|attr| attr.map(|(_, value)| value));
        values.collect()
    };
    match (split(sent), split(printed)) {
        (Ok(sent), Ok(printed)) => {
            let mut pairs = sent.iter().zip(&printed);
            sent.len() == printed.len() && pairs.all(|(sent, printed)| has_all(sent, printed))
        }
        _ => false,
    }
}

/// How deep attributes lie in an expression: data, value, verdict, code.
const DEEPEST: usize = 4;

fn has_all(sent: &[u8], printed: &[u8]) -> bool {
    has_all_below(sent, printed, DEEPEST)
}

fn has_all_below(sent: &[u8], printed: &[u8], depth: usize) -> bool {
    let same = |kind: u16, sent: &[u8]| {
        let mut printed = Attrs::new(printed).flatten().filter(|(k, _)| *k == kind);
        printed.any(|(_, value)| {
            // Equal but for flags of nests inside, or more inside them.
            let nested = depth > 0 && !sent.is_empty() && has_all_below(sent, value, depth - 1);
            value == sent || nested
        })
    };
    let mut attrs = Attrs::new(sent);
    attrs.all(|attr| attr.is_ok_and(|(kind, value)| value.is_empty() || same(kind, value)))
}
