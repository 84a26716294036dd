//! The rules of all programs, as far as they decide about a packet for a published port.
//!
//! ```text
//!   nf_tables ──read──▶ decode ─┐
//!                               ├──▶ Chain, Rule ──walk──▶ who drops it, and whether for certain
//!   legacy tables ────▶ text ───┘
//! ```
//!
//! Only [`read`] does I/O, and it only lists. A walk over a listing cannot say what becomes of
//! every packet; it answers one question: whether a chain drops every new connection to a
//! published port, whatever comes before.

pub(super) mod decode;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/oracles/ruleset.rs"]
pub(crate) mod oracle;
pub(super) mod read;
mod sets;
pub(super) mod text;
pub(super) mod walk;

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

/// Where a table is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Home {
    /// In nf_tables, in tables of this family (`NFPROTO_*`).
    Nft(u8),
    /// In a table of ip6tables' legacy variant.
    Legacy,
}

/// A chain that the kernel calls by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BaseChain {
    pub(super) place: Place,
    pub(super) hook: Hook,
    /// Whether packets that no rule decides about are dropped.
    pub(super) drops: bool,
}

/// A chain and its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) home: Home,
    pub(super) table: String,
    pub(super) chain: String,
}

/// The hooks, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting,
    Forward,
    Other,
}

/// A rule, as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) place: Place,
    /// nf_tables' number of it; 0 for a rule of the legacy variant.
    pub(super) handle: u64,
    /// All of them must hold.
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Verdict,
}

/// What a rule does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that decides: it counts, logs or marks.
    None,
    Accept,
    /// It drops or rejects.
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// Something that the listing does not show: a queue, a map of verdicts.
    Unknown,
}

/// A condition on a packet; `true` stands for "is not".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// The interface by which it came, by name; one that ends with `+` stands for all that begin
    /// like that.
    From(bool, Vec<String>),
    /// The interface by which it leaves.
    By(bool, Vec<String>),
    /// The connection's state: bits of [`state`].
    State(bool, u32),
    /// What was rewritten of the connection: bits of [`status`].
    Status(bool, u32),
    /// The number of its protocol is one of these.
    Proto(bool, Vec<u8>),
    /// Its family is this one (`NFPROTO_*`).
    Family(bool, u8),
    /// Its destination lies in one of these.
    To(bool, Vec<Ipv6Net>),
    /// No route leads back to its source by the interface on which it came.
    NoRouteBack,
    /// Any other.
    Other,
}

/// Bits of a connection's state in nf_tables (`NF_CT_STATE_BIT`, linux/netfilter/nf_conntrack_common.h).
pub(super) mod state {
    pub(in crate::check) const INVALID: u32 = 1;
    pub(in crate::check) const ESTABLISHED: u32 = 2;
    pub(in crate::check) const RELATED: u32 = 4;
    pub(in crate::check) const NEW: u32 = 8;
    pub(in crate::check) const UNTRACKED: u32 = 64;
}

/// Bits of a connection's status (`IPS_SRC_NAT`, `IPS_DST_NAT`, the same header).
pub(super) mod status {
    pub(in crate::check) const SNAT: u32 = 16;
    pub(in crate::check) const DNAT: u32 = 32;
}

/// The rules of all programs, in the order of their chains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub(super) chains: Vec<BaseChain>,
    pub(super) rules: Vec<Rule>,
}

impl Ruleset {
    /// The rules of a chain.
    pub(super) fn of<'r>(&'r self, place: &'r Place) -> impl Iterator<Item = &'r Rule> {
        self.rules.iter().filter(move |rule| rule.place == *place)
    }

    /// Leaves out the rules that lead to a chain of this name.
    pub(super) fn leave_out_calls(&mut self, name: &str) {
        let leads = |rule: &Rule| match &rule.verdict {
            Verdict::Jump(chain) | Verdict::Goto(chain) => chain == name,
            _ => false,
        };
        self.rules.retain(|rule| !leads(rule));
    }

    /// Whether a chain of this table has a name that begins like this.
    pub(super) fn has_chain(&self, home: Home, table: &str, start: &str) -> bool {
        let in_table = |place: &Place| place.home == home && place.table == table;
        let of_rules = self.rules.iter().flat_map(|rule| {
            let leads = match &rule.verdict {
                Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain.as_str()),
                _ => None,
            };
            let names = [Some(rule.place.chain.as_str()), leads];
            names
                .into_iter()
                .flatten()
                .filter(|_| in_table(&rule.place))
        });
        of_rules.into_iter().any(|chain| chain.starts_with(start))
    }

    /// Whether a base chain is one of these.
    pub(super) fn has_base_chain(&self, is_one: impl Fn(&Place) -> bool) -> bool {
        self.chains.iter().any(|chain| is_one(&chain.place))
    }

    /// A rule that drops packets to whose source no route leads back by the interface on which they
    /// came.
    pub(super) fn is_strict(&self) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            rule.matches.contains(&Match::NoRouteBack) && rule.verdict == Verdict::Drop
        })
    }

    /// Adds what another reader has found.
    pub(super) fn add(&mut self, other: Self) {
        self.chains.extend(other.chains);
        self.rules.extend(other.rules);
    }
}

/// A new connection to a published port, after its destination was rewritten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packet {
    /// The interfaces by which it may have come.
    pub(super) from: Vec<String>,
    /// Where its destination may lie; empty: not known.
    pub(super) to: Vec<Ipv6Net>,
}

/// The network of one address.
pub(super) fn host(addr: Ipv6Addr) -> Ipv6Net {
    Ipv6Net::from(addr)
}
