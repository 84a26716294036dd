//! The expressions of the rules that know the packet, and how often a rule has counted. Pure; the
//! numbers are those of linux/netfilter/nf_tables.h.

use super::packet::{LABEL_MASK, Mark, RST, SYN};
use crate::model::forward::Proto;
use crate::netlink::message::{Writer, find};
use crate::netlink::nf_tables::{
    DATA_VALUE, DATA_VERDICT, DROP, EXPR_DATA, EXPR_NAME, LIST_ELEM, REG_VERDICT, VERDICT_CODE,
    object,
};
use crate::netlink::shown::ShownRule;

/// `NFT_REG_1`.
const REGISTER: u32 = 1;

/// `NFT_META_PROTOCOL`, and `ETH_P_IPV6` (linux/if_ether.h).
const META_FRAME: u32 = 1;
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// `NFT_META_NFTRACE`, `NFT_META_NFPROTO` and `NFT_META_L4PROTO`.
const META_TRACE: u32 = 12;
const META_FAMILY: u32 = 15;
const META_PROTO: u32 = 16;

/// `NFT_PAYLOAD_NETWORK_HEADER` and `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`.
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;

/// `NFPROTO_IPV6`; `IPPROTO_ICMPV6`.
const IPV6: u8 = 10;
const ICMPV6: u8 = 58;

/// Length of the ICMPv6 header before the packet that an error is about, and of that one's IPv6
/// header (RFC 4443, 2.1; RFC 8200, 3).
const ICMP_HEADER: u32 = 8;
const IPV6_HEADER: u32 = 40;

/// In a TCP header: the acknowledged number, and the flags.
const ACKNOWLEDGED: u32 = 8;
const FLAGS: u32 = 13;

/// `NFTA_COUNTER_PACKETS`.
const PACKETS: u16 = 2;

fn one(name: &str, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.nested(LIST_ELEM, |w| {
        w.text(EXPR_NAME, name);
        w.nested(EXPR_DATA, fill);
    });
    writer.into_bytes()
}

fn numbers(name: &str, numbers: &[(u16, u32)]) -> Vec<u8> {
    one(name, |w| {
        for (kind, number) in numbers {
            w.number(*kind, *number);
        }
    })
}

fn meta(key: u32) -> Vec<u8> {
    numbers("meta", &[(1, REGISTER), (2, key)])
}

fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    numbers(
        "payload",
        &[(1, REGISTER), (2, base), (3, offset), (4, length)],
    )
}

fn mask(bits: &[u8]) -> Vec<u8> {
    one("bitwise", |w| {
        w.number(1, REGISTER);
        w.number(2, REGISTER);
        w.number(3, bits.len() as u32);
        w.nested(4, |w| w.attr(DATA_VALUE, bits));
        w.nested(5, |w| w.attr(DATA_VALUE, &vec![0; bits.len()]));
    })
}

fn compare(how: u32, value: &[u8]) -> Vec<u8> {
    one("cmp", |w| {
        w.number(1, REGISTER);
        w.number(2, how);
        w.nested(3, |w| w.attr(DATA_VALUE, value));
    })
}

fn is(proto: u8) -> Vec<u8> {
    [
        meta(META_FAMILY),
        compare(EQUAL, &[IPV6]),
        meta(META_PROTO),
        compare(EQUAL, &[proto]),
    ]
    .concat()
}

fn has_label(base: u32, offset: u32, label: u32) -> Vec<u8> {
    [
        payload(base, offset, 4),
        mask(&LABEL_MASK.to_be_bytes()),
        compare(EQUAL, &label.to_be_bytes()),
    ]
    .concat()
}

fn has_number(offset: u32, number: u32) -> Vec<u8> {
    [
        payload(TRANSPORT, offset, 4),
        compare(EQUAL, &number.to_be_bytes()),
    ]
    .concat()
}

/// Goes on if it is the packet with this mark.
pub(super) fn is_packet(mark: Mark) -> Vec<u8> {
    [
        is(mark.proto.number()),
        has_label(NETWORK, 0, mark.label),
        has_number(mark.nonce_offset(), mark.nonce),
    ]
    .concat()
}

