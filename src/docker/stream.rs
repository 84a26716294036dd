//! Follows one Engine for ever: connects, subscribes, lists, and says what Docker says now.
//!
//! ```text
//!            ┌──────────── wait, 100 ms doubling to 10 s ◀───────────┐
//!            ▼                                                       │ any failure: Lost, once
//!   negotiate version ──▶ subscribe to events ──▶ list ──▶ inspect doubtful rows ──▶ follow
//!                                                   │                   │               │
//!                                                   ▼                   ▼               ▼
//!                                               Connected           Snapshot        Snapshots
//! ```
//!
//! No event is missed between the subscription and the list. bollard sends the request when its
//! stream is first polled; the list is asked only after the head of the answer has arrived
//! ([`super::client::Engine::events`]). Engine 20.10 sends that head a moment before it enters
//! the subscription, so the request also names a time a few seconds ago: the Engine then replays
//! what it remembers since, in order and under the same lock as the subscription. An event
//! seen twice or late only means that a container is looked at again.
//!
//! One task, the caller's; it may be cancelled at any point, and nothing is lost but questions
//! under way. Events are read even when the receiver of updates is slow, for Engine 20.10 drops
//! events that are not read within 100 ms; meanwhile snapshots replace each other, and only the
//! newest is sent. What is kept is bounded by the number of containers: each is in the queue of
//! questions once, however many events name it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use slog::{Logger, debug, warn};
use tokio::sync::mpsc::{Permit, Receiver, Sender};
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::client::{ApiVersion, Engine, EngineError, Events};
use super::convert::{Inspected, List};
use super::host::DockerHost;
use super::view::{Answer, Question, Verdict, View};
use crate::model::container::Snapshot;
use crate::model::text::Untrusted;

/// Inspects under way at once. The Engine answers one in about 1 ms, and shares its locks with
/// whoever starts containers; more would not be faster, and would keep others waiting.
const MAX_INSPECTS: usize = 16;

/// How long a change waits for other answers that are under way, so that a burst of events
/// makes few snapshots. With nothing under way it does not wait.
const HOLD: Duration = Duration::from_millis(2);

/// First and longest wait before a failed inspect is asked again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// When inspects of a container keep failing, the list is asked again after this long.
const RELIST_AFTER: Duration = Duration::from_secs(10);

/// A session that lasted this long was no flapping: the next loss is waited out from the
/// shortest wait again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Complaints remembered per session, so that each is logged once.
const MAX_COMPLAINTS: usize = 1024;

/// How an Engine is followed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the Engine listens.
    pub host: DockerHost,
    /// Limit for each request, from connecting to the last byte.
    pub request_timeout: Duration,
    /// Time between two signs of life that are asked for.
    pub ping_interval: Duration,
    /// Limit for a sign of life.
    pub ping_timeout: Duration,
    /// First wait before connecting again.
    pub shortest_backoff: Duration,
    /// Longest wait before connecting again.
    pub longest_backoff: Duration,
}

impl Settings {
    /// The defaults for an Engine at `host`: 10 s for a request, a ping every 10 s with 5 s to
    /// answer it, 100 ms to 10 s between attempts to connect.
    pub fn new(host: DockerHost) -> Self {
        Self {
            host,
            request_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            shortest_backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(10),
        }
    }
}

/// What the follower can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// List again, and send a snapshot whether or not anything changed. While the Engine is
    /// away: try to connect now.
    Resync,
}

/// What the follower says. `Connected` and `Lost` alternate; snapshots come only in between,
/// the first one when the first list is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// The Engine answers, and its list has arrived.
    Connected {
        /// The negotiated version of the API.
        api_version: ApiVersion,
        /// What the Engine calls itself.
        engine_version: Untrusted,
    },
    /// The Engine is lost, or could not be reached to begin with. Said once, however many
    /// attempts follow.
    Lost {
        /// Why, fit for a log line.
        reason: String,
    },
    /// What Docker says now.
    Snapshot(Arc<Snapshot>),
}

