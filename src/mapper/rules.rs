//! From forwards to the rules that a backend should hold.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv6Net;

use crate::model::change::{Desired, Forwards};
use crate::model::device::Device;
use crate::model::forward::Forward;
use crate::model::rule::{BackendKind, Dnat, DnatKey, OwnedRule, Rule, RuleId, RuleSpec};

/// What the rules hang on, besides the forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Whose rules they are.
    pub backend: BackendKind,
    /// Egress interfaces.
    pub devices: Vec<Device>,
    /// The containers' prefixes.
    pub prefixes: Vec<Ipv6Net>,
}

/// What should be in the kernel. `forwards` is `None` until Docker has been heard.
pub fn desired(layout: &Layout, forwards: Option<&[Forward]>) -> Desired {
    let mut rules: BTreeMap<RuleId, OwnedRule> = BTreeMap::new();
    let mut want = |spec: RuleSpec| -> RuleId {
        let rule = Rule {
            backend: layout.backend,
            spec,
        };
        let id = rule.id();
        rules.entry(id).or_insert_with(|| OwnedRule {
            rule,
            owners: BTreeSet::new(),
        });
        id
    };
    for dev in &layout.devices {
        for prefix in &layout.prefixes {
            want(RuleSpec::Masquerade {
                dev: dev.clone(),
                prefix: *prefix,
            });
        }
    }
    let mut owned = Vec::new();
    for forward in forwards.unwrap_or_default() {
        for dev in &layout.devices {
            let id = want(RuleSpec::Dnat(dnat(dev, forward)));
            owned.push((id, &forward.owner));
        }
    }
    for (id, owner) in owned {
        if let Some(rule) = rules.get_mut(&id) {
            rule.owners.insert(owner.clone());
        }
    }
    Desired {
        rules,
        forwards: match forwards {
            Some(_) => Forwards::Known,
            None => Forwards::NotYetKnown,
        },
    }
}

fn dnat(dev: &Device, forward: &Forward) -> Dnat {
    Dnat {
        key: DnatKey {
            dev: dev.clone(),
            proto: forward.proto,
            host_addr: forward.host_addr,
            host_port: forward.host_port,
        },
        target: forward.container_addr,
        target_port: forward.container_port,
    }
}
