//! Looks up in the kernel the chains and rules that a packet has passed, and no others: a full
//! listing of 10,000 rules takes half a second.

use std::time::{Duration, Instant};

use super::place::{Hook, Place};
use super::trace::ChainName;
use crate::netlink::NetlinkError;
use crate::netlink::message::{Attrs, NFGENMSG_IPV6, Writer, find, nfgenmsg, text};
use crate::netlink::nf_tables::{EXPR_DATA, EXPR_NAME, chain, message, rule, table};
use crate::netlink::request;
use crate::netlink::socket::Socket;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// `NFTA_TARGET_NAME` and `NFTA_MATCH_NAME` (linux/netfilter/nf_tables_compat.h).
const XT_NAME: u16 = 1;

/// `NFTA_MATCH_INFO`.
const XT_INFO: u16 = 3;

/// A chain as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChainFacts {
    /// Where it hangs; `None` for a chain that is reached by jumps only.
    pub(crate) place: Option<Place>,
}

/// A rule as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RuleFacts {
    pub(crate) handle: u64,
    /// Its comment, as whoever wrote it left it.
    pub(crate) comment: Option<String>,
    /// The names of its expressions; of a match or target of ip6tables, the name of that.
    pub(crate) expressions: Vec<String>,
}

impl RuleFacts {
    /// Whether it answers what it drops.
    pub(crate) fn rejects(&self) -> bool {
        let mut names = self.expressions.iter();
        names.any(|name| name == "reject" || name == "REJECT")
    }

    /// Whether it keeps connection tracking away from the packet.
    pub(crate) fn untracks(&self) -> bool {
        let mut names = self.expressions.iter();
        names.any(|name| ["notrack", "NOTRACK", "CT"].contains(&name.as_str()))
    }
}

/// Asks the kernel.
#[derive(Debug)]
pub(super) struct Ruleset {
    socket: Socket,
}

