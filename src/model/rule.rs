//! What we put into the kernel: one text per rule, and what others need to know of it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Deref;
use std::sync::Arc;

use ipnet::Ipv6Net;

use super::device::Device;
use super::forward::{Forward, Owner, Proto};
pub use super::identity::{COMMENT_PREFIX, RuleId};
use super::shared::Shared;

/// Which program's rules they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendKind {
    /// Rules in the tables of ip6tables.
    Ip6tables,
    /// Elements of our own nftables table.
    Nftables,
}

impl BackendKind {
    /// The name used on the command line, in the journal and in `dump`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip6tables => "ip6tables",
            Self::Nftables => "nftables",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One rule, or one element of a set. Rules are ordered as they are inserted; removal goes the
/// other way. Clones share their content: tens of thousands of rules are held in several places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule(Arc<RuleContent>);

/// What a rule is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleContent {
    /// What is known of it without reading its text.
    pub facts: RuleFacts,
    /// Its text in the normal form of its backend, without the comment. Equal rules have equal
    /// texts. Empty only in a record of journal version 1, which had none.
    pub text: Box<str>,
    /// Where it lives.
    pub backend: BackendKind,
    id: RuleId,
    /// Whether the identity is that of the text.
    is_named_by_text: bool,
}

impl Deref for Rule {
    type Target = RuleContent;

    fn deref(&self) -> &RuleContent {
        &self.0
    }
}

/// What the reconciler and readers of `dump` need to know of a rule. It stands in the journal beside
/// the text, so that a rule can be removed by a daemon that would write it in another way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleFacts {
    /// Its place in the order of insertion: the filter before what it guards, DNAT rules last.
    pub rank: u8,
    /// The name of its kind, as `dump` shows it.
    pub kind: Name,
    /// What distinguishes it from others of its kind; empty where nothing does.
    pub purpose: Name,
    /// What it follows from.
    pub basis: Basis,
    /// Egress interface; `None` where it is for all of them.
    pub dev: Option<Device>,
    /// The containers' prefix. Of a DNAT rule: that of the containers that it serves.
    pub prefix: Option<Ipv6Net>,
    /// The published port.
    pub port: Option<HostPort>,
    /// Source addresses that alone are meant.
    pub source: Option<Ipv6Net>,
    /// Where a DNAT rule leads to.
    pub target: Option<ContainerPort>,
}

/// A word of the backend that made the rule, or of a journal.
pub(crate) type Name = Cow<'static, str>;

/// What a rule follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// The settings alone: a static rule.
    Settings,
    /// All forwards together, however many there are. It has no owner: their number has no bound,
    /// and a record has.
    Forwards,
    /// Single forwards, whose containers own it.
    Forward,
}

/// A port on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Transport protocol.
    pub proto: Proto,
    /// The host's address; `None` for any local address.
    pub addr: Option<Ipv6Addr>,
    /// Its number, never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            Some(addr) => write!(f, "[{addr}]:{}/{}", self.port, self.proto),
            None => write!(f, "{}/{}", self.port, self.proto),
        }
    }
}

impl HostPort {
    /// The port that a forward is for.
    pub fn of(forward: &Forward) -> Self {
        Self {
            proto: forward.proto,
            addr: forward.host_addr,
            port: forward.host_port,
        }
    }
}

/// A container's address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPort {
    /// The container's address.
    pub addr: Ipv6Addr,
    /// The container's port, never 0.
    pub port: u16,
}

impl ContainerPort {
    /// Where a forward leads to.
    pub fn of(forward: &Forward) -> Self {
        Self {
            addr: forward.container_addr,
            port: forward.container_port,
        }
    }
}

/// The place that a rule takes: its kind, and what it matches. Two rules of one backend with the same
/// key contradict each other, and the newer one replaces the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RuleKey<'f> {
    kind: &'f str,
    purpose: &'f str,
    dev: Option<&'f Device>,
    prefix: Option<Ipv6Net>,
    port: Option<HostPort>,
    source: Option<Ipv6Net>,
}

impl RuleFacts {
    /// See [`RuleKey`].
    pub(crate) fn key(&self) -> RuleKey<'_> {
        RuleKey {
            kind: &self.kind,
            purpose: &self.purpose,
            dev: self.dev.as_ref(),
            prefix: self.prefix,
            port: self.port,
            source: self.source,
        }
    }
}

impl Rule {
    /// A rule of this text.
    pub fn new(backend: BackendKind, text: impl Into<Box<str>>, facts: RuleFacts) -> Self {
        let text = text.into();
        Self(Arc::new(RuleContent {
            id: RuleId::of(backend.as_str(), &text),
            facts,
            text,
            backend,
            is_named_by_text: true,
        }))
    }

    /// A rule that was inserted under this identity, by an earlier release perhaps, whose
    /// identities and texts were others.
    pub fn recorded(id: RuleId, backend: BackendKind, text: Box<str>, facts: RuleFacts) -> Self {
        Self(Arc::new(RuleContent {
            is_named_by_text: id == RuleId::of(backend.as_str(), &text),
            facts,
            text,
            backend,
            id,
        }))
    }

    /// The identity in its comment.
    pub fn id(&self) -> RuleId {
        self.id
    }

    /// Whether its identity is that of its text; that of a rule of an earlier release may not be.
    pub(crate) fn is_named_by_text(&self) -> bool {
        self.is_named_by_text
    }

    /// Whether the rule follows from the settings alone, and not from what Docker says.
    pub(crate) fn is_static(&self) -> bool {
        self.facts.basis == Basis::Settings
    }

    /// Of a DNAT rule, the port that it publishes and where it leads to.
    pub fn dnat(&self) -> Option<(HostPort, ContainerPort)> {
        Some((self.facts.port?, self.facts.target?))
    }
}

/// A rule and the containers that want it. Static rules have no owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRule {
    /// The kernel content.
    pub rule: Rule,
    /// Who wants it. The rules of a container share this.
    pub owners: Shared<BTreeSet<Owner>>,
}
