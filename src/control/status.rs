//! What the daemon says of itself.
//!
//! Every actor writes its part onto the [`Board`]; whoever is asked reads it there. A wedged
//! actor can therefore not keep the daemon from saying so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::protocol::{Row, VERSION};
use crate::docker_nat::gate::StandbyState;
use crate::docker_nat::watch::Observation;
use crate::logging;
use crate::model::problem::{Problem, ProblemId};
use crate::model::published::HostForward;

/// `status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this shape.
    pub v: u32,
    /// Process id.
    pub pid: u32,
    /// What it is doing.
    pub state: State,
    /// Why it is degraded; one sentence each, after the id of its kind.
    pub troubles: Vec<String>,
    /// The same, in parts.
    #[serde(default)]
    pub problems: Vec<Told>,
    /// Which backend holds the rules.
    pub backend: String,
    /// The Engine.
    pub docker: Docker,
    /// Published ports that are open over IPv6.
    pub forwards: usize,
    /// Rules in the kernel.
    pub rules: usize,
    /// Published ports that open nothing, with the reason.
    pub skipped: Vec<String>,
    /// What the daemon waits for before its start is over; null once it is.
    #[serde(default)]
    pub waiting_for: Option<String>,
    /// Containers that Docker has named and not answered about yet.
    #[serde(default)]
    pub unanswered: Vec<String>,
    /// Docker's own IPv6 NAT; null where it is not watched (`--native force`), or has not been
    /// observed yet.
    pub native: Option<Native>,
    /// Rules that somebody else had changed and that were put right.
    pub drift_repairs: u64,
    /// Full comparisons of Docker, journal and kernel.
    pub resyncs: u64,
    /// The journal.
    pub journal: Journal,
    /// Seconds since the process started.
    pub uptime_s: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its kind, see [`ProblemId`].
    pub id: String,
    /// One sentence.
    pub what: String,
    /// What mends it: a command for a shell, or a few words; null where that is not known.
    #[serde(rename = "do")]
    pub remedy: Option<String>,
}

impl From<&Problem> for Told {
    fn from(problem: &Problem) -> Self {
        Self {
            id: problem.id.to_string(),
            what: problem.what.clone(),
            remedy: problem.remedy.clone(),
        }
    }
}

/// What the daemon is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Before the first complete list has been applied.
    Starting,
    /// The kernel matches what Docker publishes.
    Running,
    /// Something is wrong; `troubles` says what.
    Degraded,
    /// Asked to leave.
    Stopping,
}

/// The Engine as the daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docker {
    /// Whether its events are being followed.
    pub connected: bool,
    /// The API version in use; null before the first connection.
    pub api_version: Option<String>,
}

/// Docker's own IPv6 NAT as the daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Native {
    /// `off`; `on`: the daemon stands by; `unsettled`: not known yet.
    pub state: String,
    /// How many published ports it serves.
    pub served: usize,
    /// Published ports that it does not serve; told where it is on, as all that follows.
    pub unserved: Vec<String>,
    /// What it serves though it is not published.
    pub stray: Vec<String>,
    /// What it serves though a label of ours closes it, or some sources.
    pub closed: Vec<String>,
}

impl Native {
    fn of(observation: &Observation) -> Self {
        let audit = &observation.audit;
        let texts =
            |forwards: &BTreeSet<HostForward>| forwards.iter().map(ToString::to_string).collect();
        let state = match observation.state {
            StandbyState::On => "on",
            StandbyState::Off => "off",
            StandbyState::Unsettled => "unsettled",
        };
        Self {
            state: state.to_owned(),
            served: audit.served.len(),
            unserved: texts(&audit.unserved),
            stray: texts(&audit.stray),
            closed: texts(&audit.closed),
        }
    }
}

/// The journal as the daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Records.
    pub records: usize,
    /// Counts every change of the journal.
    pub generation: u64,
}

/// Who reports a trouble; each has at most one list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reporter {
    /// The connection to the Engine.
    Docker,
    /// What of the Engine's answers is refused or cannot be read.
    Answers,
    /// The mapping.
    Mapper,
    /// The host, apart from its rules.
    Host,
    /// The kernel's rules.
    Firewall,
    /// Docker's own IPv6 NAT, and what it left behind.
    Native,
    /// The journal.
    Journal,
    /// Whoever looks whether the journal is still where it belongs.
    Place,
    /// Whoever asks the actors whether they are alive.
    Watchdog,
}

impl Reporter {
    /// The kind of problem that its sentences are of.
    fn kind(self) -> ProblemId {
        match self {
            Self::Docker => ProblemId::Docker,
            Self::Answers => ProblemId::EngineRefuses,
            Self::Mapper | Self::Host => ProblemId::Host,
            Self::Firewall => ProblemId::Firewall,
            Self::Native => ProblemId::NotServed,
            Self::Journal => ProblemId::Journal,
            Self::Place => ProblemId::StateDir,
            Self::Watchdog => ProblemId::Watchdog,
        }
    }
}

