//! Addresses that pass from one container to the next, one claim each.

use super::networks::tests::network;
use super::tests::{container, event, known};
use super::*;
use crate::docker::container::ListRow;
use crate::mapper::forwards::{Bounds, resolve};
use crate::model::container::{Bindings, Container, Endpoint};
use crate::model::interface::MacAddr;
use crate::model::text::Untrusted;

const ADDR: &str = "fd00::2";

/// A container on the network `n` with an address, started at `at`.
fn on(id: &str, addr: &str, at: i64) -> Container {
    let mut c = container(id, id, false, known());
    c.endpoints = vec![Endpoint {
        network: "n".into(),
        network_id: "n".to_owned(),
        address: Some(addr.parse().expect("an address")),
        mac: None,
        gateway: None,
        gw_priority: 0,
        left: false,
    }];
    c.start.at = at;
    c
}

fn row(id: &str, addr: &str) -> ListRow {
    let mut container = on(id, addr, 0);
    container.bindings = Bindings::Unknown;
    ListRow {
        id: id.to_owned(),
        container: Some(container),
    }
}

fn answer(view: &mut View, expected: &str, addr: &str, at: i64) {
    let question = view.next_question().expect("a question");
    assert_eq!(question.id, expected);
    let running = Inspected::Running(Box::new(on(expected, addr, at)));
    view.answered(&question, Answer::Inspected(running));
}

fn moves(view: &mut View, kind: EventKind, id: &str) {
    view.event(&Event::Container {
        kind,
        id: id.to_owned(),
        network: Some("n".to_owned()),
    });
}

fn listed(rows: Vec<ListRow>) -> View {
    let mut view = View::default();
    view.list_begun();
    view.networks_begun();
    view.networks_listed(vec![network("n")]);
    view.listed(rows);
    view
}

/// Whose ports are open.
fn open(view: &mut View) -> Vec<String> {
    let snapshot = view.take_news().expect("something to publish");
    let bounds = Bounds {
        prefixes: vec!["fd00::/64".parse().expect("a prefix")],
        ..Bounds::default()
    };
    let forwards = resolve(&snapshot, &bounds).forwards;
    let owners = forwards.into_iter().map(|f| f.owner.container_id.clone());
    owners.collect()
}

#[test]
fn the_address_of_a_container_whose_end_is_yet_to_be_said_belongs_to_the_next_start() {
    let mut view = listed(vec![row("a", ADDR)]);
    assert_eq!(open(&mut view), ["a"]);
    view.event(&event(EventKind::Start, "b"));
    answer(&mut view, "b", ADDR, 1);
    assert_eq!(open(&mut view), ["b"]);
    // What an inspect of the first says in its teardown is not believed over that start.
    view.event(&event(EventKind::Rename, "a"));
    answer(&mut view, "a", ADDR, 9);
    assert_eq!(view.take_news().map(|s| s.claims.len()), Some(0));
    view.event(&event(EventKind::Rename, "b"));
    answer(&mut view, "b", ADDR, 1);
    view.event(&event(EventKind::Die, "a"));
    assert_eq!(open(&mut view), ["b"]);
    // It starts again, and has the address again.
    view.event(&event(EventKind::Die, "b"));
    view.event(&event(EventKind::Start, "a"));
    answer(&mut view, "a", ADDR, 10);
    assert_eq!(open(&mut view), ["a"]);
}

#[test]
fn a_network_tells_whose_an_address_is_before_the_container_runs() {
    let mut view = listed(vec![row("a", ADDR)]);
    assert_eq!(open(&mut view), ["a"]);
    moves(&mut view, EventKind::Connect, "b");
    assert_eq!(view.next_question(), None, "its inspect would block");
    assert_eq!(view.next_network().as_deref(), Some("n"));
    assert_eq!(view.next_network(), None);
    let addr = ADDR.parse().expect("an address");
    view.network_answered("n", Some(vec![(addr, "b".to_owned())]));
    assert_eq!(open(&mut view), [""; 0]);
    view.event(&event(EventKind::Start, "b"));
    answer(&mut view, "b", ADDR, 1);
    assert_eq!(open(&mut view), ["b"]);
    assert!(view.shown.claims.is_empty());
}

