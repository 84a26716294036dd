//! Version 2 of a record's body: the rule's text, and its facts. Frozen: never add or move a field. What
//! this version cannot express needs a new version beside it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::parts::{Backend, HostPort, Owner, Prefix, RecordedState, device, nonzero};
use crate::backend::kinds;
use crate::journal::record::Record;
use crate::model::boot::BootId;
use crate::model::forward;
use crate::model::rule::{BackendKind, Basis, ContainerPort, OwnedRule, Rule, RuleFacts, RuleId};

#[derive(Serialize, Deserialize)]
pub(super) struct RecordV2<'a> {
    state: RecordedState,
    inserted_at: u64,
    boot_id: Cow<'a, str>,
    backend: Backend,
    /// Empty for a rule that was inserted under an identity of version 1.
    text: Cow<'a, str>,
    rank: u8,
    kind: Cow<'a, str>,
    purpose: Cow<'a, str>,
    basis: RecordedBasis,
    dev: Option<Cow<'a, str>>,
    prefix: Option<Prefix>,
    port: Option<HostPort>,
    source: Option<Prefix>,
    target: Option<([u8; 16], u16)>,
    owners: Vec<Owner<'a>>,
}

#[derive(Serialize, Deserialize)]
enum RecordedBasis {
    Settings,
    Forwards,
    Forward,
}

impl<'a> From<&'a Record> for RecordV2<'a> {
    fn from(record: &'a Record) -> Self {
        let OwnedRule { rule, owners } = &record.owned;
        let facts = &rule.facts;
        Self {
            state: record.state.into(),
            inserted_at: record.inserted_at,
            boot_id: record.boot_id.as_str().into(),
            backend: rule.backend.into(),
            text: match rule.is_named_by_text() {
                true => (&*rule.text).into(),
                false => "".into(),
            },
            rank: facts.rank,
            kind: (&*facts.kind).into(),
            purpose: (&*facts.purpose).into(),
            basis: match facts.basis {
                Basis::Settings => RecordedBasis::Settings,
                Basis::Forwards => RecordedBasis::Forwards,
                Basis::Forward => RecordedBasis::Forward,
            },
            dev: facts.dev.as_ref().map(|dev| dev.as_str().into()),
            prefix: facts.prefix.map(Into::into),
            port: facts.port.map(Into::into),
            source: facts.source.map(Into::into),
            target: facts.target.map(|to| (to.addr.octets(), to.port)),
            owners: owners.iter().map(Owner::from).collect(),
        }
    }
}

impl RecordV2<'_> {
    /// The identity that the text has; `None` without a text.
    pub(super) fn id(&self) -> Option<RuleId> {
        let backend = BackendKind::from(self.backend);
        (!self.text.is_empty()).then(|| RuleId::of(backend.as_str(), &self.text))
    }

    /// The record under this key.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub(super) fn record(self, key: RuleId) -> Result<Record, String> {
        let images = vec![Cow::Borrowed(""); self.owners.len()];
        self.record_of_images(key, images)
    }

    /// The record under this key, whose owners have these images.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub(super) fn record_of_images(
        self,
        key: RuleId,
        images: Vec<Cow<'_, str>>,
    ) -> Result<Record, String> {
        let (owners, count) = (self.owners.len(), images.len());
        if owners != count {
            return Err(format!("{owners} owners have {count} images"));
        }
        if let Some(id) = self.id().filter(|id| *id != key) {
            return Err(format!("the record of rule {id} stands under another key"));
        }
        let net = |prefix: Option<Prefix>| prefix.map(TryInto::try_into).transpose();
        let target = |(addr, port): ([u8; 16], u16)| {
            let (addr, port) = (addr.into(), nonzero(port)?);
            Ok::<_, String>(ContainerPort { addr, port })
        };
        let facts = RuleFacts {
            rank: self.rank,
            kind: kinds::name(self.kind.into_owned()),
            purpose: kinds::name(self.purpose.into_owned()),
            basis: match self.basis {
                RecordedBasis::Settings => Basis::Settings,
                RecordedBasis::Forwards => Basis::Forwards,
                RecordedBasis::Forward => Basis::Forward,
            },
            dev: self.dev.as_deref().map(device).transpose()?,
            prefix: net(self.prefix)?,
            port: self.port.map(TryInto::try_into).transpose()?,
            source: net(self.source)?,
            target: self.target.map(target).transpose()?,
        };
        Ok(Record {
            owned: OwnedRule {
                rule: Rule::recorded(
                    key,
                    self.backend.into(),
                    self.text.into_owned().into(),
                    facts,
                ),
                owners: self
                    .owners
                    .into_iter()
                    .zip(images)
                    .map(|(owner, image)| forward::Owner::from(owner).of_image(&*image))
                    .collect::<BTreeSet<_>>()
                    .into(),
            },
            state: self.state.into(),
            inserted_at: self.inserted_at,
            boot_id: BootId::new(&*self.boot_id),
        })
    }
}
