//! What a rule of ours says, read from its parts. Pure.

use ipnet::Ipv6Net;

use super::rule::{
    BEGUN, EXISTING, EXISTING_OR_REWRITTEN, OWN_FORWARD, OWN_INPUT, OWN_INSIDE, REWRITTEN,
    RuleParts, Table, container_port, network, port,
};
use crate::backend::kind::{
    DNAT_CONTAINERS, DNAT_HOST, DNAT_INSIDE, DNAT_OUTSIDE, ESTABLISHED, FORWARDED, HAIRPIN,
    HAIRPIN_GUARD, JUMP_CONTAINERS, JUMP_FORWARD, JUMP_HOST, JUMP_INPUT, Kind, MASQUERADE,
    OUTGOING, REFUSE, REPLY, SNAT, SPOOFED, UNPUBLISHED,
};
use crate::model::rule::{HostPort, RuleFacts};

/// The options that every rule of a kind has, and those that some have; `!` marks what is negated.
type Form = (&'static str, &'static str);

fn form(kind: &Kind) -> Form {
    let forms: [(&[Kind], Form); 14] = [
        (&[JUMP_FORWARD, JUMP_INPUT], ("-j", "")),
        (&[JUMP_HOST], ("!-s -j !-d --dst-type", "")),
        (&[JUMP_CONTAINERS], ("-j --dst-type", "-s")),
        (&[SPOOFED], ("-i -j", "-s")),
        (&[ESTABLISHED, FORWARDED], ("-i --ctstate -j", "-d")),
        (&[UNPUBLISHED], ("-i !--ctstate -j", "-d")),
        (&[REPLY, OUTGOING], ("-o --ctstate -j", "-s")),
        (&[HAIRPIN_GUARD, HAIRPIN], ("--ctstate -j", "-s -d")),
        (&[REFUSE], ("-i -p --dport --dst-type -j", "-d")),
        (&[SNAT], ("-o -j --to-source !-d !--src-type", "-s")),
        (&[MASQUERADE], ("-o -j !-d !--src-type", "-s")),
        (
            &[DNAT_OUTSIDE],
            ("-i -p --dport -j --to-destination --dst-type", "-s !-s -d"),
        ),
        (&[DNAT_INSIDE], ("-p --dport -j --to-destination", "-d")),
        (
            &[DNAT_HOST, DNAT_CONTAINERS],
            ("-p --dport -j --to-destination --dst-type", "-s !-s -d !-d"),
        ),
    ];
    let of = forms.into_iter().find(|(kinds, _)| kinds.contains(kind));
    of.map_or(("", ""), |(_, form)| form)
}

impl RuleParts {
    /// What the parts say; `None` where they are not those of a rule of ours.
    pub(super) fn facts(&self) -> Option<RuleFacts> {
        let dev = self.value("-i").or(self.value("-o"));
        let source = self.value("-s").and_then(network);
        let destination = self.value("-d").and_then(network);
        // "Any" is not written.
        let prefix = |net: Option<Ipv6Net>| Some(net.unwrap_or_default());
        let kind = self.kind().filter(|kind| self.has_form_of(kind))?;
        let mut facts = RuleFacts {
            dev: dev.map(str::parse).transpose().ok()?,
            ..kind.facts()
        };
        match &*facts.kind {
            "jump" if *kind == JUMP_CONTAINERS => facts.prefix = prefix(source),
            "jump" => {}
            "guard" => facts.prefix = prefix(source.or(destination)),
            "hairpin-guard" => {
                facts.prefix = prefix(destination);
                facts.source = prefix(source);
            }
            "snat" | "masquerade" | "hairpin" => facts.prefix = prefix(source),
            _ => {
                facts.port = Some(HostPort {
                    proto: self.value("-p")?.parse().ok()?,
                    addr: match destination {
                        Some(net) if net.prefix_len() != 128 => return None,
                        to => to.map(|net| net.addr()),
                    },
                    port: port(self.value("--dport")?)?,
                });
                match *kind == DNAT_CONTAINERS {
                    true => facts.prefix = prefix(source),
                    false => facts.source = source,
                }
            }
        }
        if let Some(target) = self.value("--to-destination") {
            facts.target = Some(container_port(target)?);
        }
        Some(facts)
    }

    /// Whether the rule has the options of its kind and no others.
    fn has_form_of(&self, kind: &Kind) -> bool {
        let (all, some) = form(kind);
        let has = |option: &&str| {
            let name = option.trim_start_matches('!');
            let is_negated = option.starts_with('!');
            self.part(name)
                .is_some_and(|part| part.is_negated == is_negated)
        };
        let count = all
            .split_whitespace()
            .chain(some.split_whitespace())
            .filter(has)
            .count();
        all.split_whitespace().all(|option| has(&option)) && self.options.len() == count
    }

    fn kind(&self) -> Option<&'static Kind> {
        let (enters, leaves) = (self.value("-i").is_some(), self.value("-o").is_some());
        let states = self.part("--ctstate").map(|part| &*part.value);
        Some(match (self.table, &*self.chain, self.value("-j")?) {
            (Table::Filter, "FORWARD", OWN_FORWARD) => &JUMP_FORWARD,
            (Table::Filter, "INPUT", OWN_INPUT) => &JUMP_INPUT,
            (Table::Filter, OWN_INPUT, "DROP") => &REFUSE,
            (Table::Filter, OWN_FORWARD, target) => match (target, states) {
                ("DROP", None) if enters => &SPOOFED,
                ("DROP", Some(EXISTING_OR_REWRITTEN)) if enters => &UNPUBLISHED,
                ("ACCEPT", Some(EXISTING)) if enters => &ESTABLISHED,
                ("ACCEPT", Some(REWRITTEN)) if enters => &FORWARDED,
                ("ACCEPT", Some(EXISTING)) if leaves => &REPLY,
                ("ACCEPT", Some(BEGUN)) if leaves => &OUTGOING,
                ("ACCEPT", Some(REWRITTEN)) if !leaves => &HAIRPIN_GUARD,
                _ => return None,
            },
            (Table::Nat, "OUTPUT", OWN_INSIDE) => &JUMP_HOST,
            (Table::Nat, "PREROUTING", OWN_INSIDE) => &JUMP_CONTAINERS,
            (Table::Nat, OWN_INSIDE, "DNAT") => &DNAT_INSIDE,
            (Table::Nat, "POSTROUTING", "SNAT") if leaves => &SNAT,
            (Table::Nat, "POSTROUTING", "MASQUERADE") if leaves => &MASQUERADE,
            (Table::Nat, "POSTROUTING", "MASQUERADE") if states == Some(REWRITTEN) => &HAIRPIN,
            (Table::Nat, "PREROUTING", "DNAT") if enters => &DNAT_OUTSIDE,
            (Table::Nat, "PREROUTING", "DNAT") => &DNAT_CONTAINERS,
            (Table::Nat, "OUTPUT", "DNAT") => &DNAT_HOST,
            _ => return None,
        })
    }
}
