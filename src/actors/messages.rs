//! All messages between actors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Message;
use ipnet::Ipv6Net;

use crate::backend::BackendError;
use crate::control::history::HistoryPage;
use crate::control::protocol::{Answer, Request};
use crate::control::server::Page;
use crate::docker_nat::gate::StandbyState;
use crate::docker_nat::watch::Observation;
use crate::journal::JournalError;
use crate::journal::history::cause::Cause;
use crate::journal::record::Record;
use crate::mapper::remaining::Remaining;
use crate::model::conditions::ForeignRules;
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::intent::Intent;
use crate::model::published::Published;
use crate::model::rule::RuleId;
use crate::netlink::watch::Watched;
use crate::reconcile::Report;
use crate::sys::causes::chain;

/// Event watcher → port mapper: what Docker says now.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct SnapshotTaken {
    /// It.
    pub snapshot: Arc<Snapshot>,
    /// When the first of the events behind it was read; `None` without an event.
    pub event_at: Option<Instant>,
    /// When the last list was asked for that is in it; `None` before the first.
    pub listed_at: Option<Instant>,
}

/// Daemon → event watcher and port mapper: list everything again and make it match.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Resync {
    /// When this was asked for.
    pub asked_at: Instant,
}

/// Daemon → port mapper: the same, and answer once everything is compared and in step.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Resynced, String>")]
pub(crate) struct Reload {
    /// When this was asked for.
    pub asked_at: Instant,
}

/// What a resync has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Resynced {
    /// Rules inserted.
    pub inserted: usize,
    /// Rules removed.
    pub removed: usize,
    /// Of them, those that another program had changed.
    pub repaired: usize,
}

/// Port mapper → itself: the host's routes or rules have changed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct HostChanged(pub Watched);

/// Daemon → event watcher and port mapper: no more changes; the daemon is leaving.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

/// Daemon → firewall writer: start from what an earlier run left.
#[derive(Debug, Message)]
#[rtype(result = "Report")]
pub(crate) struct Recover {
    /// The journal's records.
    pub records: Vec<Record>,
    /// Records of a damaged journal. They give the owners of the rules found in the kernel.
    pub salvaged: Vec<Record>,
}

/// Port mapper → firewall writer: make the kernel match.
#[derive(Debug, Message)]
#[rtype(result = "Round")]
pub(crate) struct Converge {
    /// The ports to open while Docker's own NAT is off.
    pub intent: Arc<Intent>,
    /// What Docker's own NAT is compared with; `None` before it is known.
    pub published: Option<Arc<Published>>,
    /// What Docker still shows of containers whose ports are closed.
    pub remaining: Arc<Remaining>,
    /// Whether to list the kernel first, even if its content is believed to be known.
    pub verify: bool,
    /// When the first of the events behind it was read; `None` without an event.
    pub event_at: Option<Instant>,
}

/// Firewall writer → port mapper: what became of [`Converge`].
#[derive(Debug)]
pub(crate) struct Round {
    /// What was done to the kernel.
    pub report: Report,
    /// What Docker's own NAT does; `None` if the daemon does not observe it, or the kernel's rules
    /// could not be listed.
    pub docker_nat: Option<Arc<Observation>>,
}

impl Round {
    /// Why the kernel does not match, or may not.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let failure = self.docker_nat.iter().filter_map(|it| it.failure.as_ref());
        let troubles = self.report.troubles.iter().map(chain);
        troubles.chain(failure.map(chain)).collect()
    }

    /// Whether everything is as desired in the backend in use; another backend may still hold old rules.
    pub(crate) fn is_in_step(&self) -> bool {
        self.is_settled() && self.report.is_in_step()
    }

    /// The same, or connections could not be cut, which a later round tries again.
    pub(crate) fn has_the_rules(&self) -> bool {
        self.is_settled() && self.report.has_the_rules()
    }

    fn is_settled(&self) -> bool {
        let mut observations = self.docker_nat.iter();
        observations.all(|it| it.failure.is_none() && it.state != StandbyState::Unsettled)
    }
}

/// Port mapper → firewall writer: find what the rules of other programs do to the packets that we
/// forward. The answer is `None` if that is not known now.
#[derive(Debug, Message)]
#[rtype(result = "Option<ForeignRules>")]
pub(crate) struct FindForeign {
    /// Where the packets come in.
    pub devices: Vec<Device>,
    /// Where they go.
    pub prefixes: Vec<Ipv6Net>,
}

/// Daemon → firewall writer: remove every rule, without regard to Docker's own NAT; the daemon is
/// leaving.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Report")]
pub(crate) struct RemoveAll;

/// Watchdog → every actor: an actor that handles messages is alive.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Ping;

/// Daemon → firewall writer: the rules stay while no daemon runs.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), BackendError>")]
pub(crate) struct Leave;

/// Firewall writer → journal: see [`crate::journal::Journal::intend`]. Of many records there are several
/// such messages.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), JournalError>")]
pub(crate) struct Intend {
    /// The records.
    pub records: Vec<Record>,
    /// Whether they are the last of a call, which survives a power cut once this is answered.
    pub is_last: bool,
    /// What the writer is doing.
    pub cause: Cause,
}

/// The next step of records, and what the writer is doing: by the time the journal takes the message it
/// may be doing something else.
#[derive(Debug)]
pub(crate) struct StateChange {
    /// The rules of the records.
    pub ids: Vec<RuleId>,
    /// For the history.
    pub cause: Cause,
}

/// Firewall writer → journal: see [`crate::journal::Journal::commit`].
#[derive(Debug, Message)]
#[rtype(result = "Result<(), JournalError>")]
pub(crate) struct Commit(pub StateChange);

/// Firewall writer → journal: see [`crate::journal::Journal::removing`].
#[derive(Debug, Message)]
#[rtype(result = "Result<(), JournalError>")]
pub(crate) struct Removing(pub StateChange);

/// Firewall writer → journal: see [`crate::journal::Journal::forget`].
#[derive(Debug, Message)]
#[rtype(result = "Result<(), JournalError>")]
pub(crate) struct Forget(pub StateChange);

/// Control server → journal: the next records, in the order of their ids. The last page also lists
/// the ports that malformed labels close.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Page, JournalError>")]
pub(crate) struct Dump {
    /// The rule after which the page begins; `None` for the first page.
    pub after: Option<RuleId>,
}

/// Control server → journal: the next entries of the history.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<HistoryPage, JournalError>")]
pub(crate) struct ReadHistory {
    /// The number of the entry behind which the page begins; 0 for the first page.
    pub after: u64,
}

/// Daemon → firewall writer: a request whose answer needs a listing of the kernel. The error is in
/// words.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Answer, String>")]
pub(crate) struct Work(pub Request);

/// Daemon → firewall writer: read the counters of the rules that forward, for monitoring. The answer is
/// how long that took; the error is in words.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Duration, String>")]
pub(crate) struct CountConnections;

/// Daemon → journal: write everything out. No message follows.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), JournalError>")]
pub(crate) struct Close;
