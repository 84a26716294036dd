//! Tells the rules of docker-ipv6nat 0.4 (github.com/robbertkl/docker-ipv6nat, `manager.go` and
//! `firewall.go`) from those of an Engine. Pure.
//!
//! Both use the same chains, and most rules of the one could be of the other. One rule for each bridge
//! is docker-ipv6nat's alone: `POSTROUTING -o BRIDGE -m addrtype --dst-type LOCAL -j MASQUERADE`
//! (an Engine says `--src-type`). An Engine has chains of its own (from 28 on), serves bridges
//! without that rule, or has its two rules of FORWARD for a bridge in the other order.

use std::collections::BTreeSet;
use std::net::SocketAddrV6;

use ipnet::Ipv6Net;

use crate::backend::ip6tables::tokens;
use crate::backend::shell::is_plain_rule;

/// Chains in the filter table that only an Engine makes (moby 28,
/// `daemon/libnetwork/drivers/bridge`).
const OF_ENGINE: [&str; 4] = [
    "DOCKER-FORWARD",
    "DOCKER-BRIDGE",
    "DOCKER-CT",
    "DOCKER-INTERNAL",
];

/// Their chains, besides DOCKER-USER, which administrators fill.
const DOCKER: &str = "DOCKER";
const STAGE_1: &str = "DOCKER-ISOLATION-STAGE-1";
const STAGE_2: &str = "DOCKER-ISOLATION-STAGE-2";

/// What two tables hold of docker-ipv6nat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// Rules of an Engine stand there, perhaps beside theirs; by which they are known.
    Engine(String),
    /// Changes that remove all of it, in this order.
    Theirs {
        nat: Vec<String>,
        filter: Vec<String>,
    },
}

/// Reads the listings of both tables.
pub(crate) fn find(nat: &str, filter: &str) -> Found {
    let (nat, filter) = (Table::read(nat), Table::read(filter));
    let served: BTreeSet<&str> = nat.rules.iter().filter_map(Rule::marks).collect();
    if let Some(sign) = sign_of_engine(&nat, &filter, &served) {
        return Found::Engine(sign);
    }
    if served.is_empty() {
        return Found::Nothing;
    }
    let known = Known {
        internal: filter.rules.iter().filter_map(Rule::isolates).collect(),
        served,
    };
    Found::Theirs {
        nat: nat.changes(&[DOCKER], |rule| known.in_nat(rule)),
        filter: filter.changes(&[STAGE_1, STAGE_2, DOCKER], |rule| known.in_filter(rule)),
    }
}

/// By what an Engine is known here, if one has rules.
fn sign_of_engine(nat: &Table<'_>, filter: &Table<'_>, served: &BTreeSet<&str>) -> Option<String> {
    if let Some(chain) = OF_ENGINE
        .iter()
        .find(|chain| filter.chains.contains(**chain))
    {
        return Some(format!("chain {chain} of table filter"));
    }
    let mut rules = nat.rules.iter().chain(&filter.rules);
    let jumps_for = |rule: &Rule<'_>| {
        rule.of_docker_chain()
            .is_some_and(|it| !served.contains(it))
    };
    if let Some(rule) = rules.find(|rule| jumps_for(rule)) {
        return Some(format!("the rule {}", rule.line));
    }
    let place = |bridge: &str, end: [&str; 2]| {
        let mut rules = filter.rules.iter();
        let begin = ["-A", "FORWARD", "-o", bridge];
        rules.position(|rule| rule.words.starts_with(&begin) && rule.words.ends_with(&end))
    };
    let accepts_first = |bridge: &&str| {
        let accept = place(bridge, ["-j", "ACCEPT"])?;
        (accept < place(bridge, ["-j", DOCKER])?).then_some(accept)
    };
    let at = served.iter().find_map(accepts_first)?;
    Some(format!("the rule {}", filter.rules[at].line))
}

/// A listing.
struct Table<'l> {
    chains: BTreeSet<&'l str>,
    rules: Vec<Rule<'l>>,
    /// Whether a rule cannot be read: it may lead anywhere.
    is_partial: bool,
}

/// A rule: its line without `-A`, and its words with it.
struct Rule<'l> {
    line: &'l str,
    words: Vec<&'l str>,
    /// The chain or verdict to which it leads.
    target: Option<String>,
}

