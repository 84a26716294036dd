//! The canonical text of a rule, from which its identity is derived.

use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;

use sha2::{Digest, Sha256};

use super::element::Element;
use super::identity::RuleId;
use super::rule::{Dnat, Hook, HostPort, LINK_LOCAL, Rule, RuleSpec, Via};

impl Rule {
    /// The identity of this rule: the first 64 bits of SHA-256 over its canonical text.
    pub fn id(&self) -> RuleId {
        let digest = Sha256::digest(canonical(self).as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        RuleId::from_bytes(id)
    }
}

/// Room for the text of nearly every rule, in bytes.
const TEXT: usize = 256;

/// The text that the identity is derived from. Versioned: a change of its form changes every
/// identity, and would turn all rules of an older daemon into stale ones at an upgrade.
///
/// It is derived often (a thousand rules put back are a thousand texts, several times), so it
/// is written once, in one piece.
fn canonical(rule: &Rule) -> String {
    let mut text = String::with_capacity(TEXT);
    // A string takes all that is written to it.
    let _ = write_canonical(&mut text, rule);
    text
}

fn write_canonical(text: &mut String, rule: &Rule) -> fmt::Result {
    let place = place(&rule.spec);
    let backend = rule.backend;
    write!(
        text,
        "docker-nat66 v1 backend={backend} family=ip6 table={place} "
    )?;
    match &rule.spec {
        RuleSpec::Jump(_) => write!(text, "do=jump"),
        RuleSpec::Guard { dev, prefix, guard } => {
            write!(text, "dev={dev} prefix={prefix} do={}", guard.as_str())
        }
        RuleSpec::HairpinGuard { from, to } => write!(text, "from={from} to={to} do=hairpin"),
        RuleSpec::Snat {
            dev,
            prefix,
            source,
        } => write!(text, "dev={dev} prefix={prefix} do=snat source={source}"),
        RuleSpec::Masquerade { dev, prefix } => {
            write!(text, "dev={dev} prefix={prefix} do=masquerade")
        }
        RuleSpec::HairpinMasquerade { prefix } => write!(text, "prefix={prefix} do=hairpin"),
        RuleSpec::Refuse(HostPort {
            dev,
            proto,
            host_addr,
            host_port,
        }) => {
            let host_addr = OrAny(*host_addr);
            write!(
                text,
                "dev={dev} proto={proto} host_addr={host_addr} host_port={host_port} do=refuse"
            )
        }
        RuleSpec::Dnat(dnat) => write_dnat(text, dnat),
        RuleSpec::Element(element) => write_element(text, element),
    }
}

/// Our nftables table.
const OWN_TABLE: &str = "docker_nat66";

/// Table and chain.
fn place(spec: &RuleSpec) -> &'static str {
    match spec {
        RuleSpec::Jump(Hook::Forward) => "filter chain=FORWARD",
        RuleSpec::Jump(Hook::Input) => "filter chain=INPUT",
        RuleSpec::Guard { .. } | RuleSpec::HairpinGuard { .. } => "filter chain=DOCKER-NAT66",
        RuleSpec::Snat { .. }
        | RuleSpec::Masquerade { .. }
        | RuleSpec::HairpinMasquerade { .. } => "nat chain=POSTROUTING",
        RuleSpec::Refuse(_) => "filter chain=DOCKER-NAT66-IN",
        RuleSpec::Dnat(dnat) => match &dnat.key.via {
            Via::Egress(_) | Via::Containers(_) => "nat chain=PREROUTING",
            Via::Host => "nat chain=OUTPUT",
            Via::Outside | Via::Inside => OWN_TABLE,
        },
        RuleSpec::Element(_) => OWN_TABLE,
    }
}

fn write_element(text: &mut String, element: &Element) -> fmt::Result {
    match element {
        Element::Egress(dev) => write!(text, "dev={dev} do=egress"),
        Element::Prefix(prefix) => write!(text, "prefix={prefix} do=prefix"),
        Element::Guarded(prefix) => write!(text, "prefix={prefix} do=guard"),
        Element::Source { prefix, source } => {
            write!(text, "prefix={prefix} do=snat source={source}")
        }
        Element::Refused {
            proto,
            host_addr,
            host_port,
        } => {
            let host_addr = OrAny(*host_addr);
            write!(
                text,
                "proto={proto} host_addr={host_addr} host_port={host_port} do=refuse"
            )
        }
    }
}

