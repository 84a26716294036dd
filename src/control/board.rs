//! Where the parts of the daemon report what they do.
//!
//! Every part writes its own figures and problems onto the [`StatusBoard`]; the control socket
//! and the watchdog take snapshots of it. They ask no actor, so that `status` answers even while
//! one hangs, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::measured::Measured;
use super::moment::Moment;
use super::row::Row;
use super::status::{AboutBackend, DaemonState, ReportedProblem, Status};
use crate::docker_nat::gate::StandbyState;
use crate::journal::history::cause::Cause;
use crate::logging;
use crate::model::problem::{Problem, ProblemId};

/// Who reports problems. Each report replaces the reporter's last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reporter {
    /// The connection to the Engine.
    Docker,
    /// Requests that the Engine refuses, and answers that cannot be read.
    Answers,
    /// The mapping.
    Mapper,
    /// The host, apart from its rules.
    Host,
    /// The kernel's rules.
    Firewall,
    /// Docker's own IPv6 NAT, and what it left behind.
    DockerNat,
    /// The journal.
    Journal,
    /// The state directory: whether it is still in its place, and ours.
    StateDir,
    /// The watchdog, about actors that do not answer.
    Watchdog,
}

/// What the parts of the daemon have reported so far.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// The figures. A part writes those that it knows; [`StatusBoard::status`] fills in `state`
    /// (beyond starting, running and stopping), `troubles`, `problems`, `degraded_since`,
    /// `waiting_for`, `uptime_s` and `log_lines_lost`.
    pub figures: Status,
    /// The entries of `figures.skipped` that Podman's NAT serves all the same; `status` leaves them
    /// out, there and in `closed`, which has the same entries in the same order.
    pub served_by_podman: BTreeSet<String>,
    /// Containers with malformed labels, for `dump`.
    pub malformed: Vec<Row>,
    /// For monitoring.
    pub measured: Measured,
    /// What the firewall writer is doing, for the history.
    pub cause: Cause,
    problems: BTreeMap<Reporter, Vec<Problem>>,
}

impl Reports {
    /// Replaces the problems of `reporter`; an empty list ends them.
    pub(crate) fn set_problems(&mut self, reporter: Reporter, problems: Vec<Problem>) {
        self.problems.insert(reporter, problems);
        self.mark_degraded(false);
    }

    /// Keeps since when there are problems. `has_others`: some that no part has reported.
    fn mark_degraded(&mut self, has_others: bool) {
        let is_degraded = has_others || self.problems.values().any(|own| !own.is_empty());
        let since = &mut self.figures.degraded_since;
        *since = is_degraded.then(|| since.unwrap_or_else(Moment::now));
    }

    /// The last report of `reporter`.
    pub(crate) fn problems_of(&self, reporter: Reporter) -> Vec<Problem> {
        self.problems.get(&reporter).cloned().unwrap_or_default()
    }

    /// As [`Reports::set_problems`], for problems of one kind: one sentence each.
    pub(crate) fn set_sentences(
        &mut self,
        reporter: Reporter,
        id: ProblemId,
        sentences: Vec<String>,
    ) {
        let problem = |sentence| Problem::new(id, sentence);
        self.set_problems(reporter, sentences.into_iter().map(problem).collect());
    }

    /// The first complete list has been applied. A daemon that is stopping stays so.
    pub(crate) fn set_running(&mut self) {
        if self.figures.state == DaemonState::Starting {
            self.figures.state = DaemonState::Running;
        }
    }

    /// The daemon was asked to leave.
    pub(crate) fn set_stopping(&mut self) {
        self.figures.state = DaemonState::Stopping;
    }

    /// What a start waits for.
    fn waiting_for(&self) -> Option<String> {
        let figures = &self.figures;
        let what = if figures.state != DaemonState::Starting {
            return None;
        } else if !figures.docker.connected {
            "Docker".to_owned()
        } else if let Some(container) = figures.unanswered.first() {
            format!("Docker's answer about {container}")
        } else if figures.standby_state() == Some(StandbyState::Unsettled) {
            "Docker's own IPv6 NAT to show whether it is on".to_owned()
        } else {
            "the first complete list to be applied".to_owned()
        };
        Some(what)
    }
}

/// The board that all parts of the daemon share.
#[derive(Debug, Clone)]
pub(crate) struct StatusBoard {
    started: Instant,
    reports: Arc<Mutex<Reports>>,
}

impl StatusBoard {
    /// A board without reports. `started` is when the process began.
    pub(crate) fn new(started: Instant, backend: String) -> Self {
        let reports = Reports {
            figures: Status {
                v: Status::VERSION,
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                backend,
                ..Status::default()
            },
            ..Reports::default()
        };
        Self {
            started,
            reports: Arc::new(Mutex::new(reports)),
        }
    }

    /// Says more of the backend than its name.
    pub(crate) fn set_backend(&self, about: AboutBackend) {
        let figures = &mut self.lock().figures;
        figures.backend_variant = about.variant.to_owned();
        figures.backend_reason = about.reason;
    }

    /// The reports, to change or read. Hold the lock for a moment only.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Reports> {
        // A panic ends the process; until then the reports are still the best there are.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the process began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// A snapshot of everything.
    pub(crate) fn status(&self, now: Instant) -> Status {
        let mut reports = self.lock();
        let unread = logging::lost();
        reports.mark_degraded(unread > 0);
        let mut status = reports.figures.clone();
        let mut problems: Vec<Problem> = reports.problems.values().flatten().cloned().collect();
        if let lines @ 1.. = unread {
            let what = format!("the log is not read: {lines} lines of it are lost");
            problems.push(Problem::new(ProblemId::Log, what));
        }
        if status.state != DaemonState::Stopping && !problems.is_empty() {
            status.state = DaemonState::Degraded;
        }
        status.troubles = problems.iter().map(ToString::to_string).collect();
        status.problems = problems.iter().map(ReportedProblem::from).collect();
        let is_closed = |skip: &String| !reports.served_by_podman.contains(skip);
        let mut closed = status.skipped.iter().map(is_closed);
        status.closed.retain(|_| closed.next().unwrap_or(true));
        status.skipped.retain(is_closed);
        if status.state != DaemonState::Degraded {
            status.degraded_since = None;
        }
        status.log_lines_lost = logging::lost_in_all();
        status.waiting_for = reports.waiting_for();
        status.uptime_s = now.duration_since(self.started).as_secs();
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_problem_makes_the_daemon_degraded_until_it_ends() {
        let now = Instant::now();
        let board = StatusBoard::new(now, "ip6tables".into());
        assert_eq!(board.status(now).state, DaemonState::Starting);
        board.lock().set_running();
        assert_eq!(board.status(now).state, DaemonState::Running);
        let full = Problem::new(ProblemId::Journal, "disk full");
        board.lock().set_problems(Reporter::Journal, vec![full]);
        assert_eq!(board.status(now).state, DaemonState::Degraded);
        board.lock().set_problems(Reporter::Docker, vec![]);
        assert_eq!(board.status(now).state, DaemonState::Degraded);
        board.lock().set_problems(Reporter::Journal, vec![]);
        assert_eq!(board.status(now).state, DaemonState::Running);
        board.lock().set_stopping();
        board.lock().set_running();
        assert_eq!(board.status(now).state, DaemonState::Stopping);
    }
}
