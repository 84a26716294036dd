//! The event watcher: follows the Engine and passes on what Docker says.
//!
//! A thread beside it waits for what the kernel tells of interfaces. Two tasks run in it:
//! [`stream::follow`], which talks to the Engine, and one that takes its updates and hands
//! snapshots to the port mapper, waiting until each is taken. If any of them ends the process
//! ends. Nothing is kept that a crash could lose.

use std::cell::Cell;
use std::collections::BTreeSet;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, WrapFuture};
use slog::{Logger, debug, info, o, warn};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::abort;
use super::messages::{Ping, Resync, SnapshotTaken, Stop};
use super::port_mapper::PortMapper;
use crate::control::board::{Reporter, StatusBoard};
use crate::control::status::DockerFigures;
use crate::docker::stream::{self, Command, FollowSettings, Inbox, Loss, Update};
use crate::model::interface::InterfaceNews;
use crate::model::problem::{Problem, ProblemId};
use crate::netlink::links;
use crate::sys::causes::chain;
use crate::sys::failpoint;

/// Updates that may wait. The follower publishes the latest state, so waiting ones are merely
/// late; more than a few would only be memory.
const UPDATES: usize = 4;

/// Commands that may wait: one resync is as good as several.
const COMMANDS: usize = 1;

/// What may wait of what the kernel tells of interfaces. A container that starts makes it tell of
/// some ten.
const INTERFACES: usize = 256;

/// Reasons of one loss that are told at the usual level: some have changing texts.
const MAX_REASONS: usize = 16;

/// The actor. See the module's documentation.
pub struct EventWatcher {
    settings: FollowSettings,
    mapper: Addr<PortMapper>,
    board: StatusBoard,
    log: Logger,
    commands: Option<mpsc::Sender<Command>>,
    stopping: bool,
}

impl EventWatcher {
    /// A watcher that connects once it is started.
    pub fn new(
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

    /// Passes on what the kernel tells of interfaces, and that something was missed where there
    /// was no room for it: nobody reads while the Engine is away.
    fn watch_interfaces(&self, seen: mpsc::Sender<InterfaceNews>) {
        let log = self.log.clone();
        let ended = move |error| {
            let why = chain(&error);
            abort(&log, &format!("interfaces are watched no more: {why}"))
        };
        let missed = Cell::new(false);
        let told = move |news| {
            if missed.get() && seen.try_send(InterfaceNews::Missed).is_ok() {
                missed.set(false);
            }
            match seen.try_send(news) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    missed.set(true);
                    true
                }
                Err(TrySendError::Closed(_)) => false,
            }
        };
        if let Err(error) = links::watch(told, ended) {
            // Docker tells the same, later.
            warn!(self.log, "the ends of containers are not noticed before Docker tells them";
                "reason" => chain(&error));
        }
    }
}

impl Actor for EventWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (updates, received) = mpsc::channel(UPDATES);
        let (commands, obeyed) = mpsc::channel(COMMANDS);
        self.commands = Some(commands);
        let (seen, interfaces) = mpsc::channel(INTERFACES);
        self.watch_interfaces(seen);
        let inbox = Inbox {
            commands: obeyed,
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
    // Why, since it was connected.
    let mut told = BTreeSet::new();
    while let Some(update) = updates.recv().await {
        failpoint::panic("an update is passed on");
        match update {
            Update::Connected {
                api_version,
                engine_version,
            } => {
                told.clear();
                info!(log, "connected to Docker"; "engine" => %engine_version, "api" => %api_version);
                let mut reports = board.lock();
                reports.figures.docker = DockerFigures {
                    connected: true,
                    api_version: Some(api_version.to_string()),
                };
                reports.set_problems(Reporter::Docker, Vec::new());
            }
            Update::Lost(loss) => {
                let reason = &loss.reason;
                match told.len() {
                    0 => {
                        warn!(log, "Docker is not reachable, trying again until it is"; "reason" => reason);
                    }
                    1..MAX_REASONS if !told.contains(reason) => {
                        info!(log, "Docker is still not reachable"; "reason" => reason);
                    }
                    _ => debug!(log, "Docker is still not reachable"; "reason" => reason),
                }
                if told.len() < MAX_REASONS {
                    told.insert(reason.clone());
                }
                let mut reports = board.lock();
                reports.figures.docker.connected = false;
                let problem = problem("Docker is not reachable", &loss);
                reports.set_problems(Reporter::Docker, vec![problem]);
                reports.set_problems(Reporter::Answers, Vec::new());
            }
            Update::Partial(losses) => {
                let what = "Docker does not answer every request";
                let problems = losses.iter().map(|loss| problem(what, loss)).collect();
                board.lock().set_problems(Reporter::Answers, problems);
            }
            Update::Snapshot(snapshot) => {
                debug!(log, "snapshot"; "containers" => snapshot.containers.len());
                if mapper.send(SnapshotTaken(snapshot)).await.is_err() {
                    abort(&log, "the port mapper is gone");
                }
            }
        }
    }
}

/// A loss as `status` tells it.
fn problem(what: &str, loss: &Loss) -> Problem {
    if !loss.refused {
        return Problem::new(ProblemId::Docker, format!("{what}: {}", loss.reason));
    }
    // The five paths, all that is ever asked for.
    let remedy = "permit GET of /version, /events, /containers, /networks and /_ping";
    Problem::new(ProblemId::EngineRefuses, loss.reason.clone()).with_remedy(remedy)
}

impl Handler<Resync> for EventWatcher {
    type Result = ();

    fn handle(&mut self, _: Resync, _: &mut Context<Self>) {
        failpoint::panic("the watcher is told to resync");
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
