//! An entry of the history.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use crate::journal::record::{Record, RecordState};
use crate::model::device::Device;
use crate::model::forward::Owner;
use crate::model::rule::HostPort;
use crate::model::text::Untrusted;

/// Most runs of ports in one entry, which then has about 2 KiB at most; more make further entries.
const MOST_RUNS: usize = 64;

/// Why a forward ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EndReason {
    /// Docker shows its container no longer.
    ContainerEnded,
    /// Its container goes on, and Docker does not publish the port any more.
    Unpublished,
    /// Its container has the port at another address or port of its own.
    Moved,
    /// Another container has the port, or the address.
    TakenOver,
    /// The same is open by another rule: the settings or the sources are others.
    Changed,
    /// Docker's own IPv6 NAT serves.
    DockerNat,
    /// Docker did not confirm it: in time after a start of the daemon, or with an answer that can be
    /// read.
    Unconfirmed,
    /// The daemon left, and took its rules with it.
    DaemonLeft,
    /// The machine was started anew.
    Rebooted,
    /// The daemon was killed while it removed the rule; the next one found it gone.
    DaemonKilled,
    /// The rule was not in the kernel any more when the daemon started, or listed it.
    RuleGone,
    /// Its container goes on, and is not in the network any more.
    LeftNetwork,
    /// Its container goes on, and a label, an option of its network, `--prefix` or the limit of rules
    /// closes the port.
    Setting,
}

impl EndReason {
    /// Every one.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 13] = [
        Self::ContainerEnded,
        Self::Unpublished,
        Self::Moved,
        Self::TakenOver,
        Self::Changed,
        Self::DockerNat,
        Self::Unconfirmed,
        Self::DaemonLeft,
        Self::Rebooted,
        Self::DaemonKilled,
        Self::RuleGone,
        Self::LeftNetwork,
        Self::Setting,
    ];

    /// Its name in `dump --history --json`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ContainerEnded => "container-ended",
            Self::Unpublished => "unpublished",
            Self::Moved => "moved",
            Self::TakenOver => "taken-over",
            Self::Changed => "changed",
            Self::DockerNat => "docker-nat",
            Self::Unconfirmed => "unconfirmed",
            Self::DaemonLeft => "daemon-left",
            Self::Rebooted => "rebooted",
            Self::DaemonKilled => "daemon-killed",
            Self::RuleGone => "rule-gone",
            Self::LeftNetwork => "left-network",
            Self::Setting => "setting",
        }
    }

    /// What it says in a table.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::ContainerEnded => "container ended",
            Self::Unpublished => "unpublished",
            Self::Moved => "moved",
            Self::TakenOver => "taken over",
            Self::Changed => "other settings",
            Self::DockerNat => "Docker's NAT",
            Self::Unconfirmed => "not confirmed",
            Self::DaemonLeft => "daemon left",
            Self::Rebooted => "reboot",
            Self::DaemonKilled => "daemon killed",
            Self::RuleGone => "rule was gone",
            Self::LeftNetwork => "left network",
            Self::Setting => "by a setting",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Neighbouring ports that lead to neighbouring ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortRun {
    /// The first port on the host.
    pub first: HostPort,
    /// The number of the last one.
    pub last: u16,
    /// Where the first one leads to, in the container.
    pub to: u16,
}

/// Ports of one container that were open from the same moment to the same moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closing {
    /// The container; `None` where it was not known.
    pub container: Option<Owner>,
    /// Its address.
    pub addr: Ipv6Addr,
    /// The interface at which the ports were open; `None`: all of them.
    pub dev: Option<Device>,
    /// Who could use them; `None`: everybody.
    pub source: Option<Ipv6Net>,
    /// When they were opened, in seconds since the epoch.
    pub from: u64,
    /// When they were closed, in seconds since the epoch.
    pub to: u64,
    /// Why.
    pub reason: EndReason,
    /// The ports, never empty.
    pub ports: Vec<PortRun>,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HistoryEntry {
    /// Ports were closed.
    Closing(Closing),
    /// Why the ports of an earlier entry were closed: it was found out later.
    Correction {
        /// The number of that entry.
        entry: u64,
        /// Why.
        reason: EndReason,
    },
    /// The entries before this one are lost.
    Loss(Loss),
}

/// Entries that were lost when the journal was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The numbers of the first and the last of them; `None`: how many there were is not known, and their
    /// numbers may be used again.
    pub entries: Option<(u64, u64)>,
    /// When that was found, in seconds since the epoch.
    pub at: u64,
    /// Why they could not be kept.
    pub why: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries {
            None => write!(f, "earlier entries may be lost")?,
            Some((first, last)) if first == last => write!(f, "entry {first} is lost")?,
            Some((first, last)) => write!(f, "entries {first} to {last} are lost")?,
        }
        write!(f, " ({})", Untrusted::new(self.why.as_str()))
    }
}

