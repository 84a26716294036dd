//! The events that matter, and nothing else of them than "look again at this container".

use bollard::models::{EventMessage, EventMessageTypeEnum};

/// An event that may change what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The container's full id.
    pub id: String,
}

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// It runs, and everything about it is set.
    Start,
    /// It ended; its addresses are gone already.
    Die,
    /// It was removed.
    Destroy,
    /// It has another name.
    Rename,
    /// It joins a network: before its start, or while it runs.
    Connect,
    /// It left a network: after its end, or while it runs.
    Disconnect,
}

/// `type` filter: always given, for an unknown type ends bollard's stream.
pub(super) const TYPES: [&str; 2] = ["container", "network"];

/// `event` filter: health checks alone make three events every few seconds per container.
pub(super) const ACTIONS: [&str; 6] =
    ["start", "die", "destroy", "rename", "connect", "disconnect"];

impl EventKind {
    fn of_container(action: &str) -> Option<Self> {
        match action {
            "start" => Some(Self::Start),
            "die" => Some(Self::Die),
            "destroy" => Some(Self::Destroy),
            "rename" => Some(Self::Rename),
            _ => None,
        }
    }

    fn of_network(action: &str) -> Option<Self> {
        match action {
            "connect" => Some(Self::Connect),
            "disconnect" => Some(Self::Disconnect),
            _ => None,
        }
    }
}

/// Reads an event; `None` for one that changes nothing for us. A network's event names the
/// container among its attributes.
pub fn read(message: EventMessage) -> Option<Event> {
    let action = message.action?;
    let actor = message.actor?;
    let (kind, id) = match message.typ? {
        EventMessageTypeEnum::CONTAINER => (EventKind::of_container(&action)?, actor.id?),
        EventMessageTypeEnum::NETWORK => (
            EventKind::of_network(&action)?,
            actor.attributes?.remove("container")?,
        ),
        _ => return None,
    };
    is_id(&id).then_some(Event { kind, id })
}

/// Whether a text can be a container's id. It becomes part of a request's path.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Option<Event> {
        read(serde_json::from_str(json).expect("an event"))
    }

    #[test]
    fn a_network_event_names_the_container_among_its_attributes() {
        let event = parse(
            r#"{"Type":"network","Action":"connect","Actor":{"ID":"ffff",
                "Attributes":{"container":"abcd","name":"bridge","type":"bridge"}}}"#,
        );
        let kind = EventKind::Connect;
        assert_eq!(
            event,
            Some(Event {
                kind,
                id: "abcd".to_owned()
            })
        );
    }

    #[test]
    fn events_that_change_nothing_or_say_nothing_are_passed_over() {
        for json in [
            r#"{}"#,
            r#"{"Type":"container","Action":"exec_create: sh","Actor":{"ID":"ab"}}"#,
            r#"{"Type":"container","Action":"connect","Actor":{"ID":"ab"}}"#,
            r#"{"Type":"network","Action":"destroy","Actor":{"ID":"ab","Attributes":{}}}"#,
            r#"{"Type":"network","Action":"connect","Actor":{"ID":"ab"}}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":""}}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":"../../x"}}"#,
            r#"{"Type":"container","Action":"start"}"#,
        ] {
            assert_eq!(parse(json), None, "{json}");
        }
    }
}
