//! Connections that outlive their rules are cut once the rules have changed; those that the host
//! serves itself are kept.
//!
//! What is to be cut is remembered until it is: a failure is reported, and the next round tries
//! again. A crash forgets it. A flow may then outlive its rule until it ends by itself, but no
//! new one follows a rule that has gone.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use slog::{Logger, debug, info, warn};

use super::applied::Applied;
use super::report::{Report, Trouble};
use super::stale::Stale;
use crate::conntrack::{Flow, FlowError, Flows, Purge};
use crate::model::forward::{Owner, Proto};
use crate::model::rule::Rule;
use crate::sys::causes::chain;

/// What becomes of connections when rules change.
pub(super) struct Connections {
    flows: Box<dyn Flows>,
    stale: Stale,
    /// Addresses that nothing is forwarded to any more, for which packets may still wait.
    awaited: BTreeSet<Ipv6Addr>,
    /// The ports for which [`Connections::keep`] has run.
    kept: BTreeSet<u16>,
    /// Whether the log says that this kernel cannot cut flows.
    has_warned: bool,
}

impl Connections {
    pub(super) fn new(flows: Box<dyn Flows>) -> Self {
        Self {
            flows,
            stale: Stale::default(),
            awaited: BTreeSet::new(),
            kept: BTreeSet::new(),
            has_warned: false,
        }
    }

    /// A rule has left the kernel.
    pub(super) fn removed(&mut self, rule: &Rule) {
        self.stale.removed(rule);
    }

    /// A rule has come into the kernel.
    pub(super) fn inserted(&mut self, rule: &Rule) {
        self.stale.inserted(rule);
    }

    /// A rule stays, and passes to other owners.
    pub(super) fn reowned(&mut self, rule: &Rule, before: &BTreeSet<Owner>, now: &BTreeSet<Owner>) {
        self.stale.reowned(rule, before, now);
    }

    /// Before a port's first forward of this run: connections under way to docker-proxy stay with
    /// it, even if nothing has tracked them so far. There is no second try, because the rules come
    /// at once.
    pub(super) fn keep<'r>(&mut self, fresh: impl Iterator<Item = &'r Rule>, log: &Logger) {
        let fresh = fresh.filter_map(Flow::of);
        let ports = fresh
            .filter(|flow| flow.proto == Proto::Tcp)
            .map(|flow| flow.host_port);
        let ports: BTreeSet<u16> = ports.filter(|port| !self.kept.contains(port)).collect();
        if ports.is_empty() {
            return;
        }
        self.kept.extend(&ports);
        match self.flows.keep(&ports) {
            Ok(0) => {}
            Ok(count) => info!(log, "connections that the host serves go on"; "count" => count),
            Err(error) => {
                warn!(log, "connections that the host serves may be cut"; "reason" => chain(&error));
            }
        }
    }

    /// Cuts what the changes of this round, and of earlier ones that failed, have left over: flows,
    /// and then packets that wait for an address that has gone.
    pub(super) fn cut(&mut self, applied: &Applied, report: &mut Report, log: &Logger) {
        if !self.stale.is_empty() {
            self.purge(applied, report, log);
        }
        if self.awaited.is_empty() {
            return;
        }
        match self.flows.release(&self.awaited) {
            Ok(()) => self.awaited.clear(),
            Err(error) => report.troubles.push(Trouble::Flows(error)),
        }
    }

    fn purge(&mut self, applied: &Applied, report: &mut Report, log: &Logger) {
        let purges = self.stale.purges(|flow| applied.allows(flow));
        let removed = purges.iter().filter(|p| matches!(p, Purge::Removed(_)));
        self.awaited.extend(removed.map(|p| p.flow().target.0));
        match self.flows.purge(&purges) {
            Ok(cut) => {
                if cut > 0 {
                    debug!(log, "cut flows that had outlived their rules"; "count" => cut);
                }
                self.stale = Stale::default();
            }
            // This will not change while the daemon runs: say it once.
            Err(error @ FlowError::Unsupported(_)) => {
                if !self.has_warned {
                    self.has_warned = true;
                    warn!(log, "connections that outlive their rules cannot be cut";
                        "reason" => chain(&error));
                }
                self.stale = Stale::default();
            }
            Err(error) => report.troubles.push(Trouble::Flows(error)),
        }
    }
}
