//! Requests and answers, and the stable shape of a journal record outside the journal.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::status::Status;
use crate::journal::record::Record;
use crate::mapper::skipped::Skipped;
use crate::model::element::Element;
use crate::model::rule::{Dnat, RuleSpec, Via};

/// Version of the protocol and of the JSON shapes.
pub const VERSION: u32 = 1;

/// Longest request, in bytes. The known ones have fewer than 40.
pub const MAX_REQUEST: u64 = 1024;

/// Longest answer that a client reads, in bytes: some 500,000 rules at 1 KiB each.
pub const MAX_ANSWER: u64 = 512 * 1024 * 1024;

/// What a client asks: `{"ask":"dump"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Request {
    /// The journal's records.
    Dump,
    /// What the daemon is doing.
    Status,
}

impl Request {
    /// Reads a line; `None` where it says anything less, or more, or something else. (What serde
    /// derives for such an enum takes lists, and fields that it does not know.)
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let line: Value = serde_json::from_slice(line).ok()?;
        let mut known = [Self::Dump, Self::Status].into_iter();
        known.find(|request| json!(request) == line)
    }
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To [`Request::Dump`].
    Dump(Vec<Row>),
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// The request could not be served, and why.
    Error(String),
}

/// One journal record as `dump --json` prints it. A rule with several owners gives one row per
/// owner, so that every row has one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Version of this shape.
    pub v: u32,
    /// The rule's identity.
    pub id: String,
    /// `intended`, `applied` or `removing`; `closed` for a container that has no rule.
    pub state: String,
    /// `dnat`, `masquerade`, `snat`, `hairpin`, `guard`, `refuse` or `jump`; with nftables
    /// `egress`, `prefix` and `guarded` instead of `masquerade`, `guard` and `jump`; `skipped`
    /// for a container that has no rule.
    pub kind: String,
    /// `ip6tables` or `nftables`.
    pub backend: String,
    /// `tcp`, `udp`, `sctp`; null for static rules.
    pub proto: Option<String>,
    /// Specific local address; null for any.
    pub host_addr: Option<Ipv6Addr>,
    /// Published port.
    pub host_port: Option<u16>,
    /// The container's address.
    pub container_addr: Option<Ipv6Addr>,
    /// The container's port.
    pub container_port: Option<u16>,
    /// The container's full id; null where no container is known.
    pub container_id: Option<String>,
    /// The container's name, as Docker gave it.
    pub container_name: Option<String>,
    /// The Docker network, as Docker gave it.
    pub network: Option<String>,
    /// Egress interface; null where the rule is for all of them.
    pub dev: Option<String>,
    /// The containers' prefix; for DNAT rules that of the containers they serve, null for all
    /// others.
    pub prefix: Option<String>,
    /// For DNAT rules of limited sources: one of these.
    pub source: Option<String>,
    /// When the intent was recorded, seconds since the epoch.
    pub inserted_at: u64,
    /// In which boot; null where nobody knows.
    pub boot_id: Option<String>,
    /// Why nothing is open, in a row of kind `skipped`; null for rules.
    pub reason: Option<String>,
}

impl Row {
    /// The row of a container whose labels cannot be understood: it has no rule, and the reader
    /// of `dump` should know why.
    pub fn of_skipped(skipped: &Skipped) -> Self {
        Self {
            v: VERSION,
            id: String::new(),
            state: "closed".to_owned(),
            kind: "skipped".to_owned(),
            container_id: Some(skipped.container_id.clone()),
            container_name: Some(skipped.container_name.raw().to_owned()),
            reason: Some(skipped.reason.to_string()),
            ..Self::default()
        }
    }

    /// The rows of one record.
    pub fn of(record: &Record) -> Vec<Self> {
        let bare = Self::without_owner(record);
        let owners = &record.owned.owners;
        if owners.is_empty() {
            return vec![bare];
        }
        let owned = |owner: &crate::model::forward::Owner| Self {
            container_id: Some(owner.container_id.clone()),
            container_name: Some(owner.container_name.raw().to_owned()),
            network: Some(owner.network.raw().to_owned()),
            ..bare.clone()
        };
        owners.iter().map(owned).collect()
    }

    fn without_owner(record: &Record) -> Self {
        let rule = &record.owned.rule;
        let boot_id = record.boot_id.as_str();
        let row = Self {
            v: VERSION,
            id: record.id().to_string(),
            state: record.state.as_str().to_owned(),
            kind: rule.spec.kind().to_owned(),
            backend: rule.backend.to_string(),
            inserted_at: record.inserted_at,
            boot_id: (!boot_id.is_empty()).then(|| boot_id.to_owned()),
            ..Self::default()
        };
        match &rule.spec {
            RuleSpec::Jump(_) => row,
            RuleSpec::Element(element) => row.with(element),
            RuleSpec::Guard { dev, prefix, .. }
            | RuleSpec::Snat { dev, prefix, .. }
            | RuleSpec::Masquerade { dev, prefix } => Self {
                dev: Some(dev.to_string()),
                prefix: Some(prefix.to_string()),
                ..row
            },
            RuleSpec::HairpinGuard { from, to } => Self {
                prefix: Some(to.to_string()),
                source: Some(from.to_string()),
                ..row
            },
            RuleSpec::HairpinMasquerade { prefix } => Self {
                prefix: Some(prefix.to_string()),
                ..row
            },
            RuleSpec::Refuse(at) => Self {
                proto: Some(at.proto.to_string()),
                host_addr: at.host_addr,
                host_port: Some(at.host_port),
                dev: Some(at.dev.to_string()),
                ..row
            },
            RuleSpec::Dnat(Dnat {
                key,
                target,
                target_port,
                spares_link_local: _,
            }) => Self {
                proto: Some(key.proto.to_string()),
                host_addr: key.host_addr,
                host_port: Some(key.host_port),
                container_addr: Some(*target),
                container_port: Some(*target_port),
                dev: match &key.via {
                    Via::Egress(dev) => Some(dev.to_string()),
                    Via::Host | Via::Containers(_) | Via::Outside | Via::Inside => None,
                },
                prefix: match &key.via {
                    Via::Containers(prefix) => Some(prefix.to_string()),
                    Via::Egress(_) | Via::Host | Via::Outside | Via::Inside => None,
                },
                source: key.source.map(|net| net.to_string()),
                ..row
            },
        }
    }

    fn with(self, element: &Element) -> Self {
        match element {
            Element::Egress(dev) => Self {
                dev: Some(dev.to_string()),
                ..self
            },
            Element::Prefix(prefix) | Element::Guarded(prefix) | Element::Source { prefix, .. } => {
                Self {
                    prefix: Some(prefix.to_string()),
                    ..self
                }
            }
            Element::Refused {
                proto,
                host_addr,
                host_port,
            } => Self {
                proto: Some(proto.to_string()),
                host_addr: *host_addr,
                host_port: Some(*host_port),
                ..self
            },
        }
    }
}
