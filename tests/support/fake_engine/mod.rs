//! A fake Docker Engine: a small HTTP server on a Unix socket, for scale and for faults.
//!
//! It answers `/_ping`, `/version`, `/containers/json`, `/containers/{id}/json`, `/networks` and
//! `/events` as Engine 20.10 does, or as the answers in `recorded/` say ([`fixture`]), refuses API
//! versions outside its range, replays events `since` a time, and can be made to misbehave per
//! route. One thread accepts, one serves each connection; all end when the fake is dropped.

// Shared by several test crates, none of which uses all of it.
#![allow(unreachable_pub)]

pub mod container;
pub mod events;
pub mod fixture;
pub mod network;
mod server;

use std::collections::BTreeMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

pub use container::FakeContainer;
use events::Past;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    Ping,
    Version,
    List,
    /// Of one container.
    Inspect(String),
    Networks,
    Events,
    Other,
}

/// How a route misbehaves.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers late.
    Delay(Duration),
    /// Says nothing at all, until the fake ends or thaws.
    Hang,
    /// Sends the head and half of the body, and then nothing.
    HangInBody,
    /// Breaks off without an answer.
    Close,
    /// Refuses.
    Status(u16),
    /// Answers 200 with this body.
    Body(String),
    /// Sends this, whatever it is, and breaks off.
    Raw(String),
    /// Sends the first, and then the second again and again for as long as anybody reads.
    Endless(String, String),
}

#[derive(Default)]
struct State {
    containers: BTreeMap<String, FakeContainer>,
    /// Rows of `/networks`, by id.
    networks: BTreeMap<String, Value>,
    faults: BTreeMap<Route, (Fault, usize)>,
    requests: Vec<(Route, String)>,
    events: Vec<Past>,
    /// Events that streams have taken; what a socket holds included.
    delivered: usize,
    /// Counted up to end all streams that are open.
    streams_epoch: u64,
    inspects_now: usize,
    inspects_peak: usize,
    frozen: bool,
    stopped: bool,
    /// Oldest and newest API version: the minor numbers.
    versions: (u32, u32),
    /// Replaces the body of `/version`.
    version_body: Option<String>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits until the condition holds; false when the fake ends first.
    fn wait(&self, mut until: impl FnMut(&State) -> bool) -> bool {
        let guard = self.lock();
        let wait = self.changed.wait_while(guard, |s| !s.stopped && !until(s));
        !wait.unwrap_or_else(|e| e.into_inner()).stopped
    }

    fn wait_at_most(&self, limit: Duration, mut until: impl FnMut(&State) -> bool) -> bool {
        let guard = self.lock();
        let wait = self
            .changed
            .wait_timeout_while(guard, limit, |s| !s.stopped && !until(s));
        !wait.unwrap_or_else(|e| e.into_inner()).1.timed_out()
    }
}

/// A fake Engine that listens.
pub struct FakeEngine {
    shared: Arc<Shared>,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl FakeEngine {
    /// Starts one that speaks API 1.12 to 1.41, as Engine 20.10.
    pub fn start() -> Self {
        Self::with_versions(12, 41)
    }

    /// Starts one that speaks these minor versions of the API.
    pub fn with_versions(oldest: u32, newest: u32) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let engine = Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    stopped: true,
                    versions: (oldest, newest),
                    ..State::default()
                }),
                changed: Condvar::new(),
            }),
            socket: dir.path().join("docker.sock"),
            _dir: dir,
        };
        let (name, id) = network::BRIDGE;
        engine.put_network(network::row(name, id, "fdfd:5898:4917:1::/64"));
        engine.start_again();
        engine
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends it as `systemctl stop docker` would: streams break, the socket is gone.
    pub fn stop(&self) {
        self.edit(|s| s.stopped = true);
        // The thread that accepts wakes up and sees.
        let _ = UnixStream::connect(&self.socket);
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Removes the socket, as an Engine does first when it is asked to stop: nobody can connect
    /// any more, and streams that are open go on.
    pub fn close_socket(&self) {
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Starts it again after [`FakeEngine::stop`].
    pub fn start_again(&self) {
        let listener = UnixListener::bind(&self.socket).expect("the socket is free");
        let epoch = self.edit(|s| {
            s.stopped = false;
            s.streams_epoch += 1;
            s.streams_epoch
        });
        let shared = self.shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.lock();
                if state.stopped || state.streams_epoch < epoch {
                    return;
                }
                drop(state);
                let shared = shared.clone();
                std::thread::spawn(move || server::serve(&shared, stream));
            }
        });
    }

    /// Adds or replaces a container, without an event.
    pub fn put(&self, container: FakeContainer) {
        self.edit(|s| s.containers.insert(container.id.clone(), container));
    }

    /// Adds a container, with the events of its start.
    pub fn run(&self, container: FakeContainer) {
        let id = container.id.clone();
        self.emit_network("connect", &id);
        self.put(container);
        self.emit("start", &id);
    }

    /// Ends a container, with the events of its end. As in the Engine, `die` comes first.
    pub fn die(&self, id: &str) {
        self.emit("die", id);
        self.remove(id);
        self.emit_network("disconnect", id);
    }

    /// Removes a container, without an event.
    pub fn remove(&self, id: &str) {
        self.edit(|s| s.containers.remove(id));
    }

    /// Adds or replaces a network by its row, without an event.
    pub fn put_network(&self, row: Value) {
        let id = row["Id"].as_str().unwrap_or_default().to_owned();
        self.edit(|s| s.networks.insert(id, row));
    }

    /// Changes the networks, without an event.
    pub fn edit_networks<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Value>) -> T) -> T {
        self.edit(|s| change(&mut s.networks))
    }

    /// Adds a network, with the event of its creation.
    pub fn create_network(&self, row: Value) {
        let id = row["Id"].as_str().unwrap_or_default().to_owned();
        self.put_network(row);
        self.emit_network_itself("create", &id);
    }

    /// Removes a network, with the event of its end.
    pub fn destroy_network(&self, id: &str) {
        self.edit(|s| s.networks.remove(id));
        self.emit_network_itself("destroy", id);
    }

    /// Makes a route misbehave for the next `times` requests.
    pub fn fault(&self, route: Route, fault: Fault, times: usize) {
        self.edit(|s| s.faults.insert(route, (fault, times)));
    }

    /// Ends all misbehaviour.
    pub fn heal(&self) {
        self.edit(|s| {
            s.faults.clear();
            s.frozen = false;
        });
    }

    /// Says nothing any more, on any connection, though connections are accepted.
    pub fn freeze(&self) {
        self.edit(|s| s.frozen = true);
    }

    /// How many requests of this kind came so far.
    pub fn count(&self, route: &Route) -> usize {
        let state = self.shared.lock();
        state.requests.iter().filter(|(r, _)| r == route).count()
    }

    /// The ids of all containers.
    pub fn ids(&self) -> Vec<String> {
        self.shared.lock().containers.keys().cloned().collect()
    }

    /// How many inspects came so far, of whatever container.
    pub fn inspects(&self) -> usize {
        let state = self.shared.lock();
        let inspects = state.requests.iter();
        inspects
            .filter(|(r, _)| matches!(r, Route::Inspect(_)))
            .count()
    }

    /// Every request line so far.
    pub fn request_lines(&self) -> Vec<String> {
        let state = self.shared.lock();
        state
            .requests
            .iter()
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// Most inspects that were under way at once.
    pub fn inspects_peak(&self) -> usize {
        self.shared.lock().inspects_peak
    }

    fn edit<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.shared.lock());
        self.shared.changed.notify_all();
        result
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
