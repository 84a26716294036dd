//! What must hold of any answers of the Engine: a port that is opened after them is one that Docker
//! publishes, and leads to the address of a container.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::container::{self, Inspected};
use super::lenient::MAX_NOTES;
use super::{event, network};
use crate::backend::compile::desired;
use crate::mapper::compute::{Choice, DockerState, HairpinMode, HostFacts, MapperOptions};
use crate::model::container::{Container, HostIp, Snapshot};
use crate::model::intent::{Outgoing, Unpublished};
use crate::model::rule::{BackendKind, ContainerPort, HostPort, OwnedRule};

/// What an Engine answers, as text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// To the list of containers.
    pub(crate) list: String,
    /// To the list of networks.
    pub(crate) networks: String,
    /// The stream of events, one a line.
    pub(crate) events: String,
    /// To an inspect each.
    pub(crate) inspects: Vec<String>,
}

/// The input is list, networks, events and any number of inspects, with a NUL between them.
pub(crate) fn check(bytes: &[u8]) {
    let mut parts = bytes.split(|b| *b == 0);
    let text = |part| String::from_utf8_lossy(part).into_owned();
    let mut next = || parts.next().map(text).unwrap_or_default();
    check_answers(&Answers {
        list: next(),
        networks: next(),
        events: next(),
        inspects: parts.map(text).collect(),
    });
}

pub(crate) fn check_answers(answers: &Answers) {
    for line in answers.events.lines() {
        if let Ok(message) = serde_json::from_str(line) {
            check_event(event::read(message, Some(0)));
        }
    }
    opens_only_containers(&snapshot(answers));
}

/// An id becomes part of a request's path.
fn check_event(event: Option<event::Event>) {
    use event::Event;
    let ids = match event {
        None => return,
        Some(Event::Container { id, network, .. }) => [Some(id), network],
        Some(Event::NetworkCreated { id } | Event::NetworkDestroyed { id }) => [Some(id), None],
    };
    for id in ids.into_iter().flatten() {
        assert!(!id.contains(['/', '.', '?', '%', '#']) && !id.is_empty());
    }
}

/// What the daemon believes after these answers.
pub(crate) fn snapshot(answers: &Answers) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let networks = network::list(&answers.networks).unwrap_or_default();
    let rows = networks.rows.into_iter().map(|row| (row.id.clone(), row));
    snapshot.networks = rows.collect();
    let list = container::list(&answers.list).unwrap_or_default();
    assert!(list.odd.len() <= MAX_NOTES);
    for row in list.rows {
        if let Some(container) = row.container {
            assert_eq!(container.id, row.id);
            snapshot.containers.insert(row.id, container.into());
        }
    }
    for text in &answers.inspects {
        let id = serde_json::from_str::<Value>(text).unwrap_or_default();
        let id = id["Id"].as_str().unwrap_or("ab").to_owned();
        if let Ok(Inspected::Running(container)) = container::inspect(&id, text) {
            assert_eq!(container.id, id);
            snapshot.containers.insert(id, (*container).into());
        }
    }
    for container in snapshot.containers.values() {
        assert!(container.unreadable.len() <= MAX_NOTES);
    }
    snapshot
}

fn opens_only_containers(snapshot: &Snapshot) {
    let host: BTreeSet<Ipv6Addr> = ["fdfd:5898:4917:1::1", "2001:db8::1", "::1"]
        .map(|addr| addr.parse().expect("an address"))
        .into();
    let facts = HostFacts {
        host_addrs: host.clone(),
        default_devices: vec!["eth0".parse().expect("a name")],
        ..HostFacts::default()
    };
    for backend in [BackendKind::Ip6tables, BackendKind::Nftables] {
        let options = MapperOptions {
            devices: Choice::Auto,
            prefixes: Choice::Auto,
            unpublished: Unpublished::Drop,
            outgoing: Outgoing::Accept,
            hairpin: HairpinMode::On,
            limit: None,
        };
        let planned = options.compute(DockerState::Snapshot(snapshot), &facts);
        for wanted in desired(backend, &planned.intent).rules.values() {
            let Some((at, target)) = wanted.rule.dnat() else {
                continue;
            };
            assert!(!target.addr.is_unspecified() && !host.contains(&target.addr));
            assert!(target.port != 0 && at.port != 0);
            check_target(snapshot, wanted, at, target);
        }
    }
}

/// Every owner has its end at the target, and Docker publishes the port there, no wider.
fn check_target(snapshot: &Snapshot, wanted: &OwnedRule, at: HostPort, target: ContainerPort) {
    assert!(!wanted.owners.is_empty());
    for owner in wanted.owners.iter() {
        let container = &snapshot.containers[&owner.container_id];
        let mut ends = container.endpoints.iter();
        let is_there = ends.any(|end| end.address == Some(target.addr));
        assert!(is_there, "{at:?} {target:?}");
        assert!(publishes(container, at, target), "{at:?} {target:?}");
    }
}

fn publishes(container: &Container, at: HostPort, target: ContainerPort) -> bool {
    let wanted = (at.proto, target.port, Some(at.port));
    let rows = container.ports.iter();
    let mut rows = rows.filter(|row| (row.proto, row.container_port, row.host_port) == wanted);
    rows.any(|row| match (&row.host_ip, at.addr) {
        (HostIp::V6(bound), Some(addr)) => *bound == addr,
        (HostIp::V6(bound), None) => bound.is_unspecified(),
        (HostIp::Empty | HostIp::V4(Ipv4Addr::UNSPECIFIED), addr) => addr.is_none(),
        (HostIp::V4(_) | HostIp::Malformed(_), _) => false,
    })
}
