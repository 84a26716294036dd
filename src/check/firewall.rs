//! What the rules of others do with packets for published ports. Pure.

use super::drops::{self, DropContext};
use super::facts::CheckFacts;
use super::finding::{CheckId, Finding};
use super::ruleset::read::Unseen;

use super::ruleset::{Hook, Packet, Ruleset};
use super::wording;
use crate::backend::shell::nft_word;
use crate::mapper::published::published;
use crate::sys::causes::chain;

/// The ids from `forward-drop` to `rpfilter`.
pub(super) fn findings(facts: &CheckFacts) -> Vec<Finding> {
    let rules = match &facts.firewall.rules {
        Ok(rules) => rules,
        Err(why) => {
            let why = match why {
                Unseen::NotPermitted => "listing the rules needs CAP_NET_ADMIN".to_owned(),
                Unseen::NoNfTables => "there is no nf_tables in this kernel".to_owned(),
                Unseen::Failed(why) => why.clone(),
            };
            let ids = [
                CheckId::ForwardDrop,
                CheckId::Firewalld,
                CheckId::Ufw,
                CheckId::Rpfilter,
            ];
            return ids.map(|id| Finding::skip(id, &why)).into();
        }
    };
    let dropped = drops(facts, rules);
    let mut found = forward_drop(facts, rules, &dropped);
    found.extend(firewalld(rules, &dropped));
    found.extend(ufw(facts, rules, &dropped));
    found.extend(rpfilter(facts, rules));
    found
}

/// One line for each drop that our rules cannot overrule.
fn drops(facts: &CheckFacts, rules: &Ruleset) -> Vec<Finding> {
    let packet = Packet {
        from: facts
            .egress
            .iter()
            .map(|it| it.as_str().to_owned())
            .collect(),
        to: facts.prefixes(),
    };
    let unlisted = facts.firewall.unlisted.iter();
    let context = DropContext {
        packet: &packet,
        tool: facts.firewall.tool.as_ref().ok().copied(),
        unlisted: unlisted.map(|(variant, _)| drops::home(*variant)).collect(),
    };
    let all = drops::all(rules, &packet, facts.variant().map(drops::home));
    let line = |found: &drops::Drop| {
        let what = drops::what(found);
        let finding = match found.dropped.unless_accepted {
            true => Finding::warn(found.id, what),
            false => Finding::fail(found.id, what),
        };
        match drops::remedy(found, &context) {
            Some(remedy) => finding.with(remedy),
            None => finding,
        }
    };
    all.iter().map(line).collect()
}

fn of(id: CheckId, dropped: &[Finding]) -> Vec<Finding> {
    dropped.iter().filter(|it| it.id == id).cloned().collect()
}

fn forward_drop(facts: &CheckFacts, rules: &Ruleset, dropped: &[Finding]) -> Vec<Finding> {
    let id = CheckId::ForwardDrop;
    let mut found = of(id, dropped);
    // While Docker's own NAT serves, these rules are in use.
    let seen = facts.firewall.nat.as_ref().ok();
    if let (Some(nat), Some(snapshot)) = (seen.map(|seen| &seen.nat), facts.snapshot()) {
        let published = published(snapshot, true).unwrap_or_default().forwards;
        let serving = &nat.forwards | &nat.podman;
        let is_off = !nat.chains || !published.is_empty() && published.is_disjoint(&serving);
        for left in nat.left_behind.iter().filter(|_| is_off) {
            let what = format!(
                "{} drops what is forwarded; an Engine left it when it came back without IPv6 NAT",
                left.place
            );
            found.push(Finding::fail(id, what).with(&left.remedy));
        }
    }
    let unread = seen.and_then(|seen| seen.unread.as_ref());
    if found.is_empty()
        && let Some(error) = unread
    {
        found.push(Finding::skip(id, chain(error)));
    }
    if found.is_empty() {
        let forward = rules
            .chains
            .iter()
            .filter(|it| it.hook == Hook::Forward)
            .count();
        found.push(Finding::ok(
            id,
            match forward {
                0 => "no chain is called for forwarded packets".to_owned(),
                1 => "the one chain for forwarded packets lets published ports through".to_owned(),
                some => format!("{some} chains for forwarded packets let published ports through"),
            },
        ));
    }
    found
}

fn firewalld(rules: &Ruleset, dropped: &[Finding]) -> Vec<Finding> {
    let id = CheckId::Firewalld;
    let found = of(id, dropped);
    if !found.is_empty() {
        return found;
    }
    let is_here = rules.has_base_chain(|place| place.table == "firewalld");
    vec![Finding::ok(
        id,
        match is_here {
            true => "its rules let published ports through",
            false => "it has no rules here",
        },
    )]
}

fn ufw(facts: &CheckFacts, rules: &Ruleset, dropped: &[Finding]) -> Vec<Finding> {
    let id = CheckId::Ufw;
    let found = of(id, dropped);
    if !found.is_empty() {
        return found;
    }
    let is_here = rules.has_base_chain(|place| drops::has_ufw(rules, place));
    vec![Finding::ok(
        id,
        match (is_here, facts.variant()) {
            (false, _) => "it has no rules here",
            (true, Some(_)) => "its rules stand behind ours",
            (true, None) => "its rules let published ports through",
        },
    )]
}

fn rpfilter(facts: &CheckFacts, rules: &Ruleset) -> Vec<Finding> {
    let id = CheckId::Rpfilter;
    let Some(strict) = rules.is_strict() else {
        return vec![Finding::ok(id, "no rule drops packets by their way back")];
    };
    let place = wording::place(&strict.place);
    let Ok(host) = &facts.host else {
        return vec![Finding::skip(id, "the host's routes are not known")];
    };
    let remedy = wording::table(&strict.place)
        .zip(nft_word(&strict.place.chain))
        .map(|(table, chain)| format!("nft delete rule {table} {chain} handle {}", strict.handle));
    let defaults = &host.facts.default_devices;
    let without = facts
        .egress
        .iter()
        .filter(|device| !defaults.contains(device));
    let found: Vec<Finding> = without
        .map(|device| {
            let what = format!(
                "a rule in {place} drops what arrives on {device} from clients to which no route \
                 leads back by {device}"
            );
            match &remedy {
                Some(remedy) => Finding::warn(id, what).with(remedy),
                None => Finding::warn(id, what),
            }
        })
        .collect();
    if !found.is_empty() {
        return found;
    }
    let what = format!("a rule in {place} is strict, and the default route leads back");
    vec![Finding::ok(id, what)]
}
