//! The identity of our rules, by which we distinguish them from all others.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The text before the [`RuleId`] in a rule's comment.
pub const COMMENT_PREFIX: &str = "docker-nat66:";

/// Identity of a rule: the first 64 bits of SHA-256 over its backend and text. Rules of equal content
/// have equal identities, whatever their owners. Shown as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId([u8; 8]);

impl RuleId {
    /// The identity of a rule with this text. If what is hashed changes, the next release must
    /// recognise the rules of this one by their records, as it does those of journal version 1.
    pub(crate) fn of(backend: &str, text: &str) -> Self {
        let mut hash = Sha256::new();
        for part in ["docker-nat66 v2 ", backend, " ", text] {
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }

    /// The bytes, which are the journal's key.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// The identity in a key of the journal.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The comment that a rule of this identity carries in the kernel.
    pub fn comment(&self) -> String {
        format!("{COMMENT_PREFIX}{self}")
    }

    /// Reads a comment. Only the exact pattern is ours: the prefix and 16 lower-case hexadecimal
    /// digits.
    pub fn from_comment(comment: &str) -> Option<Self> {
        comment.strip_prefix(COMMENT_PREFIX)?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_comment_is_ours() {
        let id = RuleId::from_bytes([1; 8]);
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
