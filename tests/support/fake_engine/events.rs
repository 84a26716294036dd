//! The events of the fake Engine: what is sent, and what was.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{FakeEngine, network, since_epoch};

/// Lines, as they go through a stream: each a chunk, as the Engine sends them. Cheap to send again
/// and again.
#[derive(Debug, Clone)]
pub struct Lines {
    pub(super) chunks: Arc<str>,
    pub(super) number: usize,
}

impl Lines {
    /// Of these texts, whatever they are.
    pub fn new<T: AsRef<str>>(lines: &[T]) -> Self {
        let lines = lines.iter().map(AsRef::as_ref);
        let number = lines.len();
        let chunks: String = lines
            .map(|line| format!("{:x}\r\n{line}\n\r\n", line.len() + 1))
            .collect();
        let chunks = chunks.into();
        Self { chunks, number }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Past {
    pub(super) at: Duration,
    pub(super) lines: Lines,
}

/// A container's event; [`now`] makes a line of it.
pub fn of_container(action: &str, id: &str) -> Value {
    json!({"status": action, "id": id, "from": "image", "Type": "container", "Action": action,
        "Actor": {"ID": id, "Attributes": {"image": "image"}}, "scope": "local"})
}

/// The event of a container that joins or leaves this network.
pub fn member(action: &str, network: &str, id: &str) -> Value {
    json!({"Type": "network", "Action": action, "Actor": {"ID": network,
        "Attributes": {"container": id, "name": network::BRIDGE.0, "type": "bridge"}},
        "scope": "local"})
}

/// The line of an event that happens now.
pub fn now(mut event: Value) -> String {
    let now = since_epoch();
    event["time"] = json!(now.as_secs());
    event["timeNano"] = json!(now.as_nanos() as u64);
    event.to_string()
}

impl FakeEngine {
    pub(super) fn emit_network_itself(&self, action: &str, id: &str) {
        self.emit_value(
            json!({"Type": "network", "Action": action, "Actor": {"ID": id,
            "Attributes": {"name": "net", "type": "bridge"}}, "scope": "local"}),
        );
    }

    /// Sends a container's event.
    pub fn emit(&self, action: &str, id: &str) {
        self.emit_value(of_container(action, id));
    }

    /// Sends the event of a container that joins or leaves its network.
    pub fn emit_network(&self, action: &str, id: &str) {
        self.emit_member(action, network::BRIDGE.1, id);
    }

    /// Sends the event of a container that joins or leaves this network.
    pub fn emit_member(&self, action: &str, network: &str, id: &str) {
        self.emit_value(member(action, network, id));
    }

    fn emit_value(&self, event: Value) {
        self.emit_raw(&now(event));
    }

    /// Sends a line on every stream of events, whatever it is.
    pub fn emit_raw(&self, line: &str) {
        self.emit_lines(Lines::new(&[line]));
    }

    /// Sends an event that was written down, as one that happens now.
    pub fn emit_anew(&self, line: &str) {
        self.emit_value(serde_json::from_str(line).expect("an event"));
    }

    /// Sends many lines at once.
    pub fn emit_lines(&self, lines: Lines) {
        let at = since_epoch();
        self.edit(|s| s.events.push(Past { at, lines }));
    }

    /// Remembers no event that was, for those who ask for past ones.
    pub fn forget_events(&self) {
        self.edit(|s| s.events.iter_mut().for_each(|e| e.at = Duration::ZERO));
    }

    /// How many events were sent so far.
    pub fn events(&self) -> usize {
        self.shared
            .lock()
            .events
            .iter()
            .map(|e| e.lines.number)
            .sum()
    }

    /// How many of them streams have taken so far, up to what a socket holds.
    pub fn delivered(&self) -> usize {
        self.shared.lock().delivered
    }

    /// Breaks all streams of events.
    pub fn drop_streams(&self) {
        self.edit(|s| s.streams_epoch += 1);
    }
}