/// What the actors have reported so far.
#[derive(Debug)]
pub struct Facts {
    started: Instant,
    backend: String,
    /// Whether the first complete list has been applied.
    pub ready: bool,
    /// Whether the daemon was asked to leave.
    pub stopping: bool,
    /// See [`Status::docker`].
    pub docker: Docker,
    /// See [`Status::forwards`].
    pub forwards: usize,
    /// See [`Status::rules`].
    pub rules: usize,
    /// See [`Status::skipped`].
    pub skipped: Vec<String>,
    /// See [`Status::unanswered`].
    pub unanswered: Vec<String>,
    /// Containers whose labels cannot be understood, for `dump`.
    pub malformed: Vec<Row>,
    /// See [`Status::native`].
    pub docker_nat: Option<Arc<Observation>>,
    /// See [`Status::drift_repairs`].
    pub drift_repairs: u64,
    /// See [`Status::resyncs`].
    pub resyncs: u64,
    /// See [`Status::journal`].
    pub journal: Journal,
    problems: BTreeMap<Reporter, Vec<Problem>>,
}

impl Facts {
    /// Replaces what `reporter` complains of; an empty list is the end of its troubles.
    pub fn set_troubles(&mut self, reporter: Reporter, troubles: Vec<String>) {
        let problem = |trouble| Problem::new(reporter.kind(), trouble);
        self.set_problems(reporter, troubles.into_iter().map(problem).collect());
    }

    /// What the start waits for.
    fn waiting_for(&self) -> Option<String> {
        let mut docker_nat = self.docker_nat.iter();
        let what = if self.ready || self.stopping {
            return None;
        } else if !self.docker.connected {
            "Docker".to_owned()
        } else if let Some(container) = self.unanswered.first() {
            format!("Docker's answer about {container}")
        } else if docker_nat.any(|it| it.state == StandbyState::Unsettled) {
            "Docker's own IPv6 NAT to show whether it is on".to_owned()
        } else {
            "the first complete list to be applied".to_owned()
        };
        Some(what)
    }

    /// As [`Facts::set_troubles`], where the kinds differ.
    pub fn set_problems(&mut self, reporter: Reporter, problems: Vec<Problem>) {
        self.problems.insert(reporter, problems);
    }
}

/// The board that all actors share.
#[derive(Debug, Clone)]
pub struct Board(Arc<Mutex<Facts>>);

impl Board {
    /// An empty board. `started` is when the process began.
    pub fn new(started: Instant, backend: String) -> Self {
        Self(Arc::new(Mutex::new(Facts {
            started,
            backend,
            ready: false,
            stopping: false,
            docker: Docker::default(),
            forwards: 0,
            rules: 0,
            skipped: Vec::new(),
            unanswered: Vec::new(),
            malformed: Vec::new(),
            docker_nat: None,
            drift_repairs: 0,
            resyncs: 0,
            journal: Journal::default(),
            problems: BTreeMap::new(),
        })))
    }

    /// The facts, to change or read; held for a moment only.
    pub fn lock(&self) -> MutexGuard<'_, Facts> {
        // A panic ends the process; until then the facts are still the best there are.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the process began.
    pub fn started(&self) -> Instant {
        self.lock().started
    }

    /// The facts as a whole.
    pub fn status(&self, now: Instant) -> Status {
        let facts = self.lock();
        let mut problems: Vec<Problem> = facts.problems.values().flatten().cloned().collect();
        if let lines @ 1.. = logging::lost() {
            let what = format!("the log is not read: {lines} lines of it are lost");
            problems.push(Problem::new(ProblemId::Log, what));
        }
        let state = match (facts.stopping, facts.ready, problems.is_empty()) {
            (true, _, _) => State::Stopping,
            (false, _, false) => State::Degraded,
            (false, true, true) => State::Running,
            (false, false, true) => State::Starting,
        };
        let docker_nat = facts.docker_nat.as_deref();
        let closed = |skip: &&String| {
            !docker_nat.is_some_and(|it| it.audit.served_by_podman.contains(*skip))
        };
        let skipped = facts.skipped.iter().filter(closed).cloned().collect();
        Status {
            v: VERSION,
            pid: std::process::id(),
            state,
            troubles: problems.iter().map(ToString::to_string).collect(),
            problems: problems.iter().map(Told::from).collect(),
            backend: facts.backend.clone(),
            docker: facts.docker.clone(),
            forwards: facts.forwards,
            rules: facts.rules,
            skipped,
            waiting_for: facts.waiting_for(),
            unanswered: facts.unanswered.clone(),
            native: docker_nat.map(Native::of),
            drift_repairs: facts.drift_repairs,
            resyncs: facts.resyncs,
            journal: facts.journal.clone(),
            uptime_s: now.duration_since(facts.started).as_secs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_trouble_makes_the_daemon_degraded_until_it_ends() {
        let now = Instant::now();
        let board = Board::new(now, "ip6tables".into());
        assert_eq!(board.status(now).state, State::Starting);
        board.lock().ready = true;
        assert_eq!(board.status(now).state, State::Running);
        board
            .lock()
            .set_troubles(Reporter::Journal, vec!["disk full".into()]);
        assert_eq!(board.status(now).state, State::Degraded);
        board.lock().set_troubles(Reporter::Docker, vec![]);
        assert_eq!(board.status(now).state, State::Degraded);
        board.lock().set_troubles(Reporter::Journal, vec![]);
        assert_eq!(board.status(now).state, State::Running);
        board.lock().stopping = true;
        assert_eq!(board.status(now).state, State::Stopping);
    }
}
