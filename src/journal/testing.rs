//! Records for the tests of the journal.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use super::record::{Record, RecordState};
use crate::backend::compile;
use crate::model::boot::BootId;
use crate::model::forward::Owner;
use crate::model::rule::{BackendKind, OwnedRule, Rule, RuleId};

/// When the journals of the tests are opened: 2026-01-02T03:04:05Z.
pub(crate) fn started() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045)
}

/// A forward of a TCP port.
pub(crate) fn rule(port: u16) -> Rule {
    let text = format!(
        "nat PREROUTING -i eth0 -p tcp --dport {port} -j DNAT \
         --to-destination [fdfd:5898:4917:1::2]:80 ! -s fe80::/10 -m addrtype --dst-type LOCAL"
    );
    compile::rule(BackendKind::Ip6tables, &text).expect("a rule of ours")
}

/// The intent of a DNAT rule for a port.
pub(crate) fn record(port: u16) -> Record {
    Record {
        owned: OwnedRule {
            rule: rule(port),
            owners: BTreeSet::from([Owner::new(format!("{port:064x}"), "web", "bridge")]).into(),
        },
        state: RecordState::Intended,
        inserted_at: 1_767_323_045,
        boot_id: BootId::new("6d2e4b1c-0000-4000-8000-000000000000"),
    }
}

pub(crate) fn records(ports: RangeInclusive<u16>) -> Vec<Record> {
    ports.map(record).collect()
}

pub(crate) fn ids(ports: RangeInclusive<u16>) -> Vec<RuleId> {
    ports.map(|port| record(port).id()).collect()
}
