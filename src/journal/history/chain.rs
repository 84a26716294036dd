//! The seals of the history's entries. Pure.
//!
//! ```text
//!   value of entry n = version u8 │ seal n │ body
//!   seal n           = SHA-256("docker-nat66 history" │ seal n-1 │ n u64 │ version u8 │ body)
//! ```
//!
//! Numbers are big-endian. Seal 0 is all zeros. The oldest entries are cut off when there are too many;
//! the seal of the last one that was cut is kept as the anchor of what is left.

use std::fmt;

use sha2::{Digest, Sha256};

/// The version of the value of [`Ends`].
const ENDS_VERSION: u8 = 1;

const SEAL_BYTES: usize = 32;

/// The key of [`Ends`]. An entry's key has 8 bytes, so the two cannot collide.
pub(crate) const ENDS_KEY: &[u8] = b"ends";

/// An entry's number and seal.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// Counts from 1; 0 stands before the first.
    pub number: u64,
    /// SHA-256.
    pub seal: [u8; SEAL_BYTES],
}

impl Link {
    /// The seal in hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        self.seal.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} {})", self.number, self.hex())
    }
}

/// Where the history begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The last entry that was cut off.
    pub(crate) anchor: Link,
    /// The newest entry.
    pub(crate) head: Link,
    /// The size of all keys and values of entries, in bytes.
    pub(crate) bytes: u64,
}

impl Ends {
    /// As it is stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = vec![ENDS_VERSION];
        for link in [self.anchor, self.head] {
            value.extend(link.number.to_be_bytes());
            value.extend(link.seal);
        }
        value.extend(self.bytes.to_be_bytes());
        value
    }

    /// Reads it back; `None` if it is not what was stored.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (&version, mut rest) = value.split_first()?;
        let mut link = || {
            let (number, after) = rest.split_first_chunk()?;
            let (seal, after) = after.split_first_chunk()?;
            rest = after;
            Some(Link {
                number: u64::from_be_bytes(*number),
                seal: *seal,
            })
        };
        let (anchor, head) = (link()?, link()?);
        let bytes = u64::from_be_bytes(rest.try_into().ok()?);
        let ends = Self {
            anchor,
            head,
            bytes,
        };
        (version == ENDS_VERSION && anchor.number <= head.number).then_some(ends)
    }
}

/// The key of an entry.
pub(crate) fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The number of an entry by its key; `None` if it is none.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// The size of an entry, in bytes.
pub(crate) fn size(value: &[u8]) -> u64 {
    (size_of::<u64>() + value.len()) as u64
}

/// The entry that follows `before`, and its value. `version` is that of its body.
pub(crate) fn seal(before: &Link, version: u8, body: &[u8]) -> (Link, Vec<u8>) {
    let number = before.number + 1;
    let seal = seal_of(before, number, version, body);
    let mut value = Vec::with_capacity(1 + SEAL_BYTES + body.len());
    value.push(version);
    value.extend(seal);
    value.extend(body);
    (Link { number, seal }, value)
}

fn seal_of(before: &Link, number: u64, version: u8, body: &[u8]) -> [u8; SEAL_BYTES] {
    let mut hash = Sha256::new();
    hash.update(b"docker-nat66 history");
    hash.update(before.seal);
    hash.update(number.to_be_bytes());
    hash.update([version]);
    hash.update(body);
    hash.finalize().into()
}

/// A value, taken apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed<'v> {
    version: u8,
    /// Its number and the seal that it bears.
    pub(crate) link: Link,
    body: &'v [u8],
}

impl<'v> Sealed<'v> {
    /// Takes the value of this entry apart; `None` if it is too short for one.
    pub(crate) fn read(number: u64, value: &'v [u8]) -> Option<Self> {
        let (&version, rest) = value.split_first()?;
        let (seal, body) = rest.split_first_chunk()?;
        let link = Link {
            number,
            seal: *seal,
        };
        Some(Self {
            version,
            link,
            body,
        })
    }

    /// Whether the seal is that of this entry behind `before`.
    pub(crate) fn fits(&self, before: &Link) -> bool {
        let seal = seal_of(before, self.link.number, self.version, self.body);
        seal == self.link.seal
    }

    /// The body, and its version.
    pub(crate) fn body(&self) -> (u8, &'v [u8]) {
        (self.version, self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_read_back_and_nothing_else_does() {
        let (anchor, _) = seal(&Link::default(), 1, b"a");
        let (head, _) = seal(&anchor, 1, b"b");
        let ends = Ends {
            anchor,
            head,
            bytes: 7,
        };
        let value = ends.encode();
        assert_eq!(Ends::decode(&value), Some(ends));
        for length in 0..value.len() {
            assert_eq!(Ends::decode(&value[..length]), None, "{length}");
        }
        let longer = [&value[..], &[0]].concat();
        assert_eq!(Ends::decode(&longer), None);
        let newer = [&[ENDS_VERSION + 1], &value[1..]].concat();
        assert_eq!(Ends::decode(&newer), None);
    }

    #[test]
    fn a_seal_covers_the_body_the_number_and_all_before() {
        let (first, value) = seal(&Link::default(), 1, b"body");
        let sealed = Sealed::read(1, &value).expect("whole");
        assert!(sealed.fits(&Link::default()));
        assert!(!sealed.fits(&first));
        assert!(
            !Sealed::read(2, &value)
                .expect("whole")
                .fits(&Link::default())
        );
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let sealed = Sealed::read(1, &flipped).expect("whole");
            assert!(!sealed.fits(&Link::default()), "bit {bit}");
        }
        assert!(Sealed::read(1, &value[..SEAL_BYTES]).is_none());
    }
}
