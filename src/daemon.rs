//! Wires the actors together, and keeps the order of start-up and shutdown.
//!
//! ```text
//!   locks ▸ tool lock ▸ backend ▸ journal ▸ control socket ▸ recover (journal ∪ kernel)
//!         ▸ static rules ▸ connect, subscribe, list ▸ first round ▸ ready
//! ```
//!
//! The caller ([`crate::cli`]) does everything before the control socket. Once the locks are held
//! ([`Runtime::signals`]), a request to leave waits for the end of recovery, so that the daemon also
//! removes what an earlier run left. Leaving goes in reverse: it stops the snapshots, removes the rules
//! (unless they stay), and closes the journal, the control socket and the locks. After a crash at any
//! point the same start recovers.

mod counting;
mod leaving;
mod requests;
mod workers;

use std::path::Path;
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use slog::{Logger, info, o};
use tokio::runtime::Handle;

use self::counting::Counting;
pub use self::leaving::Left;
use self::requests::Following;
use self::workers::Workers;
use crate::actors::event_watcher::EventWatcher;
use crate::actors::firewall_writer::{FindDrops, FirewallWriter, JournalClient};
use crate::actors::journal::{HeldStateDir, JournalActor};
use crate::actors::messages::{Recover, Resync, Stop};
use crate::actors::port_mapper::{DriftWatch, PortMapper};
use crate::actors::start_once;
use crate::actors::watchdog::Probe;
use crate::backend::Backend;
use crate::conntrack::Conntrack;
use crate::control::board::StatusBoard;
use crate::control::listen::ListenError;
use crate::control::server::Server;
use crate::control::status::AboutBackend;
use crate::docker;
use crate::docker_nat::watch::Watch;
use crate::journal::history::cause::Cause;
use crate::journal::recover::Opened;
use crate::mapper::compute::MapperOptions;
use crate::metrics::address::MetricsAddress;
use crate::metrics::server::{MetricsError, MetricsServer};
use crate::model::boot::BootId;
use crate::reconcile::Reconciler;
use crate::sys::failpoint;
use crate::sys::host;
use crate::sys::signals::{self, SignalAction, Signals};
use crate::sys::supervisor::Supervisor;

