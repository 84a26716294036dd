//! Lists over netlink the rules that a packet reaches.

use std::collections::BTreeSet;
use std::time::Instant;

use super::decode::{Rule, verdicts};
use crate::backend::ErrorKind;
use crate::backend::nftables::error::Fault;
use crate::netlink::listing::list_all;
use crate::netlink::message::{INET, IPV6, Writer, nfgenmsg};
use crate::netlink::nf_tables::{element, message, rule};
use crate::netlink::request::{Channel, Fill};
use crate::netlink::shown::ShownChain;
use crate::sys::progress::{self, Worker};

/// Lists the chains, rules and map elements of one family.
pub(super) struct Reader<'l> {
    channel: &'l mut dyn Channel,
    deadline: Instant,
    family: u8,
}

impl<'l> Reader<'l> {
    pub(super) fn ip6(channel: &'l mut dyn Channel, deadline: Instant) -> Self {
        Self {
            channel,
            deadline,
            family: IPV6,
        }
    }

    pub(super) fn inet(channel: &'l mut dyn Channel, deadline: Instant) -> Self {
        Self {
            channel,
            deadline,
            family: INET,
        }
    }

    /// The base chains of all tables.
    pub(super) fn base_chains(&mut self) -> Result<Vec<ShownChain>, Fault> {
        self.all(message::GET_CHAIN, &|_| {}, |payload| {
            ShownChain::read(payload).filter(|chain| chain.hook().is_some())
        })
    }

    /// The rules of a table, or of one of its chains; none if there is no such table or chain.
    pub(super) fn rules(&mut self, table: &str, chain: Option<&str>) -> Result<Vec<Rule>, Fault> {
        let which = |w: &mut Writer| {
            w.text(rule::TABLE, table);
            if let Some(chain) = chain {
                w.text(rule::CHAIN, chain);
            }
        };
        self.all(message::GET_RULE, &which, |payload| {
            Some(Rule::read(payload))
        })
    }

    /// Which of a table's `rules` a packet can reach from these chains on.
    pub(super) fn reached<'r>(
        &mut self,
        table: &str,
        starts: &[&str],
        rules: &'r [Rule],
    ) -> Result<Vec<&'r Rule>, Fault> {
        let mut next: Vec<String> = starts.iter().map(|start| (*start).to_owned()).collect();
        let mut seen: BTreeSet<String> = next.iter().cloned().collect();
        let (mut maps, mut reached) = (BTreeSet::new(), Vec::new());
        while let Some(chain) = next.pop() {
            for rule in rules.iter().filter(|rule| rule.chain == chain) {
                let mut leads = rule.jumps.clone();
                for map in rule.maps.iter().filter(|map| maps.insert((*map).clone())) {
                    leads.extend(self.leads_of(table, map)?);
                }
                next.extend(leads.into_iter().filter(|lead| seen.insert(lead.clone())));
                reached.push(rule);
            }
        }
        Ok(reached)
    }

    /// The chains that the elements of a map lead to.
    fn leads_of(&mut self, table: &str, map: &str) -> Result<Vec<String>, Fault> {
        let which = |w: &mut Writer| {
            w.text(element::LIST_TABLE, table);
            w.text(element::LIST_SET, map);
        };
        let some = |payload: &[u8]| Some(verdicts(payload));
        let leads = self.all(message::GET_ELEMENTS, &which, some)?;
        Ok(leads.into_iter().flatten().collect())
    }

    fn all<T>(
        &mut self,
        kind: u16,
        which: &Fill<'_>,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Fault> {
        let request = |w: &mut Writer| {
            w.raw(&nfgenmsg(self.family));
            which(w);
        };
        let read = |payload: &[u8]| {
            // The writer observes, and a foreign table may be large.
            progress::made(Worker::Writer);
            read(payload)
        };
        let listed = list_all(self.channel, self.deadline, kind, &request, read)?;
        listed.ok_or_else(|| Fault {
            kind: ErrorKind::Busy,
            detail: "it keeps changing".to_owned(),
        })
    }
}
