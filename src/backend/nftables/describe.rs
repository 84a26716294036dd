//! Rules as text: the documented words, and the `nft` command that means the same. Pure.

use std::net::Ipv6Addr;

use super::element::SetElement;
use super::sets::TABLE;
use crate::backend::Verb;
use crate::model::element::Element;
use crate::model::rule::{Rule, RuleSpec};

/// `NAT66 add portfwd: nft add element ip6 docker_nat66 forwards { … }` and its kin.
pub(super) fn describe(verb: Verb, rule: &Rule) -> String {
    let (set, unset) = match &rule.spec {
        RuleSpec::Dnat(_) => ("add portfwd", "del portfwd"),
        RuleSpec::Element(Element::Refused { .. }) | RuleSpec::Refuse(_) => {
            ("add refuse", "del refuse")
        }
        RuleSpec::Element(Element::Guarded(_))
        | RuleSpec::Guard { .. }
        | RuleSpec::HairpinGuard { .. }
        | RuleSpec::Jump(_) => ("set forward", "unset forward"),
        RuleSpec::Element(Element::Egress(_) | Element::Prefix(_) | Element::Source { .. })
        | RuleSpec::Snat { .. }
        | RuleSpec::Masquerade { .. }
        | RuleSpec::HairpinMasquerade { .. } => ("set postrouting", "unset postrouting"),
    };
    match verb {
        Verb::Add => format!("NAT66 {set}: {}", command(verb, rule)),
        Verb::Del => format!("NAT66 {unset}: {}", command(verb, rule)),
    }
}

/// The command that inserts or removes the element.
fn command(verb: Verb, rule: &Rule) -> String {
    let set = SetElement::of(&rule.spec).map_or("?", |element| element.set.name());
    let key = key(&rule.spec);
    match verb {
        Verb::Add => format!(
            "nft add element ip6 {TABLE} {set} {{ {key} comment \"{}\"{} }}",
            rule.id().comment(),
            data(&rule.spec)
        ),
        Verb::Del => format!("nft delete element ip6 {TABLE} {set} {{ {key} }}"),
    }
}

fn key(spec: &RuleSpec) -> String {
    let host = |addr: Option<Ipv6Addr>| addr.map(|addr| addr.to_string());
    match spec {
        RuleSpec::Element(Element::Egress(dev)) => format!("\"{dev}\""),
        RuleSpec::Element(
            Element::Prefix(prefix) | Element::Guarded(prefix) | Element::Source { prefix, .. },
        ) => prefix.to_string(),
        RuleSpec::Element(Element::Refused {
            proto,
            host_addr,
            host_port,
        }) => joined([
            host(*host_addr),
            Some(proto.to_string()),
            Some(host_port.to_string()),
        ]),
        RuleSpec::HairpinMasquerade { prefix } => format!("{prefix} . {prefix}"),
        RuleSpec::Dnat(dnat) => joined([
            dnat.key.source.map(|net| net.to_string()),
            host(dnat.key.host_addr),
            Some(dnat.key.proto.to_string()),
            Some(dnat.key.host_port.to_string()),
        ]),
        // No rules of this backend.
        RuleSpec::Jump(_)
        | RuleSpec::Guard { .. }
        | RuleSpec::Snat { .. }
        | RuleSpec::Masquerade { .. }
        | RuleSpec::HairpinGuard { .. }
        | RuleSpec::Refuse(_) => spec.kind().to_owned(),
    }
}

fn data(spec: &RuleSpec) -> String {
    match spec {
        RuleSpec::Element(Element::Source { source, .. }) => format!(" : {source}"),
        RuleSpec::Dnat(dnat) => format!(" : {} . {}", dnat.target, dnat.target_port),
        _ => String::new(),
    }
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(" . ")
}
