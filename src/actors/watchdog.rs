//! Asks every actor whether it is alive, and tells the supervisor and `status`.
//!
//! One task, which waits for answers and never for long. An actor that is busy for longer than
//! [`PATIENCE`] is named in `status`; and as long as one has not answered, and its work gets on no
//! more ([`crate::sys::progress`]), the supervisor is told nothing, and in the end restarts the daemon.

use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::messages::Ping;
use crate::control::status::{Board, Reporter, State, Status};
use crate::logging;
use crate::model::text::escape;
use crate::sys::failpoint;
use crate::sys::progress::{Observer, Worker};
use crate::sys::supervisor::Supervisor;

/// How long an actor may be busy before that is a trouble. The longest that one is on purpose is
/// a tool's deadline, 10 s, and longer where that works on very many rules: worth telling.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often actors are asked where no supervisor wants to know more often.
const PERIOD: Duration = Duration::from_secs(2);

/// How long a start takes at the most. Whoever waits for the daemon waits for what it is able to do:
/// a supervisor would restart it after a while (systemd's default is 90 s), which helps nobody.
const LONGEST_START: Duration = Duration::from_secs(15);

/// How much longer the supervisor is to wait for the end while rules are being taken out: it adds
/// to no time that it gives by itself, and is asked for anew as long as the work gets on.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// Questions per interval of the supervisor's watchdog: one that is late must not be fatal.
const PER_INTERVAL: u32 = 4;

/// An actor that is asked.
pub struct Party {
    name: &'static str,
    /// Sees signs of life from its work, which count for an answer.
    work: Option<Observer>,
    ask: Box<dyn Fn() -> BoxFuture<'static, bool>>,
    /// The question that waits for its answer, and since when. There is never a second one.
    open: Option<(BoxFuture<'static, bool>, Instant)>,
}

impl Party {
    /// `name` as in the sentence "the … has not answered".
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

    /// The same, of an actor whose work may take minutes and gives signs of life meanwhile
    /// ([`crate::sys::progress`]).
    #[must_use]
    pub fn at_work(mut self, worker: Worker) -> Self {
        self.work = Some(Observer::of(worker));
        self
    }

    /// Whether its work has got on since this was asked last.
    fn works(&mut self) -> bool {
        self.work.as_mut().is_some_and(Observer::has_seen_any)
    }

    /// Asks, unless it has not answered yet; how long it has been silent.
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

/// Runs until it is dropped.
pub async fn watch(mut parties: Vec<Party>, supervisor: Supervisor, board: Board) {
    let wanted = supervisor.watchdog.map(|interval| interval / PER_INTERVAL);
    let period = wanted.map_or(PERIOD, |wanted| wanted.min(PERIOD));
    let mut said = String::new();
    let mut asked: Option<Instant> = None;
    loop {
        failpoint::panic("the watchdog looks");
        for party in &mut parties {
            party.silence(Instant::now());
        }
        tokio::time::sleep(period).await;
        let now = Instant::now();
        let mut gets_on = true;
        let mut silent = Vec::new();
        for party in &mut parties {
            let works = party.works();
            if let Some(silence) = party.silence(now) {
                gets_on &= works;
                silent.push((party.name, silence));
            }
        }
        if gets_on && supervisor.watchdog.is_some() {
            supervisor.alive();
        }
        let long = silent.iter().filter(|(_, silence)| *silence > PATIENCE);
        let troubles = long.map(|(name, silence)| {
            format!("the {name} has not answered for {} s", silence.as_secs())
        });
        let troubles: Vec<String> = troubles.collect();
        board.lock().set_troubles(Reporter::Watchdog, troubles);
        logging::catch_up();
        let status = board.status(now);
        let is_due = asked.is_none_or(|at| now - at >= STOP_PATIENCE / PER_INTERVAL);
        if gets_on && is_due && status.state == State::Stopping {
            asked = Some(now);
            supervisor.needs(STOP_PATIENCE);
        }
        let doing = sentence(&status);
        if doing != said {
            // A line break would begin another of the protocol's lines.
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
    let wrong = || format!("degraded: {}", status.troubles.join("; "));
    let waits = status.waiting_for.as_ref();
    let waits = waits.map(|what| format!("waiting for {what}"));
    let parts = match status.state {
        State::Starting => vec![waits.unwrap_or_else(|| "starting".to_owned())],
        State::Running => vec![open],
        State::Degraded => [Some(wrong()), waits, Some(open)]
            .into_iter()
            .flatten()
            .collect(),
        State::Stopping => vec!["leaving".to_owned()],
    };
    parts.join("; ")
}