/// The same in a table of the family netdev, whose rules know the protocol of the frame.
pub(super) fn is_packet_of_netdev(mark: Mark) -> Vec<u8> {
    [
        meta(META_FRAME),
        compare(EQUAL, &ETHERTYPE_IPV6),
        meta(META_PROTO),
        compare(EQUAL, &[mark.proto.number()]),
        has_label(NETWORK, 0, mark.label),
        has_number(mark.nonce_offset(), mark.nonce),
    ]
    .concat()
}

/// Goes on if it is an error of ICMPv6 about the packet.
pub(super) fn is_error(mark: Mark) -> Vec<u8> {
    let inner = ICMP_HEADER + IPV6_HEADER;
    [
        is(ICMPV6),
        has_label(TRANSPORT, ICMP_HEADER, mark.label),
        has_number(inner + mark.nonce_offset(), mark.nonce),
    ]
    .concat()
}

/// Goes on if it is an answer of TCP to the packet with this flag.
fn acknowledges_with(mark: Mark, flag: u8) -> Vec<u8> {
    [
        is(Proto::Tcp.number()),
        has_number(ACKNOWLEDGED, mark.nonce.wrapping_add(1)),
        has_flag(flag),
    ]
    .concat()
}

fn has_flag(flag: u8) -> Vec<u8> {
    [
        payload(TRANSPORT, FLAGS, 1),
        mask(&[flag]),
        compare(UNEQUAL, &[0]),
    ]
    .concat()
}

/// Goes on if it is the answer of a port that is closed.
pub(super) fn is_reset(mark: Mark) -> Vec<u8> {
    acknowledges_with(mark, RST)
}

/// Goes on if it is the answer of a port that is open.
pub(super) fn is_synack(mark: Mark) -> Vec<u8> {
    acknowledges_with(mark, SYN)
}

/// Goes on if it is the reset with which the host's kernel refuses such an answer: its number is the
/// one that the answer acknowledges (RFC 9293, 3.10.7.3).
pub(super) fn is_refusal(mark: Mark) -> Vec<u8> {
    [
        is(Proto::Tcp.number()),
        has_number(mark.nonce_offset(), mark.nonce.wrapping_add(1)),
        has_flag(RST),
    ]
    .concat()
}

/// For each kind of answer to it that the host itself may send: goes on if it is one.
pub(super) fn are_answers(mark: Mark) -> Vec<Vec<u8>> {
    let mut all = vec![is_error(mark)];
    if mark.proto == Proto::Tcp {
        all.push(is_reset(mark));
    }
    all
}

/// Marks the packet for tracing.
pub(super) fn set_trace() -> Vec<u8> {
    let load = one("immediate", |w| {
        w.number(1, REGISTER);
        w.nested(2, |w| w.attr(DATA_VALUE, &[1]));
    });
    // `NFTA_META_KEY`, `NFTA_META_SREG`.
    [load, numbers("meta", &[(2, META_TRACE), (3, REGISTER)])].concat()
}

/// Gives the packet's connection the timeouts of this object.
pub(super) fn set_timeout(name: &str) -> Vec<u8> {
    one("objref", |w| {
        w.number(1, object::CT_TIMEOUT);
        w.text(2, name);
    })
}

/// Counts.
pub(super) fn counter() -> Vec<u8> {
    numbers("counter", &[])
}

/// Drops.
pub(super) fn drop_it() -> Vec<u8> {
    one("immediate", |w| {
        w.number(1, REG_VERDICT);
        w.nested(2, |w| {
            w.nested(DATA_VERDICT, |w| w.number(VERDICT_CODE, DROP));
        });
    })
}

/// Drops a packet of TCP, and answers it with a reset (`NFTA_REJECT_TYPE`, `NFT_REJECT_TCP_RST`).
pub(super) fn refuse_it() -> Vec<u8> {
    numbers("reject", &[(1, 1)])
}

/// The chain of the rule in a message's payload, and how many packets it has counted; `None` for a
/// rule without a counter.
pub(super) fn count(payload: &[u8]) -> Option<(String, u64)> {
    let shown = ShownRule::read(payload)?;
    let counter = shown.expressions().find(|one| one.name == b"counter")?;
    let packets = find(counter.data, PACKETS)?.try_into().ok()?;
    Some((shown.chain()?, u64::from_be_bytes(packets)))
}
