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
    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
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

macro_rules! problem_ids {
    ($($(#[$doc:meta])* $id:ident => $name:literal,)*) => {
        /// The kind of a problem. The names are stable, because monitoring counts by them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ProblemId {
            $($(#[$doc])* $id,)*
        }

        impl ProblemId {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$id,)*];

            /// The name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }
        }
    };
}

problem_ids! {
    /// The kernel forwards no IPv6 packets.
    Forwarding => "forwarding",
    /// An egress interface does not exist here.
    NoDevice => "no-device",
    /// IPv6 is off, on an egress interface or in the whole kernel.
    Ipv6Disabled => "ipv6-disabled",
    /// With `--dev auto`: no default route shows the egress interface.
    NoEgress => "no-egress",
    /// No container that publishes a port has an address in a prefix.
    NoPrefixMatch => "no-prefix-match",
    /// Docker's bridges are in another network namespace.
    WrongNetns => "wrong-netns",
    /// An egress interface is a port of a bridge, and no rule for it matches a packet.
    BridgePort => "bridge-port",
    /// A prefix contains the network of an egress interface.
    PrefixOverlap => "prefix-overlap",
    /// A chain of another program drops what we forward, and our rules cannot overrule it.
    ForwardDrop => "forward-drop",
    /// A prefix knows one of a container's networks, and the answers leave by another one, where a
    /// rule drops them.
    PrefixPartial => "prefix-partial",
    /// The Engine, or a proxy before its socket, refuses a request.
    EngineRefuses => "engine-refuses",
    /// Docker's answer about a container is malformed.
    Unreadable => "unreadable",
    /// The backend has no room for a container's rules.
    TooMany => "too-many",
    /// Docker has not answered about a container.
    Unanswered => "unanswered",
    /// Docker's own IPv6 NAT is on and does not serve a port.
    NotServed => "not-served",
    /// A rule that an Engine left behind drops packets that we forward.
    LeftBehind => "left-behind",
    /// The Engine is not reachable.
    Docker => "docker",
    /// The kernel's rules are not as desired.
    Firewall => "firewall",
    /// The journal cannot be written.
    Journal => "journal",
    /// The state directory was moved, replaced or removed.
    StateDir => "state-dir",
    /// A part of the daemon does not answer.
    Watchdog => "watchdog",
    /// The daemon cannot read the host's addresses or settings.
    Host => "host",
    /// Lines of the log are lost.
    Log => "log",
}

impl fmt::Display for ProblemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
