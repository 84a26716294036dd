//! Looks up in the kernel the chains and rules that a packet has passed, and no others: a full
//! listing of 10,000 rules takes half a second.

use std::time::{Duration, Instant};

use super::place::{Hook, Place};
use super::trace::ChainName;
use crate::netlink::NetlinkError;
use crate::netlink::message::{NFGENMSG_IPV6, Writer, find, nfgenmsg};
use crate::netlink::nf_tables::{chain, message, rule, table};
use crate::netlink::request;
use crate::netlink::shown::{ShownChain, ShownRule, number};
use crate::netlink::socket::Socket;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A chain as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListedChain {
    /// Where it hangs; `None` for a chain that is reached by jumps only.
    pub(crate) place: Option<Place>,
}

/// A rule as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListedRule {
    pub(crate) handle: u64,
    /// Its comment, unchanged.
    pub(crate) comment: Option<String>,
    /// The names of its expressions; of a match or target of ip6tables, the name of that.
    pub(crate) expressions: Vec<String>,
}

impl ListedRule {
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
    pub(super) fn chain(&mut self, name: &ChainName) -> Result<Option<ListedChain>, NetlinkError> {
        let which = |w: &mut Writer| {
            w.raw(&nfgenmsg(name.family));
            w.text(chain::TABLE, &name.table);
            w.text(chain::NAME, &name.chain);
        };
        let deadline = Instant::now() + PATIENCE;
        let shown = request::get(&mut self.socket, deadline, message::GET_CHAIN, &which)?;
        Ok(shown.map(|payload| read_chain(&payload)))
    }

    /// The rules of a chain, in their order.
    pub(super) fn rules(&mut self, name: &ChainName) -> Result<Vec<ListedRule>, NetlinkError> {
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

pub(super) fn read_chain(payload: &[u8]) -> ListedChain {
    let place = ShownChain::read(payload).and_then(|shown| {
        let (hook, priority) = shown.at?;
        Hook::of(shown.family, hook).map(|hook| Place { hook, priority })
    });
    ListedChain { place }
}

/// The kernel lists by chain; an old one may list the whole table.
pub(super) fn read_rule(payload: &[u8], chain: &str) -> Option<ListedRule> {
    let shown = ShownRule::read(payload)?;
    if shown.chain()? != chain {
        return None;
    }
    Some(ListedRule {
        handle: shown.handle()?,
        comment: shown.comment(),
        expressions: shown.expressions().map(|one| one.what()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::nf_tables::{EXPR_DATA, EXPR_NAME, xt};

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
                w.nested(EXPR_DATA, |w| w.text(xt::NAME, "REJECT"));
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
                    w.text(xt::NAME, "comment");
                    w.attr(xt::INFO, b"docker-nat66:1\0rest");
                });
            });
        });
        let read = read_rule(writer.bytes(), "FORWARD").expect("a rule");
        assert_eq!(read.comment.as_deref(), Some("docker-nat66:1"));
    }

    #[test]
    fn a_base_chain_has_a_place_and_another_has_none() {
        let base_chain = |family| {
            let mut writer = Writer::default();
            writer.raw(&[family, 0, 0, 0]);
            writer.text(chain::TABLE, "t");
            writer.text(chain::NAME, "c");
            writer.nested(chain::HOOK, |w| {
                w.number(chain::HOOK_NUMBER, 2);
                w.number(chain::HOOK_PRIORITY, (-10_i32).cast_unsigned());
            });
            writer.into_bytes()
        };
        let expected = Place {
            hook: Hook::Forward,
            priority: -10,
        };
        assert_eq!(read_chain(&base_chain(10)).place, Some(expected));
        // A bridge's.
        assert_eq!(read_chain(&base_chain(7)).place, None);
        assert_eq!(read_chain(&[]).place, None);
    }
}
