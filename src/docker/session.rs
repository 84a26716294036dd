//! One connection to the Engine: from negotiating the version to the loss.
//!
//! A session is a future without a task of its own; dropping it drops every request under way.
//! What it has learned stays in the [`View`], which outlives it.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use slog::{Logger, debug};
use tokio::sync::mpsc::{Permit, Sender};
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::client::{Engine, Events};
use super::container::ContainerList;
use super::error::EngineError;
use super::faults::{Faults, Partial};
use super::flood::Flood;
use super::holders::{Held, NetworkQuestions};
use super::messages::{Command, FollowSettings, Inbox, Loss, Update};
use super::network::NetworkList;
use super::news_times::NewsTimes;
use super::pending::{Inspect, Inspection, Request, pending_or};
use super::view::{Answer, FollowUp, Question, View};
use crate::model::interface::InterfaceNews;
use crate::sys::beat::until_next;
use crate::sys::failpoint;

/// From how far back a subscription asks the Engine to replay events. It covers the
/// teardown of a container (0.6 s between `die` and the end of its row in the list, measured
/// on 20.10) and the moment between the answer's head and the subscription itself.
const REPLAY_REACHES_BACK: Duration = Duration::from_secs(3);

/// Inspects under way at once. The Engine answers one in about 1 ms, and takes the same locks for
/// it as for starting a container; more would not be faster, and would delay starts.
const MAX_INSPECTS: usize = 16;

/// How long a change waits for other answers that are under way, so that a burst of events
/// makes few snapshots. With nothing under way it does not wait.
const HOLD: Duration = Duration::from_millis(2);

/// First and longest wait before a failed inspect is asked again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Longest wait before a failed list of networks is asked for again. It may be refused for
/// good, by a proxy before the socket.
const RETRY_NETWORKS_MAX: Duration = Duration::from_secs(10);

/// Pings in a row that may be refused while the stream of events stands. An Engine that shuts
/// down removes its socket at once, and then sends the ends of its containers for as long as
/// they take (15 s by default). Silence, in contrast, is a loss at once.
const MAX_REFUSED_PINGS: u32 = 3;

/// Wait before the list is asked for again, after inspects of a container or a list have failed.
const RELIST_AFTER: Duration = Duration::from_secs(10);

/// Lists in a row that may fail while the stream of events stands and the first list was answered.
const MAX_FAILED_LISTS: u32 = 3;

/// Runs one session, with recent events if `replay`. `announced`: [`Update::Connected`] was sent.
///
/// # Errors
/// Why it ended.
pub(super) async fn session(
    settings: &FollowSettings,
    log: &Logger,
    view: &mut View,
    inbox: &mut Inbox,
    updates: &Sender<Update>,
    replay: bool,
    announced: &mut bool,
) -> Result<Infallible, EngineError> {
    // Old news: those containers may run again. What comes from now on concerns the list, too.
    while inbox.interfaces.try_recv().is_ok() {}
    let engine = Engine::connect(&settings.host, settings.request_timeout).await?;
    let replayed = REPLAY_REACHES_BACK * u32::from(replay);
    let events = engine.events(SystemTime::now() - replayed).await?;
    // The list that comes next is what these commands ask for.
    while inbox.commands.try_recv().is_ok() {}
    let session = Session {
        to_say: VecDeque::from([Update::Connected {
            api_version: engine.api_version,
            engine_version: engine.engine_version.clone(),
        }]),
        listed_once: false,
        settings,
        log,
        view,
        announced,
        engine,
        flood: Flood::none(Instant::now()),
        inspects: FuturesUnordered::new(),
        holders: NetworkQuestions::default(),
        list: None,
        list_wanted: true,
        networks: None,
        networks_backoff: Backoff::new(RETRY.0, RETRY_NETWORKS_MAX),
        networks_retry: None,
        partial: Partial::default(),
        ping: None,
        next_ping: Instant::now() + until_next(settings.ping_interval),
        refused_pings: 0,
        failed_lists: 0,
        retries: BTreeMap::new(),
        relist_at: Instant::now() + settings.list_interval,
        news_since: None,
        news_times: NewsTimes::default(),
        faults: Faults::new(log),
    };
    session.run(events, inbox, updates).await
}