/// Everything that a daemon needs.
pub struct Parts {
    /// The backend in use.
    pub backend: Box<dyn Backend>,
    /// Backends that an earlier run may have used.
    pub others: Vec<Box<dyn Backend>>,
    /// The open journal.
    pub journal: Opened,
    /// The directory of the journal.
    pub state_dir: HeldStateDir,
    /// The id of this boot.
    pub boot_id: BootId,
    /// Settings of the rules.
    pub options: MapperOptions,
    /// How to reach the Engine.
    pub docker: docker::stream::FollowSettings,
    /// When the process began.
    pub started: Instant,
    /// What `status` says of the backend in use.
    pub about_backend: AboutBackend,
    /// See `--stale-grace`.
    pub stale_grace: Duration,
    /// See `--verify-interval`.
    pub verify_interval: Duration,
    /// Whether the rules stay when the daemon leaves.
    pub keep_rules: bool,
    /// Observes Docker's own IPv6 NAT; with `None` the rules are set without regard to it.
    pub docker_nat: Option<Watch>,
    /// Finds what drops the packets that we forward.
    pub find_drops: FindDrops,
    /// Where the metrics are served; `None`: nowhere.
    pub metrics: Option<MetricsAddress>,
    /// Whether they have the connections of each published port.
    pub metrics_connections: bool,
    /// Called once the first complete list has been applied.
    pub at_ready: Box<dyn FnOnce() + Send>,
}

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The control socket cannot be created.
    #[error(transparent)]
    Control(#[from] ListenError),
    /// The metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Signals cannot be received.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

/// The runtime of the actors.
pub struct Runtime(actix::SystemRunner);

impl Runtime {
    /// From here on the process ignores SIGHUP.
    ///
    /// # Errors
    /// [`StartError::Signals`].
    pub fn new() -> Result<Self, StartError> {
        let system = actix::System::new();
        let ignored = system.block_on(async { signals::ignore_hangup() });
        ignored.map_err(StartError::Signals)?;
        Ok(Self(system))
    }

    /// From here on SIGTERM and SIGINT wait for [`run`]. Call this once the locks are held: from
    /// then on a daemon that leaves has to remove what an earlier run left.
    ///
    /// # Errors
    /// [`StartError::Signals`].
    pub fn signals(&self) -> Result<Signals, StartError> {
        let signals = self.0.block_on(async { Signals::new() });
        signals.map_err(StartError::Signals)
    }
}

/// Runs the daemon until it is asked to leave.
///
/// # Errors
/// See [`StartError`]; nothing has changed in the kernel then.
pub fn run(
    runtime: &Runtime,
    signals: Signals,
    parts: Parts,
    control: &Path,
    log: &Logger,
) -> Result<Left, StartError> {
    runtime.0.block_on(async {
        failpoint::crash("before the control socket is bound");
        let server = Server::bind(control)?;
        failpoint::crash("after the control socket was bound");
        let metrics = parts
            .metrics
            .as_ref()
            .map(MetricsServer::bind)
            .transpose()?;
        Ok(serve(parts, signals, server, metrics, log).await)
    })
}

async fn serve(
    parts: Parts,
    mut signals: Signals,
    server: Server,
    metrics: Option<MetricsServer>,
    log: &Logger,
) -> Left {
    let board = StatusBoard::new(parts.started, parts.backend.kind().to_string());
    board.set_backend(parts.about_backend);
    let boot_id = parts.boot_id.clone();
    board.lock().cause = Cause::Recovery { boot_id };
    let Opened {
        store,
        records,
        quarantined,
        loss: _,
    } = parts.journal;
    let log_of_journal = log.new(o!("actor" => "journal"));
    let journal = JournalActor::new(store, parts.state_dir, board.clone(), log_of_journal);
    let journal = start_once("the journal is gone", journal, log);
    let drift_watch = DriftWatch {
        interval: parts.verify_interval,
        own_ports: parts.backend.own_ports(),
    };
    let reconciler = Reconciler::new(
        parts.backend,
        parts.others,
        JournalClient::new(journal.clone(), Handle::current(), board.clone()),
        Box::new(Conntrack::new(host::addresses)),
        parts.boot_id,
        log.clone(),
    );
    let writer = FirewallWriter::new(
        reconciler,
        parts.docker_nat,
        parts.find_drops,
        board.clone(),
        log.new(o!("actor" => "writer")),
        host::now,
    );
    let workers = Workers {
        writer: start_once("the firewall writer is gone", writer, log),
        journal,
        board: board.clone(),
        supervisor: Supervisor::new(log.clone()),
        log: log.clone(),
    };
    let following = Following::default();
    let log_of_metrics = log.new(o!("part" => "metrics"));
    let counting = Counting::new(
        workers.writer.clone(),
        parts.metrics_connections,
        log_of_metrics.clone(),
    );
    let control = workers.answer_over(server, &following, counting.clone());
    let metrics = metrics.map(|server| {
        let refresh = async move || counting.refresh().await;
        actix_rt::spawn(server.serve(board.clone(), refresh, log_of_metrics))
    });
    let recover = Recover {
        records,
        salvaged: quarantined.map_or_else(Vec::new, |q| q.salvaged),
    };
    let name = match workers.recover(recover, &mut signals).await {
        Some(name) => name,
        None => {
            let say_ready = ready(board.clone(), workers.supervisor.clone(), log.clone());
            let on_ready = move || {
                say_ready();
                (parts.at_ready)();
            };
            let mapper = PortMapper::new(
                parts.options,
                workers.writer.clone(),
                board.clone(),
                log.new(o!("actor" => "mapper")),
                board.started() + parts.stale_grace,
                drift_watch,
                Box::new(on_ready),
            );
            let watcher = |mapper| {
                let log = log.new(o!("actor" => "watcher"));
                EventWatcher::new(parts.docker, mapper, board.clone(), log)
            };
            follow((mapper, watcher), &following, &workers, &mut signals).await
        }
    };
    info!(log, "leaving"; "signal" => name, "rules" => if parts.keep_rules { "stay" } else { "go" });
    let left = workers.leave(parts.keep_rules, signals).await;
    // Ends the servers, which remove their sockets.
    for server in metrics.into_iter().chain([control]) {
        server.abort();
        let _ = server.await;
    }
    left
}

/// Follows Docker until a signal asks to leave, and returns the signal's name. After that, the
/// mapper and the watcher change no rule.
async fn follow(
    (mapper, watcher): (PortMapper, impl FnOnce(Addr<PortMapper>) -> EventWatcher),
    following: &Following,
    workers: &Workers,
    signals: &mut Signals,
) -> &'static str {
    let mapper = mapper.start();
    let watcher = watcher(mapper.clone()).start();
    *following.borrow_mut() = Some((mapper.clone(), watcher.clone()));
    let watching = workers.watch_beside(vec![
        Probe::new("port mapper", mapper.clone()),
        Probe::new("event watcher", watcher.clone()),
    ]);
    let name = loop {
        match signals.next().await {
            SignalAction::Resync => {
                info!(workers.log, "resync requested");
                let asked_at = Instant::now();
                mapper.do_send(Resync { asked_at });
                watcher.do_send(Resync { asked_at });
            }
            SignalAction::Leave(name) => break name,
        }
    };
    following.take();
    // If an actor cannot take its message it has stopped, and the process ends with it.
    let _ = watcher.send(Stop).await;
    let _ = mapper.send(Stop).await;
    watching.abort();
    name
}

fn ready(board: StatusBoard, supervisor: Supervisor, log: Logger) -> impl FnOnce() {
    move || {
        let (forwards, rules) = {
            let figures = &board.lock().figures;
            (figures.forwards, figures.rules)
        };
        info!(log, "ready"; "published_ports" => forwards, "rules" => rules,
            "after_ms" => board.started().elapsed().as_millis() as u64);
        supervisor.ready();
    }
}
