//! What the daemon answers over the control socket, but for dumps.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::counting::Counting;
use crate::actors::event_watcher::EventWatcher;
use crate::actors::firewall_writer::FirewallWriter;
use crate::actors::journal::JournalActor;
use crate::actors::messages::{ReadHistory, Reload, Resync, Resynced, Work};
use crate::actors::port_mapper::PortMapper;
use crate::control::board::StatusBoard;
use crate::control::protocol::{Answer, RELOAD_PATIENCE, Request};
use crate::sys::causes::chain;
use crate::{logging, metrics};

/// How long a listing of the kernel may take, with its wait for the writer.
const WORK_PATIENCE: Duration = Duration::from_secs(28);

/// The actors that follow Docker, while they do.
pub(super) type Following = Rc<RefCell<Option<(Addr<PortMapper>, Addr<EventWatcher>)>>>;

/// Whom the answers come from.
pub(super) struct Serving {
    board: StatusBoard,
    following: Following,
    writer: Addr<FirewallWriter>,
    journal: Addr<JournalActor>,
    counting: Counting,
    /// The writer does one at a time, and lists the kernel for each.
    working: Semaphore,
}

impl Serving {
    pub(super) fn new(
        board: StatusBoard,
        following: Following,
        (writer, journal): (Addr<FirewallWriter>, Addr<JournalActor>),
        counting: Counting,
    ) -> Self {
        Self {
            board,
            following,
            writer,
            journal,
            counting,
            working: Semaphore::new(1),
        }
    }

    /// Answers a request other than for a dump.
    pub(super) async fn answer(&self, request: Request) -> Answer {
        let now = Instant::now();
        match request {
            Request::Status | Request::Dump => Answer::Status(Box::new(self.board.status(now))),
            Request::Metrics => {
                self.counting.refresh().await;
                Answer::Metrics(metrics::server::text(&self.board, now))
            }
            Request::LogLevel { level } => {
                logging::set_verbosity(level);
                Answer::Done(format!("log level: {level}"))
            }
            Request::History { after } => match self.journal.send(ReadHistory { after }).await {
                Ok(Ok(page)) => Answer::History(page),
                Ok(Err(why)) => Answer::Error(chain(&why)),
                Err(_) => Answer::Error("the journal has stopped".to_owned()),
            },
            Request::Reload => match self.reload().await {
                Ok(resynced) => Answer::Done(format!("resync done: {resynced}")),
                Err(why) => Answer::Error(why),
            },
            Request::Diff | Request::Connections => {
                match timeout(WORK_PATIENCE, self.work(request)).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(why)) => Answer::Error(why),
                    Err(_) => Answer::Error("busy with other work on the rules".to_owned()),
                }
            }
        }
    }

    /// Has the writer list the kernel.
    async fn work(&self, request: Request) -> Result<Answer, String> {
        let gone = "the firewall writer has stopped";
        let _turn = self.working.acquire().await;
        let answer = self.writer.send(Work(request)).await;
        answer.unwrap_or_else(|_| Err(gone.to_owned()))
    }

    /// Compares everything, and waits for the end of it.
    async fn reload(&self) -> Result<Resynced, String> {
        let actors = self.following.borrow().clone();
        let Some((mapper, watcher)) = actors else {
            return Err("the daemon is starting or leaving".to_owned());
        };
        if !self.board.lock().figures.docker.connected {
            return Err("Docker is not reachable: `docker-nat66 status` says why".to_owned());
        }
        let asked_at = Instant::now();
        let over = mapper.send(Reload { asked_at });
        watcher.do_send(Resync { asked_at });
        match timeout(RELOAD_PATIENCE, over).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("the port mapper is gone".to_owned()),
            Err(_) => Err(format!(
                "the resync is not over after {} s; the log says when it is",
                RELOAD_PATIENCE.as_secs()
            )),
        }
    }
}