#[test]
fn a_container_that_is_restarted_claims_its_new_address() {
    let mut view = listed(vec![row("a", ADDR), row("b", "fd00::3")]);
    view.event(&event(EventKind::Die, "b"));
    assert_eq!(open(&mut view), ["a"]);
    let held = |view: &mut View| {
        let asked = view.next_network().expect("a question");
        let addr = ADDR.parse().expect("an address");
        view.network_answered(&asked, Some(vec![(addr, "b".to_owned())]));
    };
    // Somebody else joins while it is in its teardown.
    moves(&mut view, EventKind::Connect, "c");
    held(&mut view);
    assert!(view.shown.claims.is_empty());
    moves(&mut view, EventKind::Connect, "b");
    held(&mut view);
    assert_eq!(open(&mut view), [""; 0]);
}

/// It runs, and joins the network of one whose end is yet to be said.
#[test]
fn joining_a_network_counts_like_a_start() {
    let mut view = listed(vec![row("b", "fd00::3")]);
    view.event(&event(EventKind::Start, "a"));
    answer(&mut view, "a", ADDR, 5);
    assert_eq!(open(&mut view), ["a"]);
    moves(&mut view, EventKind::Connect, "b");
    answer(&mut view, "b", ADDR, 1);
    assert_eq!(open(&mut view), ["b"]);
}

#[test]
fn a_container_that_does_not_start_gives_its_claim_back() {
    for kind in [EventKind::Die, EventKind::Disconnect, EventKind::Destroy] {
        let mut view = listed(vec![row("a", ADDR)]);
        let addr = ADDR.parse().expect("an address");
        moves(&mut view, EventKind::Connect, "b");
        let asked = view.next_network().expect("a question");
        view.network_answered(&asked, Some(vec![(addr, "b".to_owned())]));
        assert_eq!(open(&mut view), [""; 0]);
        moves(&mut view, kind, "b");
        assert_eq!(open(&mut view), ["a"]);
        // The same where the end comes while the question is under way.
        moves(&mut view, EventKind::Connect, "c");
        let asked = view.next_network().expect("a question");
        moves(&mut view, kind, "c");
        view.network_answered(&asked, Some(vec![(addr, "c".to_owned())]));
        assert!(view.shown.claims.is_empty());
    }
}

#[test]
fn a_network_that_is_joined_while_it_is_asked_is_asked_once_more() {
    let mut view = listed(Vec::new());
    moves(&mut view, EventKind::Connect, "b");
    let asked = view.next_network().expect("a question");
    moves(&mut view, EventKind::Connect, "c");
    moves(&mut view, EventKind::Connect, "d");
    assert_eq!(view.next_network(), None, "one at a time");
    view.network_answered(&asked, None);
    assert_eq!(view.next_network().as_deref(), Some("n"));
    view.network_answered("n", None);
    assert_eq!(view.next_network(), None);
    // What a network says after a loss is of no use.
    moves(&mut view, EventKind::Connect, "b");
    let asked = view.next_network().expect("a question");
    view.lost();
    let addr = ADDR.parse().expect("an address");
    view.network_answered(&asked, Some(vec![(addr, "b".to_owned())]));
    assert!(view.shown.claims.is_empty());
}

#[test]
fn an_endpoint_that_was_left_forwards_nothing_before_anybody_is_asked() {
    let mut view = listed(vec![row("a", ADDR)]);
    assert_eq!(open(&mut view), ["a"]);
    moves(&mut view, EventKind::Disconnect, "a");
    assert_eq!(open(&mut view), [""; 0]);
    answer(&mut view, "a", "fd00::3", 0);
    assert_eq!(open(&mut view), ["a"]);
}

/// The Engine replays that "a" left its network after the list has shown it there. It has come
/// back since, or the answer will say that it has not.
#[test]
fn a_departure_told_from_memory_closes_nothing_that_a_later_list_shows() {
    let mut view = listed(vec![row("a", ADDR)]);
    assert_eq!(open(&mut view), ["a"]);
    moves(&mut view, EventKind::DisconnectedEarlier, "a");
    assert_eq!(view.take_news(), None, "the list is younger");
    answer(&mut view, "a", "fd00::3", 0);
    assert_eq!(left(&view), [""; 0]);
    // Docker is asked, and the answer counts.
    moves(&mut view, EventKind::DisconnectedEarlier, "a");
    let question = view.next_question().expect("a question");
    view.answered(&question, Answer::Inspected(Inspected::NotRunning));
    assert_eq!(open(&mut view), [""; 0]);
}

