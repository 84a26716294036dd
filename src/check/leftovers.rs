//! Rules whose program no longer looks after them: ours without a daemon, those of the first docker-nat66 (Go), of
//! docker-ipv6nat and of Engines. Pure.

use std::collections::BTreeSet;
use std::net::SocketAddrV6;

use ipnet::Ipv6Net;

use super::facts::{CheckFacts, Docker, Listing};
use super::finding::{CheckId, Finding};
use super::ruleset::read::Unseen;
use super::shapes::{self, Found};
use crate::backend::ip6tables::Variant;
use crate::backend::ip6tables::tokens::{self, Word};
use crate::backend::nftables::TABLE;
use crate::backend::shell::{is_plain_rule, tool_of};
use crate::mapper::published::published;
use crate::model::published::Target;

/// How the comment of each of our rules begins.
const COMMENT: &str = "docker-nat66:";

/// Most rules that one remedy names; the next check names those that are left.
const MOST: usize = 100;

/// The first Engine whose `ip6tables` is on by default (release notes of Docker Engine 27.0).
const NAT_SINCE: u32 = 27;

/// Whether an Engine of this version does IPv6 NAT itself unless its settings forbid it, which its API
/// does not show. It uses the same chains as docker-ipv6nat.
pub(crate) fn does_nat(version: &str) -> bool {
    let major = version.split('.').next().map(str::parse::<u32>);
    matches!(major, Some(Ok(major)) if major >= NAT_SINCE)
}

pub(super) fn findings(facts: &CheckFacts) -> Vec<Finding> {
    let id = CheckId::Leftovers;
    let rules = match &facts.firewall.rules {
        Err(Unseen::NotPermitted) => {
            return vec![Finding::skip(id, "listing the rules needs CAP_NET_ADMIN")];
        }
        Err(_) => None,
        Ok(rules) => Some(rules),
    };
    let listings = &facts.firewall.listings;
    let mut found = Vec::new();
    let in_table = rules.is_some_and(|rules| {
        let mut chains = rules.chains.iter();
        chains.any(|chain| chain.place.table == TABLE)
    });
    let in_listing = listings.iter().any(|it| it.text.contains(COMMENT));
    let runs = facts.firewall.daemon == Some(true) || facts.firewall.running.is_some();
    if (in_table || in_listing) && !runs {
        let what = "rules of docker-nat66 are here, and no daemon that keeps them";
        found.push(Finding::warn(id, what).with("docker-nat66 cleanup"));
    }
    let snapshot = facts.snapshot();
    let prefixes = facts.prefixes();
    // Each prefix by itself, to name only those of which there is a rule.
    let of_go = |prefixes: &[Ipv6Net]| removals(listings, |rule| is_of_go(rule, prefixes));
    let is_found = |prefix: &&Ipv6Net| !of_go(std::slice::from_ref(*prefix)).is_empty();
    let named = prefixes.iter().filter(is_found);
    let named: String = named.map(|prefix| format!(" --prefix {prefix}")).collect();
    let go = of_go(&prefixes);
    found.extend(warning(
        "as the first docker-nat66 (written in Go), or somebody by its documentation, has set them",
        go.len(),
        match facts.firewall.unlisted.is_empty() {
            true => format!("docker-nat66 cleanup --foreign docker-nat66-go{named} --yes"),
            // It would refuse.
            false => one_by_one(&go),
        },
    ));
    // What Docker's own NAT serves and nobody publishes; docker-ipv6nat uses the same chains.
    if let Some(snapshot) = snapshot
        && snapshot.unanswered.is_empty()
    {
        let published = published(snapshot, true).unwrap_or_default();
        let known = published.forwards.iter().chain(&published.local);
        let wanted: BTreeSet<Target> = known.map(|forward| forward.target).collect();
        let stray = removals(listings, |rule| {
            dnat_of_docker(rule).is_some_and(|target| !wanted.contains(&target))
        });
        let leads_to_wanted =
            |rule: &[Word]| dnat_of_docker(rule).is_some_and(|target| wanted.contains(&target));
        // It removes all of docker-ipv6nat, so not while that serves anything.
        let of_ipv6nat = match removals(listings, leads_to_wanted).is_empty() {
            true => of_ipv6nat(facts),
            false => BTreeSet::new(),
        };
        let is_theirs = |command: &String| of_ipv6nat.contains(command);
        let (theirs, stray): (Vec<_>, Vec<_>) = stray.into_iter().partition(is_theirs);
        found.extend(warning(
            "of docker-ipv6nat, for ports that no container publishes",
            theirs.len(),
            match facts.docker_host_option() {
                Some(engine) => {
                    format!("docker-nat66 cleanup --foreign docker-ipv6nat{engine} --yes")
                }
                None => one_by_one(&theirs),
            },
        ));
        found.extend(warning(
            "of an Engine, or of docker-ipv6nat, for ports that no container publishes",
            stray.len(),
            one_by_one(&stray),
        ));
    }
    if found.is_empty() {
        found.push(Finding::ok(id, "nothing is left over"));
    }
    found
}

/// The first of these commands as one.
fn one_by_one(commands: &[String]) -> String {
    commands[..commands.len().min(MOST)].join(" && ")
}

