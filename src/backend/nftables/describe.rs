//! Rules as text: the documented words, and the `nft` command that means the same. Pure.

use super::sets::TABLE;
use crate::backend::{Verb, kinds};
use crate::model::rule::Rule;

/// `NAT66 add portfwd: nft add element ip6 docker_nat66 forwards { … }` and its kin.
pub(super) fn describe(verb: Verb, rule: &Rule) -> String {
    let words = kinds::words(verb, &rule.facts);
    format!("NAT66 {words}: {}", command(verb, rule))
}

/// The command that inserts or removes the element.
fn command(verb: Verb, rule: &Rule) -> String {
    let text = rule.text.strip_suffix(" }").unwrap_or(&rule.text);
    let (key, data) = match text.split_once(" : ") {
        Some((key, data)) => (key, format!(" : {data}")),
        None => (text, String::new()),
    };
    match verb {
        Verb::Add => {
            let comment = rule.id().comment();
            format!("nft add element ip6 {TABLE} {key} comment \"{comment}\"{data} }}")
        }
        Verb::Del => format!("nft delete element ip6 {TABLE} {key} }}"),
    }
}
