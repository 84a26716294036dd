//! What is open, by the records of the rules, and what has changed of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::control::moment::Moment;
use crate::control::status::{LastChange, PortChange};
use crate::journal::record::Record;
use crate::model::rule::{ContainerPort, HostPort};
use crate::model::text::Untrusted;

/// The published ports that are open.
#[derive(Debug, Default)]
pub(super) struct OpenPorts {
    ports: BTreeMap<HostPort, Led>,
    /// How many containers they lead to.
    pub(super) containers: usize,
}

/// Where a port leads to, and whose it is.
type Led = (ContainerPort, Untrusted);

impl OpenPorts {
    /// Those of which there are records.
    pub(super) fn of<'r>(records: impl Iterator<Item = &'r Record>) -> Self {
        let mut ports = BTreeMap::new();
        let mut containers = BTreeSet::new();
        for record in records {
            let Some((port, target)) = record.owned.rule.dnat() else {
                continue;
            };
            let owners = &record.owned.owners;
            containers.extend(owners.iter().map(|owner| owner.container_id.as_str()));
            let name = owners.first().map(|owner| owner.container_name.clone());
            ports.insert(port, (target, name.unwrap_or_default()));
        }
        Self {
            containers: containers.len(),
            ports,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ports.len()
    }

    /// What has changed since `before`; `None` if nothing has. A port that was opened is worth more
    /// than one that was closed. `since` is when the event came that caused it.
    pub(super) fn change_since(&self, before: &Self, since: Option<Instant>) -> Option<LastChange> {
        let fresh = self.ports.iter().filter_map(|(port, led)| {
            let change = match before.ports.get(port) {
                None => PortChange::Opened,
                Some((target, _)) if *target != led.0 => PortChange::Moved,
                Some(_) => return None,
            };
            Some((change, port, led))
        });
        let gone = before.ports.iter();
        let gone = gone.filter(|(port, _)| !self.ports.contains_key(port));
        let gone = gone.map(|(port, led)| (PortChange::Closed, port, led));
        let mut all = fresh.chain(gone);
        let (change, port, (_, container)) = all.next()?;
        let micros = |since: Instant| u64::try_from(since.elapsed().as_micros()).ok();
        Some(LastChange {
            at: Moment::now(),
            change,
            port: port.to_string(),
            container: container.raw().to_owned(),
            others: all.count(),
            after_us: since.and_then(micros),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::forward::Proto;

    fn open(ports: &[(u16, u16)]) -> OpenPorts {
        let port = |&(port, to): &(u16, u16)| {
            let (proto, addr) = (Proto::Tcp, None);
            let target = ContainerPort {
                addr: "fd00::2".parse().expect("an address"),
                port: to,
            };
            (HostPort { proto, addr, port }, (target, "web".into()))
        };
        OpenPorts {
            ports: ports.iter().map(port).collect(),
            containers: 1,
        }
    }

    #[test]
    fn the_first_change_is_named_and_the_others_are_counted() {
        let before = open(&[(80, 80), (81, 81), (82, 82)]);
        assert_eq!(before.change_since(&before, None), None);
        let cases = [
            (
                open(&[(80, 80), (81, 81), (82, 82), (90, 1)]),
                "90/tcp",
                PortChange::Opened,
                0,
            ),
            (open(&[(80, 80), (81, 1)]), "81/tcp", PortChange::Moved, 1),
            (open(&[]), "80/tcp", PortChange::Closed, 2),
        ];
        for (after, port, change, others) in cases {
            let seen = after
                .change_since(&before, Some(Instant::now()))
                .expect("a change");
            assert_eq!(
                (&*seen.port, seen.change, seen.others),
                (port, change, others)
            );
            assert_eq!(seen.container, "web");
            assert!(seen.after_us.is_some());
        }
    }
}