/// One line for so many rules of one origin.
fn warning(whose: &str, count: usize, remedy: String) -> Option<Finding> {
    let what = match count {
        0 => return None,
        1 => format!("1 rule {whose}"),
        count => format!("{count} rules {whose}"),
    };
    Some(Finding::warn(CheckId::Leftovers, what).with(remedy))
}

/// The commands that remove the rules of docker-ipv6nat from the nat table; none where `cleanup --foreign
/// docker-ipv6nat` would refuse to.
fn of_ipv6nat(facts: &CheckFacts) -> BTreeSet<String> {
    let engine = match &facts.docker {
        Docker::Here(survey) => survey.version.as_ref(),
        _ => None,
    };
    let refuses = engine.is_some_and(|(_, version)| does_nat(version.raw()));
    if refuses || !facts.firewall.unlisted.is_empty() {
        return BTreeSet::new();
    }
    let mut commands = BTreeSet::new();
    for variant in [Variant::Nft, Variant::Legacy] {
        let listing = |table: &str| {
            let mut listings = facts.firewall.listings.iter();
            let found = listings.find(|it| it.variant == variant && it.table == table);
            found.map_or("", |listing| &listing.text)
        };
        match shapes::find(listing("nat"), listing("filter")) {
            Found::Nothing => {}
            Found::Engine(_) => return BTreeSet::new(),
            Found::Theirs { nat, .. } => {
                let tool = tool_of(variant);
                commands.extend(nat.iter().map(|change| format!("{tool} -t nat {change}")));
            }
        }
    }
    commands
}

/// The commands that remove such rules of the nat table.
fn removals(listings: &[Listing], is: impl Fn(&[Word]) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for listing in listings.iter().filter(|it| it.table == "nat") {
        let tool = tool_of(listing.variant);
        for line in listing.text.lines().filter(|line| line.starts_with("-A ")) {
            if let Ok((words, _)) = tokens::split(line)
                && is(&words)
                && is_plain_rule(line)
            {
                found.push(format!("{tool} -t nat -D {}", &line[3..]));
            }
        }
    }
    found
}

/// `-A POSTROUTING -s PREFIX -o DEV -j MASQUERADE`, or `-A PREROUTING -i DEV -p PROTO -m PROTO --dport
/// PORT -j DNAT --to-destination [ADDR]:PORT`, and nothing else.
pub(crate) fn is_of_go(rule: &[Word], prefixes: &[Ipv6Net]) -> bool {
    let words: Vec<&str> = rule.iter().map(|word| word.text.as_str()).collect();
    match words[..] {
        [
            "-A",
            "POSTROUTING",
            "-s",
            prefix,
            "-o",
            _,
            "-j",
            "MASQUERADE",
        ] => prefix
            .parse()
            .is_ok_and(|prefix: Ipv6Net| prefixes.contains(&prefix)),
        [
            "-A",
            "PREROUTING",
            "-i",
            _,
            "-p",
            a,
            "-m",
            b,
            "--dport",
            _,
            "-j",
            "DNAT",
            "--to-destination",
            target,
        ] if a == b => {
            let target: Option<SocketAddrV6> = target.parse().ok();
            target.is_some_and(|to| prefixes.iter().any(|prefix| prefix.contains(to.ip())))
        }
        _ => false,
    }
}

/// Where a rule in the chain DOCKER leads.
fn dnat_of_docker(rule: &[Word]) -> Option<Target> {
    let words: Vec<&str> = rule.iter().map(|word| word.text.as_str()).collect();
    let ["-A", "DOCKER", ..] = words[..] else {
        return None;
    };
    let at = words.iter().position(|word| *word == "--to-destination")?;
    let target: SocketAddrV6 = words.get(at + 1)?.parse().ok()?;
    Some((*target.ip(), target.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_known_by_every_word_of_them() {
        let prefixes = ["fd00::/64".parse().expect("a network")];
        let cases = [
            ("-A POSTROUTING -s fd00::/64 -o eth0 -j MASQUERADE", true),
            ("-A POSTROUTING -s fd01::/64 -o eth0 -j MASQUERADE", false),
            ("-A POSTROUTING -o eth0 -j MASQUERADE", false),
            (
                "-A POSTROUTING -s fd00::/64 -o eth0 -m comment --comment x -j MASQUERADE",
                false,
            ),
            (
                "-A PREROUTING -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::2]:80",
                true,
            ),
            (
                "-A PREROUTING -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd01::2]:80",
                false,
            ),
        ];
        for (line, expected) in cases {
            let (rule, _) = tokens::split(line).expect("words");
            assert_eq!(is_of_go(&rule, &prefixes), expected, "{line}");
        }
    }

    #[test]
    fn the_command_removes_the_rule_as_it_is_listed() {
        let rule =
            "DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::2]:80";
        let listing = Listing {
            variant: Variant::Legacy,
            table: "nat".to_owned(),
            text: format!("*nat\n-A {rule}\nCOMMIT\n"),
        };
        let all = removals(&[listing], |rule| dnat_of_docker(rule).is_some());
        assert_eq!(all, [format!("ip6tables-legacy -t nat -D {rule}")]);
        let odd = "DOCKER -i a;reboot -j DNAT --to-destination [fd00::2]:80";
        let listing = Listing {
            variant: Variant::Nft,
            table: "nat".to_owned(),
            text: format!("-A {odd}\n"),
        };
        assert_eq!(removals(&[listing], |_| true), Vec::<String>::new());
    }
}
