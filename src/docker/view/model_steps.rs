//! What there is in the model of the Engine, and what may happen in it, one step at a time.

use proptest::prelude::*;

use crate::docker::event::{Event, EventKind};
use crate::model::container::{Container, Endpoint};
use crate::model::interface::MacAddr;

pub(super) const IDS: [&str; 4] = ["a", "b", "c", "d"];

/// How many networks there are at most at once.
pub(super) const NETWORKS: usize = 3;

/// The network of all containers. It is never listed.
const NETWORK: &str = "net";

/// One container as the Engine has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Life {
    #[default]
    Stopped,
    /// Its networks are joined; an inspect waits for the end of it.
    Starting,
    Running,
    /// `die` was sent; the list still shows it.
    Teardown,
}

/// How far a list of rows has come.
#[derive(Default)]
pub(super) enum Listing<T> {
    #[default]
    Idle,
    Asked,
    Written(Vec<T>),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// The container's life goes on: start, end, and so on.
    Live(usize),
    /// Something about a running one changes, with this event.
    Change(usize, EventKind),
    /// An event arrives, perhaps twice, perhaps after a later one of another container.
    Deliver {
        later: bool,
        twice: bool,
    },
    /// The kernel reports an interface with the container's hardware address, rightly or not.
    Interface(usize),
    /// The kernel's notice of an interface was lost.
    InterfacesMissed,
    AskList,
    /// The Engine writes the list.
    WriteList,
    ListArrives,
    Ask,
    /// The Engine writes the answer to a question under way.
    WriteAnswer(usize),
    AnswerArrives(usize),
    Fail(usize),
    /// A network is created, or the one that is there is destroyed.
    Network(usize),
    AskNetworks,
    WriteNetworks,
    NetworksArrive,
    FailNetworks,
    RetryNetworks,
    /// The stream breaks. When it stands again, so many events are replayed.
    Lose {
        replayed: usize,
    },
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let id = 0..IDS.len();
    let kind = prop::sample::select(vec![
        EventKind::Rename,
        EventKind::Connect,
        EventKind::Disconnect,
    ]);
    prop_oneof![
        6 => id.clone().prop_map(Step::Live),
        2 => (id, kind).prop_map(|(id, kind)| Step::Change(id, kind)),
        8 => any::<(bool, bool)>().prop_map(|(later, twice)| Step::Deliver { later, twice }),
        3 => (0..IDS.len()).prop_map(Step::Interface),
        1 => Just(Step::InterfacesMissed),
        2 => Just(Step::AskList),
        2 => Just(Step::WriteList),
        2 => Just(Step::ListArrives),
        4 => Just(Step::Ask),
        4 => (0..8usize).prop_map(Step::WriteAnswer),
        4 => (0..8usize).prop_map(Step::AnswerArrives),
        1 => (0..8usize).prop_map(Step::Fail),
        3 => (0..NETWORKS).prop_map(Step::Network),
        3 => Just(Step::AskNetworks),
        3 => Just(Step::WriteNetworks),
        3 => Just(Step::NetworksArrive),
        1 => Just(Step::FailNetworks),
        1 => Just(Step::RetryNetworks),
        1 => (0..12usize).prop_map(|replayed| Step::Lose { replayed }),
    ]
}

/// The event of a container.
pub(super) fn happens(kind: EventKind, n: usize) -> Event {
    let moves = matches!(kind, EventKind::Connect | EventKind::Disconnect);
    Event::Container {
        kind,
        id: IDS[n].to_owned(),
        network: moves.then(|| NETWORK.to_owned()),
    }
}

/// An event as it is read when the Engine replays it.
pub(super) fn as_replayed(event: &Event) -> Event {
    let mut event = event.clone();
    if let Event::Container { kind, .. } = &mut event {
        *kind = match *kind {
            EventKind::Die => EventKind::DiedEarlier,
            EventKind::Disconnect => EventKind::DisconnectedEarlier,
            other => other,
        };
    }
    event
}

/// Events of one subject arrive in their order.
pub(super) fn subject(event: &Event) -> &str {
    match event {
        Event::Container { id, .. }
        | Event::NetworkCreated { id }
        | Event::NetworkDestroyed { id } => id,
    }
}

/// The hardware address of a container.
pub(super) fn mac(n: usize) -> MacAddr {
    MacAddr([2, 0x42, 0, 0, 0, n as u8])
}

/// Gives the container an interface.
pub(super) fn wire(container: &mut Container, n: usize) {
    container.endpoints = vec![Endpoint {
        network: "net".into(),
        network_id: NETWORK.to_owned(),
        address: None,
        mac: Some(mac(n)),
        gateway: None,
        gw_priority: 0,
        left: false,
    }];
}
