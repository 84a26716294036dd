//! Rulesets drawn by lot: what `explain` says is what a real connect finds, and without the rule
//! that it names the outcome is another.

use std::collections::BTreeMap;
use std::env;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::super::flows::scenery::{HOST, PORT, inside};
use super::rulesets::ruleset;
use super::wrong::answer_on_the_host;
use super::{FORWARDED, Host, Told};
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

/// Who answers the client: container `one`, or the process on the host; `None` if nobody does, or
/// another. A client who should be answered may try again.
fn answers(expected: bool) -> Option<&'static str> {
    let to: SocketAddr = format!("[{HOST}]:{PORT}").parse().expect("an address");
    let begun = Instant::now();
    loop {
        let connected = inside("client", || TcpStream::connect_timeout(&to, ATTEMPT));
        match connected {
            Ok(stream) => return who(&stream),
            Err(_) if !expected || begun.elapsed() > PATIENCE => return None,
            Err(_) => {}
        }
    }
}

/// At whose port a client's connection ends, according to connection tracking. A packet after the first
/// may be dropped, so nobody is asked.
fn who(stream: &TcpStream) -> Option<&'static str> {
    let port = stream.local_addr().expect("connected").port();
    let flow = sh(&format!(
        "conntrack -L -f ipv6 -p tcp --sport {port} 2>/dev/null || :"
    ));
    // The second direction is that of the answers. What is not tracked is not rewritten.
    let mut words = flow.split_whitespace();
    let mut last = |key: &str| words.rfind(|word| word.starts_with(key)).map(str::to_owned);
    let (port, addr) = (last("sport="), last("src="));
    match (addr.as_deref(), port.as_deref()) {
        (Some("src=fdfd:5898:4917:1::2"), Some("sport=80")) => Some("one"),
        (Some("src=2001:db8::1"), Some("sport=8080")) | (None, None) => Some("host"),
        _ => None,
    }
}

/// Who answers according to `explain`.
fn said(told: &Told) -> Option<&'static str> {
    let who = match told.text("code") {
        "reachable" => Some("one"),
        "answered-by-host" => Some("host"),
        _ => None,
    };
    assert_eq!(who.is_some(), told.is_reachable(), "{told:#?}");
    who
}

/// The rule that ended the packet's way or, without such a one, led it elsewhere.
fn culprit(told: &Told) -> Option<Value> {
    told.stopped().or_else(|| {
        let way = told.said["way"].as_array()?;
        let mut rewriting = way.iter().filter(|step| step["table"] == "nat");
        rewriting.next_back().cloned()
    })
}

/// Back to the one rule that forwards the port.
fn clear() {
    sh(&format!(
        "for t in $(nft list tables | sed 's/table //;s/ /:/'); do
          nft delete table \"${{t%%:*}}\" \"${{t#*:}}\"
        done
        conntrack -F 2>/dev/null || :
        {FORWARDED}",
    ));
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
    answer_on_the_host();
    assert_eq!(answers(true), Some("one"), "before any rule");
    let mut answered = BTreeMap::new();
    let mut named = BTreeMap::new();
    for number in 0..count {
        let rules = ruleset(&mut draw);
        sh(&rules);
        let told = host.explain_port();
        let said = said(&told);
        let found = answers(said.is_some());
        assert_eq!(
            said, found,
            "ruleset {number} of seed {seed}:\n{rules}\n{told:#?}"
        );
        *answered.entry(said).or_insert(0) += 1;
        if said.is_none() && told.text("do").starts_with(['n', 'i']) {
            let culprit_before = culprit(&told);
            sh(told.text("do"));
            let after = host.explain_port();
            let is_other = after.is_reachable() || culprit(&after) != culprit_before;
            assert!(
                is_other,
                "ruleset {number} of seed {seed}:\n{rules}\n{told:#?}\n{after:#?}"
            );
            *named.entry(told.text("code").to_owned()).or_insert(0) += 1;
        }
        clear();
    }
    eprintln!("{count} rulesets, answered by: {answered:?}; culprits removed: {named:?}");
}
