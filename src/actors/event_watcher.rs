//! The event watcher: follows the Engine and sends snapshots to the port mapper.
//!
//! Two tasks run in it: [`stream::follow`], which talks to the Engine, and [`pass_on`], which takes its
//! updates, sends each snapshot to the port mapper and waits until the mapper has it. A thread beside
//! it listens to the kernel's notifications about interfaces. If a task or the thread ends, the
//! process ends. A crash loses nothing.

use std::cell::Cell;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, WrapFuture};
use slog::{Logger, debug, info, o, warn};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::abort;
use super::messages::{Ping, Resync, SnapshotTaken, Stop};
use super::port_mapper::PortMapper;
use crate::control::board::{Reporter, StatusBoard};
use crate::control::moment::Moment;
use crate::control::status::DockerFigures;
use crate::docker::stream::{self, Command, FollowSettings, Inbox, Loss, Update};
use crate::docker::survey;
use crate::logging::once::LogOnce;
use crate::model::interface::InterfaceNews;
use crate::model::problem::{Problem, ProblemId};
use crate::netlink::links;
use crate::sys::causes::chain;
use crate::sys::failpoint;

/// How many updates may wait. The follower publishes the latest state, so waiting updates are only
/// late, and more than a few would only take memory.
const UPDATES: usize = 4;

/// How many commands may wait: one resync serves for several.
const COMMANDS: usize = 1;

/// How many notifications about interfaces may wait. A container that starts causes about ten.
const INTERFACES: usize = 256;

/// How many reasons of one lost connection are logged at info. Some have a text that changes each
/// time.
const MAX_REASONS: usize = 16;

/// The actor. See the module's documentation.
pub(crate) struct EventWatcher {
    settings: FollowSettings,
    mapper: Addr<PortMapper>,
    board: StatusBoard,
    log: Logger,
    commands: Option<mpsc::Sender<Command>>,
    stopping: bool,
}

impl EventWatcher {
    /// A watcher that connects when it is started.
    pub(crate) fn new(
        settings: FollowSettings,
        mapper: Addr<PortMapper>,
        board: StatusBoard,
        log: Logger,
    ) -> Self {
        Self {
            settings,
            mapper,
            board,
            log,
            commands: None,
            stopping: false,
        }
    }

    /// Sends the kernel's notifications about interfaces to the follower. Nobody reads them while the
    /// Engine is away; when the queue was full, [`InterfaceNews::Missed`] follows.
    fn watch_interfaces(&self, news_queue: mpsc::Sender<InterfaceNews>) {
        let log = self.log.clone();
        let ended = move |error| {
            let why = chain(&error);
            abort(&log, &format!("interfaces are no longer watched: {why}"))
        };
        let missed = Cell::new(false);
        let passed_on = move |news| {
            if missed.get() && news_queue.try_send(InterfaceNews::Missed).is_ok() {
                missed.set(false);
            }
            match news_queue.try_send(news) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    missed.set(true);
                    true
                }
                Err(TrySendError::Closed(_)) => false,
            }
        };
        if let Err(error) = links::watch(passed_on, ended) {
            // Docker reports the end of a container too, but later.
            warn!(self.log, "the end of a container is noticed only when Docker reports it";
                "reason" => chain(&error));
        }
    }
}

impl Actor for EventWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (updates, received) = mpsc::channel(UPDATES);
        let (commands, received_commands) = mpsc::channel(COMMANDS);
        self.commands = Some(commands);
        let (news_queue, interfaces) = mpsc::channel(INTERFACES);
        self.watch_interfaces(news_queue);
        let inbox = Inbox {
            commands: received_commands,
            interfaces,
        };
        let follow = stream::follow(self.settings.clone(), self.log.clone(), inbox, updates);
        let log = self.log.clone();
        ctx.spawn(
            async move {
                follow.await;
                abort(&log, "the event stream is gone");
            }
            .into_actor(self),
        );
        let (mapper, board) = (self.mapper.clone(), self.board.clone());
        let log = self.log.new(o!("host" => self.settings.host.to_string()));
        ctx.spawn(pass_on(received, mapper, board, log).into_actor(self));
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if !self.stopping {
            abort(&self.log, "the event watcher is gone");
        }
    }
}

async fn pass_on(
    mut updates: mpsc::Receiver<Update>,
    mapper: Addr<PortMapper>,
    board: StatusBoard,
    log: Logger,
) {
    // The reasons logged since the last connection.
    let mut logged = LogOnce::up_to(MAX_REASONS);
    while let Some(update) = updates.recv().await {
        failpoint::panic("an update is passed on");
        match update {
            Update::Connected {
                api_version,
                engine_version,
            } => {
                logged.clear();
                info!(log, "connected to Docker"; "engine" => %engine_version, "api" => %api_version);
                let mut reports = board.lock();
                let is_first = reports.figures.docker.api_version.is_none();
                reports.measured.docker_reconnects += u64::from(!is_first);
                reports.figures.docker = DockerFigures {
                    connected: true,
                    api_version: Some(api_version.to_string()),
                    engine_version: Some(engine_version.raw().to_owned()),
                    connected_since: Some(Moment::now()),
                };
                reports.set_problems(Reporter::Docker, Vec::new());
            }
            Update::Lost(loss) => {
                let reason = &loss.reason;
                let is_first = logged.is_empty();
                let is_new = logged.is_new(reason);
                if is_first {
                    warn!(log, "Docker is not reachable, trying again until it is"; "reason" => reason);
                } else if is_new {
                    info!(log, "Docker is still not reachable"; "reason" => reason);
                } else {
                    debug!(log, "Docker is still not reachable"; "reason" => reason);
                }
                let mut reports = board.lock();
                reports.figures.docker.connected = false;
                reports.figures.docker.connected_since = None;
                let problem = problem("Docker is not reachable", &loss);
                reports.set_problems(Reporter::Docker, vec![problem]);
                reports.set_problems(Reporter::Answers, Vec::new());
            }
            Update::Partial(losses) => {
                let what = "Docker does not answer every request";
                let problems = losses.iter().map(|loss| problem(what, loss)).collect();
                board.lock().set_problems(Reporter::Answers, problems);
            }
            Update::Snapshot {
                snapshot,
                event_at,
                listed_at,
            } => {
                debug!(log, "snapshot"; "containers" => snapshot.containers.len());
                let taken = SnapshotTaken {
                    snapshot,
                    event_at,
                    listed_at,
                };
                if mapper.send(taken).await.is_err() {
                    abort(&log, "the port mapper is gone");
                }
            }
        }
    }
}

/// A loss as `status` shows it.
fn problem(what: &str, loss: &Loss) -> Problem {
    if !loss.refused {
        return Problem::new(ProblemId::Docker, format!("{what}: {}", loss.reason));
    }
    Problem::new(ProblemId::EngineRefuses, loss.reason.clone()).with_remedy(survey::PERMIT)
}

impl Handler<Resync> for EventWatcher {
    type Result = ();

    fn handle(&mut self, _: Resync, _: &mut Context<Self>) {
        failpoint::panic("the watcher is asked to resync");
        if let Some(commands) = &self.commands {
            // A full queue holds a resync already.
            let _ = commands.try_send(Command::Resync);
        }
    }
}

impl Handler<Stop> for EventWatcher {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Context<Self>) {
        self.stopping = true;
    }
}

impl Handler<Ping> for EventWatcher {
    type Result = ();

    fn handle(&mut self, _: Ping, ctx: &mut Context<Self>) {
        if failpoint::stops("event watcher") {
            ctx.stop();
        }
    }
}
