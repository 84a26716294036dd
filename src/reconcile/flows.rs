//! Flows that outlive their rules are cut once the rules have changed.
//!
//! What is to be cut is remembered until it is: a failure is reported and tried again with the
//! next round. A crash forgets it; then a flow may outlive its rule until it ends by itself,
//! but never reaches a rule that the kernel does not hold.

use std::collections::{BTreeSet, HashSet};

use slog::{debug, info, warn};

use super::Reconciler;
use super::report::{Report, Trouble};
use super::stale::Stale;
use crate::conntrack::{Flow, FlowError, Purge};
use crate::journal::Journal;
use crate::journal::record::Record;
use crate::model::change::ChangeSet;
use crate::model::forward::Proto;
use crate::model::rule::{OwnedRule, RuleSpec};

impl<J: Journal> Reconciler<J> {
    /// Before a port's first forward of this run: connections under way to docker-proxy stay with it,
    /// though nothing has tracked them so far. It needs no second try, for the rules come at once.
    pub(super) fn keep_connections(&mut self, change: &ChangeSet) {
        let fresh = change.insert.iter().map(|owned| &owned.rule.spec);
        let ports: BTreeSet<u16> = fresh
            .filter_map(|spec| match spec {
                RuleSpec::Dnat(dnat) if dnat.key.proto == Proto::Tcp => Some(dnat.key.host_port),
                _ => None,
            })
            .filter(|port| !self.kept.contains(port))
            .collect();
        if ports.is_empty() {
            return;
        }
        self.kept.extend(&ports);
        match self.flows.keep(&ports) {
            Ok(0) => {}
            Ok(count) => {
                info!(self.log, "connections that the host serves go on"; "count" => count);
            }
            Err(error) => {
                let why = crate::sys::causes::chain(&error);
                warn!(self.log, "connections that the host serves may be cut"; "reason" => why);
            }
        }
    }

    /// Cuts what the changes of this round, and of earlier ones that failed, have left over: flows,
    /// and then packets that wait for who has gone.
    pub(super) fn cut_flows(&mut self, report: &mut Report) {
        if !self.stale.is_empty() {
            self.purge_flows(report);
        }
        if self.awaited.is_empty() {
            return;
        }
        match self.flows.release(&self.awaited) {
            Ok(()) => self.awaited.clear(),
            Err(error) => report.troubles.push(Trouble::Flows(error)),
        }
    }

    fn purge_flows(&mut self, report: &mut Report) {
        let allowed: HashSet<Flow> = self
            .records
            .values()
            .filter_map(|record| match &record.owned.rule.spec {
                RuleSpec::Dnat(dnat) => Some(dnat.into()),
                _ => None,
            })
            .collect();
        let purges = self.stale.purges(&allowed);
        let removed = purges.iter().filter(|p| matches!(p, Purge::Removed(_)));
        self.awaited.extend(removed.map(|p| p.flow().target.0));
        match self.flows.purge(&purges) {
            Ok(cut) => {
                if cut > 0 {
                    debug!(self.log, "cut flows that had outlived their rules"; "count" => cut);
                }
                self.stale = Stale::default();
            }
            // This will not change while the daemon runs: say it once.
            Err(error @ FlowError::Unsupported(_)) => {
                if !self.flows_unsupported {
                    self.flows_unsupported = true;
                    let why = crate::sys::causes::chain(&error);
                    warn!(self.log, "connections that outlive their rules cannot be cut"; "reason" => why);
                }
                self.stale = Stale::default();
            }
            Err(error) => report.troubles.push(Trouble::Flows(error)),
        }
    }

    /// Remembers whose flows to cut when a rule changes its owners.
    pub(super) fn note_owners(&mut self, before: &Record, now: &OwnedRule) {
        let owners = &before.owned.owners;
        self.stale.reowned(&now.rule, owners, &now.owners);
    }
}