/// After a loss: where "a" was shown before, its row counts at once, for it is younger than the
/// replay, and its former address may be another container's by now.
#[test]
fn a_departure_told_from_memory_leaves_a_known_container_where_its_row_shows_it() {
    let mut view = listed(vec![row("a", ADDR)]);
    assert_eq!(open(&mut view), ["a"]);
    view.lost();
    view.list_begun();
    moves(&mut view, EventKind::DisconnectedEarlier, "a");
    view.networks_begun();
    view.networks_listed(vec![network("n")]);
    view.listed(vec![row("a", "fd00::3")]);
    assert!(view.is_complete());
    let snapshot = view.take_news().expect("news");
    let endpoint = &snapshot.containers["a"].endpoints[0];
    assert_eq!(endpoint.address, "fd00::3".parse().ok());
    assert!(!endpoint.left);
    answer(&mut view, "a", "fd00::3", 0);
}

#[test]
fn two_rows_with_one_address_are_both_asked_about_and_hold_up_nobody_else() {
    let mut view = listed(vec![row("a", ADDR), row("b", ADDR), row("c", "fd00::3")]);
    let snapshot = view.take_news().expect("a first snapshot");
    let ids = |ids: &BTreeMap<String, Untrusted>| ids.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&snapshot.unanswered), ["a", "b"]);
    assert!(snapshot.containers.keys().eq(["c"]));
    // The inspect of the first blocks until its teardown is over.
    let first = view.next_question().expect("a question");
    answer(&mut view, "b", ADDR, 2);
    let snapshot = view.take_news().expect("news");
    assert_eq!(ids(&snapshot.unanswered), ["a"]);
    assert!(snapshot.containers.contains_key("b"));
    let ended = Answer::Inspected(Inspected::NotRunning);
    view.answered(&first, ended);
    assert!(view.is_complete());
    assert_eq!(view.take_news().map(|s| s.unanswered.len()), Some(0));
}

#[test]
fn where_no_start_was_heard_the_time_of_the_start_decides() {
    let mut view = listed(vec![row("a", ADDR), row("b", ADDR)]);
    answer(&mut view, "a", ADDR, 2);
    answer(&mut view, "b", ADDR, 1);
    assert_eq!(open(&mut view), ["a"]);
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0x42, 0xac, 0x11, 0, last])
}

/// A row whose interface has this hardware address.
fn wired(id: &str, addr: &str, last: u8) -> ListRow {
    let mut row = row(id, addr);
    for container in row.container.iter_mut() {
        container.endpoints[0].mac = Some(mac(last));
        container.bindings = known();
    }
    row
}

/// Who has left the network.
fn left(view: &View) -> Vec<&str> {
    let containers = view.shown.containers.values();
    let left = containers.filter(|c| c.endpoints.iter().any(|e| e.left));
    left.map(|c| c.id.as_str()).collect()
}

#[test]
fn an_endpoint_whose_interface_was_taken_back_is_left_until_docker_is_asked() {
    let mut view = listed(vec![wired("a", ADDR, 2), wired("b", "fd00::3", 3)]);
    view.interface_seen(mac(4));
    assert_eq!((left(&view), view.waiting()), (vec![], 0));
    view.interface_seen(mac(2));
    assert_eq!(left(&view), ["a"]);
    assert_eq!(open(&mut view), ["b"]);
    // The kernel reports it several times.
    view.interface_seen(mac(2));
    assert_eq!(view.waiting(), 1);
    // It was another interface.
    answer(&mut view, "a", ADDR, 0);
    assert_eq!(left(&view), [""; 0]);
}

#[test]
fn a_list_does_not_bring_back_what_was_left() {
    let mut view = listed(vec![wired("a", ADDR, 2)]);
    // One that was asked for before, and one after.
    view.list_begun();
    view.interface_seen(mac(2));
    view.listed(vec![wired("a", ADDR, 2)]);
    assert_eq!(left(&view), ["a"]);
    view.list_begun();
    view.listed(vec![wired("a", ADDR, 2)]);
    assert_eq!(left(&view), ["a"]);
    assert_eq!(open(&mut view), [""; 0]);
    answer(&mut view, "a", ADDR, 0);
    assert_eq!(open(&mut view), ["a"]);
}

#[test]
fn of_several_with_one_hardware_address_none_is_left_before_docker_says_so() {
    let mut view = listed(vec![wired("a", ADDR, 2), wired("b", "fd00::3", 2)]);
    view.interface_seen(mac(2));
    assert_eq!((left(&view).len(), view.waiting()), (0, 2));
}
