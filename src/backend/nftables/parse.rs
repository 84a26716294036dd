//! What the kernel prints of our table. Pure.
//!
//! Any program may have written it: no length is trusted here, and what cannot be read counts as
//! not ours, or as malformed.

use std::collections::BTreeMap;

use super::chains::Chain;
use super::expression::{encode, is_as_sent};
use super::rule::SetElement;
use super::sets::{Set, datatype, length};
use crate::backend::ObservedRule;
use crate::model::rule::{Rule, RuleId};
use crate::netlink::message::{self, Attrs, Malformed, NFGENMSG_IPV6};
use crate::netlink::nf_tables::{self, DATA_VALUE, LIST_ELEM, chain, element, rule, set, table};

/// The attributes of a message's payload, behind its `struct nfgenmsg`.
pub(super) fn attributes(payload: &[u8]) -> Result<BTreeMap<u16, &[u8]>, Malformed> {
    let attrs = payload.get(NFGENMSG_IPV6.len()..);
    let attrs = attrs.ok_or(Malformed("a message without its family"))?;
    Attrs::new(attrs).collect()
}

fn nested(bytes: &[u8]) -> Result<BTreeMap<u16, &[u8]>, Malformed> {
    Attrs::new(bytes).collect()
}

/// A number; 0 where there is none.
pub(super) fn number(attrs: &BTreeMap<u16, &[u8]>, kind: u16) -> u32 {
    let value = attrs.get(&kind).and_then(|value| (*value).try_into().ok());
    value.map_or(0, u32::from_be_bytes)
}

/// A text without its NUL; empty where there is none.
pub(super) fn text<'a>(attrs: &BTreeMap<u16, &'a [u8]>, kind: u16) -> &'a str {
    let value = attrs.get(&kind).copied().unwrap_or_default();
    std::str::from_utf8(message::text(value)).unwrap_or_default()
}

/// What the kernel says of our table itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableHeader {
    pub(super) flags: u32,
    /// The port id of the socket that owns it; 0 for none.
    pub(super) owner: u32,
    /// How many chains, sets and other objects are in it.
    pub(super) objects: u32,
}

impl TableHeader {
    pub(super) fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let attrs = attributes(payload)?;
        Ok(Self {
            flags: number(&attrs, table::FLAGS),
            owner: number(&attrs, table::OWNER),
            objects: number(&attrs, table::USE),
        })
    }
}

/// A set: which it is and its size, if it is made as ours are; `None` for others.
pub(super) fn own_set(payload: &[u8]) -> Result<Option<(Set, u32)>, Malformed> {
    let attrs = attributes(payload)?;
    let Some(set) = Set::named(text(&attrs, set::NAME)) else {
        return Ok(None);
    };
    let desc = nested(attrs.get(&set::DESC).copied().unwrap_or_default())?;
    let size = number(&desc, set::DESC_SIZE);
    let counts = [set::EXPR, set::EXPRESSIONS]
        .iter()
        .any(|kind| attrs.contains_key(kind));
    let is_ours = number(&attrs, set::FLAGS) == set.flags()
        && number(&attrs, set::KEY_TYPE) == datatype(set.key())
        && number(&attrs, set::KEY_LEN) as usize == length(set.key())
        && number(&attrs, set::DATA_TYPE) == datatype(set.data())
        && (set.data().is_empty() || number(&attrs, set::DATA_LEN) as usize == length(set.data()))
        && counts == set.is_per_port()
        && (size > 0) == set.is_per_port();
    Ok(is_ours.then_some((set, size)))
}

/// Whether a chain hangs where ours does and lets pass what our rules do not drop.
pub(super) fn is_chain(wanted: &Chain, payload: &[u8]) -> Result<bool, Malformed> {
    let attrs = attributes(payload)?;
    let hook = nested(attrs.get(&chain::HOOK).copied().unwrap_or_default())?;
    Ok(text(&attrs, chain::NAME) == wanted.name
        && text(&attrs, chain::TYPE) == wanted.kind
        && hook.contains_key(&chain::HOOK_NUMBER)
        && number(&hook, chain::HOOK_NUMBER) == wanted.hook
        && number(&hook, chain::HOOK_PRIORITY) == wanted.priority as u32
        && number(&attrs, chain::POLICY) == chain::ACCEPT)
}

/// Rules as the kernel prints them: chain and expressions, in order.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<(String, Vec<u8>)>);

impl Rules {
    pub(super) fn read(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let attrs = attributes(payload)?;
        let expressions = attrs.get(&rule::EXPRESSIONS).copied().unwrap_or_default();
        let chain = text(&attrs, rule::CHAIN).to_owned();
        self.0.push((chain, expressions.to_vec()));
        Ok(())
    }

