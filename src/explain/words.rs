//! Puts a rule into words: as `nft` or `ip6tables` prints it where they are installed, else by its
//! place in the chain and its comment.
//!
//! Each chain is asked for once. What is printed was written by others, and is escaped where it is
//! shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::legacy::Logged;
use super::ruleset::{ListedRule, Ruleset};
use super::trace::ChainName;
use super::verdict::Spot;
use crate::backend::ip6tables::exec::{Bounds, Network, Runner};
use crate::backend::ip6tables::{ToolSettings, Variant};
use crate::backend::shell;
use crate::netlink::NetlinkError;
use crate::netlink::watch::OwnPorts;

/// How long a tool may take: it lists one chain.
const DEADLINE: Duration = Duration::from_secs(5);

/// Most that a tool may print, in bytes: some ten thousand rules.
const MAX_OUTPUT: usize = 8 * 1024 * 1024;

/// The tables of ip6tables.
const IPTABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// `NFPROTO_IPV6`.
const IPV6: u8 = 10;

/// A rule in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleWords {
    /// What it says.
    pub(crate) text: String,
    /// Who printed it.
    pub(crate) language: Language,
    /// Its place among the rules of its chain, from 1; 0 where it has gone meanwhile.
    pub(crate) position: usize,
    pub(crate) facts: ListedRule,
}

/// In which language a rule's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// That of `nft`.
    Nft,
    /// That of `ip6tables -S`: the text begins with `-A`.
    Iptables,
    /// Ours, because no tool could be asked.
    Own,
}

/// A chain's rules with what a tool prints of them.
#[derive(Debug, Clone, Default)]
struct Listing {
    rules: Vec<ListedRule>,
    /// In the order of the rules; empty where no tool could be asked.
    iptables: Vec<String>,
    /// By handle.
    nft: BTreeMap<u64, String>,
}

/// Puts rules into words.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) ruleset: Ruleset,
    runner: Runner,
    dirs: Vec<PathBuf>,
    listings: BTreeMap<ChainName, Listing>,
    /// What the tool for ip6tables' tables in nf_tables is called, once it was searched for.
    tool: Option<Option<&'static str>>,
}

impl Words {
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            ruleset: Ruleset::open()?,
            runner: Runner::default(),
            dirs: ToolSettings::default().tool_dirs,
            listings: BTreeMap::new(),
            tool: None,
        })
    }

    /// The rule at this spot; `None` for a policy.
    ///
    /// # Errors
    /// The kernel does not answer. A tool that fails is no error: then there are fewer words.
    pub(super) fn rule(&mut self, spot: &Spot) -> Result<Option<RuleWords>, NetlinkError> {
        let Some(handle) = spot.handle else {
            return Ok(None);
        };
        if !self.listings.contains_key(&spot.chain) {
            let listing = self.list(&spot.chain)?;
            self.listings.insert(spot.chain.clone(), listing);
        }
        let listing = &self.listings[&spot.chain];
        Ok(Some(words(listing, handle, &spot.chain)))
    }

    fn list(&mut self, chain: &ChainName) -> Result<Listing, NetlinkError> {
        let rules = self.ruleset.rules(chain)?;
        let mut listing = Listing {
            rules,
            ..Listing::default()
        };
        let is_iptables = chain.family == IPV6 && IPTABLES.contains(&chain.table.as_str());
        if is_iptables && let Some(tool) = self.iptables() {
            let printed = self.run(&tool, &["-t", &chain.table, "-S", &chain.chain]);
            let lines = printed.lines().filter(|line| line.starts_with("-A "));
            listing.iptables = lines.map(str::to_owned).collect();
            // It may print none, or another variant's.
            if listing.iptables.len() == listing.rules.len() {
                return Ok(listing);
            }
            listing.iptables.clear();
        }
        if let (Some(tool), Some(family)) = (self.find("nft"), family(chain.family)) {
            let args = ["-a", "list", "chain", family, &chain.table, &chain.chain];
            let printed = self.run(&tool, &args);
            listing.nft = printed.lines().filter_map(with_handle).collect();
        }
        Ok(listing)
    }

    /// A rule of a legacy table as its tool prints it, by its number in the chain; `None` without the
    /// tool.
    pub(super) fn legacy(&mut self, logged: &Logged) -> Option<String> {
        let tool = match self.find("ip6tables-legacy") {
            Some(tool) => tool,
            None => self.find("ip6tables")?,
        };
        let printed = self.run(&tool, &["-t", &logged.table, "-S", &logged.chain]);
        let mut rules = printed.lines().filter(|line| line.starts_with("-A "));
        let at = usize::try_from(logged.number).ok()?.checked_sub(1)?;
        rules.nth(at).map(str::to_owned)
    }

    /// The nft variant of ip6tables.
    fn iptables(&mut self) -> Option<PathBuf> {
        if let Some(tool) = self.find("ip6tables-nft") {
            return Some(tool);
        }
        let tool = self.find("ip6tables")?;
        let version = self.run(&tool, &["--version"]);
        version.contains("nf_tables").then_some(tool)
    }

    /// What the tool for ip6tables' tables in nf_tables is called here; `None` where there is none.
    pub(super) fn tool(&mut self) -> Option<&'static str> {
        if let Some(known) = self.tool {
            return known;
        }
        let plain = self.find("ip6tables").and_then(|tool| {
            let version = self.run(&tool, &["--version"]);
            let variant = match version.contains("nf_tables") {
                true => Variant::Nft,
                false => Variant::Legacy,
            };
            (!version.is_empty()).then_some(variant)
        });
        let name = shell::tool_where(Variant::Nft, plain).or(Some(shell::tool_of(Variant::Nft)));
        // It may be called so, and not be installed.
        let name = name.filter(|name| self.find(name).is_some());
        self.tool = Some(name);
        name
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let mut paths = self.dirs.iter().map(|dir| dir.join(name));
        paths.find(|path| path.is_file())
    }

    /// What a tool prints; nothing where it fails.
    fn run(&mut self, tool: &Path, args: &[&str]) -> String {
        let bounds = Bounds {
            deadline: DEADLINE,
            max_output: MAX_OUTPUT,
            inherit: Vec::new(),
            own_ports: OwnPorts::default(),
        };
        let finished = self.runner.run(tool, args, &[], Network::Own, &bounds);
        match finished {
            Ok(finished) if finished.status.success() => {
                String::from_utf8_lossy(&finished.stdout).into_owned()
            }
            _ => String::new(),
        }
    }
}