impl<'l> Table<'l> {
    fn read(listing: &'l str) -> Self {
        let lines = listing.lines();
        let chains = lines.filter_map(|line| line.strip_prefix(':')?.split(' ').next());
        let lines = listing.lines().filter(|line| line.starts_with("-A "));
        let rules: Vec<Option<Rule<'_>>> = lines.map(Rule::read).collect();
        Self {
            chains: chains.collect(),
            is_partial: rules.iter().any(Option::is_none),
            rules: rules.into_iter().flatten().collect(),
        }
    }

    /// The removal of what is theirs, and of each of these chains that then is empty. Where somebody
    /// else has a rule in such a chain, or leads to it, the chain stays, and so do their rules that
    /// lead to it.
    fn changes(
        &self,
        chains: &[&'static str],
        is_theirs: impl Fn(&Rule<'_>) -> bool,
    ) -> Vec<String> {
        let is_theirs = |rule: &Rule<'_>| is_plain_rule(rule.line) && is_theirs(rule);
        let is_free = |chain: &&str| {
            let mut others = self.rules.iter().filter(|rule| !is_theirs(rule));
            let uses = |rule: &Rule<'_>| rule.chain() == *chain || rule.leads_to(chain);
            !self.is_partial && !others.any(uses)
        };
        let stays: BTreeSet<&str> = chains.iter().copied().filter(|it| !is_free(it)).collect();
        let goes =
            |rule: &&Rule<'_>| is_theirs(rule) && !stays.iter().any(|chain| rule.leads_to(chain));
        let rules = self.rules.iter().filter(goes);
        let rules = rules.map(|rule| format!("-D {}", rule.line));
        let empty = chains.iter().filter(|chain| {
            // A rule of theirs that leads to a chain that stays, stays with it.
            let mut rules = self.rules.iter().filter(|rule| rule.chain() == **chain);
            self.chains.contains(**chain) && !stays.contains(**chain) && rules.all(|r| goes(&r))
        });
        rules
            .chain(empty.map(|chain| format!("-X {chain}")))
            .collect()
    }
}

impl<'l> Rule<'l> {
    /// `None` where quotes do not come out even: a comment may go over several lines.
    fn read(line: &'l str) -> Option<Self> {
        let (split, _) = tokens::split(line).ok()?;
        let leads =
            |word: &tokens::Word| !word.quoted && ["-j", "-g"].contains(&word.text.as_str());
        let at = split.iter().rposition(leads);
        let target = at
            .and_then(|at| split.get(at + 1))
            .map(|word| word.text.clone());
        // Theirs have no quotes. In what has some, the chain is enough.
        let words = match split.iter().any(|word| word.quoted) {
            true => line.splitn(3, ' ').collect(),
            false => line.split_ascii_whitespace().collect(),
        };
        Some(Self {
            line: line.strip_prefix("-A ")?,
            words,
            target,
        })
    }

    fn chain(&self) -> &'l str {
        self.words.get(1).copied().unwrap_or_default()
    }

    fn leads_to(&self, chain: &str) -> bool {
        self.target.as_deref() == Some(chain)
    }

    /// The bridge for which this is the rule that only docker-ipv6nat sets.
    fn marks(&self) -> Option<&'l str> {
        match self.words[..] {
            [
                "-A",
                "POSTROUTING",
                "-o",
                bridge,
                "-m",
                "addrtype",
                "--dst-type",
                "LOCAL",
                "-j",
                "MASQUERADE",
            ] => Some(bridge),
            _ => None,
        }
    }

    /// The bridge of an internal network that this rule shuts in. An Engine names a subnet, too.
    fn isolates(&self) -> Option<&'l str> {
        match self.words[..] {
            ["-A", STAGE_1, "!", "-i", a, "-o", b, "-j", "DROP"] if a == b => Some(a),
            _ => None,
        }
    }

    /// The bridge for which this rule leads to a chain DOCKER, or stands in it.
    fn of_docker_chain(&self) -> Option<&'l str> {
        match self.words[..] {
            ["-A", "FORWARD", "-o", bridge, "-j", DOCKER] => Some(bridge),
            ["-A", DOCKER, "-i", bridge, "-j", "RETURN"] => Some(bridge),
            ["-A", DOCKER, ref rest @ ..] => {
                let at = rest.windows(2).position(|pair| pair == ["!", "-i"])?;
                rest.get(at + 2).copied()
            }
            _ => None,
        }
    }
}

/// Bridges whose rules are theirs.
struct Known<'l> {
    served: BTreeSet<&'l str>,
    internal: BTreeSet<&'l str>,
}

