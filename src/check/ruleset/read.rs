//! Lists the chains, rules and sets of nf_tables over netlink. Nothing is changed, and nothing
//! stays but what is returned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::decode::{self, Draft};
use super::sets::{self, Element};
use super::{Home, Hook, Place, Rule, Ruleset, Verdict};
use crate::backend::nftables::TABLE;
use crate::netlink::NetlinkError;
use crate::netlink::listing::list_all;
use crate::netlink::message::{Writer, nfgenmsg};
use crate::netlink::nf_tables::{element, message, rule};
use crate::netlink::request::Fill;
use crate::netlink::socket::Socket;
use crate::sys::progress::{self, Worker};

/// How long the kernel may take. 10,000 rules take it half a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// Any family (`NFPROTO_UNSPEC`, linux/netfilter.h).
const ANY: u8 = 0;

/// Most sets whose elements are read; the conditions of further ones may hold.
const MOST_SETS: usize = 256;

/// Why the rules are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) enum Unseen {
    /// Reading them needs CAP_NET_ADMIN.
    NotPermitted,
    /// There is no nf_tables in the kernel.
    NoNfTables,
    Failed(String),
}

/// The chains and rules of IPv6 in nf_tables.
pub(in crate::check) fn nf_tables() -> Result<Ruleset, Unseen> {
    try_read(Instant::now() + PATIENCE).map_err(unseen)
}

/// Those that forwarded packets pass before they are sent: base chains in scope, and the chains to
/// which a rule leads, as far as it is followed from one chain to another.
pub(in crate::check) fn forwarding(
    is_in_scope: impl Fn(&Place) -> bool,
    follows: impl Fn(&Place, &str) -> bool,
) -> Result<Ruleset, Unseen> {
    let deadline = Instant::now() + PATIENCE;
    let read = || {
        let mut socket = Socket::netfilter()?;
        let all: &Fill<'_> = &|writer: &mut Writer| writer.raw(&nfgenmsg(ANY));
        let kind = message::GET_CHAIN;
        let mut chains = list(&mut socket, deadline, kind, all, decode::base_chain)?;
        chains.retain(|it| it.hook != Hook::Other && is_in_scope(&it.place));
        let mut next: Vec<Place> = chains.iter().map(|it| it.place.clone()).collect();
        let mut seen: BTreeSet<Place> = next.iter().cloned().collect();
        let mut rules = Vec::new();
        while let Some(place) = next.pop() {
            let Home::Nft(family) = place.home else {
                continue;
            };
            let which: &Fill<'_> = &|writer: &mut Writer| {
                writer.raw(&nfgenmsg(family));
                writer.text(rule::TABLE, &place.table);
                writer.text(rule::CHAIN, &place.chain);
            };
            let kind = message::GET_RULE;
            let drafts = list(&mut socket, deadline, kind, which, |payload| {
                // The daemon's writer asks this, and a foreign chain may be long.
                progress::made(Worker::Writer);
                decode::draft(payload)
            })?;
            let sets = read_sets(&mut socket, deadline, &drafts)?;
            for rule in resolved(drafts, &sets) {
                if let Verdict::Jump(chain) | Verdict::Goto(chain) = &rule.verdict
                    && follows(&place, chain)
                {
                    let lead = Place {
                        chain: chain.clone(),
                        ..place.clone()
                    };
                    next.extend(seen.insert(lead.clone()).then_some(lead));
                }
                rules.push(rule);
            }
        }
        Ok(Ruleset { chains, rules })
    };
    read().map_err(unseen)
}

fn unseen(error: NetlinkError) -> Unseen {
    match error {
        NetlinkError::Refused(Errno::PERM | Errno::ACCESS) => Unseen::NotPermitted,
        // nfnetlink's answer for a subsystem that is not there.
        NetlinkError::Refused(Errno::INVAL | Errno::OPNOTSUPP) => Unseen::NoNfTables,
        NetlinkError::Failed { errno, .. } if errno == Errno::PROTONOSUPPORT => Unseen::NoNfTables,
        error => Unseen::Failed(crate::sys::causes::chain(&error)),
    }
}

/// Everything of a kind; rules that keep changing are not known.
fn list<T>(
    socket: &mut Socket,
    deadline: Instant,
    kind: u16,
    fill: &Fill<'_>,
    read: impl FnMut(&[u8]) -> Option<T>,
) -> Result<Vec<T>, NetlinkError> {
    list_all(socket, deadline, kind, fill, read)?.ok_or(NetlinkError::TimedOut)
}

fn try_read(deadline: Instant) -> Result<Ruleset, NetlinkError> {
    let mut socket = Socket::netfilter()?;
    let socket = &mut socket;
    let all: &Fill<'_> = &|writer: &mut Writer| writer.raw(&nfgenmsg(ANY));
    let chains = list(
        socket,
        deadline,
        message::GET_CHAIN,
        all,
        decode::base_chain,
    )?;
    let drafts = list(socket, deadline, message::GET_RULE, all, decode::draft)?;
    let sets = read_sets(socket, deadline, &drafts)?;
    Ok(Ruleset {
        chains,
        rules: resolved(drafts, &sets),
    })
}

/// The rules with their sets.
fn resolved(drafts: Vec<Draft>, sets: &Sets) -> Vec<Rule> {
    let each = drafts.into_iter().flat_map(|draft| {
        let (home, table) = (draft.rule.place.home, draft.rule.place.table.clone());
        sets::resolve(draft, &|set| {
            let key = (home, table.clone(), set.to_owned());
            sets.get(&key).cloned().flatten()
        })
    });
    each.collect()
}

/// Elements by family, table and set; `None` where they are ranges, or were not read.
type Sets = BTreeMap<(Home, String, String), Option<Vec<Element>>>;

fn read_sets(
    socket: &mut Socket,
    deadline: Instant,
    drafts: &[Draft],
) -> Result<Sets, NetlinkError> {
    let mut known = Sets::new();
    for draft in drafts {
        let (home, table) = (draft.rule.place.home, &draft.rule.place.table);
        let Home::Nft(family) = home else { continue };
        // Nobody asks what our own rules let through, and they may have elements for 60,000 ports.
        if table == TABLE {
            continue;
        }
        for lookup in draft.lookups.iter().filter(|it| sets::is_worth_reading(it)) {
            let key = (home, table.clone(), lookup.set.clone());
            if known.contains_key(&key) || known.len() >= MOST_SETS {
                continue;
            }
            let which: &Fill<'_> = &|writer: &mut Writer| {
                writer.raw(&nfgenmsg(family));
                writer.text(element::LIST_TABLE, table);
                writer.text(element::LIST_SET, &lookup.set);
            };
            let some = |payload: &[u8]| Some(sets::elements(payload));
            let listed = list(socket, deadline, message::GET_ELEMENTS, which, some)?;
            let all: Option<Vec<Vec<Element>>> = listed.into_iter().collect();
            known.insert(key, all.map(|parts| parts.concat()));
        }
    }
    Ok(known)
}
