//! What the last change of the open ports was, for `status`.

use std::time::Instant;

use crate::control::moment::Moment;
use crate::control::status::{LastChange, PortChange};
use crate::model::rule::HostPort;
use crate::reconcile::Led;

/// A port, where it led to, and where it leads to now.
type Changed = (HostPort, Option<Led>, Option<Led>);

/// What has changed; `None` if nothing has. A port that was opened is worth more than one that was
/// closed. `since` is when the event came that caused it.
pub(super) fn last_change(changes: &[Changed], since: Option<Instant>) -> Option<LastChange> {
    let fresh = changes.iter().filter_map(|(port, before, now)| {
        let led = now.as_ref()?;
        let change = match before {
            None => PortChange::Opened,
            Some((target, _)) if *target != led.0 => PortChange::Moved,
            Some(_) => return None,
        };
        Some((change, port, led))
    });
    let gone = changes.iter().filter_map(|(port, before, now)| match now {
        None => Some((PortChange::Closed, port, before.as_ref()?)),
        Some(_) => None,
    });
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::model::forward::Proto;
    use crate::model::rule::ContainerPort;

    type OpenPorts = BTreeMap<HostPort, Led>;

    fn open(ports: &[(u16, u16)]) -> OpenPorts {
        let port = |&(port, to): &(u16, u16)| {
            let (proto, addr) = (Proto::Tcp, None);
            let target = ContainerPort {
                addr: "fd00::2".parse().expect("an address"),
                port: to,
            };
            (HostPort { proto, addr, port }, (target, "web".into()))
        };
        ports.iter().map(port).collect()
    }

    fn change_since(after: &OpenPorts, before: &OpenPorts) -> Option<LastChange> {
        let ports: BTreeSet<HostPort> = before.keys().chain(after.keys()).copied().collect();
        let ports = ports.into_iter();
        let led = |port: HostPort| (port, before.get(&port).cloned(), after.get(&port).cloned());
        last_change(&ports.map(led).collect::<Vec<_>>(), Some(Instant::now()))
    }

    #[test]
    fn the_first_change_is_named_and_the_others_are_counted() {
        let before = open(&[(80, 80), (81, 81), (82, 82)]);
        assert_eq!(change_since(&before, &before), None);
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
            let seen = change_since(&after, &before).expect("a change");
            assert_eq!(
                (&*seen.port, seen.change, seen.others),
                (port, change, others)
            );
            assert_eq!(seen.container, "web");
            assert!(seen.after_us.is_some());
        }
    }
}
