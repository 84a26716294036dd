//! What the daemon answers over the control socket, but for dumps.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use actix::Addr;

use crate::actors::event_watcher::EventWatcher;
use crate::actors::messages::{Reload, Resync, Resynced};
use crate::actors::port_mapper::PortMapper;
use crate::control::board::StatusBoard;
use crate::control::protocol::{Answer, RELOAD_PATIENCE, Request};
use crate::{logging, metrics};

/// The actors that follow Docker, while they do.
pub(super) type Following = Rc<RefCell<Option<(Addr<PortMapper>, Addr<EventWatcher>)>>>;

/// Answers a request of the control socket, other than for a dump.
pub(super) async fn answer(request: Request, board: &StatusBoard, following: &Following) -> Answer {
    match request {
        Request::Reload => match reload(board, following).await {
            Ok(resynced) => Answer::Done(format!("resync done: {resynced}")),
            Err(why) => Answer::Error(why),
        },
        Request::LogLevel { level } => {
            logging::set_verbosity(level);
            Answer::Done(format!("log level: {level}"))
        }
        Request::Metrics => Answer::Metrics(metrics::server::text(board, Instant::now())),
        Request::Status | Request::Dump => Answer::Status(Box::new(board.status(Instant::now()))),
    }
}

/// Compares everything, and waits for the end of it.
async fn reload(board: &StatusBoard, following: &Following) -> Result<Resynced, String> {
    let actors = following.borrow().clone();
    let Some((mapper, watcher)) = actors else {
        return Err("the daemon is starting or leaving".to_owned());
    };
    if !board.lock().figures.docker.connected {
        return Err("Docker is not reachable: `docker-nat66 status` says why".to_owned());
    }
    let asked_at = Instant::now();
    let over = mapper.send(Reload { asked_at });
    watcher.do_send(Resync { asked_at });
    match tokio::time::timeout(RELOAD_PATIENCE, over).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("the port mapper is gone".to_owned()),
        Err(_) => Err(format!(
            "the resync is not over after {} s; the log says when it is",
            RELOAD_PATIENCE.as_secs()
        )),
    }
}
