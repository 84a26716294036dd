//! Rulesets drawn by lot, as lines of shell.

use super::FORWARDED;
use crate::support::draw::Draw;

/// Conditions in nft's language: some hold for the client's packets, some do not, some only before
/// or after the rewriting.
const NFT_CONDITIONS: [&str; 24] = [
    "ip6 saddr 2001:db8::/32",
    "ip6 saddr != 2001:db8::2",
    "ip6 daddr fdfd:5898:4917:1::/64",
    "ip6 daddr 2001:db8::1",
    "tcp dport 80",
    "tcp dport 8080",
    "tcp dport { 80, 443, 8080 }",
    "tcp dport != 80",
    "tcp sport 1024-65535",
    "tcp flags syn",
    "tcp flags & (syn | ack) == syn | ack",
    "meta l4proto tcp",
    "meta l4proto udp",
    "meta length < 500",
    "meta length > 500",
    "ip6 hoplimit > 60",
    "ip6 hoplimit < 10",
    "meta mark 0",
    "meta mark 7",
    "meta protocol ip6",
    "meta protocol ip",
    "meta pkttype host",
    "ip6 nexthdr tcp",
    "exthdr frag exists",
];

/// Conditions on connections, which hold behind connection tracking.
const NFT_TRACKED: [&str; 4] = [
    "ct state new",
    "ct state established",
    "ct state invalid",
    "ct status dnat",
];

const NFT_VERDICTS: [&str; 6] = [
    "accept",
    "drop",
    "reject",
    "return",
    "counter",
    "jump other",
];

/// Family, hook, priority, and what makes a rule see requests only.
const NFT_HOOKS: [(&str, &str, i32, &str); 14] = [
    ("inet", "prerouting", -300, "iifname eth0"),
    ("inet", "prerouting", -150, "iifname eth0"),
    ("inet", "prerouting", -50, "iifname eth0"),
    ("inet", "forward", -150, "iifname eth0"),
    ("inet", "forward", 0, "iifname eth0"),
    ("inet", "forward", 10, "oifname br0"),
    ("inet", "postrouting", -150, "oifname br0"),
    ("inet", "postrouting", 50, "oifname br0"),
    ("netdev", "ingress", 0, ""),
    ("inet", "ingress", 0, ""),
    ("inet", "ingress", -10, ""),
    ("inet", "input", -150, "iifname eth0"),
    ("inet", "input", 0, "iifname eth0"),
    ("inet", "input", 50, "iifname eth0"),
];

const XT_CONDITIONS: [&str; 20] = [
    "-s 2001:db8::/32",
    "! -s 2001:db8::2",
    "-d fdfd:5898:4917:1::/64",
    "-d 2001:db8::1",
    "-p tcp --dport 80",
    "-p tcp --dport 8080",
    "-p tcp ! --dport 80",
    "-p tcp --sport 1024:65535",
    "-p tcp --syn",
    "-p tcp --tcp-flags SYN,ACK SYN,ACK",
    "-p tcp",
    "-p udp",
    "-p tcp -m multiport --dports 80,443,8080",
    "-m mark --mark 0",
    "-m mark --mark 7",
    "-m comment --comment \"a comment\"",
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate ESTABLISHED",
    "-m conntrack --ctstate DNAT",
    "-m addrtype --dst-type LOCAL",
];

/// Table, chain, and what makes a rule see requests only.
const XT_CHAINS: [(&str, &str, &str); 8] = [
    ("raw", "PREROUTING", "-i eth0"),
    ("mangle", "PREROUTING", "-i eth0"),
    ("mangle", "FORWARD", "-i eth0"),
    ("filter", "FORWARD", "-i eth0"),
    ("mangle", "POSTROUTING", "-o br0"),
    ("nat", "PREROUTING", "-i eth0"),
    ("mangle", "INPUT", "-i eth0"),
    ("filter", "INPUT", "-i eth0"),
];

/// What a rule of ip6tables' table nat does: elsewhere, to the same, to the host itself, nowhere.
const XT_NAT: [&str; 8] = [
    "-j DNAT --to-destination [fdfd:5898:4917:1::3]:80",
    "-j DNAT --to-destination [fdfd:5898:4917:1::2]:81",
    "-j DNAT --to-destination [fdfd:5898:4917:1::2]:80",
    "-j REDIRECT --to-ports 9",
    "-j REDIRECT --to-ports 8080",
    "-j ACCEPT",
    "-j RETURN",
    "",
];

/// Hooks that only a packet passes which is not for the host itself.
const FORWARDING: [&str; 4] = ["forward", "postrouting", "FORWARD", "POSTROUTING"];

fn pick<'a, T: ?Sized>(draw: &mut Draw, from: &[&'a T]) -> &'a T {
    from[draw.below(from.len() as u64) as usize]
}

