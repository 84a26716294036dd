//! Reads chains and rules of nf_tables, those of any program. Pure.
//!
//! The numbers are from linux/netfilter/nf_tables.h unless a comment names another source. What is
//! not known here is a condition that may hold.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::text::conntrack;
use super::{BaseChain, Home, Hook, Match, Place, Rule, Verdict};
use crate::netlink::message::{INET, IPV6, find, text};
use crate::netlink::nf_tables::{DATA_VALUE, DROP, chain, cmp, immediate, payload, xt};
use crate::netlink::shown::{self, ShownChain, ShownRule, number, string};

/// `NF_INET_PRE_ROUTING`, `NF_INET_FORWARD` (linux/netfilter.h).
const HOOKS: (u32, u32) = (0, 2);
/// `NFT_CONTINUE`, `NFT_JUMP`, `NFT_GOTO`, `NFT_RETURN`: negative numbers.
const CODES: [u32; 4] = [-1_i32 as u32, -3_i32 as u32, -4_i32 as u32, -5_i32 as u32];
/// `NFTA_META_DREG`, `NFTA_META_KEY`, and so for `ct`; `NFTA_FIB_DREG`, `NFTA_FIB_FLAGS`.
const LOAD: (u16, u16) = (1, 2);
const FIB_FLAGS: u16 = 3;
/// `NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF`.
const FIB_BACK: u32 = 0x1 | 0x8;
/// `NFT_META_IIFNAME`, `NFT_META_OIFNAME`, `NFT_META_NFPROTO`, `NFT_META_L4PROTO`.
const META: [(u32, Key); 4] = [
    (6, Key::From),
    (7, Key::By),
    (15, Key::Family),
    (16, Key::Proto),
];
/// `NFT_CT_STATE`, `NFT_CT_STATUS`.
const CT: [(u32, Key); 2] = [(0, Key::State), (2, Key::Status)];
/// Base and offset of an IPv6 header's next header and destination (`NFT_PAYLOAD_NETWORK_HEADER`).
const FIELDS: [((u32, u32), Key); 2] = [((1, 6), Key::Proto), ((1, 24), Key::To)];
/// `NFTA_BITWISE_SREG`, `NFTA_BITWISE_DREG`, `NFTA_BITWISE_MASK`.
const BITWISE: (u16, u16, u16) = (1, 2, 4);
/// `NFTA_LOOKUP_SET`, `NFTA_LOOKUP_SREG`, `NFTA_LOOKUP_DREG`, `NFTA_LOOKUP_FLAGS`;
/// `NFT_LOOKUP_F_INV`.
const LOOKUP: (u16, u16, u16, u16) = (1, 2, 3, 5);
const INVERTED: u32 = 1;
/// In `struct xt_conntrack_mtinfo3` (linux/netfilter/xt_conntrack.h): what is matched, what of it
/// is inverted, and the states; in host byte order. `XT_CONNTRACK_STATE`.
const XT_CONNTRACK: [usize; 3] = [146, 148, 150];
const XT_STATE: u16 = 1;
/// The states that nf_tables has, too, and `XT_CONNTRACK_STATE_SNAT`, `XT_CONNTRACK_STATE_DNAT`
/// as bits of the status.
const XT_STATES: u16 = 0xf;
const XT_REWRITTEN: [(u16, u32); 2] =
    [(1 << 6, super::status::SNAT), (1 << 7, super::status::DNAT)];

/// What a register holds of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    From,
    By,
    Family,
    Proto,
    State,
    Status,
    To,
    /// The interface of the route back to the source.
    Back,
    Other,
}

/// A set or a map that a rule looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lookup {
    pub(super) key: Key,
    pub(super) set: String,
    pub(super) inverted: bool,
    /// It is a map to verdicts.
    pub(super) decides: bool,
}

/// A rule whose sets have not been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) rule: Rule,
    pub(super) lookups: Vec<Lookup>,
}

/// The base chain in the payload of a message; `None` for one without a hook, and for families
/// through which no forwarded IPv6 packet goes.
pub(super) fn base_chain(payload: &[u8]) -> Option<BaseChain> {
    let shown = ShownChain::read(payload).filter(|it| is_forwarding(it.family))?;
    let hook = shown.hook()?;
    Some(BaseChain {
        place: Place {
            home: Home::Nft(shown.family),
            table: shown.table,
            chain: shown.name,
        },
        hook: match hook {
            number if number == HOOKS.0 => Hook::Prerouting,
            number if number == HOOKS.1 => Hook::Forward,
            _ => Hook::Other,
        },
        drops: shown.policy == Some(DROP),
    })
}

