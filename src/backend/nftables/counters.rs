//! Reads how many connections each element of our maps has taken. Pure, apart from [`read`].
//!
//! A map of NAT is consulted for the first packet of a connection only, so its counters count
//! connections.

use std::collections::BTreeMap;

use super::error::Fault;
use super::exec::Call;
use super::parse::{attributes, comment};
use super::sets::Set;
use crate::model::rule::RuleId;
use crate::netlink::message::{Attrs, Malformed, Writer};
use crate::netlink::nf_tables::{
    COUNTER_PACKETS, EXPR_DATA, EXPR_NAME, LIST_ELEM, element, message,
};

/// The counters of all maps that forward, by the rules that the elements are.
pub(super) fn read(call: &mut Call<'_>, name: &str) -> Result<BTreeMap<RuleId, u64>, Fault> {
    let mut counts = BTreeMap::new();
    let forwarding = |set: &Set| set.is_per_port() && !set.data().is_empty();
    for set in Set::ALL.into_iter().filter(forwarding) {
        let of_set = |w: &mut Writer| {
            w.text(element::LIST_TABLE, name);
            w.text(element::LIST_SET, set.name());
        };
        let mut take = |payload: &[u8]| take(payload, &mut counts);
        call.dump(message::GET_ELEMENTS, &of_set, &mut take)?;
    }
    Ok(counts)
}

/// Adds the elements of one message.
fn take(payload: &[u8], counts: &mut BTreeMap<RuleId, u64>) -> Result<(), Malformed> {
    let attrs = attributes(payload)?;
    let list = attrs.get(&element::LIST_ELEMENTS).copied();
    for one in Attrs::new(list.unwrap_or_default()) {
        let (kind, bytes) = one?;
        if kind == LIST_ELEM
            && let (Some(id), Some(packets)) = counted(bytes)?
        {
            counts.insert(id, packets);
        }
    }
    Ok(())
}

/// An element's identity, and its counter.
fn counted(bytes: &[u8]) -> Result<(Option<RuleId>, Option<u64>), Malformed> {
    let (mut id, mut packets) = (None, None);
    for attr in Attrs::new(bytes) {
        match attr? {
            (element::USERDATA, data) => id = comment(data),
            (element::EXPR, expression) => packets = counter(expression)?,
            (element::EXPRESSIONS, list) => {
                for one in Attrs::new(list) {
                    packets = packets.or(counter(one?.1)?);
                }
            }
            _ => {}
        }
    }
    Ok((id, packets))
}

/// The packets of a counter; `None` of another expression.
fn counter(expression: &[u8]) -> Result<Option<u64>, Malformed> {
    let (mut is_counter, mut packets) = (false, None);
    for attr in Attrs::new(expression) {
        match attr? {
            (EXPR_NAME, name) => is_counter = name.strip_suffix(&[0]).unwrap_or(name) == b"counter",
            (EXPR_DATA, data) => {
                for attr in Attrs::new(data) {
                    let (kind, value) = attr?;
                    if kind == COUNTER_PACKETS {
                        packets = value.try_into().ok().map(u64::from_be_bytes);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(packets.filter(|_| is_counter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_counters_packets_count() {
        let expression = |name: &str| {
            let mut writer = Writer::default();
            writer.text(EXPR_NAME, name);
            writer.nested(EXPR_DATA, |w| {
                w.attr(1, &99_u64.to_be_bytes());
                w.attr(COUNTER_PACKETS, &7_u64.to_be_bytes());
            });
            writer.into_bytes()
        };
        assert_eq!(counter(&expression("counter")).expect("whole"), Some(7));
        assert_eq!(counter(&expression("quota")).expect("whole"), None);
        assert_eq!(counter(&[]).expect("nothing"), None);
    }
}
