//! Version 1 of a record's body. Frozen: fields and variants are neither added nor moved; what
//! it cannot express goes into a new version beside it.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::journal::record::{self, BootId};
use crate::model::forward::{self, Proto};
use crate::model::rule::{self, BackendKind, Dnat, DnatKey, OwnedRule, RuleSpec};
use crate::model::text::Untrusted;

/// Longest name of a container or network that is kept, in bytes; the rest is cut. Docker sets
/// no limit, and a single long name must not make a whole batch unwritable. Names serve the
/// reader only, the id decides.
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
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Serialize, Deserialize)]
enum Rule {
    Masquerade {
        dev: String,
        prefix: [u8; 16],
        prefix_len: u8,
    },
    Dnat {
        dev: String,
        proto: Protocol,
        host_addr: Option<[u8; 16]>,
        host_port: u16,
        target: [u8; 16],
        target_port: u16,
    },
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
            rule: match &rule.spec {
                RuleSpec::Masquerade { dev, prefix } => Rule::Masquerade {
                    dev: dev.as_str().to_owned(),
                    prefix: prefix.addr().octets(),
                    prefix_len: prefix.prefix_len(),
                },
                RuleSpec::Dnat(dnat) => Rule::Dnat {
                    dev: dnat.key.dev.as_str().to_owned(),
                    proto: match dnat.key.proto {
                        Proto::Tcp => Protocol::Tcp,
                        Proto::Udp => Protocol::Udp,
                        Proto::Sctp => Protocol::Sctp,
                    },
                    host_addr: dnat.key.host_addr.map(|addr| addr.octets()),
                    host_port: dnat.key.host_port,
                    target: dnat.target.octets(),
                    target_port: dnat.target_port,
                },
            },
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
                rule: rule::Rule {
                    backend,
                    spec: spec(body.rule)?,
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

fn spec(rule: Rule) -> Result<RuleSpec, String> {
    let device = |name: String| {
        name.parse()
            .map_err(|error| format!("device {name:?}: {error}"))
    };
    let port = |port: u16| match port {
        0 => Err("a port is 0".to_owned()),
        port => Ok(port),
    };
    Ok(match rule {
        Rule::Masquerade {
            dev,
            prefix,
            prefix_len,
        } => RuleSpec::Masquerade {
            dev: device(dev)?,
            prefix: Ipv6Net::new(prefix.into(), prefix_len)
                .map_err(|_| format!("a prefix has a length of {prefix_len}"))?,
        },
        Rule::Dnat {
            dev,
            proto,
            host_addr,
            host_port,
            target,
            target_port,
        } => RuleSpec::Dnat(Dnat {
            key: DnatKey {
                dev: device(dev)?,
                proto: match proto {
                    Protocol::Tcp => Proto::Tcp,
                    Protocol::Udp => Proto::Udp,
                    Protocol::Sctp => Proto::Sctp,
                },
                host_addr: host_addr.map(Ipv6Addr::from),
                host_port: port(host_port)?,
            },
            target: target.into(),
            target_port: port(target_port)?,
        }),
    })
}