/// The rule in the payload of a message.
pub(super) fn draft(payload: &[u8]) -> Option<Draft> {
    let shown = ShownRule::read(payload).filter(|it| is_forwarding(it.family))?;
    let place = Place {
        home: Home::Nft(shown.family),
        table: shown.table()?,
        chain: shown.chain()?,
    };
    let handle = shown.handle()?;
    let mut way = Way::default();
    for one in shown.expressions() {
        if way.pass(one.name, one.data).is_none() {
            way.matches.push(Match::Other);
        }
    }
    Some(Draft {
        rule: Rule {
            place,
            handle,
            matches: way.matches,
            verdict: way.verdict.unwrap_or(Verdict::None),
        },
        lookups: way.lookups,
    })
}

/// Whether a forwarded IPv6 packet passes tables of this family.
fn is_forwarding(family: u8) -> bool {
    [INET, IPV6].contains(&family)
}

#[derive(Debug, Default)]
struct Way {
    held: BTreeMap<u32, (Key, Option<Vec<u8>>)>,
    matches: Vec<Match>,
    verdict: Option<Verdict>,
    lookups: Vec<Lookup>,
}

impl Way {
    /// Notes what one expression does; `None` if it is not understood.
    fn pass(&mut self, name: &[u8], data: &[u8]) -> Option<()> {
        let read = |kind| find(data, kind).and_then(number);
        match name {
            b"immediate" => {
                if let Some(verdict) = find(data, immediate::DATA).and_then(verdict_of) {
                    self.verdict = Some(verdict);
                }
            }
            b"meta" | b"ct" | b"rt" | b"exthdr" | b"socket" | b"hash" | b"numgen" | b"osf" => {
                let keys: &[(u32, Key)] = match name {
                    b"meta" => &META,
                    b"ct" => &CT,
                    _ => &[],
                };
                // Without a register for the result, something of the packet is set.
                if let Some(register) = read(LOAD.0) {
                    let key = read(LOAD.1);
                    let known = keys.iter().find(|(number, _)| Some(*number) == key);
                    self.hold(register, known.map_or(Key::Other, |(_, key)| *key));
                }
            }
            b"fib" => {
                let back = read(FIB_FLAGS)? & FIB_BACK == FIB_BACK;
                self.hold(read(LOAD.0)?, if back { Key::Back } else { Key::Other });
            }
            b"payload" => {
                if let Some(register) = read(payload::DREG) {
                    let field = (read(payload::BASE)?, read(payload::OFFSET)?);
                    let known = FIELDS.iter().find(|(place, _)| *place == field);
                    self.hold(register, known.map_or(Key::Other, |(_, key)| *key));
                }
            }
            b"bitwise" => {
                let (key, _) = self.held.get(&read(BITWISE.0)?).cloned()?;
                let mask = find(find(data, BITWISE.2)?, DATA_VALUE)?;
                self.held
                    .insert(read(BITWISE.1)?, (key, Some(mask.to_vec())));
            }
            b"cmp" => {
                let value = find(find(data, cmp::DATA)?, DATA_VALUE)?;
                let held = self.held.get(&read(cmp::SREG)?)?;
                self.matches.push(compare(held, read(cmp::OP)?, value)?);
            }
            b"lookup" => {
                let (key, mask) = self.held.get(&read(LOOKUP.1)?).cloned()?;
                self.lookups.push(Lookup {
                    key: if mask.is_some() { Key::Other } else { key },
                    set: string(find(data, LOOKUP.0)?),
                    inverted: read(LOOKUP.3).is_some_and(|flags| flags & INVERTED != 0),
                    decides: read(LOOKUP.2) == Some(0),
                });
            }
            b"reject" => self.verdict = Some(Verdict::Drop),
            b"queue" | b"tproxy" | b"synproxy" => self.verdict = Some(Verdict::Unknown),
            b"target" => match text(find(data, xt::NAME)?) {
                b"REJECT" | b"DROP" => self.verdict = Some(Verdict::Drop),
                b"ACCEPT" => self.verdict = Some(Verdict::Accept),
                b"NFQUEUE" => self.verdict = Some(Verdict::Unknown),
                _ => {}
            },
            b"match" => match text(find(data, xt::NAME)?) {
                b"comment" => {}
                b"conntrack" => self.matches.push(xt_state(find(data, xt::INFO)?)?),
                b"rpfilter" => self.matches.push(Match::NoRouteBack),
                _ => self.matches.push(Match::Other),
            },
            b"counter" | b"log" | b"notrack" | b"nat" | b"masq" | b"redir" | b"objref" | b"dup"
            | b"flow_offload" | b"last" | b"byteorder" => {}
            _ => return None,
        }
        Some(())
    }

    fn hold(&mut self, register: u32, key: Key) {
        self.held.insert(register, (key, None));
    }
}