impl Known<'_> {
    fn in_nat(&self, rule: &Rule<'_>) -> bool {
        match rule.words[..] {
            [
                "-A",
                "PREROUTING",
                "-m",
                "addrtype",
                "--dst-type",
                "LOCAL",
                "-j",
                DOCKER,
            ]
            | [
                "-A",
                "OUTPUT",
                "-m",
                "addrtype",
                "--dst-type",
                "LOCAL",
                "-j",
                DOCKER,
            ]
            | [
                "-A",
                "OUTPUT",
                "!",
                "-d",
                "::1/128",
                "-m",
                "addrtype",
                "--dst-type",
                "LOCAL",
                "-j",
                DOCKER,
            ] => true,
            [
                "-A",
                "POSTROUTING",
                "-s",
                net,
                "!",
                "-o",
                bridge,
                "-j",
                "MASQUERADE",
            ] => self.served.contains(bridge) && is_local(net),
            [
                "-A",
                "POSTROUTING",
                "-s",
                from,
                "-d",
                to,
                "-p",
                proto,
                "-m",
                module,
                "--dport",
                _,
                "-j",
                "MASQUERADE",
            ] => from == to && proto == module && is_local(from),
            ["-A", DOCKER, "-i", bridge, "-j", "RETURN"] => self.served.contains(bridge),
            ["-A", DOCKER, ref rest @ ..] => self.is_dnat(rest),
            _ => rule.marks().is_some(),
        }
    }

    /// `[-d ADDR] [! -i BRIDGE] -p P -m P --dport PORT -j DNAT --to-destination [ADDR]:PORT`
    fn is_dnat(&self, rest: &[&str]) -> bool {
        let rest = match rest {
            ["-d", _, rest @ ..] => rest,
            rest => rest,
        };
        let rest = match rest {
            ["!", "-i", bridge, rest @ ..] if self.served.contains(bridge) => rest,
            rest => rest,
        };
        match *rest {
            [
                "-p",
                proto,
                "-m",
                module,
                "--dport",
                _,
                "-j",
                "DNAT",
                "--to-destination",
                to,
            ] => {
                let to: Option<SocketAddrV6> = to.parse().ok();
                proto == module && to.is_some_and(|to| to.ip().is_unique_local())
            }
            _ => false,
        }
    }

    fn in_filter(&self, rule: &Rule<'_>) -> bool {
        let is_served = |bridge: &str| self.served.contains(bridge);
        match rule.words[..] {
            ["-A", "FORWARD", "-j", STAGE_1]
            | ["-A", STAGE_1, "-j", "RETURN"]
            | ["-A", STAGE_2, "-j", "RETURN"] => true,
            ["-A", "FORWARD", "-o", bridge, "-j", DOCKER]
            | [
                "-A",
                "FORWARD",
                "-o",
                bridge,
                "-m",
                "conntrack",
                "--ctstate",
                "RELATED,ESTABLISHED",
                "-j",
                "ACCEPT",
            ]
            | ["-A", STAGE_2, "-o", bridge, "-j", "DROP"] => is_served(bridge),
            ["-A", "FORWARD", "-i", a, "!", "-o", b, "-j", "ACCEPT"]
            | ["-A", STAGE_1, "-i", a, "!", "-o", b, "-j", STAGE_2] => a == b && is_served(a),
            ["-A", "FORWARD", "-i", a, "-o", b, "-j", "ACCEPT" | "DROP"] => {
                a == b && (is_served(a) || self.internal.contains(a))
            }
            ["-A", STAGE_1, "!", "-i", a, "-o", b, "-j", "DROP"]
            | ["-A", STAGE_1, "-i", a, "!", "-o", b, "-j", "DROP"] => a == b,
            [
                "-A",
                DOCKER,
                "-d",
                to,
                "!",
                "-i",
                a,
                "-o",
                b,
                "-p",
                proto,
                "-m",
                module,
                "--dport",
                _,
                "-j",
                "ACCEPT",
            ] => a == b && is_served(a) && proto == module && is_local(to),
            _ => false,
        }
    }
}

/// Whether these are unique local addresses (RFC 4193): docker-ipv6nat serves no others.
fn is_local(net: &str) -> bool {
    let net: Result<Ipv6Net, _> = net.parse();
    net.is_ok_and(|net| net.addr().is_unique_local())
}

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod tests;
