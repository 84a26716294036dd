//! A rule of ours as its table, chain and options, and what they say. Pure.
//!
//! A rule has one text, whatever the order in which a tool prints its options: what is written in a
//! compiled rule and what is read from a listing both become [`RuleParts`], and these have one text.
//! Nothing in it needs quoting: no part can hold a blank, a quote or a backslash.

use std::fmt::{Display, Write as _};
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::tokens::{self, Word};
pub(super) use crate::backend::authors::OWN_FORWARD;
use crate::model::rule::{BackendKind, ContainerPort, Rule};

/// A table that holds rules of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::backend) enum Table {
    /// What passes and what does not.
    Filter,
    /// What is rewritten.
    Nat,
}

impl Table {
    /// Both, in the order of insertion: the filter before what it guards.
    pub(in crate::backend) const ALL: [Self; 2] = [Self::Filter, Self::Nat];

    /// The tools' name of it.
    pub(in crate::backend) fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }

    /// The table of a rule.
    pub(super) fn of(rule: &Rule) -> Self {
        match rule.text.starts_with("filter ") {
            true => Self::Filter,
            false => Self::Nat,
        }
    }
}

/// The chain of our own that INPUT jumps to.
pub(super) const OWN_INPUT: &str = "DOCKER-NAT66-IN";

/// The chain of our own in the nat table that OUTPUT jumps to, and PREROUTING for each prefix.
pub(in crate::backend) const OWN_INSIDE: &str = "DOCKER-NAT66-INSIDE";

/// Every chain of our own, and its table. No two have the same name.
pub(super) const OWN_CHAINS: [(Table, &str); 3] = [
    (Table::Filter, OWN_FORWARD),
    (Table::Filter, OWN_INPUT),
    (Table::Nat, OWN_INSIDE),
];

/// States of a connection, as the conntrack match names them.
pub(super) const EXISTING: &str = "RELATED,ESTABLISHED";
pub(super) const REWRITTEN: &str = "DNAT";
pub(super) const BEGUN: &str = "NEW";
pub(super) const EXISTING_OR_REWRITTEN: &str = "RELATED,ESTABLISHED,DNAT";

/// In whatever order they are printed.
const STATES: [&str; 4] = [EXISTING, REWRITTEN, BEGUN, EXISTING_OR_REWRITTEN];

/// The rule with this text; `None` if no rule of this backend has it.
pub(in crate::backend) fn rule(text: &str) -> Option<Rule> {
    parts(text)?.rule()
}

/// The parts of the rule with this text.
pub(super) fn parts(text: &str) -> Option<RuleParts> {
    let (words, len) = tokens::split(text).ok()?;
    let (first, rest) = words.split_first()?;
    let table = Table::ALL.into_iter().find(|t| t.as_str() == first.text)?;
    RuleParts::read(table, rest).filter(|_| len == text.len())
}

/// A rule without its comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleParts {
    pub(super) table: Table,
    pub(super) chain: String,
    pub(super) options: Vec<Part>,
}

/// One option of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    name: &'static str,
    pub(super) is_negated: bool,
    pub(super) value: String,
}

/// Every option that a rule of ours can have, and the match that it belongs to.
const OPTIONS: [(&str, Option<&str>); 12] = [
    ("-i", None),
    ("-o", None),
    ("-s", None),
    ("-d", None),
    ("-p", None),
    ("--dport", None),
    ("--ctstate", Some("conntrack")),
    ("--src-type", Some("addrtype")),
    ("--dst-type", Some("addrtype")),
    ("-j", None),
    ("--to-source", None),
    ("--to-destination", None),
];

impl RuleParts {
    /// A rule of this chain without options.
    pub(super) fn new(table: Table, chain: &str) -> Self {
        Self {
            table,
            chain: chain.to_owned(),
            options: Vec::new(),
        }
    }