    /// Whether they are ours, all of them and no others.
    pub(super) fn are(&self, wanted: &[Chain]) -> bool {
        let count: usize = wanted.iter().map(|chain| chain.rules.len()).sum();
        let are_ours = wanted.iter().all(|chain| {
            let mut printed = self.0.iter().filter(|(name, _)| name == chain.name);
            chain.rules.iter().all(|rule| {
                let printed = printed.next();
                printed.is_some_and(|(_, printed)| is_as_sent(&encode(rule), printed))
            })
        });
        are_ours && self.0.len() == count
    }
}

/// One element as the kernel prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Raw {
    key: Vec<u8>,
    /// Whether it is the end of a range that begins with another element.
    is_end: bool,
    last: Option<Vec<u8>>,
    data: Vec<u8>,
    comment: Option<RuleId>,
}

/// The elements of a set, as they come.
#[derive(Debug, Default)]
pub(super) struct Elements(Vec<Raw>);

impl Elements {
    pub(super) fn read(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let attrs = attributes(payload)?;
        let list = attrs.get(&element::LIST_ELEMENTS).copied();
        for one in Attrs::new(list.unwrap_or_default()) {
            let (kind, bytes) = one?;
            if kind == LIST_ELEM {
                self.0.push(Raw::read(bytes)?);
            }
        }
        Ok(())
    }

    /// The rules that they are, each with its locator. An end without a beginning is passed over:
    /// nft puts one before the first range.
    pub(super) fn observed(self, set: Set) -> Vec<ObservedRule> {
        let mut raw = self.0;
        if !set.has_two_elements_each() {
            let single = raw.into_iter().map(|raw| {
                let last = raw.last.clone().unwrap_or_else(|| raw.key.clone());
                raw.observed(set, last)
            });
            return single.collect();
        }
        // Where one range ends and the next begins, the end comes first.
        raw.sort_by(|a, b| (&a.key, !a.is_end).cmp(&(&b.key, !b.is_end)));
        let mut observed = Vec::new();
        let mut all = raw.into_iter().peekable();
        while let Some(raw) = all.next() {
            if raw.is_end {
                continue;
            }
            let last = match all.peek() {
                Some(behind) => predecessor(&behind.key),
                None => Some(vec![0xff; length(set.key())]),
            };
            let last = last.unwrap_or_else(|| raw.key.clone());
            observed.push(raw.observed(set, last));
        }
        observed
    }
}

impl Raw {
    /// Without maps of attributes, because there may be tens of thousands of elements.
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut raw = Self::default();
        for attr in Attrs::new(bytes) {
            match attr? {
                (element::KEY, data) => raw.key = value(data)?.unwrap_or_default(),
                (element::KEY_END, data) => raw.last = value(data)?,
                (element::DATA, data) => raw.data = value(data)?.unwrap_or_default(),
                (element::FLAGS, flags) => {
                    let flags = flags.try_into().map_or(0, u32::from_be_bytes);
                    raw.is_end = flags & element::INTERVAL_END != 0;
                }
                (element::USERDATA, data) => raw.comment = comment(data),
                _ => {}
            }
        }
        Ok(raw)
    }

    fn observed(self, set: Set, last: Vec<u8>) -> ObservedRule {
        let element = SetElement {
            set,
            key: self.key,
            last,
            data: self.data,
        };
        let content = element.rule();
        // Without our comment, the content identifies it, if that is a rule of ours.
        let own = content.as_ref().map(Rule::id);
        let id = self.comment.or(own).unwrap_or(RuleId::from_bytes([0; 8]));
        let content = content.filter(|_| self.comment.is_some());
        ObservedRule::new(id, content, element.locator())
    }
}

/// The value in a key or in data.
fn value(data: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut found = None;
    for attr in Attrs::new(data) {
        let (kind, value) = attr?;
        if kind == DATA_VALUE {
            found = Some(value.to_vec());
        }
    }
    Ok(found)
}

/// The key before this one; `None` before the first there is.
fn predecessor(key: &[u8]) -> Option<Vec<u8>> {
    let key = u128::from_be_bytes(key.try_into().ok()?);
    Some(key.checked_sub(1)?.to_be_bytes().into())
}

/// The identity in an element's comment, among other notes.
pub(super) fn comment(userdata: &[u8]) -> Option<RuleId> {
    let text = nf_tables::comment(userdata)?.strip_suffix(&[0])?;
    RuleId::from_comment(std::str::from_utf8(text).ok()?)
}

#[cfg(test)]
mod tests;
