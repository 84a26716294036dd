//! From an intent to the rules that a backend should hold. Pure: the same intent gives the same
//! rules, and nothing here fails.

use std::collections::{BTreeMap, BTreeSet};

use super::{ip6tables, nftables};
use crate::model::change::Desired;
use crate::model::intent::{Intent, RuleLimit};
use crate::model::rule::{BackendKind, OwnedRule, Rule, RuleId};

/// Most rules for forwards with ip6tables. Its tool lists 45,000 rules in 6 s and takes them out
/// within 20 s to a minute; both grow faster than the rules. With 60,000 each listing takes 20 s,
/// and the writer does nothing else.
const MOST_RULES: usize = 50_000;

/// What should be in the kernel, as this backend writes it.
pub fn desired(backend: BackendKind, intent: &Intent) -> Desired {
    let Intent {
        forwards,
        policy,
        known,
        undecided,
    } = intent;
    let wanted = match backend {
        BackendKind::Ip6tables => ip6tables::compile::compile(policy, forwards.as_deref()),
        BackendKind::Nftables => nftables::compile::compile(policy, forwards.as_deref()),
    };
    let mut rules: BTreeMap<RuleId, OwnedRule> = BTreeMap::new();
    for (spec, owner) in wanted {
        let rule = Rule { backend, spec };
        let owned = rules.entry(rule.id()).or_insert_with(|| OwnedRule {
            rule,
            owners: BTreeSet::new(),
        });
        owned.owners.extend(owner.cloned());
    }
    Desired {
        rules,
        known: *known,
        undecided: undecided.clone(),
        may_insert: true,
    }
}

/// How many rules a backend can hold; `None`: as many as there are ports.
pub fn rule_limit(backend: BackendKind) -> Option<RuleLimit> {
    match backend {
        BackendKind::Ip6tables => Some(RuleLimit {
            most: MOST_RULES,
            rules_of: ip6tables::compile::rules_of,
        }),
        BackendKind::Nftables => None,
    }
}
