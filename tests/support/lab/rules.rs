//! What the kernel shows, in forms that can be compared.
//!
//! The daemon's rules are read from the tables of ip6tables and from its own nftables table,
//! whichever of the two it uses: what it leaves in the other place is seen.

use std::collections::BTreeMap;

use crate::support::lab::elements::{self, Element};
use crate::support::lab::space::Place;

/// A DNAT rule with the daemon's comment, or an element that says the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Published {
    /// Interface, protocol, host address or `*`, host port: `eth0 tcp * 8080`.
    pub(crate) from: String,
    /// `[ADDRESS]:PORT`.
    pub(crate) to: String,
}

impl Published {
    pub(crate) fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
        }
    }
}

/// `DEV PREFIX` of each of the daemon's masquerades, sorted, one entry per copy.
pub(crate) fn masquerades(place: Place<'_>) -> Vec<String> {
    let listing = place.run(&["ip6tables", "-t", "nat", "-S", "POSTROUTING"]);
    let ours = listing.lines().filter(|line| is_ours(line));
    let mut found: Vec<String> = ours
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let after = |option| {
                let at = words.iter().position(|w| *w == option);
                at.map_or("?", |at| words[at + 1])
            };
            format!("{} {}", after("-o"), after("-s"))
        })
        .collect();
    found.extend(elements::masquerades(&elements::all(place)));
    found.sort();
    found
}

/// The daemon's DNAT rules for what arrives from outside, sorted, one entry per copy.
pub(crate) fn published(place: Place<'_>) -> Vec<Published> {
    let mut rules = parse_published(&place.run(&["ip6tables", "-t", "nat", "-S", "PREROUTING"]));
    rules.extend(elements::published(&elements::all(place)));
    rules.sort();
    rules
}

pub(crate) fn parse_published(listing: &str) -> Vec<Published> {
    let ours = listing.lines().filter(|line| is_ours(line));
    // Those for the containers themselves name no interface.
    let outside = ours.filter(|line| line.contains(" -i "));
    outside.map(parse_rule).collect()
}

fn parse_rule(line: &str) -> Published {
    let words: Vec<&str> = line.split(' ').collect();
    let after = |option| {
        let at = words.iter().position(|w| *w == option)?;
        words.get(at + 1).copied()
    };
    let must = |option| after(option).unwrap_or_else(|| panic!("no {option} in {line:?}"));
    let addr = after("-d").map_or("*", |addr| addr.trim_end_matches("/128"));
    Published::new(
        format!("{} {} {addr} {}", must("-i"), must("-p"), must("--dport")),
        must("--to-destination"),
    )
}

/// Every rule of the daemon, whatever it does, as `ip6tables-save` shows it, and every element.
pub(crate) fn ours(place: Place<'_>) -> Vec<String> {
    let saved = place.run(&["ip6tables-save"]);
    let rules = saved.lines().map(str::to_owned);
    let elements = elements::all(place);
    let elements = elements.iter().map(Element::line);
    rules.chain(elements).filter(|line| is_ours(line)).collect()
}

/// The rule carries the daemon's comment: the word and 16 hexadecimal digits, nothing else.
pub(crate) fn is_ours(rule: &str) -> bool {
    find_id(rule).is_some()
}

/// The id in the comment of a rule of the daemon's.
pub(crate) fn id(rule: &str) -> String {
    let found = find_id(rule);
    found
        .unwrap_or_else(|| panic!("no id in {rule:?}"))
        .to_owned()
}

