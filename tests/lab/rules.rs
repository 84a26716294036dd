//! What the kernel shows, in forms that can be compared.

use std::collections::BTreeMap;

use crate::space::Place;

/// A DNAT rule with the daemon's comment, as `ip6tables -S` shows it.
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
    found.sort();
    found
}

/// Rules of the daemon that follow from its options alone, for one interface and one prefix:
/// the jump, five guards, the masquerade.
pub(crate) const STATICS: usize = 7;

/// The daemon's DNAT rules for what arrives from outside, sorted, one entry per copy.
pub(crate) fn published(place: Place<'_>) -> Vec<Published> {
    parse_published(&place.run(&["ip6tables", "-t", "nat", "-S", "PREROUTING"]))
}

fn parse_published(listing: &str) -> Vec<Published> {
    let ours = listing.lines().filter(|line| is_ours(line));
    // Those for the containers themselves name no interface.
    let outside = ours.filter(|line| line.contains(" -i "));
    let mut rules: Vec<Published> = outside.map(parse_rule).collect();
    rules.sort();
    rules
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

/// Every rule of the daemon, whatever it does, as `ip6tables-save` shows it.
pub(crate) fn ours(place: Place<'_>) -> Vec<String> {
    let saved = place.run(&["ip6tables-save"]);
    let ours = saved.lines().filter(|line| is_ours(line));
    ours.map(str::to_owned).collect()
}

/// The rule carries the daemon's comment: the word and 16 hexadecimal digits, nothing else.
fn is_ours(rule: &str) -> bool {
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

/// The IPv6 tables in the form in which "as before" is meant: without the dates in comments,
/// without counters, and without tables that hold nothing but empty built-in chains with policy
/// ACCEPT, which the tools leave behind.
pub(crate) fn as_before(place: Place<'_>) -> BTreeMap<String, Vec<String>> {
    normalise(&place.run(&["ip6tables-save"]))
}

fn normalise(saved: &str) -> BTreeMap<String, Vec<String>> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if line.starts_with(':') {
            let chain = line.split(" [").next().unwrap_or(line);
            tables
                .entry(table.to_owned())
                .or_default()
                .push(chain.to_owned());
        } else if line.starts_with('-') {
            tables
                .entry(table.to_owned())
                .or_default()
                .push(line.to_owned());
        }
    }
    let says_nothing = |line: &String| line.starts_with(':') && line.ends_with(" ACCEPT");
    tables.retain(|_, lines| !lines.iter().all(says_nothing));
    tables
}

/// Rules of somebody else, to be found as they were.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    tables: BTreeMap<String, Vec<String>>,
    native: String,
}

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

    /// The same without the daemon's rules and chains: what it must not have touched.
    pub(crate) fn theirs(place: Place<'_>) -> Self {
        let mut seen = Self::seen(place);
        for lines in seen.tables.values_mut() {
            lines.retain(|line| !is_ours(line) && !line.starts_with(":DOCKER-NAT66"));
        }
        seen
    }

    /// Takes away everything in the IPv6 tables and the native table.
    pub(crate) fn uproot(place: Place<'_>) {
        place.sh("for table in nat filter; do
            ip6tables -t $table -F; ip6tables -t $table -X; done
            nft delete table ip6 theirs");
    }

    /// The IPv6 tables and the native table as they are now.
    pub(crate) fn seen(place: Place<'_>) -> Self {
        let listing = place.run(&["nft", "list", "table", "ip6", "theirs"]);
        Self {
            tables: as_before(place),
            native: listing,
        }
    }
}

/// Everything, for the one who looks for a fault.
pub(crate) fn all(place: Place<'_>) -> Vec<u8> {
    let show = "set -x; ip6tables-save -c; nft list ruleset; ip -6 addr; ip -6 route; conntrack -L -f ipv6";
    let shown = place.output(&["sh", "-c", &format!("exec 2>&1; {show}")]);
    shown.stdout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_dates_and_empty_tables_do_not_count() {
        let before = "# Generated on Monday\n*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n*filter\n\
                      :FORWARD DROP [1:2]\n-A FORWARD -j ACCEPT\nCOMMIT\n";
        let after =
            "# Generated on Tuesday\n*filter\n:FORWARD DROP [3:4]\n-A FORWARD -j ACCEPT\nCOMMIT\n";
        assert_eq!(normalise(before), normalise(after));
    }

    #[test]
    fn a_policy_a_chain_or_a_rule_more_counts() {
        let plain = normalise("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n");
        for other in [
            "*nat\n:PREROUTING DROP [0:0]\nCOMMIT\n",
            "*nat\n:PREROUTING ACCEPT [0:0]\n:MINE - [0:0]\nCOMMIT\n",
            "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\nCOMMIT\n",
        ] {
            assert_ne!(normalise(other), plain, "{other}");
        }
    }

    #[test]
    fn a_rule_of_ours_is_read_whatever_the_order_of_its_matches() {
        let listing = "-P PREROUTING ACCEPT\n\
            -A PREROUTING -p tcp -m tcp --dport 1 -j DNAT --to-destination [fd00::1]:1\n\
            -A PREROUTING -d 2001:db8::11/128 -i eth0 -p udp -m udp --dport 53 -m addrtype \
            --dst-type LOCAL -m comment --comment \"docker-nat66:0123456789abcdef\" -j DNAT \
            --to-destination [fd00::2]:5353\n";
        assert_eq!(
            parse_published(listing),
            [Published::new("eth0 udp 2001:db8::11 53", "[fd00::2]:5353")]
        );
    }
}
