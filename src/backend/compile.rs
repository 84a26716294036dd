//! From an intent to the rules that a backend should hold. Pure: the same intent gives the same
//! rules, and nothing here fails.

use super::compiler::Compiler;
use super::{ip6tables, nftables};
use crate::model::change::Desired;
use crate::model::intent::{Intent, RuleLimit};
use crate::model::rule::{BackendKind, Rule};

/// Most rules for forwards with ip6tables. Its tool lists 45,000 rules in 6 s and takes them out
/// within 20 s to a minute; both grow faster than the rules. With 60,000 each listing takes 20 s,
/// and the writer does nothing else.
const MOST_RULES: usize = 50_000;

/// What should be in the kernel, as this backend writes it.
pub fn desired(backend: BackendKind, intent: &Intent) -> Desired {
    let mut compiler = Compiler::new(backend);
    compiler.follow(intent);
    compiler.desired
}

/// The rule of a backend with this text in its normal form; `None` if no rule of it has that text.
pub fn rule(backend: BackendKind, text: &str) -> Option<Rule> {
    match backend {
        BackendKind::Ip6tables => ip6tables::rule::rule(text),
        BackendKind::Nftables => nftables::rule::rule(text),
    }
}

/// How many rules a backend can hold; `None`: as many as there are ports.
pub(crate) fn rule_limit(backend: BackendKind) -> Option<RuleLimit> {
    match backend {
        BackendKind::Ip6tables => Some(RuleLimit {
            most: MOST_RULES,
            rules_of: ip6tables::compile::rules_of,
        }),
        BackendKind::Nftables => None,
    }
}
