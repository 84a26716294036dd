//! One journal record as `dump` shows it: the stable shape of a record outside the journal.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use crate::journal::record::Record;
use crate::mapper::skipped::Skipped;
use crate::model::forward::Owner;

/// Version of the shape.
const VERSION: u32 = 1;

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
    /// The containers' prefix. For a DNAT rule that serves only requests from containers, the
    /// prefix of those; null for every other DNAT rule.
    pub prefix: Option<String>,
    /// For DNAT rules of limited sources: one of these.
    pub source: Option<String>,
    /// When the daemon recorded the intent, in seconds since the epoch.
    pub inserted_at: u64,
    /// In which boot; null where that is unknown.
    pub boot_id: Option<String>,
    /// Why nothing is open, in a row of kind `skipped`; null for rules.
    pub reason: Option<String>,
}

impl Row {
    /// The row of a container with malformed labels. It has no rule, and a reader of `dump` should
    /// see why.
    pub fn of_skipped(skipped: &Skipped) -> Self {
        Self {
            v: VERSION,
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
        let owned = |owner: &Owner| Self {
            container_id: Some(owner.container_id.clone()),
            container_name: Some(owner.container_name.raw().to_owned()),
            network: Some(owner.network.raw().to_owned()),
            ..bare.clone()
        };
        owners.iter().map(owned).collect()
    }

    fn without_owner(record: &Record) -> Self {
        let rule = &record.owned.rule;
        let facts = &rule.facts;
        let boot_id = record.boot_id.as_str();
        Self {
            v: VERSION,
            id: record.id().to_string(),
            state: record.state.as_str().to_owned(),
            kind: facts.kind.to_string(),
            backend: rule.backend.to_string(),
            proto: facts.port.map(|port| port.proto.to_string()),
            host_addr: facts.port.and_then(|port| port.addr),
            host_port: facts.port.map(|port| port.port),
            container_addr: facts.target.map(|target| target.addr),
            container_port: facts.target.map(|target| target.port),
            dev: facts.dev.as_ref().map(ToString::to_string),
            prefix: facts.prefix.map(|net| net.to_string()),
            source: facts.source.map(|net| net.to_string()),
            inserted_at: record.inserted_at,
            boot_id: (!boot_id.is_empty()).then(|| boot_id.to_owned()),
            ..Self::default()
        }
    }
}