fn compare(held: &(Key, Option<Vec<u8>>), how: u32, value: &[u8]) -> Option<Match> {
    let not = match how {
        cmp::EQUAL => false,
        cmp::UNEQUAL => true,
        _ => return None,
    };
    let is_zero = value.iter().all(|byte| *byte == 0);
    match (held.0, &held.1) {
        (Key::State, Some(mask)) if is_zero => Some(Match::State(!not, host_number(mask)?)),
        (Key::Status, Some(mask)) if is_zero => Some(Match::Status(!not, host_number(mask)?)),
        (Key::To, mask) => Some(Match::To(not, vec![net(value, mask.as_deref())?])),
        (_, Some(_)) => None,
        (Key::Back, None) if is_zero && !not => Some(Match::NoRouteBack),
        (key, None) => matches_any(key, not, &[value]),
    }
}

/// The condition that a value is one of these.
pub(super) fn matches_any(key: Key, not: bool, values: &[&[u8]]) -> Option<Match> {
    let bits = || {
        values
            .iter()
            .try_fold(0, |all, value| Some(all | host_number(value)?))
    };
    Some(match key {
        Key::From => Match::From(not, values.iter().map(|value| interface(value)).collect()),
        Key::By => Match::By(not, values.iter().map(|value| interface(value)).collect()),
        Key::Family => match values {
            [value] => Match::Family(not, *value.first()?),
            _ => return None,
        },
        Key::Proto => {
            let protos = values.iter().map(|value| value.first().copied());
            Match::Proto(not, protos.collect::<Option<_>>()?)
        }
        Key::State => Match::State(not, bits()?),
        // A set of statuses names each combination.
        Key::Status | Key::To | Key::Back | Key::Other => return None,
    })
}

/// What the data of an expression or an element decides; `None` if it is no verdict.
pub(super) fn verdict_of(data: &[u8]) -> Option<Verdict> {
    let (code, lead) = shown::verdict(data)?;
    let [next, jump, goto, back] = CODES;
    Some(match code {
        DROP => Verdict::Drop,
        chain::ACCEPT => Verdict::Accept,
        code if code == next => Verdict::None,
        code if code == jump => Verdict::Jump(lead?),
        code if code == goto => Verdict::Goto(lead?),
        code if code == back => Verdict::Return,
        _ => Verdict::Unknown,
    })
}

/// The match of ip6tables for a connection's state; `None` where it also looks at something else.
fn xt_state(info: &[u8]) -> Option<Match> {
    let read = |at: usize| Some(u16::from_ne_bytes(info.get(at..at + 2)?.try_into().ok()?));
    let [flags, inverted, states] = XT_CONNTRACK.map(read);
    if flags? != XT_STATE {
        return None;
    }
    let states = states?;
    let rewritten = XT_REWRITTEN.iter().filter(|(bit, _)| states & bit != 0);
    let rewritten = rewritten.fold(0, |all, (_, status)| all | status);
    Some(conntrack(
        inverted? & XT_STATE != 0,
        u32::from(states & XT_STATES),
        rewritten,
    ))
}

/// The network whose addresses begin with `value`, as far as the mask says.
fn net(value: &[u8], mask: Option<&[u8]>) -> Option<Ipv6Net> {
    let mut addr = [0; 16];
    addr.get_mut(..value.len())?.copy_from_slice(value);
    let bits = match mask {
        None => 8 * value.len(),
        Some(mask) => {
            let ones: usize = mask.iter().map(|byte| byte.leading_ones() as usize).sum();
            let all: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
            (all as usize == ones).then_some(ones)?
        }
    };
    Ipv6Net::new(Ipv6Addr::from(addr), u8::try_from(bits).ok()?).ok()
}

/// Values of a connection's state and status are in the byte order of the machine.
fn host_number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// An interface's name; without a closing NUL it is the beginning of one.
fn interface(value: &[u8]) -> String {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_whole = name.len() < value.len();
    let name = String::from_utf8_lossy(name);
    if is_whole {
        name.into_owned()
    } else {
        format!("{name}+")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sets;
    use super::*;
    use crate::netlink::message::Writer;
    use crate::netlink::nf_tables::{EXPR_DATA, EXPR_NAME, rule};

    proptest! {
        /// Rules of others may hold anything: reading ends, and without a panic.
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200), name in "[a-z_]{2,9}") {
            let payload = [&[IPV6, 0, 0, 0], &bytes[..]].concat();
            base_chain(&payload);
            draft(&payload);
            sets::elements(&payload);
            let mut writer = Writer::default();
            writer.raw(&[INET, 0, 0, 0]);
            writer.text(rule::TABLE, "t");
            writer.text(rule::CHAIN, "c");
            writer.attr(rule::HANDLE, &7_u64.to_be_bytes());
            writer.nested(rule::EXPRESSIONS, |writer| {
                for name in [name.as_str(), "match", "cmp", "immediate", "lookup", "bitwise"] {
                    writer.nested(1, |writer| {
                        writer.text(EXPR_NAME, name);
                        writer.nest(EXPR_DATA, &bytes);
                    });
                }
            });
            let read = draft(writer.bytes()).expect("a rule");
            prop_assert_eq!(read.rule.handle, 7);
        }
    }
}
