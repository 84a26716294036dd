//! Version 1 of a record's body. Frozen: never add or move a field or a variant. What this version
//! cannot express needs a new version beside it.

mod rule;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::rule::Rule;

use crate::journal::record;
use crate::model::boot::BootId;
use crate::model::forward;
use crate::model::rule::{BackendKind, OwnedRule};
use crate::model::text::Untrusted;

/// Names of containers and networks are cut at this many bytes. Docker sets no limit, and a single
/// long name must not make a whole batch unwritable. Only readers need the names; ownership goes by
/// id.
pub(super) const MAX_NAME_BYTES: usize = 255;

#[derive(Serialize, Deserialize)]
pub(super) struct RecordBody {
    state: State,
    inserted_at: u64,
    boot_id: String,
    backend: Backend,
    rule: Rule,
    owners: Vec<Owner>,
}

#[derive(Serialize, Deserialize)]
enum State {
    Intended,
    Applied,
    Removing,
}

#[derive(Serialize, Deserialize)]
enum Backend {
    Ip6tables,
    Nftables,
}

#[derive(Serialize, Deserialize)]
struct Owner {
    container_id: String,
    container_name: String,
    network: String,
}

impl From<&record::Record> for RecordBody {
    fn from(record: &record::Record) -> Self {
        let OwnedRule { rule, owners } = &record.owned;
        Self {
            state: match record.state {
                record::State::Intended => State::Intended,
                record::State::Applied => State::Applied,
                record::State::Removing => State::Removing,
            },
            inserted_at: record.inserted_at,
            boot_id: record.boot_id.as_str().to_owned(),
            backend: match rule.backend {
                BackendKind::Ip6tables => Backend::Ip6tables,
                BackendKind::Nftables => Backend::Nftables,
            },
            rule: Rule::from(&rule.spec),
            owners: owners
                .iter()
                .map(|owner| Owner {
                    container_id: owner.container_id.clone(),
                    container_name: cut(&owner.container_name),
                    network: cut(&owner.network),
                })
                .collect(),
        }
    }
}

fn cut(name: &Untrusted) -> String {
    let name = name.raw();
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

impl TryFrom<RecordBody> for record::Record {
    /// What is wrong with the body.
    type Error = String;

    fn try_from(body: RecordBody) -> Result<Self, String> {
        let backend = match body.backend {
            Backend::Ip6tables => BackendKind::Ip6tables,
            Backend::Nftables => BackendKind::Nftables,
        };
        let owners: BTreeSet<forward::Owner> = body
            .owners
            .into_iter()
            .map(|owner| forward::Owner {
                container_id: owner.container_id,
                container_name: Untrusted::new(owner.container_name),
                network: Untrusted::new(owner.network),
            })
            .collect();
        Ok(Self {
            owned: OwnedRule {
                rule: crate::model::rule::Rule {
                    backend,
                    spec: body.rule.try_into()?,
                },
                owners,
            },
            state: match body.state {
                State::Intended => record::State::Intended,
                State::Applied => record::State::Applied,
                State::Removing => record::State::Removing,
            },
            inserted_at: body.inserted_at,
            boot_id: BootId::new(body.boot_id),
        })
    }
}
