//! The two actors that work from the start of a daemon to its end, and those who wait for them.

use actix::Addr;
use slog::{Logger, error};
use tokio::task::JoinHandle;

use super::counting::Counting;
use super::leaving::{Left, keep_rules, leave_at_once, remove_rules};
use super::requests::{Following, Serving};
use crate::actors::firewall_writer::FirewallWriter;
use crate::actors::journal::JournalActor;
use crate::actors::messages::{Close, Dump, Recover};
use crate::actors::watchdog::{self, Probe};
use crate::actors::{abort, log_troubles};
use crate::control::board::StatusBoard;
use crate::control::server::Server;
use crate::sys::causes::chain;
use crate::sys::failpoint;
use crate::sys::progress::Worker;
use crate::sys::signals::{SignalAction, Signals};
use crate::sys::supervisor::Supervisor;

/// Writer and journal, with what reports on them.
pub(super) struct Workers {
    pub(super) writer: Addr<FirewallWriter>,
    pub(super) journal: Addr<JournalActor>,
    pub(super) board: StatusBoard,
    pub(super) supervisor: Supervisor,
    pub(super) log: Logger,
}

impl Workers {
    /// Watches both, and the `others`, until the task is aborted.
    pub(super) fn watch_beside(&self, others: Vec<Probe>) -> JoinHandle<()> {
        let mut probes = vec![
            Probe::new("journal", self.journal.clone()).with_progress_of(Worker::Journal),
            Probe::new("firewall writer", self.writer.clone()).with_progress_of(Worker::Writer),
        ];
        probes.extend(others);
        let (supervisor, board) = (self.supervisor.clone(), self.board.clone());
        actix_rt::spawn(watchdog::watch(probes, supervisor, board))
    }

    /// Answers over the control socket until the task is aborted. The process ends if the task does.
    pub(super) fn answer_over(
        &self,
        server: Server,
        following: &Following,
        counting: Counting,
    ) -> JoinHandle<()> {
        let (journal, log) = (self.journal.clone(), self.log.clone());
        let actors = (self.writer.clone(), journal.clone());
        let serving = Serving::new(self.board.clone(), following.clone(), actors, counting);
        let answer = async move |request| serving.answer(request).await;
        let page = async move |after| match journal.send(Dump { after }).await {
            Ok(page) => page.map_err(|e| chain(&e)),
            Err(_) => Err("the journal has stopped".to_owned()),
        };
        actix_rt::spawn(async move {
            server.serve(answer, page, log.clone()).await;
            abort(&log, "the control socket is no longer served")
        })
    }

    /// Has the writer recover what an earlier run left. Returns the name of a signal that asked to
    /// leave meanwhile: recovery is not cut short, unless a second one asks.
    pub(super) async fn recover(
        &self,
        recover: Recover,
        signals: &mut Signals,
    ) -> Option<&'static str> {
        let watching = self.watch_beside(Vec::new());
        let mut recovering = std::pin::pin!(self.writer.send(recover));
        let mut leaving = None;
        let recovered = loop {
            tokio::select! {
                recovered = &mut recovering => break recovered,
                action = signals.next() => match (action, leaving) {
                    (SignalAction::Resync, _) => {}
                    (SignalAction::Leave(name), None) => {
                        leaving = Some(name);
                        self.set_leaving();
                    }
                    (SignalAction::Leave(_), Some(_)) => leave_at_once(&self.log),
                },
            }
        };
        let Ok(recovered) = recovered else {
            abort(&self.log, "the firewall writer is gone");
        };
        watching.abort();
        log_troubles(&self.log, &recovered);
        leaving
    }

    /// Removes the rules, unless they stay, and closes the journal. Another signal to leave ends the
    /// process at once.
    pub(super) async fn leave(&self, keeps_rules: bool, mut signals: Signals) -> Left {
        self.set_leaving();
        let watching = self.watch_beside(Vec::new());
        failpoint::crash("before leaving");
        let impatient = self.log.clone();
        actix_rt::spawn(async move {
            signals.next_leave().await;
            leave_at_once(&impatient);
        });
        let mut left = match keeps_rules {
            true => keep_rules(&self.writer, &self.log).await,
            false => remove_rules(&self.writer, &self.log).await,
        };
        failpoint::crash("before the journal is closed");
        match self.journal.send(Close).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => {
                error!(self.log, "the journal was not closed"; "reason" => chain(&e));
                if left == Left::Clean {
                    left = Left::JournalBehind;
                }
            }
            Err(_) => abort(&self.log, "the journal is gone"),
        }
        failpoint::crash("after the journal was closed");
        watching.abort();
        left
    }

    fn set_leaving(&self) {
        self.board.lock().set_stopping();
        self.supervisor.stopping();
    }
}
