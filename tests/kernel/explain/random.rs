//! Rulesets drawn by lot: what `explain` says is what a real connect finds, and without the rule
//! that it names the outcome is another.

use std::env;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::flows::scenery::{HOST, PORT, inside};
use super::Host;
use crate::support::draw::Draw;
use crate::support::namespace;
use crate::support::shell::sh;
use crate::support::together::{Case, case, together};

/// How many rulesets, unless `DOCKER_NAT66_EXPLAIN_RULESETS` says otherwise; the seed is that of
/// `DOCKER_NAT66_EXPLAIN_SEED`.
const RULESETS: u64 = 100;

/// How many hosts work on them at a time.
const HOSTS: u64 = 2;

/// Longest try of a client that should get through.
const PATIENCE: Duration = Duration::from_secs(8);

/// One try: a round trip takes microseconds.
const ATTEMPT: Duration = Duration::from_millis(250);

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

/// Hook, priority, and what makes a rule see requests only.
const NFT_HOOKS: [(&str, i32, &str); 9] = [
    ("prerouting", -300, "iifname eth0"),
    ("prerouting", -150, "iifname eth0"),
    ("prerouting", -50, "iifname eth0"),
    ("forward", -150, "iifname eth0"),
    ("forward", 0, "iifname eth0"),
    ("forward", 10, "oifname br0"),
    ("postrouting", -150, "oifname br0"),
    ("postrouting", 50, "oifname br0"),
    ("ingress", 0, ""),
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
const XT_CHAINS: [(&str, &str, &str); 5] = [
    ("raw", "PREROUTING", "-i eth0"),
    ("mangle", "PREROUTING", "-i eth0"),
    ("mangle", "FORWARD", "-i eth0"),
    ("filter", "FORWARD", "-i eth0"),
    ("mangle", "POSTROUTING", "-o br0"),
];

fn pick<'a, T: ?Sized>(draw: &mut Draw, from: &[&'a T]) -> &'a T {
    from[draw.below(from.len() as u64) as usize]
}

/// Shell that makes one or two chains of nft with up to four rules each.
fn nft_rules(draw: &mut Draw, table: usize) -> String {
    let (hook, priority, ours) = NFT_HOOKS[draw.below(NFT_HOOKS.len() as u64) as usize];
    let device = if hook == "ingress" {
        "device eth0 "
    } else {
        ""
    };
    let family = if hook == "ingress" { "netdev" } else { "inet" };
    let is_tracked = hook != "ingress" && priority > -200;
    let policy = match draw.below(12) {
        // Of one that sees requests only.
        0 if hook == "ingress" => "accept",
        0 if hook == "forward" => "drop",
        _ => "accept",
    };
    let mut text = format!(
        "table {family} t{table} {{\n chain other {{\n  {} {}\n }}\n chain main {{\n  type filter \
         hook {hook} {device}priority {priority}; policy {policy};\n",
        pick(draw, &NFT_CONDITIONS),
        pick(draw, &["accept", "drop", "return"]),
    );
    if policy == "drop" {
        // What the container answers passes.
        text.push_str("  iifname br0 accept\n");
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
fn xt_rules(draw: &mut Draw, number: usize) -> String {
    let (table, chain, ours) = XT_CHAINS[draw.below(XT_CHAINS.len() as u64) as usize];
    let mut text = String::new();
    let other = format!("OTHER-{number}");
    let tool = format!("ip6tables-nft -t {table}");
    let condition = pick(draw, &XT_CONDITIONS);
    text.push_str(&format!(
        "{tool} -N {other}\n{tool} -A {other} {condition} -j DROP\n"
    ));
    for _ in 0..1 + draw.below(4) {
        let condition = match pick(draw, &XT_CONDITIONS) {
            "-m conntrack --ctstate NEW" if table == "raw" => "-p tcp",
            condition => condition,
        };
        let verdict = match draw.below(6) {
            0 => "-j ACCEPT".to_owned(),
            1 => "-j DROP".to_owned(),
            2 if table == "filter" => "-j REJECT".to_owned(),
            3 => "-j RETURN".to_owned(),
            4 => format!("-j {other}"),
            _ => String::new(),
        };
        text.push_str(&format!("{tool} -A {chain} {ours} {condition} {verdict}\n"));
    }
    text
}

/// Whether a client connects. Where it should, it may try again.
fn connects(expected: bool) -> bool {
    let to: SocketAddr = format!("[{HOST}]:{PORT}").parse().expect("an address");
    let begun = Instant::now();
    loop {
        let connected = inside("client", || {
            TcpStream::connect_timeout(&to, ATTEMPT).is_ok()
        });
        if connected || !expected || begun.elapsed() > PATIENCE {
            return connected;
        }
    }
}

/// Back to the one rule that forwards the port.
fn clear() {
    sh(
        "for t in $(nft list tables | grep -v forwarder | sed 's/table //;s/ /:/'); do
          nft delete table \"${t%%:*}\" \"${t#*:}\"
        done
        conntrack -F 2>/dev/null || :",
    );
}

fn seed() -> u64 {
    let given = env::var("DOCKER_NAT66_EXPLAIN_SEED").ok();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let drawn = now.map_or(1, |now| now.as_nanos() as u64);
    given.map_or(drawn, |seed| seed.parse().expect("a number"))
}

fn rulesets() -> u64 {
    let given = env::var("DOCKER_NAT66_EXPLAIN_RULESETS").ok();
    given.map_or(RULESETS, |count| count.parse().expect("a number"))
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn what_it_says_of_any_ruleset_is_what_a_real_client_finds() {
    namespace::fresh(|| {
        let (seed, rulesets) = (seed(), rulesets());
        eprintln!("seed {seed}, {rulesets} rulesets");
        let cases: Vec<Case> = (0..HOSTS)
            .map(|part| {
                let count = rulesets / HOSTS + u64::from(part < rulesets % HOSTS);
                let name = format!("host {part} of seed {seed}");
                case(&name, move || many(seed.wrapping_add(part << 32), count))
            })
            .collect();
        together(cases);
    });
}

fn many(seed: u64, count: u64) {
    let mut draw = Draw(seed);
    let host = Host::build();
    assert!(connects(true), "before any rule");
    let (mut open, mut named) = (0, 0);
    for number in 0..count {
        let mut rules = String::new();
        for table in 0..1 + draw.below(3) as usize {
            rules.push_str(&match draw.below(2) {
                0 => nft_rules(&mut draw, table),
                _ => xt_rules(&mut draw, table),
            });
        }
        sh(&rules);
        let told = host.explain_port();
        let said = told.is_reachable();
        let found = connects(said);
        assert_eq!(
            said, found,
            "ruleset {number} of seed {seed}:\n{rules}\n{told:#?}"
        );
        open += u64::from(said);
        if !said && told.text("do").starts_with(['n', 'i']) {
            let stopped = told.stopped();
            sh(told.text("do"));
            let after = host.explain_port();
            let is_other = after.is_reachable() || after.stopped() != stopped;
            assert!(
                is_other,
                "ruleset {number} of seed {seed}:\n{rules}\n{told:#?}\n{after:#?}"
            );
            named += 1;
        }
        clear();
    }
    eprintln!("{count} rulesets: {open} open, {named} culprits removed");
}
