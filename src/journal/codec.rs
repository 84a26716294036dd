//! The journal's format on disk: a record and the sentinel as key and value.
//!
//! ```text
//!   value = magic "N66J" │ version u16 │ flags u16 │ length u32 │ crc u32 │ body
//! ```
//!
//! Numbers are little-endian; `length` is that of the body, in bytes. The CRC covers the key, the
//! header before it and the body, so that a value under another's key is detected as damage. This
//! envelope must never change: it lets a daemon distinguish a newer version from damage. The body is
//! bincode (varint) of one serde struct per version.
//!
//! Every value carries the lowest version that can express it, except that records of version 1 are
//! only read. A daemon that does not know a version returns [`DecodeError::NewerVersion`] and changes
//! nothing, instead of reporting damage. A new kind of rule needs no new version.
//!
//! Pure: no I/O. No input makes it panic.

pub(crate) mod history;
mod parts;
pub(crate) mod states;
mod v1;
mod v2;
mod v3;

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::Record;
use crate::model::rule::RuleId;

/// The highest version of a value that this daemon reads.
pub(crate) const VERSION: u16 = 3;

/// The version of records without a text, of every sentinel, and of the marker.
pub(crate) const FIRST_VERSION: u16 = 1;

/// The version of records of which no owner's image is known.
const WITHOUT_IMAGE: u16 = 2;

/// Largest body, in bytes. sled keeps up to 17 neighbouring values in one page and moves a page
/// over 128 KiB (a quarter of its 512 KiB segment) into a file of its own, which it never
/// fsyncs; 17 × 6 KiB stay below. An ordinary record takes about 350 bytes.
pub(crate) const MAX_BODY_BYTES: usize = 6 * 1024;

/// The sentinel's key. A record's key has 8 bytes, so the two cannot collide.
pub(crate) const SENTINEL_KEY: &[u8] = b"sentinel.sealed";

const MAGIC: [u8; 4] = *b"N66J";
const CRC_AT: usize = 12;
const HEADER_BYTES: usize = 16;

/// Seals the journal: every change of records writes a new sentinel in the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sentinel {
    /// Counts the changes. It never falls, not even across a quarantine.
    pub generation: u64,
    /// How many records there are.
    pub live: u64,
}

/// Why a record cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    /// The body would exceed [`MAX_BODY_BYTES`].
    #[error("record {id} does not fit into {MAX_BODY_BYTES} bytes ({owners} owners)")]
    TooLarge {
        /// The record.
        id: RuleId,
        /// How many owners it has: only they grow without limit.
        owners: usize,
    },
}

/// Why a key and value cannot be read as a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The bytes are not what was written.
    #[error("damaged: {reason}")]
    Damaged {
        /// What is wrong with them.
        reason: String,
    },
    /// The value is intact, but a newer daemon wrote it.
    #[error("format version {0} is newer than {VERSION}")]
    NewerVersion(u16),
}

fn damaged(reason: impl Into<String>) -> DecodeError {
    DecodeError::Damaged {
        reason: reason.into(),
    }
}

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_little_endian()
        .with_varint_encoding()
        .with_limit(MAX_BODY_BYTES as u64)
        .reject_trailing_bytes()
}

/// The value of a record; its key is `record.id()`. Names of containers, images and networks are cut at 255
/// bytes, because only the reader of `dump` needs them.
///
/// # Errors
/// [`EncodeError::TooLarge`].
pub(crate) fn encode(record: &Record) -> Result<Vec<u8>, EncodeError> {
    let id = record.id();
    let v3 = v3::RecordV3::of(record).and_then(|v3| Some((VERSION, body(&v3)?)));
    // Rather without images than not at all.
    v3.or_else(|| Some((WITHOUT_IMAGE, body(&v2::RecordV2::from(record))?)))
        .map(|(version, body)| envelope(id.as_bytes(), version, &body))
        .ok_or(EncodeError::TooLarge {
            id,
            owners: record.owned.owners.len(),
        })
}

