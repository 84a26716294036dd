//! The records of all rules that are, or may be, in the kernel, and what is open by them.
//!
//! Every change of a record goes through here, so that nobody needs to go through all records to say
//! which ports are open, or which have changed in a round.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, Deref};

use crate::conntrack::Flow;
use crate::journal::record::{IllegalStep, Record, RecordEvent, Records, step_one};
use crate::model::forward::Owner;
use crate::model::rule::{BackendKind, ContainerPort, HostPort, OwnedRule, RuleId};
use crate::model::shared::Shared;
use crate::model::text::Untrusted;

/// Where a port leads to, and the container's name.
pub(crate) type Led = (ContainerPort, Untrusted);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Applied {
    records: Records,
    /// Each rule that leads a port to a container.
    dnat: BTreeSet<(HostPort, ContainerPort, RuleId)>,
    /// How many ports there are among them.
    ports: usize,
    /// How many of those rules each container owns.
    owned: HashMap<Owner, usize>,
    /// How many records there are of each backend's rules.
    kinds: BTreeMap<BackendKind, usize>,
    /// The ports that have changed since [`Applied::take_changes`], and where each led to before.
    changed: BTreeMap<HostPort, Option<Led>>,
}

impl Deref for Applied {
    type Target = Records;

    fn deref(&self) -> &Records {
        &self.records
    }
}

impl Applied {
    /// These records, and nothing has changed yet.
    pub(super) fn of(records: impl IntoIterator<Item = Record>) -> Self {
        let mut applied = Self::default();
        // A later record takes the place of an earlier one with the same rule.
        let records: Records = records.into_iter().map(|r| (r.id(), r)).collect();
        for record in records.values() {
            applied.index().add(record);
        }
        applied.records = records;
        applied
    }

    /// Writes a record, in the place of an earlier one perhaps.
    pub(super) fn put(&mut self, record: Record) {
        self.note(&record);
        if let Some(before) = self.records.remove(&record.id()) {
            self.index().drop(&before);
        }
        self.index().add(&record);
        self.records.insert(record.id(), record);
    }

    /// Lets an event happen to a record. Returns the record if it goes by that.
    ///
    /// # Errors
    /// The event does not fit the record, which stays as it is.
    pub(super) fn step(
        &mut self,
        id: RuleId,
        event: RecordEvent,
    ) -> Result<Option<Record>, IllegalStep> {
        if event == RecordEvent::Forget
            && let Some(record) = self.records.get(&id).cloned()
        {
            self.note(&record);
        }
        let gone = step_one(&mut self.records, id, event)?;
        if let Some(record) = &gone {
            self.index().drop(record);
        }
        Ok(gone)
    }

    /// Writes the record of a rule anew that has other owners now; `change` completes it. Returns the
    /// owners before; `None` without a record.
    pub(super) fn reown(
        &mut self,
        owned: &OwnedRule,
        change: impl FnOnce(&mut Record),
    ) -> Option<Shared<BTreeSet<Owner>>> {
        let mut record = self.records.get(&owned.rule.id())?.clone();
        let before = std::mem::replace(&mut record.owned, owned.clone()).owners;
        change(&mut record);
        self.put(record);
        Some(before)
    }

    /// How many ports are open.
    pub(super) fn ports(&self) -> usize {
        self.ports
    }

    /// How many containers they lead to.
    pub(super) fn containers(&self) -> usize {
        let ids: BTreeSet<&str> = self.owned.keys().map(|o| o.container_id.as_str()).collect();
        ids.len()
    }

    /// Whether there are rules of another backend than this one.
    pub(super) fn has_others_than(&self, kind: BackendKind) -> bool {
        let mut kinds = self.kinds.iter();
        kinds.any(|(of, count)| *of != kind && *count > 0)
    }

    /// Whether some rule makes this flow.
    pub(super) fn allows(&self, flow: &Flow) -> bool {
        let mut here = self.of_port(flow.port());
        here.any(|(_, to, _)| (to.addr, to.port) == flow.target)
    }

    /// The ports that have changed since the last call, each with where it led to before and where it
    /// leads to now.
    pub(super) fn take_changes(&mut self) -> Vec<(HostPort, Option<Led>, Option<Led>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed
            .map(|(port, before)| (port, before, self.led(port)))
            .collect()
    }

    fn of_port(&self, port: HostPort) -> impl Iterator<Item = &(HostPort, ContainerPort, RuleId)> {
        of_port(&self.dnat, port)
    }

    fn led(&self, port: HostPort) -> Option<Led> {
        let (_, target, id) = self.of_port(port).last()?;
        let record = self.records.get(id)?;
        let owner = record.owned.owners.first();
        let name = owner.map(|owner| owner.container_name.clone());
        Some((*target, name.unwrap_or_default()))
    }

    /// The port of this record's rule is about to change.
    fn note(&mut self, record: &Record) {
        if let Some((port, _)) = record.owned.rule.dnat()
            && !self.changed.contains_key(&port)
        {
            let led = self.led(port);
            self.changed.insert(port, led);
        }
    }

    fn index(&mut self) -> Index<'_> {
        Index {
            dnat: &mut self.dnat,
            ports: &mut self.ports,
            owned: &mut self.owned,
            kinds: &mut self.kinds,
        }
    }
}

fn of_port(
    dnat: &BTreeSet<(HostPort, ContainerPort, RuleId)>,
    port: HostPort,
) -> impl Iterator<Item = &(HostPort, ContainerPort, RuleId)> {
    let least = ContainerPort {
        addr: std::net::Ipv6Addr::UNSPECIFIED,
        port: 0,
    };
    let from = (port, least, RuleId::from_bytes([0; 8]));
    let rest = dnat.range((Bound::Included(from), Bound::Unbounded));
    rest.take_while(move |(of, ..)| *of == port)
}

