//! Asks every actor whether it is alive, and reports to the supervisor and to `status`.
//!
//! One task, which never waits long for an answer. `status` names an actor that has not answered for
//! longer than [`PATIENCE`]. While an actor neither answers nor makes progress
//! ([`crate::sys::progress`]), the supervisor gets no keep-alive message, and in the end restarts the
//! daemon.

use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::messages::Ping;
use crate::control::board::{Reporter, StatusBoard};
use crate::control::status::{DaemonState, Status};
use crate::logging;
use crate::model::problem::ProblemId;
use crate::model::text::escape;
use crate::sys::beat::until_next;
use crate::sys::failpoint;
use crate::sys::progress::{Progress, Worker};
use crate::sys::supervisor::Supervisor;

/// How long an actor may be busy before that is a problem. A tool may run until its deadline of
/// 10 s, or longer with very many rules; that is worth reporting.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often actors are asked while something is not as it should be, or does not answer, unless the
/// supervisor's watchdog needs it more often.
const PERIOD: Duration = Duration::from_secs(2);

/// The same while all is well: each question wakes three threads, and an idle daemon should sleep.
const CALM_PERIOD: Duration = Duration::from_secs(10);

/// How long a start may take before the daemon reports ready anyway. Units that wait for the daemon
/// then start; and a supervisor does not restart it (systemd after 90 s by default), which would not
/// help.
const LONGEST_START: Duration = Duration::from_secs(15);

/// How long the supervisor should wait, from now on, while the daemon removes its rules. The daemon
/// asks for it again as long as the removal makes progress.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// Keep-alive messages per interval of the supervisor's watchdog: a late one must not be fatal.
const PER_INTERVAL: u32 = 4;

/// Asks one actor whether it is alive.
pub(crate) struct Probe {
    name: &'static str,
    /// The progress of its work, which counts as an answer.
    progress: Option<Progress>,
    ask: Box<dyn Fn() -> BoxFuture<'static, bool>>,
    /// The ping that is not yet answered, and when it was sent. There is at most one.
    open: Option<(BoxFuture<'static, bool>, Instant)>,
}

impl Probe {
    /// `name` completes the sentence "the … has not answered".
    pub(crate) fn new<A>(name: &'static str, addr: Addr<A>) -> Self
    where
        A: Actor + Handler<Ping>,
        A::Context: ToEnvelope<A, Ping>,
    {
        let ask = move || {
            let answer = addr.send(Ping);
            async move { answer.await.is_ok() }.boxed()
        };
        Self {
            name,
            progress: None,
            ask: Box::new(ask),
            open: None,
        }
    }

    /// Counts the worker's progress as an answer: its work may take minutes
    /// ([`crate::sys::progress`]).
    #[must_use]
    pub(crate) fn with_progress_of(mut self, worker: Worker) -> Self {
        self.progress = Some(Progress::of(worker));
        self
    }

    /// Whether its work has made progress since the last call.
    fn makes_progress(&mut self) -> bool {
        self.progress.as_mut().is_some_and(Progress::is_made)
    }

    /// Waits until no ping is open.
    async fn answered(&mut self) {
        if let Some((answer, _)) = &mut self.open {
            answer.await;
            self.open = None;
        }
    }

    /// Sends a ping unless one is still open.
    fn ask(&mut self, now: Instant) {
        let ask = &self.ask;
        self.open.get_or_insert_with(|| (ask(), now));
    }

    /// For how long the open ping has waited; `None` if none is open.
    fn silence(&mut self, now: Instant) -> Option<Duration> {
        let (answer, since) = self.open.as_mut()?;
        let since = *since;
        if answer.now_or_never().is_some() {
            self.open = None;
            return None;
        }
        Some(now - since)
    }
}

/// Asks all actors periodically, until the future is dropped.
pub(crate) async fn watch(mut probes: Vec<Probe>, supervisor: Supervisor, board: StatusBoard) {
    let wanted = supervisor.watchdog.map(|interval| interval / PER_INTERVAL);
    let at_most = |period| wanted.map_or(period, |wanted| wanted.min(period));
    let (period, calm_period) = (at_most(PERIOD), at_most(CALM_PERIOD));
    let mut is_calm = false;
    let mut reported = String::new();
    let mut extended_at: Option<Instant> = None;
    loop {
        failpoint::panic("the watchdog checks");
        let asked_at = Instant::now();
        for probe in &mut probes {
            probe.ask(asked_at);
        }
        let answers = async {
            for probe in &mut probes {
                probe.answered().await;
            }
        };
        // Those that answer do so at once. One that is silent is checked again soon.
        let answered = tokio::time::timeout(period, answers).await.is_ok();
        let pause = match is_calm && answered {
            true => until_next(calm_period),
            false => period.saturating_sub(asked_at.elapsed()),
        };
        tokio::time::sleep(pause).await;
        let now = Instant::now();
        let mut all_progress = true;
        let mut silent = Vec::new();
        for probe in &mut probes {
            let makes_progress = probe.makes_progress();
            if let Some(silence) = probe.silence(now) {
                all_progress &= makes_progress;
                silent.push((probe.name, silence));
            }
        }
        if all_progress && supervisor.watchdog.is_some() {
            supervisor.alive();
        }
        let long = silent.iter().filter(|(_, silence)| *silence > PATIENCE);
        let troubles = long.map(|(name, silence)| {
            format!("the {name} has not answered for {} s", silence.as_secs())
        });
        let troubles: Vec<String> = troubles.collect();
        board
            .lock()
            .set_sentences(Reporter::Watchdog, ProblemId::Watchdog, troubles);
        logging::catch_up();
        let status = board.status(now);
        let is_due = extended_at.is_none_or(|at| now - at >= STOP_PATIENCE / PER_INTERVAL);
        if all_progress && is_due && status.state == DaemonState::Stopping {
            extended_at = Some(now);
            supervisor.extend_timeout(STOP_PATIENCE);
        }
        let doing = sentence(&status);
        if doing != reported {
            // A line break would begin another message of the protocol.
            supervisor.status(&escape(doing.chars()).to_string());
            reported = doing;
        }
        is_calm = status.state == DaemonState::Running;
        let uptime = now.duration_since(board.started());
        let is_staying = status.state != DaemonState::Stopping;
        if is_staying && !supervisor.is_ready() && uptime + period >= LONGEST_START {
            supervisor.ready_anyway(&reported);
        }
    }
}

/// What the daemon is doing, in one line for the supervisor.
fn sentence(status: &Status) -> String {
    let open = format!("{} published ports open over IPv6", status.forwards);
    let problems = || format!("degraded: {}", status.troubles.join("; "));
    let waits = status.waiting_for.as_ref();
    let waits = waits.map(|what| format!("waiting for {what}"));
    let parts = match status.state {
        DaemonState::Starting => vec![waits.unwrap_or_else(|| "starting".to_owned())],
        DaemonState::Running => vec![open],
        DaemonState::Degraded => [Some(problems()), waits, Some(open)]
            .into_iter()
            .flatten()
            .collect(),
        DaemonState::Stopping => vec!["leaving".to_owned()],
    };
    parts.join("; ")
}