fn write_dnat(text: &mut String, dnat: &Dnat) -> fmt::Result {
    let key = &dnat.key;
    match &key.via {
        Via::Egress(dev) => write!(text, "dev={dev}"),
        Via::Host => write!(text, "from=host"),
        Via::Containers(prefix) => write!(text, "from={prefix}"),
        Via::Outside => write!(text, "from=outside"),
        Via::Inside => write!(text, "from=inside"),
    }?;
    let (proto, host_addr, host_port) = (key.proto, OrAny(key.host_addr), key.host_port);
    write!(
        text,
        " proto={proto} host_addr={host_addr} host_port={host_port}"
    )?;
    if let Some(source) = key.source {
        write!(text, " source={source}")?;
    }
    if dnat.spares_link_local {
        write!(text, " source=!{LINK_LOCAL}")?;
    }
    let (target, port) = (dnat.target, dnat.target_port);
    write!(text, " do=dnat target={target} target_port={port}")
}

/// An address, or any.
struct OrAny(Option<Ipv6Addr>);

impl fmt::Display for OrAny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(addr) => addr.fmt(f),
            None => f.write_str("any"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::forward::Proto;
    use super::super::rule::{BackendKind, DnatKey};
    use super::*;

    fn dnat(port: u16) -> Rule {
        Rule {
            backend: BackendKind::Ip6tables,
            spec: RuleSpec::Dnat(Dnat {
                key: DnatKey {
                    via: Via::Egress("eth0".parse().expect("valid")),
                    proto: Proto::Tcp,
                    host_addr: None,
                    host_port: port,
                    source: None,
                },
                target: "fdfd:5898:4917:1::2".parse().expect("valid"),
                target_port: 80,
                spares_link_local: false,
            }),
        }
    }

    /// These identities stand in journals and in kernels: they must never change.
    #[test]
    fn identities_are_stable_across_versions() {
        let masquerade = Rule {
            backend: BackendKind::Ip6tables,
            spec: RuleSpec::Masquerade {
                dev: "eth0".parse().expect("valid"),
                prefix: "fdfd:5898:4917:1::/64".parse().expect("valid"),
            },
        };
        assert_eq!(masquerade.id().to_string(), "2b484a4349cfe60f");
        assert_eq!(dnat(8080).id().to_string(), "92ab1b1a843c9834");
        let mut outside = dnat(8080);
        outside.backend = BackendKind::Nftables;
        if let RuleSpec::Dnat(dnat) = &mut outside.spec {
            dnat.key.via = Via::Outside;
        }
        assert_eq!(outside.id().to_string(), "7f6f1f4acbd1dcd5");
        let element = |element| {
            let rule = Rule {
                backend: BackendKind::Nftables,
                spec: RuleSpec::Element(element),
            };
            rule.id().to_string()
        };
        let prefix = "fdfd:5898:4917:1::/64".parse().expect("valid");
        let egress = Element::Egress("eth0".parse().expect("valid"));
        assert_eq!(element(egress), "65460cbb413c714c");
        assert_eq!(element(Element::Prefix(prefix)), "8368bc512075cadb");
        assert_eq!(element(Element::Guarded(prefix)), "5f8844b224d8e862");
    }

    #[test]
    fn different_content_has_a_different_identity() {
        let mut other = dnat(8080);
        other.backend = BackendKind::Nftables;
        let mut all = vec![dnat(8080), dnat(8081), other];
        let changes: [fn(&mut Dnat); 8] = [
            |dnat| dnat.key.via = Via::Egress("eth1".parse().expect("valid")),
            |dnat| dnat.key.via = Via::Host,
            |dnat| dnat.key.proto = Proto::Udp,
            |dnat| dnat.key.host_addr = Some("2001:db8::1".parse().expect("valid")),
            |dnat| dnat.key.source = Some("2001:db8::/32".parse().expect("valid")),
            |dnat| dnat.target = "fdfd:5898:4917:1::3".parse().expect("valid"),
            |dnat| dnat.target_port = 81,
            |dnat| dnat.spares_link_local = true,
        ];
        for change in changes {
            let mut rule = dnat(8080);
            if let RuleSpec::Dnat(dnat) = &mut rule.spec {
                change(dnat);
            }
            all.push(rule);
        }
        let ids: BTreeSet<RuleId> = all.iter().map(Rule::id).collect();
        assert_eq!(ids.len(), all.len(), "{all:?}");
    }
}
