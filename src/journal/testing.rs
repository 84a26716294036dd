//! Records for the tests of the journal.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use super::record::{Record, State};
use crate::model::boot::BootId;
use crate::model::forward::{Owner, Proto};
use crate::model::rule::{BackendKind, Dnat, DnatKey, OwnedRule, Rule, RuleId, RuleSpec, Via};

/// When the journals of the tests are opened: 2026-01-02T03:04:05Z.
pub(super) fn started() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045)
}

/// The intent of a DNAT rule for a port.
pub(super) fn record(port: u16) -> Record {
    Record {
        owned: OwnedRule {
            rule: Rule {
                backend: BackendKind::Ip6tables,
                spec: RuleSpec::Dnat(Dnat {
                    key: DnatKey {
                        via: Via::Egress("eth0".parse().expect("valid")),
                        proto: Proto::Tcp,
                        host_addr: None,
                        host_port: port,
                        source: None,
                    },
                    target: "fdfd:5898:4917:1::2".parse().expect("valid"),
                    target_port: 80,
                    spares_link_local: false,
                }),
            },
            owners: BTreeSet::from([Owner {
                container_id: format!("{port:064x}"),
                container_name: "web".into(),
                network: "bridge".into(),
            }]),
        },
        state: State::Intended,
        inserted_at: 1_767_323_045,
        boot_id: BootId::new("6d2e4b1c-0000-4000-8000-000000000000"),
    }
}

pub(super) fn records(ports: RangeInclusive<u16>) -> Vec<Record> {
    ports.map(record).collect()
}

pub(super) fn ids(ports: RangeInclusive<u16>) -> Vec<RuleId> {
    ports.map(|port| record(port).id()).collect()
}
