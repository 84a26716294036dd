//! A [`Shape`] as text: as the documentation writes it, and as the tools list it.
//!
//! Pure. Nothing here needs quoting: every part comes from a type that cannot hold a blank, a
//! quote or a backslash.

use ipnet::Ipv6Net;

use super::shape::{AddrType, Shape, Table, Target, own_chain};
use crate::model::rule::LINK_LOCAL;

impl Shape {
    /// All after the chain and before the comment. In the nat table the documented text comes
    /// first, as it is documented, and our own matches after the target; elsewhere nothing is
    /// documented, and the target stands at the end as usual.
    pub(super) fn options(&self) -> String {
        let documented = self.table == Table::Nat;
        let source = self.source();
        // The documented DNAT rule has no source.
        let is_published = self.dev_in.is_some() || self.not_from_link_local;
        let (early, late) = match self.target {
            Target::Dnat(..) if is_published => (String::new(), source),
            _ => (source, String::new()),
        };
        let (before, after) = match documented {
            true => (self.target(), String::new()),
            false => (String::new(), self.target()),
        };
        let port = match self.port {
            Some((proto, port)) => format!(" -p {proto} --dport {port}"),
            None => String::new(),
        };
        let to = match self.to {
            Some((negated, net)) => format!("{} -d {}", not(negated), short(net)),
            None => String::new(),
        };
        [
            self.devices(),
            early,
            port,
            before,
            late,
            to,
            self.conntrack(),
            self.addrtype(),
            after,
        ]
        .concat()
    }

    /// The rule as both variants of ip6tables-save print it (seen with 1.8.9).
    pub(super) fn listed(&self, comment: &str) -> String {
        let to = match self.to {
            Some((negated, net)) if negated || net.prefix_len() != 0 => {
                format!("{} -d {}", not(negated), net.trunc())
            }
            _ => String::new(),
        };
        let port = match self.port {
            Some((proto, port)) => format!(" -p {proto} -m {proto} --dport {port}"),
            None => String::new(),
        };
        [
            format!("-A {}", self.chain),
            self.source(),
            to,
            self.devices(),
            port,
            self.conntrack(),
            self.addrtype(),
            format!(" -m comment --comment \"{comment}\""),
            self.target(),
        ]
        .concat()
    }

    fn devices(&self) -> String {
        let each = [("-i", &self.dev_in), ("-o", &self.dev_out)];
        let named = each.map(|(option, dev)| match dev {
            Some(dev) => format!(" {option} {dev}"),
            None => String::new(),
        });
        named.concat()
    }

    fn source(&self) -> String {
        let each = self.from.iter().map(|net| format!(" -s {}", net.trunc()));
        let spared = self
            .not_from_link_local
            .then(|| format!(" ! -s {LINK_LOCAL}"));
        each.chain(spared).collect()
    }

    fn conntrack(&self) -> String {
        match self.states {
            Some((negated, states)) => {
                format!(" -m conntrack{} --ctstate {states}", not(negated))
            }
            None => String::new(),
        }
    }

    fn addrtype(&self) -> String {
        let option = match self.addr_type {
            None => return String::new(),
            Some(AddrType::NotFromLocal) => "! --src-type",
            Some(AddrType::ToLocal) => "--dst-type",
        };
        format!(" -m addrtype {option} LOCAL")
    }

    fn target(&self) -> String {
        match &self.target {
            Target::Nothing => String::new(),
            Target::Accept => " -j ACCEPT".to_owned(),
            Target::Drop => " -j DROP".to_owned(),
            Target::Jump(hook) => format!(" -j {}", own_chain(*hook)),
            Target::Masquerade => " -j MASQUERADE".to_owned(),
            Target::Snat(source) => format!(" -j SNAT --to-source {source}"),
            Target::Dnat(addr, port) => format!(" -j DNAT --to-destination [{addr}]:{port}"),
        }
    }
}

fn not(negated: bool) -> &'static str {
    match negated {
        true => " !",
        false => "",
    }
}

/// A single address goes without its length.
fn short(net: Ipv6Net) -> String {
    match net.prefix_len() {
        128 => net.addr().to_string(),
        _ => net.trunc().to_string(),
    }
}
