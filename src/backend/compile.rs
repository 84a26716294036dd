//! From an intent to the rules that a backend should hold. Pure: the same intent gives the same
//! rules, and nothing here fails.

use std::collections::{BTreeMap, BTreeSet};

use super::{ip6tables, nftables};
use crate::model::change::Desired;
use crate::model::forward::{Forward, Owner};
use crate::model::intent::{Intent, Policy, RuleLimit};
use crate::model::rule::{BackendKind, Basis, OwnedRule, Rule, RuleId};

/// Most rules for forwards with ip6tables. Its tool lists 45,000 rules in 6 s and takes them out
/// within 20 s to a minute; both grow faster than the rules. With 60,000 each listing takes 20 s,
/// and the writer does nothing else.
const MOST_RULES: usize = 50_000;

/// The rules that follow from a policy.
type OfPolicy = fn(&Policy) -> Vec<Rule>;

/// The rules that one forward needs.
type OfForward = fn(&Policy, &Forward) -> Vec<Rule>;

/// What should be in the kernel, as this backend writes it.
pub fn desired(backend: BackendKind, intent: &Intent) -> Desired {
    let Intent {
        forwards,
        policy,
        known,
        undecided,
    } = intent;
    let (statics, snat, of_forward) = match backend {
        BackendKind::Ip6tables => {
            use ip6tables::compile::{of_forward, snat, statics};
            (
                statics as OfPolicy,
                snat as OfPolicy,
                of_forward as OfForward,
            )
        }
        BackendKind::Nftables => {
            use nftables::compile::{of_forward, snat, statics};
            (
                statics as OfPolicy,
                snat as OfPolicy,
                of_forward as OfForward,
            )
        }
    };
    let mut rules: BTreeMap<RuleId, OwnedRule> = BTreeMap::new();
    let mut want = |rule: Rule, owner: Option<&Owner>| {
        let owner = owner.filter(|_| rule.facts.basis == Basis::Forward);
        let owned = rules.entry(rule.id()).or_insert_with(|| OwnedRule {
            rule,
            owners: BTreeSet::new(),
        });
        owned.owners.extend(owner.cloned());
    };
    statics(policy)
        .into_iter()
        .for_each(|rule| want(rule, None));
    if let Some(forwards) = forwards {
        snat(policy).into_iter().for_each(|rule| want(rule, None));
        for forward in forwards {
            let all = of_forward(policy, forward).into_iter();
            all.for_each(|rule| want(rule, Some(&forward.owner)));
        }
    }
    Desired {
        rules,
        known: *known,
        undecided: undecided.clone(),
        may_insert: true,
    }
}

/// The rule of a backend with this text in its normal form; `None` if no rule of it has that text.
pub fn rule(backend: BackendKind, text: &str) -> Option<Rule> {
    match backend {
        BackendKind::Ip6tables => ip6tables::rule::rule(text),
        BackendKind::Nftables => nftables::rule::rule(text),
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
