//! What all rules of a kind have in common, and the kinds that both backends have. Pure.
//!
//! A kind is named by what it does; each backend knows how it is written. The others stand in the table
//! of their backend: `ip6tables::facts`, `nftables::sets`.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use crate::model::rule::{Basis, RuleFacts};

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
    /// Its place in the order of insertion: 0 to 2 for what others refer to, 3 for jumps, 4 to 7 for the
    /// filter, 8 to 10 for rewritten sources, 11 for refusals, 12 for DNAT.
    rank: u8,
    basis: Basis,
    /// The documented words of the log.
    words: &'static Words,
}

/// What the log says of a rule that was inserted, and of one that was removed.
type Words = [&'static str; 2];

pub(super) const POSTROUTING: Words = ["set postrouting", "unset postrouting"];
const PORTFWD: Words = ["add portfwd", "del portfwd"];
pub(super) const FORWARD: Words = ["set forward", "unset forward"];
pub(super) const REFUSAL: Words = ["add refuse", "del refuse"];
pub(super) const HAIRPINS: Words = ["set hairpin", "unset hairpin"];

pub(super) const fn of_settings(name: &'static str, rank: u8, words: &'static Words) -> Kind {
    Kind {
        name,
        purpose: "",
        rank,
        basis: Basis::Settings,
        words,
    }
}

pub(super) const fn of_forwards(name: &'static str, rank: u8, words: &'static Words) -> Kind {
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

pub(super) const fn for_purpose(purpose: &'static str, kind: Kind) -> Kind {
    Kind { purpose, ..kind }
}

/// Gives what the containers of one network send out a source of its own
/// (`com.docker.network.host_ipv6`), before any masquerade.
pub(crate) const SNAT: Kind = of_forward("snat", 8, &POSTROUTING);

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

    /// The words by which rules of this kind are known.
    pub(super) fn names(&self) -> [&'static str; 2] {
        [self.name, self.purpose]
    }

    /// The documented words of the log for a change of a rule of this kind.
    pub(super) fn words(&self, verb: Verb) -> &'static str {
        let [set, unset] = self.words;
        match verb {
            Verb::Add => set,
            Verb::Del => unset,
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