/// Follows the Engine until the receiver of `updates` is dropped. Never fails: whatever goes
/// wrong is an [`Update::Lost`] and is tried again.
pub async fn follow(
    settings: Settings,
    log: Logger,
    mut commands: Receiver<Command>,
    updates: Sender<Update>,
) {
    let mut view = View::new();
    let mut backoff = Backoff::new(settings.shortest_backoff, settings.longest_backoff);
    let mut told_lost = false;
    loop {
        let begun = Instant::now();
        let mut told_connected = false;
        let session = session(
            &settings,
            &log,
            &mut view,
            &mut commands,
            &updates,
            &mut told_connected,
        );
        let error = tokio::select! {
            error = session => error,
            () = updates.closed() => return,
        };
        view.lost();
        if told_connected || !told_lost {
            let reason = error.to_string();
            if updates.send(Update::Lost { reason }).await.is_err() {
                return;
            }
            told_lost = true;
        }
        if begun.elapsed() >= STABLE_AFTER {
            backoff.reset();
        }
        let wait = backoff.wait();
        debug!(log, "connecting to docker again"; "after_ms" => wait.as_millis() as u64,
            "because" => %error);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = updates.closed() => return,
            Some(Command::Resync) = commands.recv() => {}
        }
    }
}

/// One connection's life, from negotiating to its loss.
async fn session(
    settings: &Settings,
    log: &Logger,
    view: &mut View,
    commands: &mut Receiver<Command>,
    updates: &Sender<Update>,
    told_connected: &mut bool,
) -> EngineError {
    let engine = match Engine::connect(&settings.host, settings.request_timeout).await {
        Ok(engine) => engine,
        Err(e) => return e,
    };
    let events = match engine.events(SystemTime::now()).await {
        Ok(events) => events,
        Err(e) => return e,
    };
    // The list that comes next is what they asked for.
    while commands.try_recv().is_ok() {}
    let session = Session {
        greeting: Some(Update::Connected {
            api_version: engine.api_version,
            engine_version: engine.engine_version.clone(),
        }),
        listed_once: false,
        settings,
        log,
        view,
        told_connected,
        engine,
        inspects: FuturesUnordered::new(),
        list: None,
        list_wanted: true,
        ping: None,
        next_ping: Instant::now() + settings.ping_interval,
        retries: BTreeMap::new(),
        relist_at: None,
        news_since: None,
        complaints: BTreeSet::new(),
    };
    match session.run(events, commands, updates).await {
        Ok(never) => match never {},
        Err(e) => e,
    }
}

/// There is no value of it: a session ends only by a loss.
enum Never {}

type Request<T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send>>;
type Inspect = Pin<Box<dyn Future<Output = (Question, Inspection)> + Send>>;
type Inspection = Result<Option<Inspected>, EngineError>;

struct Session<'a> {
    settings: &'a Settings,
    log: &'a Logger,
    view: &'a mut View,
    told_connected: &'a mut bool,
    engine: Engine,
    /// To be sent before the first snapshot, once a list was answered.
    greeting: Option<Update>,
    listed_once: bool,
    /// At most [`MAX_INSPECTS`].
    inspects: FuturesUnordered<Inspect>,
    list: Option<Request<List>>,
    list_wanted: bool,
    ping: Option<Request<()>>,
    next_ping: Instant,
    /// Failed questions, by when they are asked again.
    retries: BTreeMap<(Instant, u64), Question>,
    relist_at: Option<Instant>,
    /// Since when there is something to publish.
    news_since: Option<Instant>,
    /// What was logged already.
    complaints: BTreeSet<String>,
}

