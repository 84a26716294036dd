//! Reads the kernel's reports of how a packet fares (`NFT_MSG_TRACE`). Pure; the bytes come from
//! the kernel, the names in them from the programs that made the rules.

use std::net::Ipv6Addr;

use crate::netlink::Malformed;
use crate::netlink::message::{Message, find};
use crate::netlink::nf_tables::{VERDICT_CHAIN, VERDICT_CODE, message, trace as attribute};
use crate::netlink::shown::{number, string};

/// `struct nfgenmsg`.
const HEADER: usize = 4;

/// Source and destination in an IPv6 header, and their ports in every transport header.
const SOURCE: [std::ops::Range<usize>; 2] = [8..24, 0..2];
const DESTINATION: [std::ops::Range<usize>; 2] = [24..40, 2..4];

/// `NF_DROP` to `NF_QUEUE` (linux/netfilter.h), and above 16 bits what belongs to them.
const CODE: u32 = 0xff;

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The packet's number, as the kernel gives it for a time.
    pub(super) id: u32,
    /// Where it was.
    pub(super) chain: ChainName,
    /// The rule; `None` where the chain came to its end.
    pub(super) handle: Option<u64>,
    /// What was decided.
    pub(super) decision: Decision,
    /// The packet's destination, before this base chain's own rewriting. Reported once per base
    /// chain.
    pub(super) destination: Option<(Ipv6Addr, u16)>,
    /// Its source, likewise.
    pub(super) source: Option<(Ipv6Addr, u16)>,
    /// The index of the interface by which it leaves, once that is known.
    pub(super) out: Option<u32>,
}

/// Names a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChainName {
    /// `NFPROTO_*` of the table.
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) chain: String,
}

/// What a rule or the end of a chain decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The rule's expressions held, and the next rule is tried.
    Continue,
    /// On to this chain, by a jump or for good.
    To(String),
    /// Back to where the jump was.
    Return,
    /// This chain lets it pass; another may still drop it.
    Accept,
    /// It goes no further.
    Drop,
    /// A program gets it by this queue of NFQUEUE.
    Queue(u16),
    /// A module has taken it: it goes its own way.
    Stolen,
    /// A code that is not known here.
    Other(u32),
}

impl Event {
    /// Reads a message; `None` if it is of another kind.
    pub(super) fn read(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        if message.kind != message::TRACE {
            return Ok(None);
        }
        let (header, attributes) = message
            .payload
            .split_at_checked(HEADER)
            .ok_or(Malformed("a trace without its family"))?;
        let part = |kind| find(attributes, kind);
        let count = |kind| part(kind).and_then(number);
        let name = |kind| part(kind).map(string);
        let (Some(id), Some(table), Some(chain), Some(kind)) = (
            count(attribute::ID),
            name(attribute::TABLE),
            name(attribute::CHAIN),
            count(attribute::TYPE),
        ) else {
            return Err(Malformed("a trace without its id, its chain or its type"));
        };
        let verdict = match kind {
            attribute::OF_RULE | attribute::OF_RETURN => part(attribute::VERDICT).map(decision),
            attribute::OF_POLICY => count(attribute::POLICY).map(|code| of_code(code, None)),
            _ => return Ok(None),
        };
        let handle = part(attribute::RULE_HANDLE).and_then(|value| value.try_into().ok());
        let network = part(attribute::NETWORK_HEADER);
        let headers = network.zip(part(attribute::TRANSPORT_HEADER));
        // Of headers that are cut off both ends are unknown.
        let ends = headers.and_then(|it| Some((end(it, SOURCE)?, end(it, DESTINATION)?)));
        Ok(Some(Self {
            id,
            chain: ChainName {
                family: header[0],
                table,
                chain,
            },
            handle: handle.map(u64::from_be_bytes).filter(|handle| *handle != 0),
            decision: verdict.ok_or(Malformed("a trace without its verdict"))?,
            destination: ends.map(|(_, destination)| destination),
            source: ends.map(|(source, _)| source),
            out: count(attribute::OIF),
        }))
    }
}

fn decision(verdict: &[u8]) -> Decision {
    let code = find(verdict, VERDICT_CODE).and_then(number);
    of_code(code.unwrap_or(u32::MAX), find(verdict, VERDICT_CHAIN))
}

/// Negative codes are nf_tables' own (`enum nft_verdicts`, linux/netfilter/nf_tables.h).
fn of_code(code: u32, chain: Option<&[u8]>) -> Decision {
    match code.cast_signed() {
        -1 | -2 => Decision::Continue,
        -3 | -4 => Decision::To(chain.map(string).unwrap_or_default()),
        -5 => Decision::Return,
        _ => match code & CODE {
            0 => Decision::Drop,
            1 => Decision::Accept,
            2 => Decision::Stolen,
            3 => Decision::Queue((code >> 16) as u16),
            _ => Decision::Other(code),
        },
    }
}

