//! The events that matter. What ends a container is believed; each other says no more than that
//! something is to be inspected again.

use bollard::models::{EventMessage, EventMessageTypeEnum};

/// An event that may change what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something happened to a container.
    Container {
        /// What.
        kind: EventKind,
        /// The container's full id.
        id: String,
        /// The full id of the network that it joined or left.
        network: Option<String>,
    },
    /// There is a new network.
    NetworkCreated {
        /// Its full id.
        id: String,
    },
    /// A network was removed.
    NetworkDestroyed {
        /// Its full id.
        id: String,
    },
}

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// It runs, and everything about it is set.
    Start,
    /// It ended; its addresses are gone already.
    Die,
    /// It ended before we listened, and may run again by now: the Engine replayed the event.
    DiedEarlier,
    /// It was removed.
    Destroy,
    /// It has another name.
    Rename,
    /// It joins a network: before its start, or while it runs.
    Connect,
    /// It left a network: after its end, or while it runs.
    Disconnect,
    /// It left a network before we listened, and may have joined it again by now: the Engine
    /// replayed the event.
    DisconnectedEarlier,
}

/// `type` filter: always given, for an unknown type ends bollard's stream.
pub(super) const TYPES: [&str; 2] = ["container", "network"];

/// `event` filter: health checks alone make three events every few seconds per container.
/// `create` is needed for networks; it also brings one event per container, which is ignored.
pub(super) const ACTIONS: [&str; 7] = [
    "start",
    "die",
    "destroy",
    "rename",
    "connect",
    "disconnect",
    "create",
];

/// Reads an event; `None` for one that changes nothing for us. A network's event names the
/// container among its attributes. `listening_since` is when the subscription was asked for, in
/// nanoseconds since the epoch, as long as the Engine may be replaying what it remembers; `None`
/// after that, when every event is new: the clock may have been set back meanwhile.
pub fn read(message: EventMessage, listening_since: Option<i64>) -> Option<Event> {
    let at = message.time_nano.zip(listening_since);
    let earlier = at.is_some_and(|(at, since)| at < since);
    let action = message.action?;
    let actor = message.actor?;
    let actor_id = actor.id.filter(|id| is_id(id));
    match message.typ? {
        EventMessageTypeEnum::CONTAINER => Some(Event::Container {
            kind: match action.as_str() {
                "start" => EventKind::Start,
                "die" if earlier => EventKind::DiedEarlier,
                "die" => EventKind::Die,
                "destroy" => EventKind::Destroy,
                "rename" => EventKind::Rename,
                _ => return None,
            },
            id: actor_id?,
            network: None,
        }),
        EventMessageTypeEnum::NETWORK => {
            let kind = match action.as_str() {
                "create" => return Some(Event::NetworkCreated { id: actor_id? }),
                "destroy" => return Some(Event::NetworkDestroyed { id: actor_id? }),
                "connect" => EventKind::Connect,
                "disconnect" if earlier => EventKind::DisconnectedEarlier,
                "disconnect" => EventKind::Disconnect,
                _ => return None,
            };
            let mut attributes = actor.attributes?;
            // Podman has the container itself in the actor's place, and beside it the name of
            // the network, by which no id is known.
            let (id, network) = match attributes.remove("container") {
                Some(id) => (id, actor_id),
                None if attributes.contains_key("network") => (actor_id?, None),
                None => return None,
            };
            is_id(&id).then_some(Event::Container { kind, id, network })
        }
        _ => None,
    }
}

/// Whether a text can be the id of a container or a network. It becomes part of a request's path.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Option<Event> {
        read(serde_json::from_str(json).expect("an event"), Some(0))
    }

    /// What is read of an event at 5 ns since the epoch.
    fn kind(json: &str, listening_since: Option<i64>) -> EventKind {
        let message = serde_json::from_str(json).expect("an event");
        match read(message, listening_since) {
            Some(Event::Container { kind, .. }) => kind,
            other => panic!("{other:?}"),
        }
    }

    const DIE: &str = r#"{"Type":"container","Action":"die","timeNano":5,
        "Actor":{"ID":"0123456789ab","Attributes":{}}}"#;
    const DISCONNECT: &str = r#"{"Type":"network","Action":"disconnect","timeNano":5,
        "Actor":{"ID":"ffff","Attributes":{"container":"abcd"}}}"#;

    #[test]
    fn a_death_or_a_departure_from_before_we_listened_counts_as_earlier() {
        assert_eq!(kind(DIE, Some(5)), EventKind::Die);
        assert_eq!(kind(DIE, Some(6)), EventKind::DiedEarlier);
        assert_eq!(kind(DISCONNECT, Some(5)), EventKind::Disconnect);
        assert_eq!(kind(DISCONNECT, Some(6)), EventKind::DisconnectedEarlier);
    }

    #[test]
    fn what_comes_after_the_replay_is_new_whatever_the_clock_says() {
        assert_eq!(kind(DIE, None), EventKind::Die);
        assert_eq!(kind(DISCONNECT, None), EventKind::Disconnect);
    }

    #[test]
    fn a_network_event_names_the_container_among_its_attributes() {
        let event = parse(
            r#"{"Type":"network","Action":"connect","Actor":{"ID":"ffff",
                "Attributes":{"container":"abcd","name":"bridge","type":"bridge"}}}"#,
        );
        let expected = Event::Container {
            kind: EventKind::Connect,
            id: "abcd".to_owned(),
            network: Some("ffff".to_owned()),
        };
        assert_eq!(event, Some(expected));
    }

    #[test]
    fn a_network_event_of_podmans_has_the_container_in_the_actors_place() {
        let event = parse(
            r#"{"Type":"network","Action":"connect","Actor":{"ID":"abcd",
                "Attributes":{"network":"podman"}}}"#,
        );
        let expected = Event::Container {
            kind: EventKind::Connect,
            id: "abcd".to_owned(),
            network: None,
        };
        assert_eq!(event, Some(expected));
        let neither = r#"{"Type":"network","Action":"connect","Actor":{"ID":"abcd",
            "Attributes":{"name":"x"}}}"#;
        assert_eq!(parse(neither), None);
    }

    #[test]
    fn a_network_comes_and_goes_by_its_own_id() {
        let of = |action| {
            parse(&format!(
                r#"{{"Type":"network","Action":"{action}","Actor":{{"ID":"ffff"}}}}"#
            ))
        };
        let id = "ffff".to_owned();
        assert_eq!(of("create"), Some(Event::NetworkCreated { id: id.clone() }));
        assert_eq!(of("destroy"), Some(Event::NetworkDestroyed { id }));
    }

    #[test]
    fn events_that_change_nothing_or_say_nothing_are_passed_over() {
        for json in [
            r#"{}"#,
            r#"{"Type":"container","Action":"exec_create: sh","Actor":{"ID":"ab"}}"#,
            r#"{"Type":"container","Action":"connect","Actor":{"ID":"ab"}}"#,
            r#"{"Type":"network","Action":"update","Actor":{"ID":"ab","Attributes":{}}}"#,
            r#"{"Type":"network","Action":"create","Actor":{"Attributes":{}}}"#,
            r#"{"Type":"container","Action":"create","Actor":{"ID":"ab"}}"#,
            r#"{"Type":"network","Action":"connect","Actor":{"ID":"ab"}}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":""}}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":"../../x"}}"#,
            r#"{"Type":"container","Action":"start"}"#,
        ] {
            assert_eq!(parse(json), None, "{json}");
        }
    }
}