/// Shell that sets up to three sets of rules around, before or without the rule that forwards the
/// port. Without it the host itself is asked, where a process answers, as docker-proxy does.
pub(super) fn ruleset(draw: &mut Draw) -> String {
    let is_forwarded = draw.below(4) > 0;
    let mut text = String::new();
    if !is_forwarded {
        text.push_str("nft delete table ip6 forwarder\n");
    }
    for table in 0..1 + draw.below(3) as usize {
        text.push_str(&match draw.below(2) {
            0 => nft_rules(draw, table, is_forwarded),
            _ => xt_rules(draw, table, is_forwarded),
        });
    }
    if is_forwarded && draw.below(2) == 0 {
        // Of chains of one priority the kernel asks the older one first.
        text.push_str(&format!("nft delete table ip6 forwarder\n{FORWARDED}\n"));
    }
    text
}

/// One of these that a packet to the container, or to the host itself, may pass.
fn pick_hook<T: Copy>(
    draw: &mut Draw,
    all: &[T],
    is_forwarded: bool,
    hook: impl Fn(&T) -> &'static str,
) -> T {
    let passed = all
        .iter()
        .filter(|it| is_forwarded || !FORWARDING.contains(&hook(it)));
    let passed: Vec<T> = passed.copied().collect();
    passed[draw.below(passed.len() as u64) as usize]
}

/// Shell that makes one or two chains of nft with up to four rules each.
fn nft_rules(draw: &mut Draw, table: usize, is_forwarded: bool) -> String {
    let (family, hook, priority, ours) =
        pick_hook(draw, &NFT_HOOKS, is_forwarded, |(_, hook, ..)| *hook);
    let device = match hook {
        "ingress" => "device eth0 ",
        _ => "",
    };
    let is_tracked = hook != "ingress" && priority > -200;
    let policy = match draw.below(12) {
        // Of one that sees requests only.
        0 if hook == "forward" || hook == "input" => "drop",
        _ => "accept",
    };
    let mut text = format!(
        "table {family} t{table} {{\n chain other {{\n  {} {}\n }}\n chain main {{\n  type filter \
         hook {hook} {device}priority {priority}; policy {policy};\n",
        pick(draw, &NFT_CONDITIONS),
        pick(draw, &["accept", "drop", "return"]),
    );
    match hook {
        // Neighbours are found.
        "input" => text.push_str("  meta l4proto ipv6-icmp accept\n"),
        // What the container answers passes.
        _ if policy == "drop" => text.push_str("  iifname br0 accept\n"),
        _ => {}
    }
    for _ in 0..1 + draw.below(4) {
        let condition = match draw.below(5) {
            0 if is_tracked => pick(draw, &NFT_TRACKED),
            _ => pick(draw, &NFT_CONDITIONS),
        };
        let verdict = match pick(draw, &NFT_VERDICTS) {
            // Not to be had there.
            "reject" if hook == "ingress" || hook == "postrouting" => "drop",
            verdict => verdict,
        };
        text.push_str(&format!("  {ours} {condition} {verdict}\n"));
    }
    format!("nft -f - <<'N'\n{text} }}\n}}\nN\n")
}

/// Shell that appends up to four rules to a chain of ip6tables.
fn xt_rules(draw: &mut Draw, number: usize, is_forwarded: bool) -> String {
    let (table, chain, ours) = pick_hook(draw, &XT_CHAINS, is_forwarded, |(_, chain, _)| *chain);
    let mut text = String::new();
    let other = format!("OTHER-{number}");
    let tool = format!("ip6tables-nft -t {table}");
    let condition = pick(draw, &XT_CONDITIONS);
    let (condition, verdict) = match table {
        "nat" => translating(condition, pick(draw, &XT_NAT)),
        _ => (condition.to_owned(), "-j DROP"),
    };
    text.push_str(&format!(
        "{tool} -N {other}\n{tool} -A {other} {condition} {verdict}\n"
    ));
    if chain == "INPUT" {
        text.push_str(&format!("{tool} -A {chain} -p icmpv6 -j ACCEPT\n"));
    }
    for _ in 0..1 + draw.below(4) {
        let condition = match pick(draw, &XT_CONDITIONS) {
            "-m conntrack --ctstate NEW" if table == "raw" => "-p tcp",
            condition => condition,
        };
        let jump = format!("-j {other}");
        let (condition, verdict) = match draw.below(6) {
            4 => (condition.to_owned(), jump.as_str()),
            _ if table == "nat" => translating(condition, pick(draw, &XT_NAT)),
            0 => (condition.to_owned(), "-j ACCEPT"),
            1 => (condition.to_owned(), "-j DROP"),
            2 if table == "filter" => (condition.to_owned(), "-j REJECT"),
            3 => (condition.to_owned(), "-j RETURN"),
            _ => (condition.to_owned(), ""),
        };
        text.push_str(&format!("{tool} -A {chain} {ours} {condition} {verdict}\n"));
    }
    text
}

/// A rule that rewrites a port names the protocol.
fn translating<'v>(condition: &str, verdict: &'v str) -> (String, &'v str) {
    let is_bare = verdict.contains("--to-") && !condition.contains("-p ");
    let condition = match is_bare {
        true => format!("-p tcp {condition}"),
        false => condition.to_owned(),
    };
    (condition, verdict)
}