impl Session<'_> {
    async fn run(
        mut self,
        mut events: Events,
        commands: &mut Receiver<Command>,
        updates: &Sender<Update>,
    ) -> Result<Never, EngineError> {
        let mut commands_open = true;
        loop {
            let now = Instant::now();
            self.start_what_is_due(now);
            if self.view.has_news() {
                self.news_since.get_or_insert(now);
            }
            // Publishing comes last below, after all that has arrived; but not later than this.
            if self.is_overdue(now)
                && let Ok(permit) = updates.try_reserve()
            {
                self.publish(permit);
            }
            let wake = self.next_wake(now);
            tokio::select! {
                biased;
                event = events.next() => self.view.event(&event?),
                Some((question, inspection)) = self.inspects.next() => {
                    self.inspected(question, inspection);
                }
                list = pending_or(&mut self.list) => self.listed(list?),
                pong = pending_or(&mut self.ping) => {
                    pong?;
                    self.next_ping = Instant::now() + self.settings.ping_interval;
                }
                command = commands.recv(), if commands_open => match command {
                    Some(Command::Resync) => self.list_wanted = true,
                    None => commands_open = false,
                },
                () = sleep_until(wake) => {}
                permit = updates.reserve(), if self.may_publish(now) => match permit {
                    Ok(permit) => self.publish(permit),
                    // Closed: the caller sees it too, and ends this session.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    /// Starts every request whose time has come, in the order of urgency.
    fn start_what_is_due(&mut self, now: Instant) {
        while let Some(entry) = self.retries.first_entry()
            && entry.key().0 <= now
        {
            self.view.retry(&entry.remove());
        }
        while self.inspects.len() < MAX_INSPECTS
            && let Some(question) = self.view.next_question()
        {
            let engine = self.engine.clone();
            self.inspects.push(Box::pin(async move {
                let inspection = engine.inspect(&question.id).await;
                (question, inspection)
            }));
        }
        if self.relist_at.is_some_and(|at| at <= now) {
            self.relist_at = None;
            self.list_wanted = true;
        }
        if self.list_wanted && self.list.is_none() {
            self.list_wanted = false;
            self.view.list_begun();
            let engine = self.engine.clone();
            self.list = Some(Box::pin(async move { engine.list().await }));
        }
        if self.ping.is_none() && self.next_ping <= now {
            let engine = self.engine.clone();
            let limit = self.settings.ping_timeout;
            self.ping = Some(Box::pin(async move { engine.ping(limit).await }));
        }
    }

    /// When to wake although nothing has arrived.
    fn next_wake(&self, now: Instant) -> Instant {
        let retry = self.retries.keys().next().map(|(at, _)| *at);
        let ping = self.ping.is_none().then_some(self.next_ping);
        // Once it is overdue, what is waited for is the receiver.
        let hold = self.news_since.map(|since| since + HOLD);
        let hold = hold.filter(|at| *at > now);
        [retry, ping, hold, self.relist_at]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| now + self.settings.ping_interval)
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.news_since.is_some_and(|since| since + HOLD <= now)
    }

    /// Whether there is something to say, and nothing worth waiting for.
    fn may_publish(&self, now: Instant) -> bool {
        let greeting = self.listed_once && self.greeting.is_some();
        let settled = self.inspects.is_empty() && self.view.waiting() == 0;
        greeting || (self.view.has_news() && (settled || self.is_overdue(now)))
    }

    fn publish(&mut self, permit: Permit<'_, Update>) {
        if let Some(greeting) = self.greeting.take() {
            *self.told_connected = true;
            permit.send(greeting);
        } else if let Some(snapshot) = self.view.take_news() {
            self.news_since = None;
            permit.send(Update::Snapshot(snapshot));
        }
    }

    fn listed(&mut self, list: List) {
        for row in &list.odd {
            self.complain(row.to_string(), "an answer of docker cannot be read");
        }
        self.listed_once = true;
        self.view.listed(list.rows);
        debug!(self.log, "docker has listed its containers"; "to_inspect" => self.view.waiting());
    }

    fn inspected(&mut self, question: Question, inspection: Inspection) {
        let answer = match &inspection {
            Ok(Some(inspected)) => Answer::Inspected(inspected.clone()),
            Ok(None) => Answer::Gone,
            Err(EngineError::Unreadable { .. }) => Answer::Unreadable,
            Err(_) => Answer::Failed,
        };
        match self.view.answered(&question, answer) {
            Verdict::Done => {}
            Verdict::Retry(failures) => {
                let mut backoff = Backoff::new(RETRY.0 * (1 << failures.min(5)), RETRY.1);
                let at = Instant::now() + backoff.wait();
                self.retries.insert((at, question.number), question);
            }
            Verdict::GaveUp => {
                if let Err(error) = inspection {
                    if !matches!(error, EngineError::Unreadable { .. }) {
                        let at = Instant::now() + RELIST_AFTER;
                        self.relist_at.get_or_insert(at);
                    }
                    self.complain(error.to_string(), "a container cannot be inspected");
                }
            }
        }
    }

    /// Logs a fault the first time that it is seen in this session.
    fn complain(&mut self, fault: String, what: &'static str) {
        if self.complaints.len() < MAX_COMPLAINTS && !self.complaints.contains(&fault) {
            warn!(self.log, "{}", what; "fault" => %fault);
            self.complaints.insert(fault);
        }
    }
}

/// The answer to a request, if one is under way; it is not any more then.
async fn pending_or<T>(request: &mut Option<Request<T>>) -> Result<T, EngineError> {
    match request {
        Some(under_way) => {
            let answer = under_way.await;
            *request = None;
            answer
        }
        None => std::future::pending().await,
    }
}