fn find_id(rule: &str) -> Option<&str> {
    let mut words = rule.split(' ').skip_while(|word| *word != "--comment");
    let id = words
        .nth(1)?
        .trim_matches('"')
        .strip_prefix("docker-nat66:")?;
    (id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

/// Lines by table, `nat` for ip6tables' and `table ip6 theirs` for nftables'.
pub(crate) type Tables = BTreeMap<String, Vec<String>>;

/// The tables in the form in which "as before" is meant: without the dates in comments, without
/// counters, and without tables that hold nothing but empty built-in chains with policy ACCEPT,
/// which the tools leave behind. Of IPv4's, which change with Docker, only nftables' own.
pub(crate) fn as_before(place: Place<'_>) -> Tables {
    telling(everything(place))
}

/// The same without the daemon's rules, chains and table: what it must not have touched.
pub(crate) fn theirs(place: Place<'_>) -> Tables {
    let mut tables = everything(place);
    tables.remove("table ip6 docker_nat66");
    for lines in tables.values_mut() {
        lines.retain(|line| !is_ours(line) && !line.starts_with(":DOCKER-NAT66"));
    }
    telling(tables)
}

fn everything(place: Place<'_>) -> Tables {
    let mut tables = parse_saved(&place.run(&["ip6tables-save"]));
    tables.extend(parse_listed(&place.run(&["nft", "-s", "list", "ruleset"])));
    tables
}

pub(crate) fn parse_listed(ruleset: &str) -> Tables {
    let mut tables = Tables::new();
    let mut table = "";
    for line in ruleset.lines() {
        if line.starts_with("table ") {
            table = line.split(" {").next().unwrap_or(line);
        }
        if !is_of_the_tools(table) {
            let lines = tables.entry(table.to_owned()).or_default();
            lines.push(line.to_owned());
        }
    }
    tables
}

/// Tables that iptables and ip6tables make, and show in words of their own.
fn is_of_the_tools(table: &str) -> bool {
    let mut words = table.split(' ').skip(1);
    let names = ["raw", "mangle", "nat", "filter", "security"];
    let family = words.next().is_some_and(|f| f == "ip" || f == "ip6");
    family && words.next().is_some_and(|name| names.contains(&name))
}

pub(crate) fn parse_saved(saved: &str) -> Tables {
    let mut tables = Tables::new();
    let mut table = "";
    for line in saved.lines() {
        let said = match line.chars().next() {
            Some('*') => {
                table = &line[1..];
                continue;
            }
            Some(':') => line.split(" [").next().unwrap_or(line),
            Some('-') => line,
            _ => continue,
        };
        let lines = tables.entry(table.to_owned()).or_default();
        lines.push(said.to_owned());
    }
    tables
}

/// Drops the tables that say nothing.
pub(crate) fn telling(mut tables: Tables) -> Tables {
    let says_nothing = |line: &String| line.starts_with(':') && line.ends_with(" ACCEPT");
    tables.retain(|_, lines| !lines.iter().all(says_nothing));
    tables
}

/// Rules of other programs, which must stay as they were.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Foreign(Tables);

impl Foreign {
    /// Puts rules of another's making beside where ours will stand: like ours, like Docker's,
    /// like docker-ipv6nat's, and a native table.
    pub(crate) fn plant(place: Place<'_>) -> Self {
        place.sh(r#"ip6tables-restore --noflush <<'RULES'
*nat
:THEIRS - [0:0]
-A PREROUTING -i eth0 -p tcp -m tcp --dport 2355 -j DNAT --to-destination [fdfd:5898:4917:1::f]:6379
-A PREROUTING -i eth1 -p tcp -m comment --comment "docker-nat66: not by us" -j THEIRS
-A POSTROUTING -s fdfd:5898:4917:1::/64 -o eth1 -j MASQUERADE
COMMIT
*filter
-A FORWARD -s 2001:db8:ffff::/48 -j DROP
COMMIT
RULES
nft -f - <<'RULES'
table ip6 theirs {
  set addresses { type ipv6_addr; elements = { 2001:db8:ffff::1 }; }
  chain input { type filter hook input priority 0; ip6 saddr @addresses drop; }
}
RULES"#);
        Self::seen(place)
    }

    /// Everything but what is the daemon's.
    pub(crate) fn theirs(place: Place<'_>) -> Self {
        Self(theirs(place))
    }

    /// Takes away everything in the IPv6 tables and the native table.
    pub(crate) fn uproot(place: Place<'_>) {
        place.sh("for table in nat filter; do
            ip6tables -t $table -F; ip6tables -t $table -X; done
            nft delete table ip6 theirs");
    }

    /// Everything as it is now.
    pub(crate) fn seen(place: Place<'_>) -> Self {
        Self(as_before(place))
    }
}

/// Everything, for debugging.
pub(crate) fn all(place: Place<'_>) -> Vec<u8> {
    let show = "set -x; ip6tables-save -c; nft list ruleset; ip -6 addr; ip -6 route; conntrack -L -f ipv6";
    let shown = place.output(&["sh", "-c", &format!("exec 2>&1; {show}")]);
    shown.stdout
}
