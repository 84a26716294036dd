//! Chains of other programs that drop what we forward, in words and with a remedy. Pure.

use super::finding::CheckId;
use super::ruleset::walk::{Dropped, drops};
use super::ruleset::{BaseChain, Home, Hook, Packet, Place, Ruleset, Verdict};
use super::wording::{self, owner};
pub(super) use crate::backend::authors::DOCKER_USER;
use crate::backend::ip6tables::Variant;
use crate::backend::nftables::TABLE;
use crate::backend::shell::{nft_word, tool_where};
use crate::netlink::message::IPV6;

/// The table of an Engine that uses nftables. What Docker's own NAT serves is checked elsewhere.
const BRIDGES: &str = "docker-bridges";

/// Lets firewalld accept what others forward. From 2.3 on it refuses that where its settings have
/// StrictForwardPorts, whatever its zones and policies say (firewalld.conf(5)); else its rules as it
/// writes them accept it.
const FIREWALLD: &str = "sed -i 's/^StrictForwardPorts=.*/StrictForwardPorts=no/' \
                         /etc/firewalld/firewalld.conf && firewall-cmd --reload";

/// A chain of another program that drops every new connection to a published port.
pub(super) struct Drop {
    pub(super) dropped: Dropped,
    pub(super) id: CheckId,
    /// Docker's chains stand in the same table.
    beside_docker: bool,
}

/// Whether this chain is in scope: it is neither ours nor that of Docker's own NAT.
pub(super) fn is_of_others(place: &Place) -> bool {
    ![TABLE, BRIDGES].contains(&place.table.as_str())
}

/// What a remedy needs to know.
pub(super) struct DropContext<'f> {
    pub(super) packet: &'f Packet,
    /// The variant that `ip6tables` means here, if it is installed.
    pub(super) tool: Option<Variant>,
    /// Where ip6tables cannot list its own tables, and so change nothing in them.
    pub(super) unlisted: Vec<Home>,
}

/// The drops that our rules cannot overrule.
/// `ours` is where they stand in the tables of ip6tables; `None`: in a table of their own.
pub(super) fn all(rules: &Ruleset, packet: &Packet, ours: Option<Home>) -> Vec<Drop> {
    let mut found = Vec::new();
    for base in rules.chains.iter().filter(|it| it.hook == Hook::Forward) {
        let place = &base.place;
        if !is_of_others(place) {
            continue;
        }
        let is_ours = overrules(ours, place);
        let start = match is_ours {
            false => base.clone(),
            // Our own chain stands before everything but this.
            true => BaseChain {
                place: Place {
                    chain: DOCKER_USER.to_owned(),
                    ..place.clone()
                },
                hook: Hook::Forward,
                drops: false,
            },
        };
        let is_called = |chain: &str| {
            let jump = Verdict::Jump(chain.to_owned());
            rules.of(place).any(|rule| rule.verdict == jump)
        };
        if is_ours && !is_called(DOCKER_USER) {
            continue;
        }
        if let Some(dropped) = drops(rules, &start, packet) {
            let id = if place.table == "firewalld" {
                CheckId::Firewalld
            } else if !is_ours && has_ufw(rules, place) {
                CheckId::Ufw
            } else {
                CheckId::ForwardDrop
            };
            found.push(Drop {
                dropped,
                id,
                beside_docker: rules.has_chain(place.home, &place.table, "DOCKER"),
            });
        }
    }
    found
}

/// Where a variant of ip6tables keeps its tables.
pub(super) fn home(variant: Variant) -> Home {
    match variant {
        Variant::Nft => Home::Nft(IPV6),
        Variant::Legacy => Home::Legacy,
    }
}

/// Whether our own chain stands at the top of this one.
pub(super) fn overrules(ours: Option<Home>, place: &Place) -> bool {
    ours == Some(place.home) && place.table == "filter" && place.chain == "FORWARD"
}

pub(super) fn has_ufw(rules: &Ruleset, place: &Place) -> bool {
    rules.has_chain(place.home, &place.table, "ufw6-")
}

/// What is said of a drop.
pub(super) fn what(found: &Drop) -> String {
    let Dropped {
        base,
        at,
        handle,
        unless_accepted,
    } = &found.dropped;
    let rule = match handle {
        None => format!("the policy of {} drops", wording::place(base)),
        Some(0) => format!("a rule in {} drops", wording::place(at)),
        Some(handle) => format!("rule {handle} in {} drops", wording::place(at)),
    };
    let by = match found.id {
        CheckId::Ufw => "ufw",
        CheckId::Firewalld => "firewalld",
        // Docker sets this policy, and does not say so.
        _ if handle.is_none() && found.beside_docker => "probably Docker",
        _ => owner(if handle.is_some() { at } else { base }),
    };
    let unless = match unless_accepted {
        true => ", unless a rule before it accepts them",
        false => "",
    };
    format!("{rule} new connections to published ports{unless}; written by {by}")
}

/// The command that lets published ports through; `None` where no command can name the chain.
pub(super) fn remedy(found: &Drop, context: &DropContext<'_>) -> Option<String> {
    let Packet { from, to } = context.packet;
    match found.id {
        CheckId::Ufw => {
            let routes = from.iter().flat_map(|device| {
                let route = move |to| format!("ufw route allow in on {device} to {to}");
                to.iter().map(route)
            });
            let routes: Vec<String> = routes.collect();
            Some(routes.join(" && ")).filter(|routes| !routes.is_empty())
        }
        CheckId::Firewalld => Some(FIREWALLD.to_owned()),
        _ => exception(context, &found.dropped.base),
    }
}

/// The command that lets published ports through a chain, and nothing else.
fn exception(context: &DropContext<'_>, base: &Place) -> Option<String> {
    let tool = match base.home {
        Home::Legacy => tool_where(Variant::Legacy, context.tool),
        Home::Nft(IPV6) if ["filter", "mangle", "security"].contains(&base.table.as_str()) => {
            tool_where(Variant::Nft, context.tool)
        }
        Home::Nft(_) => None,
    };
    let is_unlisted = context.unlisted.contains(&base.home);
    if let Some(tool) = tool.filter(|_| !is_unlisted) {
        let (chain, verdict) = (
            &base.chain,
            match base.chain.as_str() {
                DOCKER_USER => "RETURN",
                _ => "ACCEPT",
            },
        );
        if ["FORWARD", DOCKER_USER].contains(&chain.as_str()) {
            let table = match base.table.as_str() {
                "filter" => String::new(),
                table => format!(" -t {table}"),
            };
            let rule = format!("{chain} -m conntrack --ctstate DNAT -j {verdict}");
            return Some(format!("{tool}{table} -I {rule}"));
        }
    }
    let (table, chain) = (wording::table(base)?, nft_word(&base.chain)?);
    Some(format!(
        "nft insert rule {table} {chain} ct status dnat accept"
    ))
}
