//! The Docker side against a fake Engine: what is said, when, and what is asked of the Engine.

mod cases;
mod changes;
mod following;
mod losses;
mod networks;
mod published;
mod requests;
mod storm;
mod versions;
mod world;

use std::collections::BTreeSet;
use std::future::Future;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use docker_nat66::docker::client::Engine;
use docker_nat66::docker::error::EngineError;
use docker_nat66::docker::host::DockerHost;
use docker_nat66::docker::stream::{Command, FollowSettings, Inbox, Loss, Update, follow};
use docker_nat66::model::container::{Bindings, Snapshot};
use docker_nat66::model::interface::InterfaceNews;
use tokio::sync::mpsc;

use crate::support::fake_engine::{self, FakeContainer, FakeEngine, Fault, Route};

/// Long enough for a loaded machine; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

fn host(engine: &FakeEngine) -> DockerHost {
    DockerHost::Unix(engine.socket().to_owned())
}

/// Settings with which a test of time-outs and backoff takes no seconds.
fn settings(engine: &FakeEngine) -> FollowSettings {
    FollowSettings {
        request_timeout: Duration::from_millis(500),
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(200),
        shortest_backoff: Duration::from_millis(5),
        longest_backoff: Duration::from_millis(20),
        ..FollowSettings::new(host(engine))
    }
}

struct Follower {
    updates: mpsc::Receiver<Update>,
    commands: mpsc::Sender<Command>,
    interfaces: mpsc::Sender<InterfaceNews>,
    /// What was said of requests that fail alone.
    partial: Vec<Vec<Loss>>,
}

impl Follower {
    fn of(settings: FollowSettings) -> Self {
        let (command_tx, commands) = mpsc::channel(4);
        let (interface_tx, interfaces) = mpsc::channel(4);
        let inbox = Inbox {
            commands,
            interfaces,
        };
        let (update_tx, updates) = mpsc::channel(4);
        let log = slog::Logger::root(slog::Discard, slog::o!());
        tokio::spawn(follow(settings, log, inbox, update_tx));
        Self {
            updates,
            commands: command_tx,
            interfaces: interface_tx,
            partial: Vec::new(),
        }
    }

    async fn update(&mut self) -> Update {
        loop {
            let update = tokio::time::timeout(DEADLINE, self.updates.recv()).await;
            let update = update.expect("an update in time");
            match update.expect("it still follows") {
                Update::Partial(losses) => self.partial.push(losses),
                update => return update,
            }
        }
    }

    async fn snapshot(&mut self) -> Arc<Snapshot> {
        match self.update().await {
            Update::Snapshot { snapshot, .. } => snapshot,
            other => panic!("a snapshot, not {other:?}"),
        }
    }

    /// Snapshots until the Engine has answered about every container that it listed.
    async fn complete(&mut self) -> Arc<Snapshot> {
        self.complete_but(&[]).await
    }

    /// The same, but for these, about which it never answers as it should.
    async fn complete_but(&mut self, ids: &[&str]) -> Arc<Snapshot> {
        loop {
            let snapshot = self.snapshot().await;
            if snapshot.unanswered.keys().eq(ids) {
                return snapshot;
            }
        }
    }

    /// Attempts before may have failed, for one reason or another.
    async fn connected(&mut self) {
        loop {
            match self.update().await {
                Update::Connected { .. } => return,
                Update::Lost(_) => {}
                other => panic!("a connection, not {other:?}"),
            }
        }
    }

    async fn lost(&mut self) -> String {
        match self.update().await {
            Update::Lost(loss) => loss.reason,
            other => panic!("a loss, not {other:?}"),
        }
    }

    /// Snapshots until one shows exactly these names.
    async fn until_names(&mut self, names: &[&str]) -> Arc<Snapshot> {
        loop {
            let snapshot = self.snapshot().await;
            if shown(&snapshot) == names.iter().copied().collect() {
                return snapshot;
            }
        }
    }
}

fn shown(snapshot: &Snapshot) -> BTreeSet<&str> {
    snapshot.containers.values().map(|c| c.name.raw()).collect()
}

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test)
}

/// Waits until a request of this kind has come.
async fn requested(engine: &FakeEngine, route: &Route) {
    requested_times(engine, route, 1).await;
}

/// Waits until so many requests of this kind have come.
async fn requested_times(engine: &FakeEngine, route: &Route, number: usize) {
    let begun = Instant::now();
    while engine.count(route) < number {
        assert!(begun.elapsed() < DEADLINE, "{number} requests of {route:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