fn end(
    (network, transport): (&[u8], &[u8]),
    [addr, port]: [std::ops::Range<usize>; 2],
) -> Option<(Ipv6Addr, u16)> {
    let addr: [u8; 16] = network.get(addr)?.try_into().ok()?;
    let port = transport.get(port)?.try_into().ok()?;
    let is_ipv6 = network.first()? >> 4 == 6;
    is_ipv6.then(|| (addr.into(), u16::from_be_bytes(port)))
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    /// An event of a rule, or without a handle of a chain's end, in the family inet.
    pub(crate) fn event(table: &str, chain: &str, handle: u64, decision: Decision) -> Event {
        Event {
            id: 7,
            chain: ChainName {
                family: 1,
                table: table.to_owned(),
                chain: chain.to_owned(),
            },
            handle: (handle != 0).then_some(handle),
            decision,
            destination: None,
            source: None,
            out: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::message::{Messages, Writer};

    proptest! {
        #[test]
        fn whatever_the_bytes_are_reading_ends_without_a_panic(
            attributes in prop::collection::vec(
                (0..24_u16, prop::collection::vec(any::<u8>(), 0..64)),
                0..12,
            ),
            cut in 0..200_usize,
        ) {
            let mut writer = Writer::default();
            writer.message(message::TRACE, 0, 0, |w| {
                w.raw(&[1, 0, 0, 0]);
                for (kind, value) in &attributes {
                    w.attr(*kind, value);
                }
            });
            let whole = Messages::new(writer.bytes()).next().expect("one").expect("well-formed");
            let _ = Event::read(&whole);
            let payload = &whole.payload[..cut.min(whole.payload.len())];
            let _ = Event::read(&Message { payload, ..whole });
        }
    }

    fn read(fill: impl FnOnce(&mut Writer)) -> Result<Option<Event>, Malformed> {
        let mut writer = Writer::default();
        writer.message(message::TRACE, 0, 0, |w| {
            w.raw(&[1, 0, 0, 0]);
            fill(w);
        });
        let message = Messages::new(writer.bytes()).next().expect("one")?;
        Event::read(&message)
    }

    fn named(w: &mut Writer, kind: u32) {
        w.number(attribute::ID, 7);
        w.text(attribute::TABLE, "t");
        w.text(attribute::CHAIN, "c");
        w.number(attribute::TYPE, kind);
    }

    #[test]
    fn a_rules_verdict_is_read_with_its_handle_and_the_packets_destination() {
        let event = read(|w| {
            named(w, attribute::OF_RULE);
            w.attr(attribute::RULE_HANDLE, &9_u64.to_be_bytes());
            w.nested(attribute::VERDICT, |w| {
                w.number(VERDICT_CODE, (-3_i32).cast_unsigned());
                w.text(VERDICT_CHAIN, "next");
            });
            let mut header = [0; 40];
            (header[0], header[24], header[39]) = (0x60, 0xfd, 2);
            w.attr(attribute::NETWORK_HEADER, &header);
            w.attr(attribute::TRANSPORT_HEADER, &[0, 1, 0, 80]);
        });
        let event = event.expect("well-formed").expect("a trace");
        assert_eq!(event.decision, Decision::To("next".into()));
        assert_eq!((event.id, event.handle), (7, Some(9)));
        assert_eq!(event.chain.family, 1);
        let to = ("fd00::2".parse().unwrap(), 80);
        assert_eq!(event.destination, Some(to));
    }

    #[test]
    fn every_code_has_its_meaning() {
        let cases = [
            (0_i64, Decision::Drop),
            (1, Decision::Accept),
            (2, Decision::Stolen),
            (7 << 16 | 3, Decision::Queue(7)),
            // A reject that carries an errno.
            (1 << 16, Decision::Drop),
            (-1, Decision::Continue),
            (-5, Decision::Return),
            (9, Decision::Other(9)),
        ];
        for (code, expected) in cases {
            assert_eq!(of_code(code as u32, None), expected, "{code}");
        }
    }

    #[test]
    fn a_policy_is_the_decision_of_a_chain_that_came_to_its_end() {
        let event = read(|w| {
            named(w, attribute::OF_POLICY);
            w.number(attribute::POLICY, 0);
        });
        let event = event.expect("well-formed").expect("a trace");
        assert_eq!((event.handle, event.decision), (None, Decision::Drop));
    }

    #[test]
    fn what_is_no_whole_trace_is_refused() {
        assert!(read(|_| {}).is_err());
        assert!(read(|w| named(w, attribute::OF_RULE)).is_err());
        assert_eq!(read(|w| named(w, 99)), Ok(None));
    }
}
