//! The networks' transitions, one claim each.

use super::super::tests::{container, event, row, runs};
use super::super::*;
use super::*;
use crate::docker::container::ListRow;
use crate::model::container::{Bindings, Endpoint, GatewayMode};

pub(in super::super) fn network(id: &str) -> Network {
    Network {
        id: id.to_owned(),
        name: "net".into(),
        driver: "bridge".into(),
        internal: false,
        subnets: Vec::new(),
        gateway_mode: GatewayMode::Nat,
        masquerade: true,
        host_ipv6: None,
        bridge: None,
        ingress: false,
    }
}

/// A view that knows the container `a` and these networks.
fn knowing(ids: &[&str]) -> View {
    let mut view = View::default();
    view.list_begun();
    view.listed(vec![row("a", "a", false)]);
    answer(&mut view, ids);
    assert!(view.take_news().is_some());
    view
}

fn answer(view: &mut View, ids: &[&str]) {
    assert!(view.wants_networks());
    view.networks_begun();
    view.networks_listed(ids.iter().map(|id| network(id)).collect());
}

fn shown(view: &View) -> Vec<&str> {
    view.shown.networks.keys().map(String::as_str).collect()
}

fn created(id: &str) -> Event {
    Event::NetworkCreated { id: id.to_owned() }
}

fn destroyed(id: &str) -> Event {
    Event::NetworkDestroyed { id: id.to_owned() }
}

/// `b` joins or leaves a network.
fn named(network: &str) -> Event {
    Event::Container {
        kind: EventKind::Connect,
        id: "b".to_owned(),
        network: Some(network.to_owned()),
    }
}

#[test]
fn nothing_is_published_before_networks_and_containers_are_both_listed() {
    for containers_first in [true, false] {
        let mut view = View::default();
        view.list_begun();
        if containers_first {
            view.listed(vec![row("a", "a", false)]);
        } else {
            answer(&mut view, &["n"]);
        }
        assert!(!view.is_complete());
        assert_eq!(view.take_news(), None);
        if containers_first {
            answer(&mut view, &["n"]);
        } else {
            view.listed(vec![row("a", "a", false)]);
        }
        let snapshot = view.take_news().expect("complete");
        assert!(snapshot.networks.contains_key("n") && snapshot.containers.contains_key("a"));
    }
}

#[test]
fn a_list_of_networks_that_fails_is_asked_again_and_those_known_stay() {
    let mut view = View::default();
    view.list_begun();
    view.listed(Vec::new());
    view.networks_begun();
    view.networks_failed();
    assert!(!view.is_complete(), "none was ever known");
    assert!(!view.wants_networks(), "before the wait is over");
    view.event(&created("n"));
    assert!(!view.wants_networks(), "an event does not shorten it");
    view.retry_networks();
    answer(&mut view, &["n"]);
    assert!(view.take_news().is_some());

    view.lost();
    view.list_begun();
    view.listed(Vec::new());
    assert!(!view.is_complete());
    view.networks_begun();
    view.networks_failed();
    let snapshot = view.take_news().expect("as good as can be had");
    assert!(snapshot.networks.contains_key("n"));
    view.retry_networks();
    answer(&mut view, &["m"]);
    assert_eq!(shown(&view), ["m"]);
    assert!(view.take_news().is_some());
}

#[test]
fn an_answer_from_before_a_loss_is_void() {
    let mut view = knowing(&["n"]);
    view.event(&created("m"));
    view.networks_begun();
    view.lost();
    view.networks_listed(Vec::new());
    view.networks_failed();
    view.retry_networks();
    assert_eq!(shown(&view), ["n"]);
    assert!(!view.wants_networks(), "that comes with the next list");
}

#[test]
fn a_start_on_a_known_network_lists_nothing() {
    let mut view = knowing(&["n"]);
    view.event(&named("n"));
    view.event(&event(EventKind::Start, "b"));
    let question = view.next_question().expect("a question");
    let Answer::Inspected(Inspected::Running(mut b)) = runs("b", "b", false) else {
        panic!("it runs");
    };
    b.endpoints = vec![endpoint("n"), endpoint("")];
    view.answered(&question, Answer::Inspected(Inspected::Running(b)));
    assert!(!view.wants_networks());
}

fn endpoint(network_id: &str) -> Endpoint {
    Endpoint {
        network: "net".into(),
        network_id: network_id.to_owned(),
        address: None,
        mac: None,
        gateway: None,
        gw_priority: 0,
        left: false,
    }
}

fn b_on_m() -> Container {
    let mut b = container("b", "b", false, Bindings::Unknown);
    b.endpoints = vec![endpoint("m")];
    b
}

#[test]
fn an_unknown_network_is_asked_for_once_wherever_it_is_named() {
    let by_event: fn(&mut View) = |view| view.event(&named("m"));
    let by_answer: fn(&mut View) = |view| {
        view.event(&event(EventKind::Start, "b"));
        let question = view.next_question().expect("a question");
        let answer = Answer::Inspected(Inspected::Running(Box::new(b_on_m())));
        view.answered(&question, answer);
    };
    let by_row: fn(&mut View) = |view| {
        view.list_begun();
        answer(view, &["n"]);
        view.listed(vec![ListRow {
            id: "b".to_owned(),
            container: Some(b_on_m()),
        }]);
    };
    for name in [by_event, by_answer, by_row] {
        let mut view = knowing(&["n"]);
        name(&mut view);
        answer(&mut view, &["n", "m"]);
        assert_eq!(shown(&view), ["m", "n"]);

        let mut view = knowing(&["n"]);
        name(&mut view);
        answer(&mut view, &["n"]);
        by_event(&mut view);
        assert!(!view.wants_networks(), "the list does not have it");
        view.list_begun();
        answer(&mut view, &["n"]);
        by_event(&mut view);
        assert!(view.wants_networks(), "a new list of everything, a new try");
    }
}

#[test]
fn a_destroyed_network_is_dropped_at_once_and_not_brought_back() {
    let mut view = knowing(&["n", "m"]);
    view.event(&destroyed("n"));
    assert_eq!(shown(&view), ["m"]);
    assert!(view.take_news().is_some());
    assert!(!view.wants_networks());

    view.event(&created("o"));
    view.networks_begun();
    view.event(&destroyed("m"));
    view.networks_listed(vec![network("m"), network("o")]);
    assert_eq!(shown(&view), ["o"]);
}

#[test]
fn a_network_created_during_a_list_is_asked_for_once_more() {
    let mut view = knowing(&[]);
    view.event(&created("n"));
    view.networks_begun();
    for _ in 0..1000 {
        view.event(&created("m"));
    }
    assert!(!view.wants_networks(), "one question at a time");
    view.networks_listed(vec![network("n")]);
    assert_eq!(shown(&view), ["n"], "it is taken in all the same");
    answer(&mut view, &["n", "m"]);
    assert!(!view.wants_networks());
    view.event(&created("m"));
    assert!(!view.wants_networks(), "it is known");
}

#[test]
fn a_flood_of_unknown_networks_leaves_a_bounded_memory() {
    let mut view = knowing(&[]);
    for n in 0..3 * MAX_NAMED {
        view.event(&named(&n.to_string()));
    }
    assert_eq!(view.networks.named.len(), MAX_NAMED);
    answer(&mut view, &[]);
    assert!(!view.wants_networks());
}
