//! What is kept of containers from one snapshot to the next.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{any_container, any_snapshot, bounds, samples, snapshot};
use crate::mapper::part::{Bounds, Resolved};
use crate::mapper::parts::Parts;
use crate::model::container::{Claim, Container, GatewayMode, Snapshot};
use crate::model::forwards::Group;

/// What is other in the next snapshot, or in the bounds.
#[derive(Debug, Clone)]
enum Edit {
    /// Docker was asked anew and said the same.
    Relist,
    Container(Box<Container>),
    Gone(u8),
    /// A network that forwards ports, or does not.
    Network(u16, bool),
    NetworkGone(u16),
    /// A container that is yet to start has been given an address.
    Claim(u16, u8),
    ClaimsOver,
    /// The length of the prefix, and the last group of the host's own address.
    Bounds(u8, u16),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    // Half of the containers name their networks.
    let container = (any_container(), any::<bool>()).prop_map(|(mut container, is_named)| {
        for endpoint in &mut container.endpoints {
            if is_named {
                endpoint.network_id = endpoint.network.raw().to_owned();
            }
        }
        Edit::Container(Box::new(container))
    });
    prop_oneof![
        2 => Just(Edit::Relist),
        6 => container,
        1 => (0u8..5).prop_map(Edit::Gone),
        3 => (0u16..6, any::<bool>()).prop_map(|(n, forwards)| Edit::Network(n, forwards)),
        1 => (0u16..6).prop_map(Edit::NetworkGone),
        1 => (0u16..6, 0u8..5).prop_map(|(n, id)| Edit::Claim(n, id)),
        1 => Just(Edit::ClaimsOver),
        1 => (prop::sample::select(vec![64u8, 126, 127]), 0u16..6)
            .prop_map(|(length, own)| Edit::Bounds(length, own)),
    ]
}

fn make(edit: &Edit, snapshot: &mut Snapshot, bounds: &mut Bounds) {
    match edit {
        Edit::Relist => {
            for container in snapshot.containers.values_mut() {
                *container = Container::clone(container).into();
            }
        }
        Edit::Container(container) => {
            let (id, container) = (container.id.clone(), Container::clone(container).into());
            snapshot.containers.insert(id, container);
        }
        Edit::Gone(id) => drop(snapshot.containers.remove(&format!("c{id}"))),
        Edit::Network(n, forwards) => {
            let mut network = samples::network();
            network.id = format!("n{n}");
            if !forwards {
                network.gateway_mode = GatewayMode::Isolated;
            }
            snapshot.networks.insert(network.id.clone(), network);
        }
        Edit::NetworkGone(n) => drop(snapshot.networks.remove(&format!("n{n}"))),
        Edit::Claim(n, id) => {
            let addr = format!("fd00::{n}").parse().expect("an address");
            let claim = Claim {
                container_id: format!("c{id}"),
                sequence: 9,
            };
            snapshot.claims.insert(addr, claim);
        }
        Edit::ClaimsOver => snapshot.claims.clear(),
        Edit::Bounds(length, own) => {
            bounds.prefixes = vec![format!("fd00::/{length}").parse().expect("a prefix")];
            bounds.host_addrs = [format!("fd00::{own}").parse().expect("an address")].into();
        }
    }
}

fn groups(resolved: &Resolved) -> BTreeMap<&str, &Group> {
    let groups = resolved.forwards.groups().iter();
    groups
        .map(|group| (group[0].owner.container_id.as_str(), group))
        .collect()
}

proptest! {
    #[test]
    fn what_is_kept_of_containers_makes_no_difference(
        snapshots in prop::collection::vec(any_snapshot(), 1..6)
    ) {
        let mut parts = Parts::default();
        for snapshot in &snapshots {
            let kept = parts.resolve(snapshot, &bounds());
            let mut fresh = Parts::default();
            prop_assert_eq!(&kept, &fresh.resolve(snapshot, &bounds()));
            let published = fresh.published(snapshot, true);
            prop_assert_eq!(parts.published(snapshot, true), published);
            // Looked at once more, nothing has changed.
            let changes = parts.changes();
            prop_assert_eq!(&kept, &parts.resolve(snapshot, &bounds()));
            prop_assert_eq!(parts.changes(), changes);
        }
    }

    #[test]
    fn after_each_change_of_one_thing_what_stayed_is_kept_and_what_changed_is_counted(
        edits in prop::collection::vec(any_edit(), 1..20)
    ) {
        let (mut snapshot, mut bounds) = (snapshot(Vec::new()), bounds());
        let mut parts = Parts::default();
        let (mut before, mut counted) = (Resolved::default(), parts.changes());
        for edit in &edits {
            make(edit, &mut snapshot, &mut bounds);
            let now = parts.resolve(&snapshot, &bounds);
            let mut fresh = Parts::default();
            prop_assert_eq!(&now, &fresh.resolve(&snapshot, &bounds));
            let published = fresh.published(&snapshot, true);
            prop_assert_eq!(parts.published(&snapshot, true), published);
            if now.host_ports() != before.host_ports() {
                prop_assert!(parts.changes() > counted);
            }
            if matches!(edit, Edit::Relist) {
                prop_assert_eq!((&now, parts.changes()), (&before, counted));
            }
            let (old, new) = (groups(&before), groups(&now));
            let is_edited = |id: &str| matches!(edit, Edit::Container(it) if it.id == id);
            for (id, group) in new.iter().filter(|(id, _)| !is_edited(id)) {
                let old = old.get(id).filter(|old| **old == *group);
                prop_assert!(old.is_none_or(|old| old.is_same(group)), "{}", id);
            }
            (before, counted) = (now.clone(), parts.changes());
        }
    }
}
