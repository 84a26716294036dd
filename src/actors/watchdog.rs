//! Asks every actor whether it is alive, and reports to the supervisor and to `status`.
//!
//! One task, which never waits long for an answer. `status` names an actor that has been busy for
//! longer than [`PATIENCE`]. While an actor does not answer and its work makes no progress
//! ([`crate::sys::progress`]), the supervisor gets no sign of life, and in the end restarts the daemon.

use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::messages::Ping;
use crate::control::board::{Reporter, StatusBoard};
use crate::control::status::{State, Status};
use crate::logging;
use crate::model::problem::ProblemId;
use crate::model::text::escape;
use crate::sys::failpoint;
use crate::sys::progress::{Observer, Worker};
use crate::sys::supervisor::Supervisor;

/// How long an actor may be busy before that is a problem. A tool may run until its deadline of
/// 10 s, or longer with very many rules; that is worth reporting.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often actors are asked, unless the supervisor wants to know more often.
const PERIOD: Duration = Duration::from_secs(2);

/// After how long a start counts as finished even if it is not. Units that wait for the daemon then
/// go on with what it can do; a supervisor would otherwise restart it (systemd after 90 s by
/// default), which does not help.
const LONGEST_START: Duration = Duration::from_secs(15);

/// How long the supervisor should wait, from now on, while the daemon removes its rules. The daemon
/// asks for it again as long as the removal makes progress.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// Signs of life per interval of the supervisor's watchdog: one that is late must not be fatal.
const PER_INTERVAL: u32 = 4;

/// Asks one actor whether it is alive.
pub struct Probe {
    name: &'static str,
    /// Sees the progress of its work, which counts as an answer.
    work: Option<Observer>,
    ask: Box<dyn Fn() -> BoxFuture<'static, bool>>,
    /// The question that is not yet answered, and when it was sent. There is at most one.
    open: Option<(BoxFuture<'static, bool>, Instant)>,
}

impl Probe {
    /// `name` completes the sentence "the … has not answered".
    pub fn new<A>(name: &'static str, addr: Addr<A>) -> Self
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
            work: None,
            ask: Box::new(ask),
            open: None,
        }
    }

    /// For an actor whose work may take minutes and reports its progress meanwhile
    /// ([`crate::sys::progress`]).
    #[must_use]
    pub fn at_work(mut self, worker: Worker) -> Self {
        self.work = Some(Observer::of(worker));
        self
    }

    /// Whether its work has made progress since the last call.
    fn makes_progress(&mut self) -> bool {
        self.work.as_mut().is_some_and(Observer::has_seen_any)
    }

    /// Asks, unless a question is still open. Returns for how long it has been.
    fn silence(&mut self, now: Instant) -> Option<Duration> {
        let ask = &self.ask;
        let (answer, since) = self.open.get_or_insert_with(|| (ask(), now));
        let since = *since;
        match answer.now_or_never() {
            Some(_) => {
                self.open = None;
                None
            }
            None => Some(now - since),
        }
    }
}

/// Asks all of them again and again, until the future is dropped.
pub async fn watch(mut probes: Vec<Probe>, supervisor: Supervisor, board: StatusBoard) {
    let wanted = supervisor.watchdog.map(|interval| interval / PER_INTERVAL);
    let period = wanted.map_or(PERIOD, |wanted| wanted.min(PERIOD));
    let mut said = String::new();
    let mut asked: Option<Instant> = None;
    loop {
        failpoint::panic("the watchdog looks");
        for probe in &mut probes {
            probe.silence(Instant::now());
        }
        tokio::time::sleep(period).await;
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
        let is_due = asked.is_none_or(|at| now - at >= STOP_PATIENCE / PER_INTERVAL);
        if all_progress && is_due && status.state == State::Stopping {
            asked = Some(now);
            supervisor.needs(STOP_PATIENCE);
        }
        let doing = sentence(&status);
        if doing != said {
            // A line break would begin another line of the protocol.
            supervisor.status(&escape(doing.chars()).to_string());
            said = doing;
        }
        let uptime = now.duration_since(board.started());
        let is_staying = status.state != State::Stopping;
        if is_staying && !supervisor.is_ready() && uptime + period >= LONGEST_START {
            supervisor.ready_at_last(&said);
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
        State::Starting => vec![waits.unwrap_or_else(|| "starting".to_owned())],
        State::Running => vec![open],
        State::Degraded => [Some(problems()), waits, Some(open)]
            .into_iter()
            .flatten()
            .collect(),
        State::Stopping => vec!["leaving".to_owned()],
    };
    parts.join("; ")
}
