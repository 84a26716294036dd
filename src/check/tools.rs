//! The tools of ip6tables, and whose rules stand in their tables. Pure.

use super::facts::{CheckFacts, Listing};
use super::finding::{CheckId, Finding};
use super::ruleset::read::Unseen;
use super::wording::shown;
use crate::backend::ip6tables::Variant;
use crate::backend::shell::tool_of;
use crate::backend::{BackendError, ErrorKind};
use crate::model::rule::BackendKind;

/// `tools` and `mixed-rules`.
pub(super) fn findings(facts: &CheckFacts) -> Vec<Finding> {
    let mut found = vec![tools(facts)];
    found.extend(mixed_rules(facts));
    found
}

fn tools(facts: &CheckFacts) -> Finding {
    let id = CheckId::Tools;
    let asked = facts.settings.backend;
    match &facts.firewall.tool {
        Ok(variant) => Finding::ok(id, format!("ip6tables, variant {variant}")),
        Err(error) if is_mismatch(error) => {
            let remedy = "update-alternatives --set ip6tables /usr/sbin/ip6tables-nft";
            match asked {
                Some(BackendKind::Ip6tables) => Finding::fail(id, &error.detail),
                _ => Finding::warn(id, &error.detail),
            }
            .with(remedy)
        }
        Err(error) if error.kind == ErrorKind::Unsupported => {
            let nf_tables = matches!(facts.firewall.rules, Ok(_) | Err(Unseen::NotPermitted));
            let is_needed = match asked {
                Some(backend) => backend == BackendKind::Ip6tables,
                None => !nf_tables,
            };
            match is_needed {
                true => Finding::fail(id, &error.detail).with("apt-get install iptables"),
                false => Finding::ok(id, "no ip6tables; the nftables backend needs no tool"),
            }
        }
        Err(error) => Finding::fail(id, error.detail.clone()),
    }
}

/// Whether one tool of the pair is of the other variant.
fn is_mismatch(error: &BackendError) -> bool {
    error.operation == "ip6tables --version" && error.kind == ErrorKind::Unsupported
}

fn mixed_rules(facts: &CheckFacts) -> Vec<Finding> {
    let id = CheckId::MixedRules;
    let mut found = Vec::new();
    for (variant, error) in &facts.firewall.unlisted {
        let detail = shown(error.detail.lines().next().unwrap_or_default());
        if error.kind == ErrorKind::Denied {
            found.push(Finding::skip(
                id,
                format!("ip6tables ({variant}): {detail}"),
            ));
        } else if error.kind == ErrorKind::Uncertain {
            let what = format!(
                "native rules stand in a table of ip6tables, which cannot list it: {detail}"
            );
            let in_use = facts.settings.backend.or(facts.firewall.running);
            let line = match in_use {
                Some(BackendKind::Ip6tables) => Finding::fail(id, what),
                _ => Finding::warn(id, what),
            };
            let remedy = "nft -a list ruleset ip6, and move what ip6tables has not written into a \
                          table of its own";
            found.push(line.with(remedy));
        } else {
            let what = format!("ip6tables ({variant}) cannot list its tables: {detail}");
            found.push(Finding::warn(id, what));
        }
    }
    let of = |variant| {
        let all = facts.firewall.listings.iter();
        all.filter(move |it: &&Listing| it.variant == variant && holds_something(&it.text))
    };
    let both = of(Variant::Nft).next().is_some() && of(Variant::Legacy).next().is_some();
    if both {
        let own = facts
            .firewall
            .tool
            .as_ref()
            .copied()
            .unwrap_or(Variant::Nft);
        let tables: Vec<&Listing> = of(own.other()).collect();
        let names: Vec<&str> = tables.iter().map(|it| it.table.as_str()).collect();
        let what = format!(
            "both variants of ip6tables hold rules, and every packet passes both: of the other one \
             ({}) in {}",
            own.other(),
            names.join(", ")
        );
        let moves: Vec<String> = tables.iter().map(|it| movement(it, own)).collect();
        found.push(Finding::warn(id, what).with(moves.join(" && ")));
    }
    if found.is_empty() {
        let what = match &facts.firewall.rules {
            Err(Unseen::NotPermitted) => {
                return vec![Finding::skip(id, "listing the rules needs CAP_NET_ADMIN")];
            }
            _ => "the rules of ip6tables are of one variant",
        };
        found.push(Finding::ok(id, what));
    }
    found
}

/// Whether a table holds rules, or a policy that drops.
fn holds_something(listing: &str) -> bool {
    let mut lines = listing.lines();
    lines.any(|line| line.starts_with("-A ") || line.starts_with(':') && line.contains(" DROP "))
}

/// Moves a table to the variant `to`: its rules are set there before they are removed.
fn movement(listing: &Listing, to: Variant) -> String {
    let (from, to, table) = (tool_of(to.other()), tool_of(to), &listing.table);
    let policies: String = listing
        .text
        .lines()
        .filter_map(|line| line.strip_prefix(':')?.split_once(" DROP "))
        .map(|(chain, _)| format!(" && {from} -t {table} -P {chain} ACCEPT"))
        .collect();
    format!(
        "{from}-save -t {table} | {to}-restore --noflush{policies} && {from} -t {table} -F && \
         {from} -t {table} -X"
    )
}
