//! Problems that keep packets from getting through, or the daemon from its work: a stable id, a
//! sentence and a remedy.

use std::fmt;

/// A problem, as `status` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub id: ProblemId,
    /// One sentence.
    pub what: String,
    /// What solves it: a command for a shell, or a few words; `None` if that is unknown.
    pub remedy: Option<String>,
}

impl Problem {
    /// A problem without a known remedy.
    pub fn new(id: ProblemId, what: impl Into<String>) -> Self {
        Self {
            id,
            what: what.into(),
            remedy: None,
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.what)
    }
}

/// The kind of a problem. The names are stable, because monitoring counts by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemId {
    /// The kernel forwards no IPv6 packets.
    Forwarding,
    /// An egress interface does not exist here.
    NoDevice,
    /// IPv6 is off, on an egress interface or in the whole kernel.
    Ipv6Disabled,
    /// With `--dev auto`: no default route shows the egress interface.
    NoEgress,
    /// No container that publishes a port has an address in a prefix.
    NoPrefixMatch,
    /// Docker's bridges are in another network namespace.
    WrongNetns,
    /// An egress interface is a port of a bridge, and no rule for it matches a packet.
    BridgePort,
    /// A prefix contains the network of an egress interface.
    PrefixOverlap,
    /// A chain of another program drops what we forward, and our rules cannot overrule it.
    ForwardDrop,
    /// A prefix knows one of a container's networks, and the answers leave by another one, where a
    /// rule drops them.
    PrefixPartial,
    /// The Engine, or a proxy before its socket, refuses a request.
    EngineRefuses,
    /// Docker's answer about a container is malformed.
    Unreadable,
    /// The backend has no room for a container's rules.
    TooMany,
    /// Docker has not answered about a container.
    Unanswered,
    /// Docker's own IPv6 NAT is on and does not serve a port.
    NotServed,
    /// A rule that an Engine left behind drops packets that we forward.
    LeftBehind,
    /// The Engine is not reachable.
    Docker,
    /// The kernel's rules are not as desired.
    Firewall,
    /// The journal cannot be written.
    Journal,
    /// The state directory was moved, replaced or removed.
    StateDir,
    /// A part of the daemon does not answer.
    Watchdog,
    /// The daemon cannot read the host's addresses or settings.
    Host,
    /// Lines of the log are lost.
    Log,
}

impl ProblemId {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwarding => "forwarding",
            Self::NoDevice => "no-device",
            Self::Ipv6Disabled => "ipv6-disabled",
            Self::NoEgress => "no-egress",
            Self::NoPrefixMatch => "no-prefix-match",
            Self::WrongNetns => "wrong-netns",
            Self::BridgePort => "bridge-port",
            Self::PrefixOverlap => "prefix-overlap",
            Self::ForwardDrop => "forward-drop",
            Self::PrefixPartial => "prefix-partial",
            Self::EngineRefuses => "engine-refuses",
            Self::Unreadable => "unreadable",
            Self::TooMany => "too-many",
            Self::Unanswered => "unanswered",
            Self::NotServed => "not-served",
            Self::LeftBehind => "left-behind",
            Self::Docker => "docker",
            Self::Firewall => "firewall",
            Self::Journal => "journal",
            Self::StateDir => "state-dir",
            Self::Watchdog => "watchdog",
            Self::Host => "host",
            Self::Log => "log",
        }
    }
}

impl fmt::Display for ProblemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