/// What a rule was for, and why that is over.
pub(crate) struct Ended<'r> {
    /// The rule's record.
    pub(crate) record: &'r Record,
    /// The container that gives it up; `None` where it was not known.
    pub(crate) container: Option<&'r Owner>,
    /// When, in seconds since the epoch.
    pub(crate) at: u64,
    /// Why.
    pub(crate) reason: EndReason,
}

/// Whether a record is of a port that is open to the outside.
pub(crate) fn is_open(record: &Record) -> bool {
    let rule = &record.owned.rule;
    let is_outside = matches!(&*rule.facts.purpose, "" | "outside");
    is_outside && rule.dnat().is_some() && record.state != RecordState::Intended
}

/// What is common to the ports of an entry.
type Common<'r> = (
    Option<&'r Owner>,
    Ipv6Addr,
    Option<&'r Device>,
    Option<Ipv6Net>,
    u64,
    u64,
    EndReason,
);

/// As few entries as possible for what ended.
pub(crate) fn closings<'r>(ended: impl Iterator<Item = Ended<'r>>) -> Vec<Closing> {
    let mut groups: BTreeMap<Common<'r>, Vec<(HostPort, u16)>> = BTreeMap::new();
    for one in ended {
        let rule = &one.record.owned.rule;
        let Some((port, target)) = rule.dnat() else {
            continue;
        };
        let facts = &rule.facts;
        let common = (
            one.container,
            target.addr,
            facts.dev.as_ref(),
            facts.source,
            one.record.inserted_at,
            one.at,
            one.reason,
        );
        groups.entry(common).or_default().push((port, target.port));
    }
    let mut closings = Vec::new();
    for ((container, addr, dev, source, from, to, reason), ports) in groups {
        for ports in runs(ports).chunks(MOST_RUNS) {
            closings.push(Closing {
                container: container.cloned(),
                addr,
                dev: dev.cloned(),
                source,
                from,
                to,
                reason,
                ports: ports.to_vec(),
            });
        }
    }
    closings
}

/// The ports as runs.
fn runs(mut ports: Vec<(HostPort, u16)>) -> Vec<PortRun> {
    ports.sort_unstable();
    let mut runs: Vec<PortRun> = Vec::new();
    for (port, to) in ports {
        let next = runs.last_mut().filter(|run| {
            let is_kin = (run.first.proto, run.first.addr) == (port.proto, port.addr);
            let is_next = run.last.checked_add(1) == Some(port.port);
            is_kin && is_next && to.checked_sub(run.to) == port.port.checked_sub(run.first.port)
        });
        match next {
            Some(run) => run.last = port.port,
            None => runs.push(PortRun {
                first: port,
                last: port.port,
                to,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::{record, records};

    fn applied(record: Record) -> Record {
        let state = RecordState::Applied;
        Record { state, ..record }
    }

    #[test]
    fn neighbouring_ports_of_a_container_make_one_entry() {
        let owner = Owner::new("c1", "web", "bridge");
        let other = Owner::new("c2", "db", "bridge");
        let records: Vec<Record> = records(1..=300).into_iter().map(applied).collect();
        let ended = |record| Ended {
            record,
            container: Some(match record == &records[299] {
                true => &other,
                false => &owner,
            }),
            at: 9,
            reason: EndReason::ContainerEnded,
        };
        // All lead to port 80, so none is a neighbour of another on both sides.
        let made = closings(records.iter().map(ended));
        let runs: Vec<usize> = made.iter().map(|closing| closing.ports.len()).collect();
        assert_eq!(runs, [64, 64, 64, 64, 43, 1]);
        assert_eq!((made[0].from, made[0].to), (records[0].inserted_at, 9));
        let ports = [(80, 80), (81, 81), (82, 9), (84, 84), (85, 85)];
        let port = |port| HostPort {
            port,
            ..records[0].owned.rule.dnat().expect("a port").0
        };
        let runs = super::runs(ports.iter().rev().map(|(p, to)| (port(*p), *to)).collect());
        let run = |first, last, to| PortRun {
            first: port(first),
            last,
            to,
        };
        assert_eq!(runs, [run(80, 81, 80), run(82, 82, 9), run(84, 85, 84)]);
    }

    #[test]
    fn what_was_only_intended_was_never_open() {
        assert!(!is_open(&record(1)));
        assert!(is_open(&applied(record(1))));
    }

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = EndReason::ALL.map(EndReason::as_str).into();
        let words: std::collections::BTreeSet<_> = EndReason::ALL.map(EndReason::words).into();
        assert_eq!((names.len(), words.len()), (13, 13));
    }
}
