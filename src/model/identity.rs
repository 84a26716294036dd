//! How a rule of ours is told from every other.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::element::Element;
use super::rule::{Dnat, Hook, HostPort, Rule, RuleSpec, Via};

/// What stands before the [`RuleId`] in a rule's comment.
pub const COMMENT_PREFIX: &str = "docker-nat66:";

/// Identity of a rule: the first 64 bits of SHA-256 over its canonical text. Equal content
/// has equal identity, whoever wants it; shown as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId([u8; 8]);

impl RuleId {
    /// Derives the identity of a rule.
    pub fn of(rule: &Rule) -> Self {
        let digest = Sha256::digest(canonical(rule).as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }

    /// The bytes, as the journal's key.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// An identity read from the journal's key.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The comment that a rule of this identity carries in the kernel.
    pub fn comment(&self) -> String {
        format!("{COMMENT_PREFIX}{self}")
    }

    /// Reads a comment. Only the exact pattern is ours: the prefix and 16 lower-case
    /// hexadecimal digits, nothing else.
    pub fn from_comment(comment: &str) -> Option<Self> {
        comment.strip_prefix(COMMENT_PREFIX)?.parse().ok()
    }
}

/// The text that the identity is derived from. Versioned: a change of its form changes every
/// identity, and would turn all rules of an older daemon into stale ones at an upgrade.
fn canonical(rule: &Rule) -> String {
    let (place, what) = match &rule.spec {
        RuleSpec::Jump(Hook::Forward) => ("filter chain=FORWARD", "do=jump".to_owned()),
        RuleSpec::Jump(Hook::Input) => ("filter chain=INPUT", "do=jump".to_owned()),
        RuleSpec::Guard { dev, prefix, guard } => (
            "filter chain=DOCKER-NAT66",
            format!("dev={dev} prefix={prefix} do={}", guard.as_str()),
        ),
        RuleSpec::HairpinGuard { from, to } => (
            "filter chain=DOCKER-NAT66",
            format!("from={from} to={to} do=hairpin"),
        ),
        RuleSpec::Snat {
            dev,
            prefix,
            source,
        } => (
            "nat chain=POSTROUTING",
            format!("dev={dev} prefix={prefix} do=snat source={source}"),
        ),
        RuleSpec::Masquerade { dev, prefix } => (
            "nat chain=POSTROUTING",
            format!("dev={dev} prefix={prefix} do=masquerade"),
        ),
        RuleSpec::HairpinMasquerade { prefix } => (
            "nat chain=POSTROUTING",
            format!("prefix={prefix} do=hairpin"),
        ),
        RuleSpec::Refuse(HostPort {
            dev,
            proto,
            host_addr,
            host_port,
        }) => (
            "filter chain=DOCKER-NAT66-IN",
            format!(
                "dev={dev} proto={proto} host_addr={} host_port={host_port} do=refuse",
                or_any(*host_addr)
            ),
        ),
        RuleSpec::Dnat(dnat) => canonical_dnat(dnat),
        RuleSpec::Element(element) => canonical_element(element),
    };
    format!(
        "docker-nat66 v1 backend={} family=ip6 table={place} {what}",
        rule.backend
    )
}

/// Our nftables table.
const OWN_TABLE: &str = "docker_nat66";

fn canonical_element(element: &Element) -> (&'static str, String) {
    let what = match element {
        Element::Egress(dev) => format!("dev={dev} do=egress"),
        Element::Prefix(prefix) => format!("prefix={prefix} do=prefix"),
        Element::Guarded(prefix) => format!("prefix={prefix} do=guard"),
        Element::Source { prefix, source } => format!("prefix={prefix} do=snat source={source}"),
        Element::Refused {
            proto,
            host_addr,
            host_port,
        } => format!(
            "proto={proto} host_addr={} host_port={host_port} do=refuse",
            or_any(*host_addr)
        ),
    };
    (OWN_TABLE, what)
}

fn canonical_dnat(dnat: &Dnat) -> (&'static str, String) {
    let key = &dnat.key;
    let (place, via) = match &key.via {
        Via::Egress(dev) => ("nat chain=PREROUTING", format!("dev={dev}")),
        Via::Host => ("nat chain=OUTPUT", "from=host".to_owned()),
        Via::Containers(prefix) => ("nat chain=PREROUTING", format!("from={prefix}")),
        Via::Outside => (OWN_TABLE, "from=outside".to_owned()),
        Via::Inside => (OWN_TABLE, "from=inside".to_owned()),
    };
    let source = key
        .source
        .map_or_else(String::new, |net| format!(" source={net}"));
    let what = format!(
        "{via} proto={} host_addr={} host_port={}{source} do=dnat target={} target_port={}",
        key.proto,
        or_any(key.host_addr),
        key.host_port,
        dnat.target,
        dnat.target_port
    );
    (place, what)
}

fn or_any(addr: Option<Ipv6Addr>) -> String {
    addr.map_or_else(|| "any".to_owned(), |addr| addr.to_string())
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016x}", u64::from_be_bytes(self.0)))
    }
}

impl fmt::Debug for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleId({self})")
    }
}

/// The text is not 16 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotARuleId;

impl FromStr for RuleId {
    type Err = NotARuleId;

    fn from_str(text: &str) -> Result<Self, NotARuleId> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(hex) {
            return Err(NotARuleId);
        }
        let value = u64::from_str_radix(text, 16).map_err(|_| NotARuleId)?;
        Ok(Self(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
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
        assert_ne!(dnat(8080).id(), dnat(8081).id());
        let mut other = dnat(8080);
        other.backend = BackendKind::Nftables;
        assert_ne!(other.id(), dnat(8080).id());
    }

    #[test]
    fn only_the_exact_comment_is_ours() {
        let id = dnat(1).id();
        assert_eq!(RuleId::from_comment(&id.comment()), Some(id));
        for comment in [
            "docker-nat66:",
            "docker-nat66:0123456789ABCDEF",
            "docker-nat66:0123456789abcde",
            "docker-nat66:0123456789abcdef0",
            "docker-nat66:+123456789abcdef",
            " docker-nat66:0123456789abcdef",
            "docker-nat66: 0123456789abcdef",
            "docker-ipv6nat",
            "",
        ] {
            assert_eq!(RuleId::from_comment(comment), None, "{comment:?}");
        }
    }
}
