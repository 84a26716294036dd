//! The kinds of rules that there are, and what all rules of a kind have in common. Pure.
//!
//! A kind is named by what it does; each backend knows how it is written.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use crate::model::rule::{Basis, Name, RuleFacts};

/// Link-local addresses, as a rule writes them: fe80::/10 (RFC 4291, section 2.4). Packets from there
/// cannot be forwarded (section 2.5.6): rewritten, they would be answered with an error. Spared, they
/// reach what listens on the host, as without us.
pub(super) const LINK_LOCAL: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// Set or unset, for the words in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The rule was inserted.
    Add,
    /// The rule was removed.
    Del,
}

/// What all rules of a kind have in common.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Its name in the journal and in `dump`.
    name: &'static str,
    /// What distinguishes it from others of that name.
    purpose: &'static str,
    /// Its place in the order of insertion.
    rank: u8,
    basis: Basis,
    /// The documented words of the log.
    words: &'static Words,
}

/// What the log says of a rule that was inserted, and of one that was removed.
type Words = [&'static str; 2];

const POSTROUTING: Words = ["set postrouting", "unset postrouting"];
const PORTFWD: Words = ["add portfwd", "del portfwd"];
const FORWARD: Words = ["set forward", "unset forward"];
const REFUSAL: Words = ["add refuse", "del refuse"];
const HAIRPINS: Words = ["set hairpin", "unset hairpin"];

const fn of_settings(name: &'static str, rank: u8, words: &'static Words) -> Kind {
    Kind {
        name,
        purpose: "",
        rank,
        basis: Basis::Settings,
        words,
    }
}

const fn of_forwards(name: &'static str, rank: u8, words: &'static Words) -> Kind {
    Kind {
        basis: Basis::Forwards,
        ..of_settings(name, rank, words)
    }
}

const fn of_forward(name: &'static str, rank: u8, words: &'static Words) -> Kind {
    Kind {
        basis: Basis::Forward,
        ..of_settings(name, rank, words)
    }
}

const fn for_purpose(purpose: &'static str, kind: Kind) -> Kind {
    Kind { purpose, ..kind }
}

/// An egress interface.
pub(crate) const EGRESS: Kind = of_settings("egress", 0, &POSTROUTING);

/// A prefix of the containers: masqueraded, not to be spoofed, and where the host's published ports
/// are asked for from inside.
pub(crate) const PREFIX: Kind = of_settings("prefix", 1, &POSTROUTING);

/// A prefix whose unpublished ports are not reachable.
pub(crate) const GUARDED: Kind = of_settings("guarded", 2, &FORWARD);

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

/// Gives what the containers of one network send out a source of its own
/// (`com.docker.network.host_ipv6`), before any masquerade.
pub(crate) const SNAT: Kind = of_forward("snat", 8, &POSTROUTING);

/// Rewrites the source of what containers send out. Never that of the host's own traffic, nor that of
/// traffic inside the prefix.
pub(crate) const MASQUERADE: Kind = of_settings("masquerade", 9, &POSTROUTING);

/// Rewrites the source of what a container sends to a container by way of a published port, so that
/// the answer comes back the same way.
pub(crate) const HAIRPIN: Kind = of_forwards("hairpin", 10, &POSTROUTING);

/// Drops what arrives for a published port of limited sources and was not rewritten, so that nothing
/// else on the host answers it.
pub(crate) const REFUSE: Kind = of_forward("refuse", 11, &REFUSAL);

/// Rewrites the destination of what arrives from outside for a published port.
pub(crate) const DNAT_OUTSIDE: Kind = for_purpose("outside", of_forward("dnat", 12, &PORTFWD));

/// The same of what the host itself sends to one of its own addresses, other than `::1`. Only earlier
/// releases made such rules.
pub(crate) const DNAT_HOST: Kind = for_purpose("host", of_forward("dnat", 12, &PORTFWD));

/// The same of what containers send, from one prefix. Only earlier releases made such rules.
pub(crate) const DNAT_CONTAINERS: Kind =
    for_purpose("containers", of_forward("dnat", 12, &PORTFWD));

/// The same of what the host and the containers send.
pub(crate) const DNAT_INSIDE: Kind = for_purpose("inside", of_forward("dnat", 12, &PORTFWD));

const ALL: [&Kind; 22] = [
    &EGRESS,
    &PREFIX,
    &GUARDED,
    &JUMP_FORWARD,
    &JUMP_INPUT,
    &JUMP_HOST,
    &JUMP_CONTAINERS,
    &SPOOFED,
    &ESTABLISHED,
    &FORWARDED,
    &REPLY,
    &OUTGOING,
    &UNPUBLISHED,
    &HAIRPIN_GUARD,
    &SNAT,
    &MASQUERADE,
    &HAIRPIN,
    &REFUSE,
    &DNAT_OUTSIDE,
    &DNAT_HOST,
    &DNAT_CONTAINERS,
    &DNAT_INSIDE,
];

impl Kind {
    /// Facts of a rule of this kind, with nothing but the kind in them.
    pub(crate) fn facts(&self) -> RuleFacts {
        RuleFacts {
            rank: self.rank,
            kind: Cow::Borrowed(self.name),
            purpose: Cow::Borrowed(self.purpose),
            basis: self.basis,
            dev: None,
            prefix: None,
            port: None,
            source: None,
            target: None,
        }
    }

    /// Whether a rule is of this kind.
    pub(super) fn is(&self, facts: &RuleFacts) -> bool {
        facts.kind == self.name && facts.purpose == self.purpose
    }
}

/// Whether this rule does for the host and all containers what [`is_part_of_inside`] does for some.
pub(crate) fn is_inside(facts: &RuleFacts) -> bool {
    DNAT_INSIDE.is(facts)
}

/// Whether it serves the host alone, or the containers of one prefix, as an earlier release wrote it.
pub(crate) fn is_part_of_inside(facts: &RuleFacts) -> bool {
    DNAT_HOST.is(facts) || DNAT_CONTAINERS.is(facts)
}

/// A word as the kinds spell it, so that it takes no memory of its own.
pub(crate) fn name(word: String) -> Name {
    let mut known = ALL.into_iter().flat_map(|kind| [kind.name, kind.purpose]);
    let known = known.find(|known| *known == word);
    known.map_or(Cow::Owned(word), Cow::Borrowed)
}

/// The documented words of the log for a change of such a rule. A kind that only a newer release has
/// was inserted by that release, and may have to be removed here.
pub(super) fn words(verb: Verb, facts: &RuleFacts) -> &'static str {
    let kind = ALL.into_iter().find(|kind| kind.is(facts));
    let [set, unset] = kind.map_or(&["set rule", "unset rule"], |kind| kind.words);
    match verb {
        Verb::Add => set,
        Verb::Del => unset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_are_alike() {
        for (at, kind) in ALL.iter().enumerate() {
            let facts = kind.facts();
            let named: Vec<usize> = (0..ALL.len()).filter(|n| ALL[*n].is(&facts)).collect();
            assert_eq!(named, [at], "{kind:?}");
        }
    }
}
