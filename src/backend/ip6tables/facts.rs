//! The kinds of this backend's rules, and what a rule says, read from its parts. Pure.

use ipnet::Ipv6Net;

use super::rule::{
    BEGUN, EXISTING, EXISTING_OR_REWRITTEN, OWN_FORWARD, OWN_INPUT, OWN_INSIDE, REWRITTEN,
    RuleParts, Table, container_port, network, port,
};
use crate::backend::kind::{
    DNAT_CONTAINERS, DNAT_HOST, DNAT_INSIDE, DNAT_OUTSIDE, FORWARD, HAIRPIN, HAIRPINS, Kind,
    POSTROUTING, REFUSAL, REFUSE, SNAT, for_purpose, of_forwards, of_settings,
};
use crate::model::rule::{HostPort, RuleFacts};

/// Sends what the host forwards through a filter chain of our own.
pub(crate) const JUMP_FORWARD: Kind = for_purpose("forward", of_settings("jump", 3, &FORWARD));

/// Sends what arrives for the host itself through a filter chain of our own.
pub(crate) const JUMP_INPUT: Kind = for_purpose("input", of_forwards("jump", 3, &REFUSAL));

/// Sends what the host itself sends to one of its own addresses, other than `::1`, through a NAT chain of
/// our own.
pub(crate) const JUMP_HOST: Kind = for_purpose("host", of_forwards("jump", 3, &HAIRPINS));

/// The same of what containers send, from one prefix.
pub(crate) const JUMP_CONTAINERS: Kind =
    for_purpose("containers", of_forwards("jump", 3, &HAIRPINS));

/// Drops what arrives from outside with a container's address as its source. It stands first: what
/// it drops might pass for a connection.
pub(crate) const SPOOFED: Kind = for_purpose("spoofed", of_settings("guard", 4, &FORWARD));

/// Accepts what arrives for a connection that exists.
pub(crate) const ESTABLISHED: Kind = for_purpose("established", of_settings("guard", 5, &FORWARD));

/// Accepts what arrives by way of a DNAT rule, ours or another program's.
pub(crate) const FORWARDED: Kind = for_purpose("forwarded", of_settings("guard", 5, &FORWARD));

/// Accepts what containers send out for a connection that exists.
pub(crate) const REPLY: Kind = for_purpose("reply", of_settings("guard", 5, &FORWARD));

/// Accepts the connections that containers begin by way of an egress interface, which the
/// masquerade is for.
pub(crate) const OUTGOING: Kind = for_purpose("outgoing", of_settings("guard", 5, &FORWARD));

/// Drops what else arrives for the containers.
pub(crate) const UNPUBLISHED: Kind = for_purpose("unpublished", of_settings("guard", 6, &FORWARD));

/// Accepts what a container sends to another by way of a published port, and the answers, where the
/// policy would not. One between two prefixes needs another the other way, for the answers.
pub(crate) const HAIRPIN_GUARD: Kind = of_forwards("hairpin-guard", 7, &FORWARD);

/// Rewrites the source of what containers send out. Never that of the host's own traffic, nor that of
/// traffic inside the prefix.
pub(crate) const MASQUERADE: Kind = of_settings("masquerade", 9, &POSTROUTING);

/// The options that every rule of a kind has, and those that some have; `!` marks what is negated.
type Form = (&'static str, &'static str);

/// The kinds of this backend's rules, and their form.
const FORMS: [(&[Kind], Form); 14] = [
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

/// The kinds of this backend's rules.
pub(in crate::backend) fn kinds() -> impl Iterator<Item = &'static Kind> {
    FORMS.iter().flat_map(|(kinds, _)| kinds.iter())
}

fn form(kind: &Kind) -> Form {
    let of = FORMS.iter().find(|(kinds, _)| kinds.contains(kind));
    of.map_or(("", ""), |(_, form)| *form)
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
