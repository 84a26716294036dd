//! Records that release 0.2.0 wrote.

use crate::backend::compile;
use crate::journal::codec::{decode, encode};
use crate::journal::record::{Record, RecordState};
use crate::model::rule::{BackendKind, Rule};

/// Key and value of each, and the rule that it means.
pub(crate) fn written() -> Vec<(Vec<u8>, Vec<u8>, Rule)> {
    let lines = include_str!("records.txt").lines().skip(1);
    let read = |line: &str| {
        let mut parts = line.splitn(4, ' ');
        let mut next = || parts.next().expect("four parts");
        let (key, value) = (unhex(next()), unhex(next()));
        let backend = match next() {
            "nftables" => BackendKind::Nftables,
            _ => BackendKind::Ip6tables,
        };
        let rule = compile::rule(backend, next()).expect("a rule of ours");
        (key, value, rule)
    };
    lines.map(read).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn read(key: &[u8], value: &[u8]) -> Record {
    decode(key, value).expect("whole")
}

#[test]
fn every_kind_of_rule_is_read_and_has_the_facts_of_today() {
    let all = written();
    assert_eq!(all.len(), 27);
    for (key, value, rule) in all {
        let record = read(&key, &value);
        let recorded = &record.owned.rule;
        assert_eq!(recorded.facts, rule.facts);
        assert_eq!(recorded.backend, rule.backend);
        assert_eq!(recorded.id().as_bytes()[..], key);
        assert_ne!(recorded.id(), rule.id());
        assert_eq!((&*recorded.text, record.state), ("", RecordState::Applied));
        assert_eq!(record.owned.owners.len(), 1);
    }
}

/// As it is when its owners change, or its boot is noted.
#[test]
fn what_was_read_is_written_as_version_2_under_its_old_identity() {
    for (key, value, rule) in written() {
        let mut record = read(&key, &value);
        let again = encode(&record).expect("fits");
        assert_eq!(read(&key, &again), record);
        // The text that the kernel shows belongs to another identity.
        let (backend, facts) = (rule.backend, rule.facts.clone());
        let id = record.id();
        record.owned.rule = Rule::recorded(id, backend, rule.text.clone(), facts);
        assert_eq!(encode(&record), Ok(again));
    }
}