struct Session<'a> {
    settings: &'a FollowSettings,
    log: &'a Logger,
    view: &'a mut View,
    announced: &'a mut bool,
    engine: Engine,
    /// To be sent before the first snapshot, once a list was answered.
    to_say: VecDeque<Update>,
    listed_once: bool,
    /// Whether questions have to wait.
    flood: Flood,
    /// At most [`MAX_INSPECTS`].
    inspects: FuturesUnordered<Inspect>,
    holders: NetworkQuestions,
    list: Option<Request<ContainerList>>,
    list_wanted: bool,
    networks: Option<Request<NetworkList>>,
    networks_backoff: Backoff,
    /// When the list of networks is asked for again, after a failure.
    networks_retry: Option<Instant>,
    partial: Partial,
    ping: Option<Request<()>>,
    next_ping: Instant,
    /// In a row, both.
    refused_pings: u32,
    failed_lists: u32,
    /// Failed questions, by when they are asked again.
    retries: BTreeMap<(Instant, u64), Question>,
    /// An Engine drops events that are not read in time, and does not say so.
    relist_at: Instant,
    /// Since when there is something to publish.
    news_since: Option<Instant>,
    news_times: NewsTimes,
    faults: Faults,
}

impl Session<'_> {
    async fn run(
        mut self,
        mut events: Events,
        inbox: &mut Inbox,
        updates: &Sender<Update>,
    ) -> Result<Infallible, EngineError> {
        let (commands, interfaces) = (&mut inbox.commands, &mut inbox.interfaces);
        let (mut commands_open, mut interfaces_open) = (true, true);
        loop {
            failpoint::panic("a session goes on");
            let now = Instant::now();
            self.start_what_is_due(now);
            self.to_say.extend(self.partial.news());
            if self.view.has_news() {
                self.news_since.get_or_insert(now);
            } else if self.is_settled() {
                self.news_times.nothing_new();
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
                // First, so that it is taken in before the container's next start.
                news = interfaces.recv(), if interfaces_open => match news {
                    Some(InterfaceNews::Seen(mac)) => self.view.interface_seen(mac),
                    Some(InterfaceNews::Missed) => self.view.interfaces_missed(),
                    None => interfaces_open = false,
                },
                event = events.next() => {
                    self.news_times.event_read();
                    self.flood.event(now);
                    self.view.event(&event?);
                }
                Some((question, inspection)) = self.inspects.next() => {
                    self.inspected(question, inspection);
                }
                Some((network, held)) = self.holders.next() => self.held(&network, held),
                list = pending_or(&mut self.list) => self.listed(list)?,
                networks = pending_or(&mut self.networks) => self.networks_listed(networks),
                pong = pending_or(&mut self.ping) => self.ponged(pong)?,
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
        let may_ask = self.flood.next_round() <= now;
        while self.inspects.len() < MAX_INSPECTS
            && may_ask
            && let Some(question) = self.view.next_question()
        {
            let engine = self.engine.clone();
            self.inspects.push(Box::pin(async move {
                let inspection = engine.inspect(&question.id).await;
                (question, inspection)
            }));
            self.flood.asked(now);
        }
        self.holders.ask(self.view, &self.engine);
        if self.relist_at <= now {
            self.relist_at = now + self.settings.list_interval;
            self.list_wanted = true;
        }
        if self.list_wanted && self.list.is_none() {
            self.list_wanted = false;
            self.view.list_begun();
            self.news_times.list_begun();
            let engine = self.engine.clone();
            self.list = Some(Box::pin(async move { engine.list().await }));
        }
        if self.networks_retry.is_some_and(|at| at <= now) {
            self.networks_retry = None;
            self.view.retry_networks();
        }
        if self.networks.is_none() && self.view.wants_networks() {
            self.view.networks_begun();
            let engine = self.engine.clone();
            self.networks = Some(Box::pin(async move { engine.networks().await }));
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
        let round = (self.view.waiting() > 0).then_some(self.flood.next_round());
        let round = round.filter(|at| *at > now);
        [
            retry,
            ping,
            hold,
            round,
            Some(self.relist_at),
            self.networks_retry,
        ]
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
        let has_to_say = self.listed_once && !self.to_say.is_empty();
        has_to_say || (self.view.has_news() && (self.is_settled() || self.is_overdue(now)))
    }

    /// Whether no answer about containers or networks is awaited.
    fn is_settled(&self) -> bool {
        self.inspects.is_empty() && self.networks.is_none() && self.view.waiting() == 0
    }

    fn publish(&mut self, permit: Permit<'_, Update>) {
        if let Some(update) = self.to_say.pop_front() {
            *self.announced = true;
            permit.send(update);
        } else if let Some(snapshot) = self.view.take_news() {
            self.news_since = None;
            let awaits = !self.is_settled();
            permit.send(self.news_times.update(snapshot, awaits));
        }
    }

    fn ponged(&mut self, pong: Result<(), EngineError>) -> Result<(), EngineError> {
        self.next_ping = Instant::now() + until_next(self.settings.ping_interval);
        self.partial.ping = pong.as_ref().err().map(Loss::from).filter(|l| l.refused);
        match pong {
            // One that is not permitted is an answer, too.
            _ if pong.is_ok() || self.partial.ping.is_some() => {
                self.refused_pings = 0;
                self.view.grow_old();
            }
            Err(e @ EngineError::TimedOut { .. }) => return Err(e),
            Err(e) if self.refused_pings + 1 >= MAX_REFUSED_PINGS => return Err(e),
            _ => self.refused_pings += 1,
        }
        Ok(())
    }

    fn listed(&mut self, list: Result<ContainerList, EngineError>) -> Result<(), EngineError> {
        let list = match list {
            Err(error) if self.listed_once && self.failed_lists < MAX_FAILED_LISTS => {
                self.failed_lists += 1;
                self.relist_at = self.relist_at.min(Instant::now() + RELIST_AFTER);
                self.view.list_failed();
                self.faults.log(&error, "the containers cannot be listed");
                return Ok(());
            }
            list => list?,
        };
        self.failed_lists = 0;
        for row in &list.odd {
            self.faults.log(row, "an answer of docker cannot be read");
        }
        self.listed_once = true;
        self.news_times.listed();
        self.view.listed(list.rows);
        self.view.rows_were_odd(list.odd);
        debug!(self.log, "docker has listed its containers"; "to_inspect" => self.view.waiting());
        Ok(())
    }

    fn networks_listed(&mut self, networks: Result<NetworkList, EngineError>) {
        match networks {
            Ok(networks) => {
                for row in &networks.odd {
                    self.faults.log(row, "a network's settings cannot be read");
                }
                self.networks_backoff.reset();
                self.partial.networks = None;
                self.view.networks_listed(networks.rows);
            }
            Err(error) => {
                self.networks_retry = Some(Instant::now() + self.networks_backoff.wait());
                self.view.networks_failed();
                self.partial.networks = Some(Loss::from(&error));
                self.faults
                    .log(&error, "docker's networks cannot be listed");
            }
        }
    }

    fn inspected(&mut self, question: Question, inspection: Inspection) {
        let answer = match &inspection {
            Ok(Some(inspected)) => Answer::Inspected(inspected.clone()),
            Ok(None) => Answer::Gone,
            Err(error) => error
                .unusable_answer()
                .map_or(Answer::Failed, Answer::Unreadable),
        };
        match self.view.answered(&question, answer) {
            FollowUp::Done => {}
            FollowUp::Retry(failures) => {
                let mut backoff = Backoff::new(RETRY.0 * (1 << failures.min(5)), RETRY.1);
                let at = Instant::now() + backoff.wait();
                self.retries.insert((at, question.number), question);
            }
            FollowUp::GaveUp => {
                if let Err(error) = inspection {
                    self.relist_at = self.relist_at.min(Instant::now() + RELIST_AFTER);
                    self.faults.log(&error, "a container cannot be inspected");
                }
            }
        }
    }

    fn held(&mut self, network: &str, held: Held) {
        // A network that is gone has no addresses.
        if let Err(error) = &held
            && !matches!(error, EngineError::Refused { status: 404, .. })
        {
            self.faults.log(error, "a network cannot be inspected");
        }
        self.view.network_answered(network, held.ok());
    }
}
