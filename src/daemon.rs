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

use std::path::Path;
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use slog::{Logger, error, info, o};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use self::counting::Counting;
pub use self::leaving::Left;
use self::leaving::{keep_rules, leave_at_once, remove_rules};
use self::requests::{Following, Serving};
use crate::actors::event_watcher::EventWatcher;
use crate::actors::firewall_writer::{FindDrops, FirewallWriter, JournalClient};
use crate::actors::journal::{HeldStateDir, JournalActor};
use crate::actors::messages::{Close, Dump, Recover, Resync, Stop};
use crate::actors::port_mapper::{DriftWatch, PortMapper};
use crate::actors::watchdog::{self, Probe};
use crate::actors::{abort, log_troubles, start_once};
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
use crate::sys::causes::chain;
use crate::sys::failpoint;
use crate::sys::host;
use crate::sys::progress::Worker;
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
    let supervisor = Supervisor::new(log.clone());
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
    let log_of_writer = log.new(o!("actor" => "writer"));
    let docker_nat = parts.docker_nat;
    let writer = FirewallWriter::new(
        reconciler,
        docker_nat,
        parts.find_drops,
        board.clone(),
        log_of_writer,
        host::now,
    );
    let writer = start_once("the firewall writer is gone", writer, log);
    let following = Following::default();
    let log_of_metrics = log.new(o!("part" => "metrics"));
    let is_on = parts.metrics_connections;
    let counting = Counting::new(writer.clone(), is_on, log_of_metrics.clone());
    let control = {
        let (journal, board, log) = (journal.clone(), board.clone(), log.clone());
        let counting = counting.clone();
        let actors = (writer.clone(), journal.clone());
        let serving = Serving::new(board, following.clone(), actors, counting);
        let answer = async move |request| serving.answer(request).await;
        let page = async move |after| match journal.send(Dump { after }).await {
            Ok(page) => page.map_err(|e| chain(&e)),
            Err(_) => Err("the journal has stopped".to_owned()),
        };
        actix_rt::spawn(async move {
            server.serve(answer, page, log.clone()).await;
            abort(&log, "the control socket is no longer served")
        })
    };
    let metrics = metrics.map(|server| {
        let refresh = async move || counting.refresh().await;
        actix_rt::spawn(server.serve(board.clone(), refresh, log_of_metrics))
    });
    let recover = Recover {
        records,
        salvaged: quarantined.map_or_else(Vec::new, |q| q.salvaged),
    };
    let workers = || {
        vec![
            Probe::new("journal", journal.clone()).with_progress_of(Worker::Journal),
            Probe::new("firewall writer", writer.clone()).with_progress_of(Worker::Writer),
        ]
    };
    let watch_over =
        |probes| actix_rt::spawn(watchdog::watch(probes, supervisor.clone(), board.clone()));
    let set_leaving = || {
        board.lock().set_stopping();
        supervisor.stopping();
    };
    let watching = watch_over(workers());
    let mut recovering = std::pin::pin!(writer.send(recover));
    let mut leaving = None;
    let recovered = loop {
        tokio::select! {
            recovered = &mut recovering => break recovered,
            action = signals.next() => match (action, leaving) {
                (SignalAction::Resync, _) => {}
                (SignalAction::Leave(name), None) => {
                    leaving = Some(name);
                    set_leaving();
                }
                (SignalAction::Leave(_), Some(_)) => leave_at_once(log),
            },
        }
    };
    let Ok(recovered) = recovered else {
        abort(log, "the firewall writer is gone");
    };
    watching.abort();
    log_troubles(log, &recovered);
    let name = match leaving {
        Some(name) => name,
        None => {
            let say_ready = ready(board.clone(), supervisor.clone(), log.clone());
            let on_ready = move || {
                say_ready();
                (parts.at_ready)();
            };
            let grace_ends = board.started() + parts.stale_grace;
            let mapper = PortMapper::new(
                parts.options,
                writer.clone(),
                board.clone(),
                log.new(o!("actor" => "mapper")),
                grace_ends,
                drift_watch,
                Box::new(on_ready),
            );
            let watcher = |mapper| {
                let log = log.new(o!("actor" => "watcher"));
                EventWatcher::new(parts.docker, mapper, board.clone(), log)
            };
            let actors = (mapper, watcher);
            let probes = workers();
            follow(actors, &following, probes, watch_over, &mut signals, log).await
        }
    };
    info!(log, "leaving"; "signal" => name, "rules" => if parts.keep_rules { "stay" } else { "go" });
    set_leaving();
    let watching = watch_over(workers());
    failpoint::crash("before leaving");
    let impatient = log.clone();
    actix_rt::spawn(async move {
        signals.next_leave().await;
        leave_at_once(&impatient);
    });
    let mut left = match parts.keep_rules {
        true => keep_rules(&writer, log).await,
        false => remove_rules(&writer, log).await,
    };
    failpoint::crash("before the journal is closed");
    match journal.send(Close).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => {
            error!(log, "the journal was not closed"; "reason" => chain(&e));
            if left == Left::Clean {
                left = Left::JournalBehind;
            }
        }
        Err(_) => abort(log, "the journal is gone"),
    }
    failpoint::crash("after the journal was closed");
    watching.abort();
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
    mut probes: Vec<Probe>,
    watch_over: impl FnOnce(Vec<Probe>) -> JoinHandle<()>,
    signals: &mut Signals,
    log: &Logger,
) -> &'static str {
    let mapper = mapper.start();
    let watcher = watcher(mapper.clone()).start();
    *following.borrow_mut() = Some((mapper.clone(), watcher.clone()));
    probes.push(Probe::new("port mapper", mapper.clone()));
    probes.push(Probe::new("event watcher", watcher.clone()));
    let watching = watch_over(probes);
    let name = loop {
        match signals.next().await {
            SignalAction::Resync => {
                info!(log, "resync requested");
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
