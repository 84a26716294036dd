//! Observes Docker's own IPv6 NAT, decides whether to stand by, and logs what has changed.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, error, info, warn};

use super::audit::{Audit, Auditor};
use super::gate::{Gate, StandbyState};
use super::observation::DockerNat;
use crate::backend::BackendError;
use crate::model::problem::Problem;
use crate::model::published::Published;

/// Reads Docker's own IPv6 NAT: [`super::observer::Observer::observe`], or a test.
pub type Observe = Box<dyn FnMut() -> Result<DockerNat, BackendError> + Send>;

/// The daemon could not read Docker's NAT from the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot find out whether Docker's own IPv6 NAT is on")]
pub struct ObserveError(#[from] BackendError);

/// The outcome of an observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What Docker's NAT means for our rules.
    pub state: StandbyState,
    /// Which of the published ports Docker's NAT serves.
    pub audit: Audit,
    /// After how long to observe again, even without a new event.
    pub again_in: Option<Duration>,
    /// Why the kernel could not be read; then the state and the audit are the last ones.
    pub failure: Option<ObserveError>,
}

/// Keeps watch over Docker's own NAT.
pub struct Watch {
    observe: Observe,
    gate: Gate,
    auditor: Auditor,
    /// The last observation that succeeded.
    last: Option<Arc<Observation>>,
    log: Logger,
}

impl Watch {
    /// A watch before its first observation.
    pub fn new(observe: Observe, log: Logger) -> Self {
        Self {
            observe,
            gate: Gate::default(),
            auditor: Auditor::default(),
            last: None,
            log,
        }
    }

    /// Observes, decides and audits. `published` is what Docker publishes, `None` before that is
    /// known; `forwards_any`: our desired rules forward at least one port. `now` is the time since
    /// any fixed moment; it is asked for after the observation, which may take seconds.
    pub fn observe(
        &mut self,
        published: Option<&Published>,
        forwards_any: bool,
        now: impl FnOnce() -> Duration,
    ) -> Arc<Observation> {
        let seen = match (self.observe)() {
            Ok(seen) => seen,
            Err(error) => return Arc::new(self.after_failure(error)),
        };
        let now = now();
        let state = self.gate.decide(&seen, published, now);
        let mut audit = self.auditor.audit(state, &seen, published, now);
        if !forwards_any {
            // Then the rules that an Engine left behind drop nothing that we forward.
            audit.left_behind.clear();
        }
        let changes = [
            self.gate.changes_in(now),
            self.auditor.changes_in(state, now),
        ];
        let observation = Arc::new(Observation {
            state,
            audit,
            again_in: changes.into_iter().flatten().min(),
            failure: None,
        });
        log_changes(&self.log, self.last.as_deref(), &observation);
        self.last = Some(observation.clone());
        observation
    }

    /// The last state stays. Before the first observation, the daemon adds no rules.
    fn after_failure(&self, error: BackendError) -> Observation {
        let last = self.last.as_deref();
        Observation {
            state: last.map_or(StandbyState::Unsettled, |last| last.state),
            audit: last.map_or_else(Audit::default, |last| last.audit.clone()),
            again_in: None,
            failure: Some(error.into()),
        }
    }
}

fn log_changes(log: &Logger, before: Option<&Observation>, now: &Observation) {
    let state_before = before.map(|before| before.state);
    if state_before != Some(now.state) {
        match now.state {
            StandbyState::On => {
                info!(log, "Docker's own IPv6 NAT is on: standing by, no rule of ours is in the \
                    kernel"; "served" => now.audit.served.len());
            }
            StandbyState::Off if before.is_none() => {}
            StandbyState::Off => info!(log, "Docker's own IPv6 NAT is off: publishing ports"),
            StandbyState::Unsettled => {
                info!(
                    log,
                    "Docker's chains stand in the IPv6 nat table: checking whether it uses \
                    them, and adding nothing until that is known"
                );
            }
        }
    }
    let none = Audit::default();
    let before = before.map_or(&none, |before| &before.audit);
    let known = before.problems();
    let is_new = |problem: &&Problem| !known.contains(problem);
    for problem in now.audit.problems().iter().filter(is_new) {
        error!(log, "degraded: {problem}"; "do" => problem.remedy.as_deref());
    }
    for forward in now.audit.stray.difference(&before.stray) {
        warn!(log, "Docker's own IPv6 NAT forwards what is not published"; "port" => %forward);
    }
    for forward in now.audit.closed.difference(&before.closed) {
        warn!(log, "Docker's own IPv6 NAT forwards what a label closes"; "port" => %forward);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use slog::o;

    use super::*;

    #[test]
    fn what_is_observed_counts_from_when_it_was_observed() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let observed = order.clone();
        let observe = move || {
            observed.lock().unwrap().push("observed");
            Ok(DockerNat::default())
        };
        let mut watch = Watch::new(Box::new(observe), Logger::root(slog::Discard, o!()));
        watch.observe(None, false, || {
            order.lock().unwrap().push("the time was read");
            Duration::ZERO
        });
        assert_eq!(*order.lock().unwrap(), ["observed", "the time was read"]);
    }
}