fn words(listing: &Listing, handle: u64, chain: &ChainName) -> RuleWords {
    let at = listing.rules.iter().position(|rule| rule.handle == handle);
    let facts = at.map(|at| listing.rules[at].clone()).unwrap_or_default();
    let position = at.map_or(0, |at| at + 1);
    let printed = at.and_then(|at| listing.iptables.get(at));
    let (text, language) = match (printed, listing.nft.get(&handle)) {
        (Some(line), _) => (line.clone(), Language::Iptables),
        (None, Some(line)) => (line.clone(), Language::Nft),
        (None, None) => (own_words(position, &facts, chain), Language::Own),
    };
    RuleWords {
        text,
        language,
        position,
        facts,
    }
}

fn own_words(position: usize, facts: &ListedRule, chain: &ChainName) -> String {
    let mut text = match position {
        0 => format!("a rule of chain {} that has gone", chain.chain),
        position => format!("rule {position} of chain {}", chain.chain),
    };
    if let Some(comment) = &facts.comment {
        text.push_str(&format!(", comment \"{comment}\""));
    }
    text
}

/// A line of `nft -a list chain`, by the handle at its end.
fn with_handle(line: &str) -> Option<(u64, String)> {
    let (rule, handle) = line.rsplit_once("# handle ")?;
    let rule = rule.trim();
    let is_rule = !rule.ends_with('{');
    Some((handle.trim().parse().ok()?, rule.to_owned())).filter(|_| is_rule)
}

/// A family's name in nft's language (`NFPROTO_*`, linux/netfilter.h).
pub(crate) fn family(number: u8) -> Option<&'static str> {
    match number {
        1 => Some("inet"),
        2 => Some("ip"),
        3 => Some("arp"),
        5 => Some("netdev"),
        7 => Some("bridge"),
        IPV6 => Some("ip6"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str) -> ChainName {
        ChainName {
            family: IPV6,
            table: table.to_owned(),
            chain: "c".to_owned(),
        }
    }

    #[test]
    fn a_line_of_nft_is_found_by_its_handle() {
        let listing = "table inet fw { # handle 1\n\tchain c { # handle 2\n\
             \t\ttype filter hook forward priority filter; policy accept;\n\
             \t\ttcp dport 80 counter packets 0 bytes 0 drop comment \"# handle 9\" # handle 7\n\
             \t}\n}\n";
        let found: BTreeMap<u64, String> = listing.lines().filter_map(with_handle).collect();
        let rule = "tcp dport 80 counter packets 0 bytes 0 drop comment \"# handle 9\"";
        assert_eq!(found, [(7, rule.to_owned())].into());
    }

    #[test]
    fn a_rule_is_named_by_its_position_where_no_tool_prints_it() {
        let facts = |handle, comment: Option<&str>| ListedRule {
            handle,
            comment: comment.map(str::to_owned),
            expressions: Vec::new(),
        };
        let mut listing = Listing {
            rules: vec![facts(4, None), facts(9, Some("mine"))],
            ..Listing::default()
        };
        let text = |listing: &Listing, handle| words(listing, handle, &chain("filter")).text;
        assert_eq!(text(&listing, 9), "rule 2 of chain c, comment \"mine\"");
        assert_eq!(text(&listing, 5), "a rule of chain c that has gone");
        listing.iptables = vec!["-A c -j X".into(), "-A c -j Y".into()];
        assert_eq!(text(&listing, 9), "-A c -j Y");
    }
}
