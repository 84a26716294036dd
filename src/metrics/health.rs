//! The answers to health checks.

use std::time::{Duration, Instant};

use crate::control::board::{Reporter, Reports};
use crate::control::status::DaemonState;

/// How late a change of rules may be before the daemon counts as ill.
const LATE: Duration = Duration::from_secs(10);

/// Why the daemon is not alive, in the sense that a restart may help; `None` while it is. What the
/// kernel, the disk or Docker refuses is not of that sense: `status` says it, and the daemon tries on.
pub(super) fn is_ill(reports: &Reports, now: Instant) -> Option<String> {
    if let Some(problem) = reports.problems_of(Reporter::Watchdog).first() {
        return Some(problem.to_string());
    }
    let late = reports.measured.late(now);
    let seconds = late.as_secs();
    (late >= LATE).then(|| format!("a change of rules has not ended for {seconds} s"))
}

/// Why the daemon is not ready, in the sense that published ports may still be closed; `None` once
/// it is.
pub(super) fn is_unready(reports: &Reports) -> Option<&'static str> {
    match reports.figures.state {
        DaemonState::Starting => Some("starting"),
        DaemonState::Stopping => Some("stopping"),
        DaemonState::Running | DaemonState::Degraded => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::problem::ProblemId;

    #[test]
    fn only_what_a_restart_may_heal_is_an_illness() {
        let now = Instant::now();
        let mut reports = Reports::default();
        assert_eq!(is_unready(&reports), Some("starting"));
        reports.set_running();
        assert_eq!((is_unready(&reports), is_ill(&reports, now)), (None, None));
        let gone = vec!["gone".to_owned()];
        reports.set_sentences(Reporter::Docker, ProblemId::Docker, gone);
        assert_eq!(is_ill(&reports, now), None);
        reports.measured.in_flight_since = Some(now);
        assert_eq!(is_ill(&reports, now + LATE / 2), None);
        assert!(is_ill(&reports, now + LATE).is_some());
        reports.measured.in_flight_since = None;
        let hangs = vec!["the journal does not answer".to_owned()];
        reports.set_sentences(Reporter::Watchdog, ProblemId::Watchdog, hangs);
        assert!(is_ill(&reports, now).is_some());
    }
}
