//! Observes Docker's own IPv6 NAT, decides whether to stand by, and logs what has changed.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, error, info, warn};

use super::audit::{Audit, Auditor};
use super::gate::{Gate, StandbyState};
use super::observation::DockerNat;
use crate::backend::{BackendError, ErrorKind};
use crate::model::problem::Problem;
use crate::model::published::Published;
use crate::sys::causes::chain;

/// How soon to try again to read a part that could not be read: a tool may have waited for a lock.
const UNREAD_PAUSE: Duration = Duration::from_secs(10);

/// What could be read of Docker's own IPv6 NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The NAT.
    pub nat: DockerNat,
    /// Why a part of it could not be read; of that part it is as it was last.
    pub unread: Option<BackendError>,
}

impl From<DockerNat> for Seen {
    fn from(nat: DockerNat) -> Self {
        Self { nat, unread: None }
    }
}

/// Reads Docker's own IPv6 NAT: [`super::observer::Observer`], or a test.
pub(crate) type Observe = Box<dyn FnMut() -> Result<Seen, BackendError> + Send>;

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
    /// Why a part of it could not be read; then the state and the audit rest on what that part showed
    /// last, or on nothing if it never could.
    pub unread: Option<ObserveError>,
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
        let Seen { nat: seen, unread } = match (self.observe)() {
            Ok(seen) => seen,
            Err(error) => return Arc::new(self.after_failure(error)),
        };
        let unread = unread.filter(|error| match error.kind {
            // A daemon that is not root may not, and works all the same.
            ErrorKind::Denied => {
                if self.last.is_none() {
                    warn!(self.log, "Docker's own IPv6 NAT is not searched for in the legacy tables of \
                        ip6tables"; "reason" => chain(error));
                }
                false
            }
            _ => true,
        });
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
        let again = unread.is_some().then_some(UNREAD_PAUSE);
        let observation = Arc::new(Observation {
            state,
            audit,
            again_in: changes.into_iter().flatten().chain(again).min(),
            failure: None,
            unread: unread.map(Into::into),
        });
        log_changes(&self.log, self.last.as_deref(), &observation, seen.chains);
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
            unread: None,
        }
    }
}

