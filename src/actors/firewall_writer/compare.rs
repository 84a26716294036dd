//! Answers what needs a listing of the kernel: the comparison of the journal, the kernel and Docker for
//! `dump --diff`, and the counters for `status --watch` and for monitoring. The writer does it, so that
//! no rule and no record changes in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix::{Handler, SyncContext};

use super::FirewallWriter;
use super::journal_client::JOURNAL_PATIENCE;
use crate::actors::messages::{CountConnections, Dump, Work};
use crate::control::comparison::{Comparison, Difference};
use crate::control::connections::{CountedRule, PortConnections};
use crate::control::protocol::{Answer, Request};
use crate::control::row::Row;
use crate::mapper::standby::admitted;
use crate::model::rule::{HostPort, RuleId};
use crate::reconcile::compare::Compared;
use crate::sys::causes::chain;
use crate::sys::progress::{self, Worker};

impl Handler<Work> for FirewallWriter {
    type Result = Result<Answer, String>;

    fn handle(&mut self, Work(request): Work, _: &mut SyncContext<Self>) -> Self::Result {
        Ok(match request {
            Request::Connections => Answer::Connections(self.connections()?),
            Request::Diff => Answer::Diff(Box::new(self.compared()?)),
            Request::Dump
            | Request::Status
            | Request::History { .. }
            | Request::Metrics
            | Request::Reload
            | Request::LogLevel { .. } => {
                return Err("the writer is not asked for that".to_owned());
            }
        })
    }
}

impl Handler<CountConnections> for FirewallWriter {
    type Result = Result<Duration, String>;

    fn handle(&mut self, _: CountConnections, _: &mut SyncContext<Self>) -> Self::Result {
        let began = Instant::now();
        let counts = self.reconciler.connections().map_err(|e| chain(&e))?;
        let rules = self.reconciler.records().filter_map(|record| {
            let owned = &record.owned;
            Some(CountedRule {
                id: record.id(),
                inserted_at: record.inserted_at,
                port: owned.rule.dnat()?.0,
                container: owned.owners.first().map(|owner| &owner.container_name),
                connections: counts.get(&record.id()).copied(),
            })
        });
        self.totals.add(rules);
        self.board.lock().measured.connections = Some(self.totals.figures());
        Ok(began.elapsed())
    }
}

impl FirewallWriter {
    fn compared(&mut self) -> Result<Comparison, String> {
        let Some((intent, state)) = &self.desired else {
            return Err("the daemon has only begun: nothing is known of Docker yet".to_owned());
        };
        let desired = self.reconciler.compile(intent);
        let desired = admitted(&desired, *state);
        let compared = self.reconciler.compare(&desired).map_err(|e| chain(&e))?;
        let known = desired.is_complete();
        let journal = self.journal_rows()?;
        let generation = self.board.lock().figures.journal.generation;
        Ok(compare(&journal, compared, generation, known))
    }

    /// The counters of all rules of a port make one figure.
    fn connections(&mut self) -> Result<Vec<PortConnections>, String> {
        let counts = self.reconciler.connections().map_err(|e| chain(&e))?;
        let mut ports: BTreeMap<HostPort, PortConnections> = BTreeMap::new();
        for record in self.reconciler.records() {
            let owned = &record.owned;
            let Some((port, _)) = owned.rule.dnat() else {
                continue;
            };
            let one = ports.entry(port).or_insert_with(|| {
                let owner = owned.owners.first();
                PortConnections {
                    port: port.to_string(),
                    container: owner
                        .map_or_else(String::new, |o| o.container_name.raw().to_owned()),
                    connections: 0,
                }
            });
            one.connections += counts.get(&record.id()).copied().unwrap_or(0);
        }
        Ok(ports.into_values().collect())
    }

    /// The rows of the journal, by their rules; of several owners the first.
    fn journal_rows(&mut self) -> Result<BTreeMap<String, Row>, String> {
        let mut rows = BTreeMap::new();
        let mut after = None;
        loop {
            let deadline = Instant::now() + JOURNAL_PATIENCE;
            let journal = self.reconciler.journal();
            let page = journal.ask("reading", Dump { after }, deadline);
            let page = page.map_err(|e| chain(&e))?;
            progress::made(Worker::Writer);
            for row in page.rows.into_iter().filter(|row| row.kind != "skipped") {
                rows.entry(row.id.clone()).or_insert(row);
            }
            after = page.next;
            if after.is_none() {
                return Ok(rows);
            }
        }
    }
}

pub(super) fn compare(
    journal: &BTreeMap<String, Row>,
    compared: BTreeMap<RuleId, Compared>,
    generation: u64,
    docker_known: bool,
) -> Comparison {
    let mut all: BTreeMap<String, Compared> = compared
        .into_iter()
        .map(|(id, compared)| (id.to_string(), compared))
        .collect();
    for id in journal.keys() {
        all.entry(id.clone()).or_default();
    }
    let mut comparison = Comparison {
        v: Comparison::VERSION,
        generation,
        docker_known,
        journal: journal.len(),
        ..Comparison::default()
    };
    for (id, compared) in all {
        let row = journal.get(&id);
        comparison.kernel += compared.copies + compared.astray;
        comparison.docker += usize::from(compared.is_wanted);
        let in_journal = row.map(|row| row.state.clone());
        let is_applied = in_journal.as_deref() == Some("applied");
        let is_whole = compared.copies == 1 && compared.astray == 0;
        if is_applied && is_whole && compared.is_wanted {
            continue;
        }
        let owned = compared.owned.as_ref().map(Row::of_rule);
        let row = row.cloned().or(owned).unwrap_or_else(|| Row {
            id,
            ..Row::default()
        });
        comparison.differences.push(Difference {
            row,
            in_journal,
            in_kernel: compared.copies,
            astray: compared.astray,
            in_docker: compared.is_wanted,
        });
    }
    comparison.equal = comparison.differences.is_empty();
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(state: &str) -> BTreeMap<String, Row> {
        let id = RuleId::from_bytes([1; 8]).to_string();
        let state = state.to_owned();
        let row = Row {
            id: id.clone(),
            state,
            ..Row::default()
        };
        BTreeMap::from([(id, row)])
    }

    fn seen(copies: usize, astray: usize, is_wanted: bool) -> BTreeMap<RuleId, Compared> {
        let compared = Compared {
            owned: None,
            copies,
            astray,
            is_wanted,
        };
        BTreeMap::from([(RuleId::from_bytes([1; 8]), compared)])
    }

    #[test]
    fn a_rule_is_equal_where_it_is_applied_once_and_wanted_and_nowhere_else() {
        let cases = [
            (journal("applied"), seen(1, 0, true), true),
            (journal("intended"), seen(1, 0, true), false),
            (journal("applied"), seen(0, 0, true), false),
            (journal("applied"), seen(2, 0, true), false),
            (journal("applied"), seen(1, 1, true), false),
            (journal("applied"), seen(1, 0, false), false),
            (BTreeMap::new(), seen(1, 0, true), false),
            (journal("applied"), BTreeMap::new(), false),
        ];
        for (journal, seen, equal) in cases {
            let comparison = compare(&journal, seen.clone(), 7, true);
            assert_eq!(comparison.equal, equal, "{journal:?} {seen:?}");
            assert_eq!(comparison.differences.len(), usize::from(!equal));
        }
    }
}
