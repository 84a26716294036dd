//! The content of a listed rule, where it is in the form in which ours are printed.
//!
//! Pure. The order of options is left open, since versions may differ; everything else is not:
//! a rule with an option that ours lack is none of ours.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::shape::{AddrType, HOOKS, Shape, Table, Target, chain, own_chain, states};
use super::words::Word;
use crate::model::rule::{BackendKind, LINK_LOCAL, Rule, RuleId};

/// The options of a rule of ours, each at most once. Anything else makes it none.
#[derive(Debug, Default)]
struct Options<'a> {
    chain: Option<&'a str>,
    source: Option<&'a str>,
    not_from: Option<&'a str>,
    destination: Option<&'a str>,
    not_to: Option<&'a str>,
    device_in: Option<&'a str>,
    device_out: Option<&'a str>,
    proto: Option<&'a str>,
    port: Option<&'a str>,
    states: Option<&'a str>,
    not_states: Option<&'a str>,
    not_from_type: Option<&'a str>,
    to_type: Option<&'a str>,
    comment: Option<&'a str>,
    target: Option<&'a str>,
    new_source: Option<&'a str>,
    new_destination: Option<&'a str>,
}

impl<'a> Options<'a> {
    /// Sorts the words of a rule; `None` if one is left over.
    fn read(words: &'a [Word]) -> Option<Self> {
        let mut found = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut option = word.text.as_str();
            if word.quoted {
                return None;
            }
            let negated = option == "!";
            if negated {
                option = words.next()?.text.as_str();
            }
            let value = words.next()?.text.as_str();
            let slot = match (negated, option) {
                (false, "-A") => &mut found.chain,
                (false, "-s") => &mut found.source,
                (true, "-s") => &mut found.not_from,
                (false, "-d") => &mut found.destination,
                (true, "-d") => &mut found.not_to,
                (false, "-i") => &mut found.device_in,
                (false, "-o") => &mut found.device_out,
                (false, "-p") => &mut found.proto,
                (false, "--dport") => &mut found.port,
                (false, "--ctstate") => &mut found.states,
                (true, "--ctstate") => &mut found.not_states,
                (true, "--src-type") => &mut found.not_from_type,
                (false, "--dst-type") => &mut found.to_type,
                (false, "--comment") => &mut found.comment,
                (false, "-j") => &mut found.target,
                (false, "--to-source") => &mut found.new_source,
                (false, "--to-destination") => &mut found.new_destination,
                // The match's options tell whether it says anything.
                (false, "-m") if matches!(value, "addrtype" | "comment" | "conntrack") => continue,
                (false, "-m") if found.proto == Some(value) => continue,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(found)
    }

    /// `None` if a value is not one that ours can have.
    fn shape(&self, table: Table) -> Option<Shape> {
        let target = match (self.target?, self.new_source, self.new_destination) {
            ("ACCEPT", None, None) => Target::Accept,
            ("DROP", None, None) => Target::Drop,
            ("MASQUERADE", None, None) => Target::Masquerade,
            ("SNAT", Some(source), None) => Target::Snat(source.parse().ok()?),
            ("DNAT", None, Some(target)) => {
                let (addr, target_port) = target.strip_prefix('[')?.split_once("]:")?;
                Target::Dnat(addr.parse().ok()?, port(target_port)?)
            }
            (name, None, None) => {
                Target::Jump(HOOKS.into_iter().find(|hook| own_chain(*hook) == name)?)
            }
            _ => return None,
        };
        Some(Shape {
            table,
            chain: chain(self.chain?)?,
            dev_in: value(self.device_in, |dev| dev.parse().ok())?,
            dev_out: value(self.device_out, |dev| dev.parse().ok())?,
            from: value(self.source, net)?.into_iter().collect(),
            not_from_link_local: match value(self.not_from, net)? {
                None => false,
                Some(LINK_LOCAL) if self.source.is_none() => true,
                Some(_) => return None,
            },
            to: one_of(value(self.destination, net)?, value(self.not_to, net)?)?,
            port: match (self.proto, self.port) {
                (None, None) => None,
                (proto, number) => Some((proto?.parse().ok()?, port(number?)?)),
            },
            states: one_of(value(self.states, states)?, value(self.not_states, states)?)?,
            addr_type: match (self.not_from_type, self.to_type) {
                (None, None) => None,
                (Some("LOCAL"), None) => Some(AddrType::NotFromLocal),
                (None, Some("LOCAL")) => Some(AddrType::ToLocal),
                _ => return None,
            },
            target,
        })
    }
}

/// The content of a listed rule with this identity in its comment; `None` if it is another's
/// work.
pub(super) fn of(table: Table, words: &[Word], id: RuleId) -> Option<Rule> {
    let shape = Options::read(words)?.shape(table)?;
    let rules = shape.candidates().into_iter().map(|spec| Rule {
        backend: BackendKind::Ip6tables,
        spec,
    });
    let mut rules = rules.filter(|rule| rule.id() == id);
    rules.find(|rule| printed(Shape::of(&rule.spec)) == shape)
}

/// A shape as it comes back from a listing, where "to any" is not printed.
fn printed(mut shape: Shape) -> Shape {
    shape.to = shape.to.filter(|(not, net)| *not || net.prefix_len() != 0);
    shape
}

/// Reads an option's value if the option is there; the outer `None` is an unreadable one.
fn value<T>(text: Option<&str>, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    match text {
        Some(text) => read(text).map(Some),
        None => Some(None),
    }
}

/// The plain or the negated form of an option; the outer `None` is both.
fn one_of<T>(plain: Option<T>, negated: Option<T>) -> Option<Option<(bool, T)>> {
    match (plain, negated) {
        (None, None) => Some(None),
        (Some(value), None) => Some(Some((false, value))),
        (None, Some(value)) => Some(Some((true, value))),
        (Some(_), Some(_)) => None,
    }
}

/// A network, or one address, which may be printed without its `/128`.
fn net(text: &str) -> Option<Ipv6Net> {
    match text.contains('/') {
        true => text.parse().ok(),
        false => text.parse::<Ipv6Addr>().ok().map(Ipv6Net::from),
    }
}

/// A port; 0 is none.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}