/// `chains`: whether chains of Docker's own NAT stand here.
fn log_changes(log: &Logger, before: Option<&Observation>, now: &Observation, chains: bool) {
    let state_before = before.map(|before| before.state);
    if state_before != Some(now.state) {
        match now.state {
            // Nothing shows yet that it is on, or off.
            StandbyState::On if now.audit.served.is_empty() => info!(
                log,
                "Docker's chains for IPv6 NAT stand here, and no published port shows whether it \
                uses them: standing by, with no rule of ours"
            ),
            StandbyState::On => {
                info!(log, "Docker's own IPv6 NAT is on: standing by, with no rule of ours";
                    "served" => now.audit.served.len());
            }
            StandbyState::Off if before.is_none() => {}
            StandbyState::Off if chains => info!(
                log,
                "Docker's own IPv6 NAT has chains here and serves no published port: publishing \
                them"
            ),
            StandbyState::Off => info!(log, "Docker's own IPv6 NAT is off: publishing ports"),
            StandbyState::Unsettled => {
                info!(
                    log,
                    "Docker's chains for IPv6 NAT stand here: checking whether it uses them, and \
                    adding nothing until that is known"
                );
            }
        }
    }
    let unread_before = before.and_then(|before| before.unread.as_ref());
    match (&now.unread, unread_before) {
        (Some(unread), before) if before != Some(unread) => {
            error!(log, "degraded: {}", chain(unread));
        }
        (None, Some(unread)) => info!(log, "no longer: {}", chain(unread)),
        _ => {}
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
    use std::io;
    use std::sync::Mutex;

    use slog::o;

    use super::super::since::SETTLES_AFTER;
    use super::super::testing::{docker, published};
    use super::*;
    use crate::logging::{self, Format, Verbosity};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_says_on_and_off_only_where_that_is_known() {
        let chains = || docker(&[]);
        let later = Duration::from_secs(100);
        let cases = [
            // Chains, and no port that shows more; a port is served; the chains go.
            (
                chains(),
                Some(&[][..]),
                "no published port shows whether it uses them",
            ),
            (docker(&[80]), Some(&[80]), ""),
            (
                DockerNat::default(),
                Some(&[80]),
                "NAT is off: publishing ports",
            ),
            // It comes back, and serves; then its chains stand idle.
            (docker(&[80]), Some(&[80]), "NAT is on: standing by"),
            (chains(), Some(&[80]), ""),
            (
                chains(),
                Some(&[80]),
                "has chains here and serves no published port",
            ),
        ];
        let sink = Sink::default();
        let log = logging::to_writer(sink.clone(), Format::Journald, Verbosity::Info);
        let next = Arc::new(Mutex::new(DockerNat::default()));
        let observed = next.clone();
        let observe = Box::new(move || Ok(observed.lock().unwrap().clone().into()));
        let mut watch = Watch::new(observe, log);
        let mut now = later;
        for (n, (seen, ports, words)) in cases.into_iter().enumerate() {
            *next.lock().unwrap() = seen;
            now += SETTLES_AFTER + Duration::from_secs(1);
            watch.observe(ports.map(published).as_ref(), true, || now);
            let said = std::mem::take(&mut *sink.0.lock().unwrap());
            let said = String::from_utf8(said).unwrap();
            let states: Vec<_> = said
                .lines()
                .filter(|line| line.starts_with("<6>"))
                .collect();
            let expected = usize::from(!words.is_empty());
            assert_eq!(states.len(), expected, "observation {n}: {said}");
            assert!(said.contains(words), "observation {n}: {said}");
        }
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_was_and_is_reported() {
        let unread = BackendError {
            operation: "listing".to_owned(),
            kind: ErrorKind::TimedOut,
            detail: "it hangs".to_owned(),
        };
        let next = Arc::new(Mutex::new(Seen::from(docker(&[80]))));
        let observed = next.clone();
        let observe = Box::new(move || Ok(observed.lock().unwrap().clone()));
        let sink = Sink::default();
        let log = logging::to_writer(sink.clone(), Format::Journald, Verbosity::Info);
        let mut watch = Watch::new(observe, log);
        let published = published(&[80]);
        let mut observe = || watch.observe(Some(&published), true, || Duration::ZERO);
        assert_eq!(observe().unread, None);
        next.lock().unwrap().unread = Some(unread.clone());
        for _ in 0..2 {
            let observation = observe();
            assert_eq!(observation.state, StandbyState::On);
            assert_eq!(observation.unread, Some(ObserveError(unread.clone())));
            assert_eq!(observation.again_in, Some(UNREAD_PAUSE));
        }
        let kind = ErrorKind::Denied;
        next.lock().unwrap().unread = Some(BackendError { kind, ..unread });
        assert_eq!(observe().unread, None);
        let said = String::from_utf8(std::mem::take(&mut *sink.0.lock().unwrap())).unwrap();
        let count = |words: &str| said.matches(words).count();
        let once = [
            "degraded: cannot find out whether Docker's own IPv6 NAT is on: ",
            "no longer: cannot find out whether Docker's own IPv6 NAT is on: ",
        ];
        assert_eq!(once.map(count), [1, 1], "{said}");
    }

    #[test]
    fn what_is_observed_counts_from_when_it_was_observed() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let observed = order.clone();
        let observe = move || {
            observed.lock().unwrap().push("observed");
            Ok(DockerNat::default().into())
        };
        let mut watch = Watch::new(Box::new(observe), Logger::root(slog::Discard, o!()));
        watch.observe(None, false, || {
            order.lock().unwrap().push("the time was read");
            Duration::ZERO
        });
        assert_eq!(*order.lock().unwrap(), ["observed", "the time was read"]);
    }
}