/// Reads a record back, and checks that it belongs to its key.
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Record, DecodeError> {
    let (version, body) = unseal(key, value)?;
    let id = key.try_into().map(RuleId::from_bytes);
    let id = id.map_err(|_| damaged(format!("a key of {} bytes", key.len())))?;
    let record = match version {
        FIRST_VERSION => read::<v1::RecordV1>(body)?.record(id),
        WITHOUT_IMAGE => read::<v2::RecordV2>(body)?.record(id),
        _ => read::<v3::RecordV3>(body)?.record(id),
    };
    record.map_err(damaged)
}

/// The value of the sentinel, under [`SENTINEL_KEY`].
pub(crate) fn encode_sentinel(sentinel: Sentinel) -> Vec<u8> {
    let mut body = Vec::with_capacity(16);
    body.extend_from_slice(&sentinel.generation.to_le_bytes());
    body.extend_from_slice(&sentinel.live.to_le_bytes());
    envelope(SENTINEL_KEY, FIRST_VERSION, &body)
}

/// Reads the sentinel back.
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn decode_sentinel(value: &[u8]) -> Result<Sentinel, DecodeError> {
    let (_, body) = unseal(SENTINEL_KEY, value)?;
    let (generation, live) = body
        .split_at_checked(8)
        .ok_or_else(|| damaged("the sentinel is too short"))?;
    let number = |bytes: &[u8]| {
        let bytes: [u8; 8] = bytes
            .try_into()
            .map_err(|_| damaged("the sentinel has the wrong length"))?;
        Ok(u64::from_le_bytes(bytes))
    };
    Ok(Sentinel {
        generation: number(generation)?,
        live: number(live)?,
    })
}

fn body(value: &impl Serialize) -> Option<Vec<u8>> {
    options().serialize(value).ok()
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    // bincode applies its limit only to writing; reading from memory has none.
    if body.len() > MAX_BODY_BYTES {
        return Err(damaged(format!("the body has {} bytes", body.len())));
    }
    options()
        .deserialize(body)
        .map_err(|error| damaged(format!("the body cannot be read: {error}")))
}

fn crc(key: &[u8], header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in [key, header, body] {
        hasher.update(part);
    }
    hasher.finalize()
}

fn envelope(key: &[u8], version: u16, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + body.len());
    value.extend_from_slice(&MAGIC);
    value.extend_from_slice(&version.to_le_bytes());
    value.extend_from_slice(&0_u16.to_le_bytes());
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    value.extend_from_slice(&length.to_le_bytes());
    let crc = crc(key, &value, body);
    value.extend_from_slice(&crc.to_le_bytes());
    value.extend_from_slice(body);
    value
}

/// The version and the body of a value that is intact and of a known version.
fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<(u16, &'a [u8]), DecodeError> {
    let (header, body) = value
        .split_at_checked(HEADER_BYTES)
        .ok_or_else(|| damaged(format!("{} bytes are too few for a header", value.len())))?;
    let [
        m0,
        m1,
        m2,
        m3,
        v0,
        v1,
        f0,
        f1,
        l0,
        l1,
        l2,
        l3,
        c0,
        c1,
        c2,
        c3,
    ] = *header
    else {
        return Err(damaged("the header is missing"));
    };
    if [m0, m1, m2, m3] != MAGIC {
        return Err(damaged("the magic is missing"));
    }
    if u32::from_le_bytes([l0, l1, l2, l3]) as usize != body.len() {
        return Err(damaged(format!(
            "the body has {} bytes, the header gives another length",
            body.len()
        )));
    }
    if crc(key, &header[..CRC_AT], body) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(damaged("the checksum does not match"));
    }
    let version = u16::from_le_bytes([v0, v1]);
    match version {
        0 => Err(damaged("there is no version 0")),
        FIRST_VERSION..=VERSION if [f0, f1] != [0, 0] => Err(damaged("no version has flags")),
        FIRST_VERSION..=VERSION => Ok((version, body)),
        newer => Err(DecodeError::NewerVersion(newer)),
    }
}

/// The same value sealed as `version`, for tests of the refusal.
#[cfg(test)]
pub(super) fn resealed_as(version: u16, key: &[u8], value: &[u8]) -> Vec<u8> {
    envelope(key, version, &value[HEADER_BYTES..])
}

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/journal.rs"]
pub(crate) mod oracle;

#[cfg(test)]
mod tests;
