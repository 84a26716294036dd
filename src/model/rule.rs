//! What we put into the kernel, and how a rule is told from every other.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::Ipv6Net;
use sha2::{Digest, Sha256};

use super::device::Device;
use super::forward::{Owner, Proto};

/// What stands before the [`RuleId`] in a rule's comment.
pub const COMMENT_PREFIX: &str = "docker-nat66:";

/// Which program's rules they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendKind {
    /// Rules in the tables of ip6tables.
    Ip6tables,
    /// Elements of our own nftables table.
    Nftables,
}

impl BackendKind {
    /// The name used on the command line, in the journal and in `dump`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip6tables => "ip6tables",
            Self::Nftables => "nftables",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The kernel content of one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Where it lives.
    pub backend: BackendKind,
    /// What it does.
    pub spec: RuleSpec,
}

/// What a rule does. The order is the order of insertion: static rules before DNAT rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSpec {
    /// Rewrites the source of what containers send out: nat/POSTROUTING.
    Masquerade {
        /// Egress interface.
        dev: Device,
        /// The containers' prefix.
        prefix: Ipv6Net,
    },
    /// Rewrites the destination of what arrives for a published port: nat/PREROUTING.
    Dnat(Dnat),
}

/// A DNAT rule: its key (everything before the target), and its target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dnat {
    /// What it matches.
    pub key: DnatKey,
    /// The container's address.
    pub target: Ipv6Addr,
    /// The container's port, never 0.
    pub target_port: u16,
}

/// What a DNAT rule matches. Two DNAT rules with one key and different targets contradict
/// each other: one replaces the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnatKey {
    /// Interface on which packets arrive.
    pub dev: Device,
    /// Transport protocol.
    pub proto: Proto,
    /// Destination address; `None` for any local address.
    pub host_addr: Option<Ipv6Addr>,
    /// Destination port, never 0.
    pub host_port: u16,
}

impl RuleSpec {
    /// The key of a DNAT rule; `None` for a static rule, which has no target to replace.
    pub fn dnat_key(&self) -> Option<&DnatKey> {
        match self {
            Self::Dnat(dnat) => Some(&dnat.key),
            Self::Masquerade { .. } => None,
        }
    }

    /// Whether the rule is set at start and does not belong to any container.
    pub fn is_static(&self) -> bool {
        !matches!(self, Self::Dnat(_))
    }
}

impl Rule {
    /// The identity of this rule.
    pub fn id(&self) -> RuleId {
        RuleId::of(self)
    }
}

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
    let backend = rule.backend;
    match &rule.spec {
        RuleSpec::Masquerade { dev, prefix } => format!(
            "docker-nat66 v1 backend={backend} family=ip6 table=nat chain=POSTROUTING \
             dev={dev} prefix={prefix} do=masquerade"
        ),
        RuleSpec::Dnat(Dnat {
            key,
            target,
            target_port,
        }) => {
            let host_addr = match key.host_addr {
                Some(addr) => addr.to_string(),
                None => "any".to_owned(),
            };
            format!(
                "docker-nat66 v1 backend={backend} family=ip6 table=nat chain=PREROUTING \
                 dev={} proto={} host_addr={host_addr} host_port={} do=dnat \
                 target={target} target_port={target_port}",
                key.dev, key.proto, key.host_port
            )
        }
    }
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

/// A rule and the containers that want it. Static rules have no owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRule {
    /// The kernel content.
    pub rule: Rule,
    /// Who wants it.
    pub owners: BTreeSet<Owner>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dnat(port: u16) -> Rule {
        Rule {
            backend: BackendKind::Ip6tables,
            spec: RuleSpec::Dnat(Dnat {
                key: DnatKey {
                    dev: "eth0".parse().expect("valid"),
                    proto: Proto::Tcp,
                    host_addr: None,
                    host_port: port,
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
