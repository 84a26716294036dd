//! Leaving: what becomes of the rules.

use std::time::{Duration, Instant};

use actix::Addr;
use slog::{Logger, info, warn};

use crate::actors::firewall_writer::FirewallWriter;
use crate::actors::messages::{Leave, RemoveAll};
use crate::actors::{abort, log_troubles};
use crate::sys::causes::chain;
use crate::sys::panics::end;

/// Exit code of a daemon that was asked twice to leave, and left its rules in place.
const EXIT_IMPATIENT: i32 = 1;

/// How long a leaving daemon goes on trying to remove its rules. Supervisors kill after 90 s, and
/// one attempt may last until the deadline of a tool that hangs.
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);

/// Pause between two such attempts.
const LEAVE_RETRY: Duration = Duration::from_millis(250);

/// What a daemon has left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Every rule is gone, or stays as the user asked.
    Clean,
    /// Some rules may still be there; the log says why.
    RulesLeft,
    /// The rules are as the user asked, but the journal does not match; the log says why.
    JournalBehind,
}

/// Leaves every rule in place, if possible in a form that does not depend on a running daemon.
pub(super) async fn keep_rules(writer: &Addr<FirewallWriter>, log: &Logger) -> Left {
    match writer.send(Leave).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => warn!(log, "the rules stay as they were"; "reason" => chain(&e)),
        Err(_) => abort(log, "the firewall writer is gone"),
    }
    Left::Clean
}

/// Removes every rule. Tries again for a while, because another process may hold the tables.
pub(super) async fn remove_rules(writer: &Addr<FirewallWriter>, log: &Logger) -> Left {
    let deadline = Instant::now() + LEAVE_PATIENCE;
    loop {
        let Ok(report) = writer.send(RemoveAll).await else {
            abort(log, "the firewall writer is gone");
        };
        if report.is_converged() {
            info!(log, "every rule of ours is gone");
            return Left::Clean;
        }
        if Instant::now() >= deadline {
            log_troubles(log, &report);
            if !report.is_kernel_settled() {
                return Left::RulesLeft;
            }
            info!(log, "every rule of ours is gone");
            return Left::JournalBehind;
        }
        tokio::time::sleep(LEAVE_RETRY).await;
    }
}

/// Ends the process on a second request to leave.
pub(super) fn leave_at_once(log: &Logger) -> ! {
    end(EXIT_IMPATIENT, || {
        warn!(
            log,
            "asked twice to leave: leaving at once, the rules stay as they are"
        );
    })
}