    /// Adds an option. It must be one of [`OPTIONS`], and its value in the form that is printed.
    pub(super) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.push(name, false, value.to_string());
        self
    }

    /// The same, negated.
    pub(super) fn without(mut self, name: &'static str, value: impl Display) -> Self {
        self.push(name, true, value.to_string());
        self
    }

    /// Adds an option for addresses. "Any" is not printed, and neither is the length of a single one.
    pub(super) fn within(self, name: &'static str, net: Ipv6Net) -> Self {
        match net.prefix_len() {
            0 => self,
            _ => self.with(name, Short(net)),
        }
    }

    fn push(&mut self, name: &'static str, is_negated: bool, value: String) {
        self.options.push(Part {
            name,
            is_negated,
            value,
        });
    }

    /// Reads the words of a listed rule, or of a text. `None` if there is an option that ours lack,
    /// or one comes twice.
    pub(super) fn read(table: Table, words: &[Word]) -> Option<Self> {
        let mut words = words.iter();
        let chain = words.next().filter(|word| !word.quoted)?;
        let mut parts = Self::new(table, &chain.text);
        while let Some(word) = words.next() {
            let is_negated = word.text == "!";
            let option = if is_negated { words.next()? } else { word };
            if word.quoted || option.quoted {
                return None;
            }
            let value = words.next()?;
            match option.text.as_str() {
                // The match's options decide whether it says anything.
                "-m" | "--comment" if is_negated => return None,
                "-m" if matches!(&*value.text, "addrtype" | "comment" | "conntrack") => {}
                "-m" if parts.value("-p") == Some(&value.text) => {}
                "--comment" => {}
                name => {
                    let (name, _) = OPTIONS.into_iter().find(|(known, _)| *known == name)?;
                    if parts.part(name).is_some() {
                        return None;
                    }
                    let value = normal(name, is_negated, &value.text)?;
                    parts.options.extend(value.map(|value| Part {
                        name,
                        is_negated,
                        value,
                    }));
                }
            }
        }
        Some(parts)
    }

    pub(super) fn part(&self, name: &str) -> Option<&Part> {
        self.options.iter().find(|part| part.name == name)
    }

    /// The value of an option that is not negated.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let part = self.part(name).filter(|part| !part.is_negated)?;
        Some(&part.value)
    }

    /// The text of the rule. In the nat table the documented options come first, as they are
    /// documented, and our own matches after the target; elsewhere nothing is documented, and the
    /// target stands at the end as usual.
    pub(super) fn text(&self) -> String {
        // The documented DNAT rule has no source.
        let is_published =
            self.value("-i").is_some() || self.part("-s").is_some_and(|s| s.is_negated);
        let order: &[&str] = match (self.table, self.value("--to-destination")) {
            (Table::Filter, _) => &["-s", "-p", "--dport", "-d"],
            (Table::Nat, Some(_)) if is_published => &["-p", "--dport", "-j", "-s", "-d"],
            (Table::Nat, _) => &["-s", "-p", "--dport", "-j", "-d"],
        };
        let mut text = format!("{} {}", self.table.as_str(), self.chain);
        let order = ["-i", "-o"].iter().chain(order);
        for name in order.chain(&["--ctstate", "--src-type", "--dst-type"]) {
            self.write(&mut text, name);
        }
        if self.table == Table::Filter {
            self.write(&mut text, "-j");
        }
        text
    }

    /// The rule as both variants of ip6tables-save print it (seen with 1.8.9).
    pub(super) fn listed(&self, comment: &str) -> String {
        let mut text = format!("-A {}", self.chain);
        for name in ["-s", "-d"] {
            self.write(&mut text, name);
            if self
                .part(name)
                .is_some_and(|part| !part.value.contains('/'))
            {
                text.push_str("/128");
            }
        }
        for name in ["-i", "-o", "-p"] {
            self.write(&mut text, name);
        }
        if let Some(proto) = self.value("-p") {
            // Writing to a String cannot fail.
            let _ = write!(text, " -m {proto}");
        }
        for name in ["--dport", "--ctstate", "--src-type", "--dst-type"] {
            self.write(&mut text, name);
        }
        let _ = write!(text, " -m comment --comment \"{comment}\"");
        self.write(&mut text, "-j");
        text
    }

    /// Writes an option, if it is there; a target with its own options.
    fn write(&self, text: &mut String, name: &str) {
        let Some(part) = self.part(name) else {
            return;
        };
        let of = OPTIONS.iter().find(|(known, _)| *known == name);
        if let Some((_, Some(module))) = of {
            let _ = write!(text, " -m {module}");
        }
        let not = if part.is_negated { " !" } else { "" };
        let _ = write!(text, "{not} {name} {}", part.value);
        if name == "-j" {
            self.write(text, "--to-source");
            self.write(text, "--to-destination");
        }
    }

    /// The rule of this backend that these parts are; `None` if they are none.
    pub(super) fn rule(&self) -> Option<Rule> {
        Some(Rule::new(
            BackendKind::Ip6tables,
            self.text(),
            self.facts()?,
        ))
    }
}

/// A value as ours are written. `None`: ours cannot have it. `Some(None)`: it means any address, which
/// is not written.
fn normal(name: &str, is_negated: bool, value: &str) -> Option<Option<String>> {
    Some(match name {
        "-s" | "-d" => {
            let net = network(value)?;
            (is_negated || net.prefix_len() != 0).then(|| Short(net).to_string())
        }
        "--ctstate" => {
            Some((*STATES.iter().find(|known| sorted(known) == sorted(value))?).to_owned())
        }
        "--src-type" | "--dst-type" => (value == "LOCAL").then(|| Some(value.to_owned()))?,
        // Rust and the tools spell some addresses otherwise: `::c0a8:2` is `::192.168.0.2`.
        "--to-source" => Some(value.parse::<Ipv6Addr>().ok()?.to_string()),
        "--to-destination" => {
            let target = container_port(value)?;
            Some(format!("[{}]:{}", target.addr, target.port))
        }
        _ => Some(value.to_owned()),
    })
}

/// What DNAT leads to: `[ADDRESS]:PORT`.
pub(super) fn container_port(text: &str) -> Option<ContainerPort> {
    let (addr, number) = text.strip_prefix('[')?.split_once("]:")?;
    Some(ContainerPort {
        addr: addr.parse().ok()?,
        port: port(number)?,
    })
}

fn sorted(list: &str) -> Vec<&str> {
    let mut names: Vec<&str> = list.split(',').collect();
    names.sort_unstable();
    names
}

/// A network, or one address, which may be printed without its `/128`.
pub(super) fn network(text: &str) -> Option<Ipv6Net> {
    match text.contains('/') {
        true => text.parse().ok(),
        false => text.parse::<Ipv6Addr>().ok().map(Ipv6Net::from),
    }
}

/// A port; 0 is none.
pub(super) fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// A network; a single address without its length.
pub(super) struct Short(pub(super) Ipv6Net);

impl Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.prefix_len() {
            128 => self.0.addr().fmt(f),
            _ => self.0.trunc().fmt(f),
        }
    }
}