impl Ruleset {
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::netfilter()?;
        Ok(Self { socket })
    }

    /// A chain; `None` where it has gone meanwhile.
    pub(super) fn chain(&mut self, name: &ChainName) -> Result<Option<ChainFacts>, NetlinkError> {
        let which = |w: &mut Writer| {
            w.raw(&nfgenmsg(name.family));
            w.text(chain::TABLE, &name.table);
            w.text(chain::NAME, &name.chain);
        };
        let deadline = Instant::now() + PATIENCE;
        let shown = request::get(&mut self.socket, deadline, message::GET_CHAIN, &which)?;
        Ok(shown.map(|payload| read_chain(name.family, &payload)))
    }

    /// The rules of a chain, in their order.
    pub(super) fn rules(&mut self, name: &ChainName) -> Result<Vec<RuleFacts>, NetlinkError> {
        let which = |w: &mut Writer| {
            w.raw(&nfgenmsg(name.family));
            w.text(rule::TABLE, &name.table);
            w.text(rule::CHAIN, &name.chain);
        };
        let deadline = Instant::now() + PATIENCE;
        let mut rules = Vec::new();
        let mut each = |payload: &[u8]| {
            rules.extend(read_rule(payload, &name.chain));
            Ok(())
        };
        let (socket, kind) = (&mut self.socket, message::GET_RULE);
        match request::dump(socket, deadline, kind, &which, &mut each) {
            Ok(_) => Ok(rules),
            Err(error) if error.is_overtaken() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The netlink port of the process that owns the chain's table, which is the process's id
    /// where it has one such socket; `None` for a table without an owner.
    pub(super) fn owner(&mut self, name: &ChainName) -> Result<Option<u32>, NetlinkError> {
        let which = |w: &mut Writer| {
            w.raw(&nfgenmsg(name.family));
            w.text(table::NAME, &name.table);
        };
        let deadline = Instant::now() + PATIENCE;
        let shown = request::get(&mut self.socket, deadline, message::GET_TABLE, &which)?;
        let attributes = shown.as_deref().and_then(|p| p.get(NFGENMSG_IPV6.len()..));
        let port = find(attributes.unwrap_or_default(), table::OWNER);
        Ok(port.and_then(number))
    }
}

fn read_chain(family: u8, payload: &[u8]) -> ChainFacts {
    let attributes = payload.get(NFGENMSG_IPV6.len()..).unwrap_or_default();
    let place = || {
        let hook = find(attributes, chain::HOOK)?;
        let of_hook = |kind| find(hook, kind).and_then(number);
        Some(Place {
            hook: Hook::of(family, of_hook(chain::HOOK_NUMBER)?)?,
            priority: of_hook(chain::HOOK_PRIORITY)?.cast_signed(),
        })
    };
    ChainFacts { place: place() }
}

/// The kernel lists by chain; an old one may list the whole table.
fn read_rule(payload: &[u8], chain: &str) -> Option<RuleFacts> {
    let attributes = payload.get(NFGENMSG_IPV6.len()..)?;
    if text(find(attributes, rule::CHAIN)?) != chain.as_bytes() {
        return None;
    }
    let handle = find(attributes, rule::HANDLE)?.try_into().ok()?;
    let expressions = find(attributes, rule::EXPRESSIONS).unwrap_or_default();
    let expressions = Attrs::new(expressions).map_while(Result::ok);
    let of_match = || expressions.clone().find_map(|(_, one)| xt_comment(one));
    let userdata = find(attributes, rule::USERDATA);
    Some(RuleFacts {
        handle: u64::from_be_bytes(handle),
        comment: userdata.and_then(comment).or_else(of_match),
        expressions: expressions.filter_map(|(_, one)| name(one)).collect(),
    })
}

fn name(expression: &[u8]) -> Option<String> {
    let name = text(find(expression, EXPR_NAME)?);
    let of_xt = || find(find(expression, EXPR_DATA)?, XT_NAME).map(text);
    let name = match name {
        b"match" | b"target" => of_xt().unwrap_or(name),
        name => name,
    };
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The comment in a match of ip6tables: `struct xt_comment_info`, a text with its NUL.
fn xt_comment(expression: &[u8]) -> Option<String> {
    let is_match = text(find(expression, EXPR_NAME)?) == b"match";
    let data = find(expression, EXPR_DATA).filter(|_| is_match)?;
    let is_comment = text(find(data, XT_NAME)?) == b"comment";
    let info = find(data, XT_INFO).filter(|_| is_comment)?;
    let comment = info.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(comment).into_owned())
}

/// The comment in the user data that nft and ip6tables store with a rule: type 0, a length, the
/// text with its NUL (libnftnl, `enum nftnl_udata_rule_types`).
fn comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*length))?;
        if *kind == 0 {
            return Some(String::from_utf8_lossy(text(value)).into_owned());
        }
        userdata = &rest[value.len()..];
    }
    None
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_comment_and_the_names_of_its_parts_are_read() {
        let mut writer = Writer::default();
        writer.raw(&[10, 0, 0, 0]);
        writer.text(rule::CHAIN, "FORWARD");
        writer.attr(rule::HANDLE, &7_u64.to_be_bytes());
        writer.nested(rule::EXPRESSIONS, |w| {
            w.nested(1, |w| w.text(EXPR_NAME, "counter"));
            w.nested(1, |w| {
                w.text(EXPR_NAME, "target");
                w.nested(EXPR_DATA, |w| w.text(XT_NAME, "REJECT"));
            });
        });
        writer.attr(rule::USERDATA, b"\x01\x01x\x00\x04mine");
        let read = read_rule(writer.bytes(), "FORWARD").expect("a rule");
        assert_eq!(read.handle, 7);
        assert_eq!(read.comment.as_deref(), Some("mine"));
        assert_eq!(read.expressions, ["counter", "REJECT"]);
        assert!(read.rejects() && !read.untracks());
        assert_eq!(read_rule(writer.bytes(), "INPUT"), None);
    }

    #[test]
    fn a_comment_that_ip6tables_wrote_is_read() {
        let mut writer = Writer::default();
        writer.raw(&[10, 0, 0, 0]);
        writer.text(rule::CHAIN, "FORWARD");
        writer.attr(rule::HANDLE, &7_u64.to_be_bytes());
        writer.nested(rule::EXPRESSIONS, |w| {
            w.nested(1, |w| {
                w.text(EXPR_NAME, "match");
                w.nested(EXPR_DATA, |w| {
                    w.text(XT_NAME, "comment");
                    w.attr(XT_INFO, b"docker-nat66:1\0rest");
                });
            });
        });
        let read = read_rule(writer.bytes(), "FORWARD").expect("a rule");
        assert_eq!(read.comment.as_deref(), Some("docker-nat66:1"));
    }

    #[test]
    fn a_base_chain_has_a_place_and_another_has_none() {
        let mut writer = Writer::default();
        writer.raw(&[10, 0, 0, 0]);
        writer.nested(chain::HOOK, |w| {
            w.number(chain::HOOK_NUMBER, 2);
            w.number(chain::HOOK_PRIORITY, (-10_i32).cast_unsigned());
        });
        let expected = Place {
            hook: Hook::Forward,
            priority: -10,
        };
        assert_eq!(read_chain(10, writer.bytes()).place, Some(expected));
        // A bridge's.
        assert_eq!(read_chain(7, writer.bytes()).place, None);
        assert_eq!(read_chain(10, &[]).place, None);
    }
}
