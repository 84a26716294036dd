//! What the log says of rules that were inserted and removed: at info one line for each published port,
//! with its container, and at debug one for each further rule of the port. Of very many ports at once
//! there is one line for each container.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use slog::{KV, Logger, Record as LogRecord, Serializer, debug, info};

use crate::backend::Verb;
use crate::journal::record::Records;
use crate::model::forward::Owner;
use crate::model::rule::{HostPort, Rule, RuleId};

/// Of more ports than this, changed at once, the log names at info only the containers.
const EACH_AT_INFO: usize = 100;

/// Where changes of rules are logged.
#[derive(Clone, Copy)]
pub(super) struct ChangeLog<'a> {
    pub(super) log: &'a Logger,
    /// Says whose a rule is.
    pub(super) records: Option<&'a Records>,
    /// When the event was read that has led to the changes.
    pub(super) event_at: Option<Instant>,
}

/// A text that is made when it is written.
struct Lazily<F>(F);

impl<F: Fn() -> String> fmt::Display for Lazily<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.0)())
    }
}

/// A published port of which rules have changed, with what the log says of it.
struct PortFields<'a> {
    port: HostPort,
    owner: Option<&'a Owner>,
    to: Option<String>,
    rules: usize,
    event_at: Option<Instant>,
}

/// As slog has it: the last value first.
impl KV for PortFields<'_> {
    fn serialize(&self, _: &LogRecord<'_>, to: &mut dyn Serializer) -> slog::Result {
        emit_age(self.event_at, to)?;
        to.emit_usize("rules", self.rules)?;
        if let Some(owner) = self.owner {
            emit_owner(owner, to)?;
        }
        if let Some(target) = &self.to {
            to.emit_str("to", target)?;
        }
        to.emit_arguments("port", &format_args!("{}", self.port))
    }
}

/// A container of which very many ports have changed.
struct ManyFields<'a> {
    owner: Option<&'a Owner>,
    ports: usize,
    rules: usize,
    event_at: Option<Instant>,
}

/// As slog has it: the last value first.
impl KV for ManyFields<'_> {
    fn serialize(&self, _: &LogRecord<'_>, to: &mut dyn Serializer) -> slog::Result {
        emit_age(self.event_at, to)?;
        to.emit_usize("rules", self.rules)?;
        to.emit_usize("ports", self.ports)?;
        self.owner.map_or(Ok(()), |owner| emit_owner(owner, to))
    }
}

fn emit_owner(owner: &Owner, to: &mut dyn Serializer) -> slog::Result {
    let id = owner.container_id.chars().take(12).collect::<String>();
    to.emit_str("container_id", &id)?;
    to.emit_arguments("container", &format_args!("{}", owner.container_name))
}

/// How long ago the event was, to 0.1 ms.
fn emit_age(event_at: Option<Instant>, to: &mut dyn Serializer) -> slog::Result {
    let Some(event_at) = event_at else {
        return Ok(());
    };
    let ms = event_at.elapsed().as_secs_f64() * 1e3;
    to.emit_arguments("after_ms", &format_args!("{ms:.1}"))
}

impl ChangeLog<'_> {
    /// Logs these rules, all inserted or all removed. `describe` gives the documented line.
    pub(super) fn log(&self, verb: Verb, rules: &[&Rule], describe: impl Fn(&Rule) -> String) {
        let mut ports: BTreeMap<HostPort, usize> = BTreeMap::new();
        for port in rules.iter().filter_map(|rule| rule.facts.port) {
            *ports.entry(port).or_default() += 1;
        }
        let many = ports.len() > EACH_AT_INFO;
        if many {
            self.log_containers(verb, rules);
        }
        for rule in rules {
            // Made only where it is logged: there may be very many.
            let line = Lazily(|| describe(rule));
            let Some(port) = rule.facts.port else {
                info!(self.log, "{line}");
                continue;
            };
            if many {
                debug!(self.log, "{line}");
                continue;
            }
            // The first rule of a port stands for all of them.
            match ports.remove(&port) {
                None => debug!(self.log, "{line}"),
                Some(rules) => {
                    let to = rule.facts.target.as_ref();
                    let fields = PortFields {
                        port,
                        owner: self.owner(rule.id()),
                        to: to.map(|to| format!("[{}]:{}", to.addr, to.port)),
                        rules,
                        event_at: self.event_at,
                    };
                    info!(self.log, "{line}"; fields);
                }
            }
        }
    }

    fn log_containers(&self, verb: Verb, rules: &[&Rule]) {
        let mut containers: BTreeMap<Option<&Owner>, (BTreeSet<HostPort>, usize)> = BTreeMap::new();
        for rule in rules.iter().filter(|rule| rule.facts.port.is_some()) {
            let (ports, count) = containers.entry(self.owner(rule.id())).or_default();
            ports.extend(rule.facts.port);
            *count += 1;
        }
        let what = match verb {
            Verb::Add => "add portfwd",
            Verb::Del => "del portfwd",
        };
        for (owner, (ports, rules)) in containers {
            let fields = ManyFields {
                owner,
                ports: ports.len(),
                rules,
                event_at: self.event_at,
            };
            info!(self.log, "NAT66 {what}: very many ports, each named at level debug"; fields);
        }
    }

    fn owner(&self, id: RuleId) -> Option<&Owner> {
        self.records?.get(&id)?.owned.owners.first()
    }
}
