//! Random changes of a journal, and what it should hold after them.

use std::collections::{BTreeMap, BTreeSet};

use docker_nat66::backend::compile;
use docker_nat66::journal::Journal;
use docker_nat66::journal::record::{Record, RecordState};
use docker_nat66::model::boot::BootId;
use docker_nat66::model::forward::Owner;
use docker_nat66::model::rule::{BackendKind, OwnedRule, RuleId};

use crate::support::draw::Draw;

/// Ports that changes are drawn from: few, so that they meet in every state.
const PORTS: u64 = 40;

/// One change, as it goes through the pipe: `intend 5 7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: String,
    pub(crate) ports: Vec<u16>,
}

impl Change {
    pub(crate) fn draw(draw: &mut Draw) -> Self {
        let kind = ["intend", "intend", "commit", "removing", "forget"][draw.below(5) as usize];
        let many = if draw.below(10) == 0 { PORTS } else { 4 };
        let count = 1 + draw.below(many);
        let ports: BTreeSet<u16> = (0..count).map(|_| 1 + draw.below(PORTS) as u16).collect();
        Self {
            kind: kind.to_owned(),
            ports: ports.into_iter().collect(),
        }
    }

    pub(crate) fn line(&self) -> String {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        format!("{} {}", self.kind, ports.join(" "))
    }

    pub(crate) fn parse(line: &str) -> Self {
        let mut words = line.split(' ');
        let kind = words.next().expect("a kind").to_owned();
        let ports = words.map(|word| word.parse().expect("a port")).collect();
        Self { kind, ports }
    }

    pub(crate) fn perform(&self, journal: &mut impl Journal) {
        let ids: Vec<RuleId> = self.ports.iter().map(|port| record(*port).id()).collect();
        match self.kind.as_str() {
            "intend" => {
                let records: Vec<Record> = self.ports.iter().copied().map(record).collect();
                journal.intend(&records)
            }
            "commit" => journal.commit(&ids),
            "removing" => journal.removing(&ids),
            _ => journal.forget(&ids),
        }
        .expect("the disk is sound");
    }

    /// How many ports it closes that were open, where that is there.
    pub(crate) fn closes(&self, before: &Expected) -> u64 {
        let mut after = before.clone();
        self.apply(&mut after);
        let is_open = |state: Option<&RecordState>| {
            state.is_some_and(|state| *state != RecordState::Intended)
        };
        let ports = self.ports.iter();
        let closed = ports.filter(|port| is_open(before.get(port)) && !is_open(after.get(port)));
        closed.count() as u64
    }

    /// The same change of what should be there.
    pub(crate) fn apply(&self, expected: &mut Expected) {
        for port in &self.ports {
            let state = expected.get(port).copied();
            let after = match (self.kind.as_str(), state) {
                ("intend", _) => Some(RecordState::Intended),
                ("commit", Some(RecordState::Intended)) => Some(RecordState::Applied),
                ("removing", Some(_)) => Some(RecordState::Removing),
                ("forget", _) => None,
                (_, state) => state,
            };
            match after {
                Some(state) => expected.insert(*port, state),
                None => expected.remove(port),
            };
        }
    }
}

/// State by port.
pub(crate) type Expected = BTreeMap<u16, RecordState>;

pub(crate) fn record(port: u16) -> Record {
    let text = format!("forwards {{ udp . {port} : fdfd:5898:4917:1::2 . {port} }}");
    Record {
        owned: OwnedRule {
            rule: compile::rule(BackendKind::Nftables, &text).expect("a rule of ours"),
            owners: BTreeSet::from([Owner::new(format!("{port:064x}"), "web", "bridge")]).into(),
        },
        state: RecordState::Intended,
        inserted_at: 1,
        boot_id: BootId::new("boot"),
    }
}

pub(crate) fn port_of(record: &Record) -> u16 {
    let (at, _) = record.owned.rule.dnat().expect("only DNAT rules");
    at.port
}
