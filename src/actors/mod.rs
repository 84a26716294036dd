//! The four actors. Data flows one way:
//!
//! ```text
//!   EventWatcher ──SnapshotTaken──▶ PortMapper ──Converge──▶ FirewallWriter ──Intend…──▶ Journal
//!      (async)                        (async)                (own thread)              (own thread)
//! ```
//!
//! The writer and the journal block (tools, disk), so each has a thread of its own, in which
//! messages are handled strictly one after the other. An actor that panics ends the process
//! (see [`crate::sys::panics`]), and so does an actor that stops by itself ([`abort`]).

pub(crate) mod event_watcher;
pub(crate) mod firewall_writer;
pub mod journal;
pub(crate) mod messages;
pub(crate) mod port_mapper;
pub(crate) mod watchdog;

use std::sync::{Mutex, PoisonError};

use actix::{Actor, Addr, SyncArbiter, SyncContext};

/// Ends the process at once: a dead actor is a dead daemon, and recovery is the normal start.
pub(crate) fn abort(log: &slog::Logger, what: &str) -> ! {
    crate::sys::panics::end(crate::sys::panics::EXIT_BUG, || {
        slog::crit!(log, "stopping at once: {what}");
    })
}

/// Logs the troubles of a round.
pub(crate) fn log_troubles(log: &slog::Logger, report: &crate::reconcile::Report) {
    for trouble in &report.troubles {
        slog::error!(log, "degraded: {}", crate::sys::causes::chain(trouble));
    }
}

/// Starts a blocking actor in a thread of its own. Actix starts it again when it stops, which ends the
/// process with the sentence `gone`.
pub(crate) fn start_once<A>(gone: &'static str, actor: A, log: &slog::Logger) -> Addr<A>
where
    A: Actor<Context = SyncContext<A>> + Send,
{
    let actor = Mutex::new(Some(actor));
    let log = log.clone();
    SyncArbiter::start(1, move || {
        let taken = actor.lock().unwrap_or_else(PoisonError::into_inner).take();
        match taken {
            Some(actor) => actor,
            None => abort(&log, gone),
        }
    })
}
