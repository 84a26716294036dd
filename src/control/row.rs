//! One journal record as `dump` shows it: the stable shape of a record outside the journal.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::journal::record::Record;
use crate::mapper::skipped::Skipped;
use crate::model::forward::Owner;
use crate::model::rule::{BackendKind, OwnedRule, Rule};

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
    /// `dnat`, `masquerade`, `snat`, `hairpin`, `hairpin-guard`, `guard`, `refuse` or `jump`; with nftables
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
    /// What distinguishes the rule from others of its kind; null where nothing does.
    #[serde(default)]
    pub purpose: Option<String>,
    /// Where in the firewall it stands: table and chain, or with nftables the set; null where the
    /// record does not say.
    #[serde(default)]
    pub hook: Option<String>,
    /// `inserted_at`; null in a row of kind `skipped`.
    #[serde(default)]
    pub inserted: Option<Moment>,
    /// The container's image, as Docker gave it; null where it is not known.
    #[serde(default)]
    pub image: Option<String>,
}

impl Row {
    /// The row of a container with malformed labels. It has no rule, and a reader of `dump` should
    /// see why.
    pub(crate) fn of_skipped(skipped: &Skipped) -> Self {
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
        let mut owners = record.owned.owners.iter();
        let Some(last) = owners.next_back() else {
            return vec![bare];
        };
        let mut rows: Vec<Self> = owners.map(|owner| bare.clone().owned_by(owner)).collect();
        rows.push(bare.owned_by(last));
        rows
    }

    /// The row of a rule of which there is no record, with its first owner.
    pub(crate) fn of_rule(owned: &OwnedRule) -> Self {
        let bare = Self::without_record(&owned.rule);
        match owned.owners.first() {
            Some(owner) => bare.owned_by(owner),
            None => bare,
        }
    }

    fn without_owner(record: &Record) -> Self {
        let boot_id = record.boot_id.as_str();
        Self {
            state: record.state.as_str().to_owned(),
            inserted_at: record.inserted_at,
            boot_id: (!boot_id.is_empty()).then(|| boot_id.to_owned()),
            inserted: Some(Moment::from_secs(record.inserted_at)),
            ..Self::without_record(&record.owned.rule)
        }
    }

    fn owned_by(self, owner: &Owner) -> Self {
        Self {
            container_id: Some(owner.container_id.clone()),
            container_name: Some(owner.container_name.raw().to_owned()),
            network: Some(owner.network.raw().to_owned()),
            image: (!owner.image.is_empty()).then(|| owner.image.raw().to_owned()),
            ..self
        }
    }

    fn without_record(rule: &Rule) -> Self {
        let facts = &rule.facts;
        Self {
            v: VERSION,
            id: rule.id().to_string(),
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
            purpose: (!facts.purpose.is_empty()).then(|| facts.purpose.to_string()),
            hook: hook(rule.backend, &rule.text),
            ..Self::default()
        }
    }
}

/// The first words of a rule's text: `nat PREROUTING`, or the set `forwards`. A record of journal
/// version 1 has no text.
fn hook(backend: BackendKind, text: &str) -> Option<String> {
    let words = match backend {
        BackendKind::Ip6tables => 2,
        BackendKind::Nftables => 1,
    };
    let words: Vec<&str> = text.split(' ').take(words).collect();
    Some(words.join(" ")).filter(|hook| !hook.is_empty())
}