/// What is derived from the records.
struct Index<'a> {
    dnat: &'a mut BTreeSet<(HostPort, ContainerPort, RuleId)>,
    ports: &'a mut usize,
    owned: &'a mut HashMap<Owner, usize>,
    kinds: &'a mut BTreeMap<BackendKind, usize>,
}

impl Index<'_> {
    fn add(self, record: &Record) {
        *self.kinds.entry(record.owned.rule.backend).or_default() += 1;
        let Some((port, target)) = record.owned.rule.dnat() else {
            return;
        };
        *self.ports += usize::from(of_port(self.dnat, port).next().is_none());
        self.dnat.insert((port, target, record.id()));
        for owner in record.owned.owners.iter() {
            *self.owned.entry(owner.clone()).or_default() += 1;
        }
    }

    fn drop(self, record: &Record) {
        if let Some(count) = self.kinds.get_mut(&record.owned.rule.backend) {
            *count -= 1;
        }
        let Some((port, target)) = record.owned.rule.dnat() else {
            return;
        };
        self.dnat.remove(&(port, target, record.id()));
        *self.ports -= usize::from(of_port(self.dnat, port).next().is_none());
        for owner in record.owned.owners.iter() {
            if let Some(count) = self.owned.get_mut(owner) {
                *count -= 1;
                if *count == 0 {
                    self.owned.remove(owner);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::record::RecordState;
    use crate::model::boot::BootId;
    use crate::model::forward::Proto;
    use crate::model::rule::{Basis, Rule, RuleFacts};

    fn port(number: u16) -> HostPort {
        HostPort {
            proto: Proto::Tcp,
            addr: None,
            port: number,
        }
    }

    /// The record of a rule; without a port, it leads nowhere.
    fn record(number: Option<u16>, target: u16, owner: u8, kind: BackendKind) -> Record {
        let to = ContainerPort {
            addr: std::net::Ipv6Addr::LOCALHOST,
            port: target,
        };
        let facts = RuleFacts {
            rank: 0,
            kind: "dnat".into(),
            purpose: "".into(),
            basis: Basis::Forward,
            dev: None,
            prefix: None,
            port: number.map(port),
            source: None,
            target: number.map(|_| to),
        };
        let rule = Rule::new(kind, format!("{number:?} to {target}"), facts);
        let owner = Owner::new(
            owner.to_string(),
            format!("name-{owner}").as_str(),
            "bridge",
        );
        Record {
            owned: OwnedRule {
                rule,
                owners: BTreeSet::from([owner]).into(),
            },
            state: RecordState::Applied,
            inserted_at: 1,
            boot_id: BootId::new("this"),
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(Record),
        Happens(Record, RecordEvent),
        Reown(Record),
        TakeChanges,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let kinds = vec![BackendKind::Ip6tables, BackendKind::Nftables];
        let kind = prop::sample::select(kinds);
        let number = prop::option::weighted(0.9, 80_u16..83);
        let parts = (number, 1_u16..3, 0_u8..3, kind);
        let record =
            parts.prop_map(|(number, target, owner, kind)| record(number, target, owner, kind));
        let events = vec![
            RecordEvent::Commit,
            RecordEvent::Remove,
            RecordEvent::Forget,
        ];
        let event = prop::sample::select(events);
        prop_oneof![
            4 => record.clone().prop_map(Step::Put),
            4 => (record.clone(), event).prop_map(|(record, event)| Step::Happens(record, event)),
            2 => record.prop_map(Step::Reown),
            1 => Just(Step::TakeChanges),
        ]
    }

    /// Where each port leads to.
    fn led(applied: &Applied) -> BTreeMap<HostPort, Led> {
        let ports = (80..83).map(port);
        let led = ports.filter_map(|port| Some((port, applied.led(port)?)));
        led.collect()
    }

    proptest! {
        #[test]
        fn what_is_derived_is_what_all_records_come_to(
            steps in prop::collection::vec(any_step(), 1..24)
        ) {
            let mut applied = Applied::default();
            let mut before = led(&applied);
            for step in steps {
                match step {
                    Step::Put(record) => applied.put(record),
                    // One that does not fit changes nothing.
                    Step::Happens(record, event) => drop(applied.step(record.id(), event)),
                    Step::Reown(record) => drop(applied.reown(&record.owned, |_| {})),
                    Step::TakeChanges => {
                        let now = led(&applied);
                        let mut changed = BTreeSet::new();
                        for (port, was, is) in applied.take_changes() {
                            prop_assert_eq!(was.as_ref(), before.get(&port));
                            prop_assert_eq!(is.as_ref(), now.get(&port));
                            changed.insert(port);
                        }
                        let mut others = (80..83).map(port).filter(|port| !changed.contains(port));
                        prop_assert!(others.all(|port| before.get(&port) == now.get(&port)));
                        before = now;
                    }
                }
                let fresh = Applied::of(applied.values().cloned());
                prop_assert_eq!(&applied.records, &fresh.records);
                prop_assert_eq!(&applied.dnat, &fresh.dnat);
                prop_assert_eq!(applied.ports(), fresh.ports());
                prop_assert_eq!(&applied.owned, &fresh.owned);
                for kind in [BackendKind::Ip6tables, BackendKind::Nftables] {
                    let there = fresh.has_others_than(kind);
                    prop_assert_eq!(applied.has_others_than(kind), there);
                }
            }
        }
    }
}
