//! What has become of records since they were written, in groups of neighbours.
//!
//! The value of a group is sealed as that of a record is; its body is a list of `id │ state u8`. Frozen:
//! what it cannot express needs a new version.

use super::{DecodeError, FIRST_VERSION, MAX_BODY_BYTES, damaged, envelope, unseal};
use crate::journal::record::RecordState;
use crate::model::rule::RuleId;

/// The key of the [`Summary`]. A group's key has 2 bytes, so the two cannot collide.
pub(crate) const SUMMARY_KEY: &[u8] = b"summary";

/// Most records in a group: see [`MAX_BODY_BYTES`].
pub(crate) const MOST_IN_GROUP: usize = MAX_BODY_BYTES / ENTRY_BYTES;

const ENTRY_BYTES: usize = 9;

/// What a record has become; `None`: it is gone.
pub(crate) type LaterState = Option<RecordState>;

/// The number of a record's group: 10 bits, so that the group of 120,000 records has 1 KiB.
pub(crate) fn group_of(id: RuleId) -> u16 {
    let [high, low, ..] = *id.as_bytes();
    u16::from_be_bytes([high, low]) >> 6
}

/// The least and the greatest identity that a group may hold.
pub(crate) fn ends_of(group: u16) -> [RuleId; 2] {
    let first = u64::from(group) << 54;
    let last = first | ((1 << 54) - 1);
    [first, last].map(|number| RuleId::from_bytes(number.to_be_bytes()))
}

/// The key of a group.
pub(crate) fn key(group: u16) -> [u8; 2] {
    group.to_be_bytes()
}

/// The value of a group, under its key.
pub(crate) fn encode(key: &[u8], entries: impl Iterator<Item = (RuleId, LaterState)>) -> Vec<u8> {
    let mut body = Vec::new();
    for (id, state) in entries {
        body.extend_from_slice(id.as_bytes());
        body.push(match state {
            None => 0,
            Some(RecordState::Intended) => 1,
            Some(RecordState::Applied) => 2,
            Some(RecordState::Removing) => 3,
        });
    }
    envelope(key, FIRST_VERSION, &body)
}

/// The records of the group under this key, and what they have become.
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Vec<(RuleId, LaterState)>, DecodeError> {
    let body = unseal_first(key, value)?;
    let entries = body.chunks(ENTRY_BYTES).map(|entry| {
        let (id, state) = entry.split_first_chunk::<8>()?;
        let id = RuleId::from_bytes(*id);
        let state = match state {
            [0] => None,
            [1] => Some(RecordState::Intended),
            [2] => Some(RecordState::Applied),
            [3] => Some(RecordState::Removing),
            _ => return None,
        };
        (key == self::key(group_of(id))).then_some((id, state))
    });
    let entries: Option<Vec<_>> = entries.collect();
    entries.ok_or_else(|| damaged("it is no list of records and states"))
}

/// All groups together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The sentinel's generation beside which they are right.
    pub(crate) generation: u64,
    /// How many records they describe.
    pub(crate) entries: u64,
    /// How many of these are gone.
    pub(crate) gone: u64,
}

/// The value of a summary: its numbers.
pub(crate) fn encode_summary(summary: &Summary) -> Vec<u8> {
    let numbers = [summary.generation, summary.entries, summary.gone];
    let body = numbers.map(u64::to_le_bytes).concat();
    envelope(SUMMARY_KEY, FIRST_VERSION, &body)
}

/// The summary under [`SUMMARY_KEY`].
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn decode_summary(value: &[u8]) -> Result<Summary, DecodeError> {
    let body = unseal_first(SUMMARY_KEY, value)?;
    let numbers: Vec<u64> = body
        .chunks(8)
        .filter_map(|number| number.try_into().ok().map(u64::from_le_bytes))
        .collect();
    match (numbers.as_slice(), body.len()) {
        (&[generation, entries, gone], 24) => Ok(Summary {
            generation,
            entries,
            gone,
        }),
        _ => Err(damaged("the summary has the wrong length")),
    }
}

/// What is wrong with groups that do not fit their summary.
pub(crate) fn incomplete() -> DecodeError {
    damaged("the later states of records are not all there")
}

/// The body of a value of the first version, the only one.
fn unseal_first<'v>(key: &[u8], value: &'v [u8]) -> Result<&'v [u8], DecodeError> {
    match unseal(key, value)? {
        (FIRST_VERSION, body) => Ok(body),
        (newer, _) => Err(DecodeError::NewerVersion(newer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::ids;

    #[test]
    fn a_group_is_read_as_it_was_written_and_no_other_bytes_are_one() {
        let id = ids(80..=80)[0];
        let other = RuleId::from_bytes(id.as_bytes().map(|byte| !byte));
        let key = key(group_of(id));
        for state in [
            None,
            Some(RecordState::Intended),
            Some(RecordState::Applied),
            Some(RecordState::Removing),
        ] {
            let value = encode(&key, [(id, state)].into_iter());
            assert_eq!(decode(&key, &value), Ok(vec![(id, state)]));
            for bit in 0..value.len() * 8 {
                let mut altered = value.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&key, &altered).is_err(), "bit {bit}");
            }
        }
        assert!(decode(&key, &encode(&key, [(other, None)].into_iter())).is_err());
        let mut body = id.as_bytes().to_vec();
        for last in [None, Some(4)] {
            body.extend(last);
            let sealed = envelope(&key, FIRST_VERSION, &body);
            assert!(decode(&key, &sealed).is_err(), "{last:?}");
        }
    }

    #[test]
    fn a_full_group_fits_into_a_value() {
        let entries =
            (0..MOST_IN_GROUP as u64).map(|n| (RuleId::from_bytes(n.to_be_bytes()), None));
        let value = encode(&key(0), entries);
        assert!(value.len() <= MAX_BODY_BYTES + super::super::HEADER_BYTES);
        assert_eq!(
            decode(&key(0), &value).map(|it| it.len()),
            Ok(MOST_IN_GROUP)
        );
        let summary = Summary {
            generation: 7,
            entries: 2,
            gone: 1,
        };
        let value = encode_summary(&summary);
        assert_eq!(decode_summary(&value), Ok(summary));
        for bit in 0..value.len() * 8 {
            let mut altered = value.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_summary(&altered).is_err(), "bit {bit}");
        }
        for length in [0, 16, 23, 25, 32] {
            let sealed = envelope(SUMMARY_KEY, FIRST_VERSION, &vec![0; length]);
            assert!(decode_summary(&sealed).is_err(), "{length}");
        }
        // A record has two versions, these have one.
        let (key, newer) = (key(0), FIRST_VERSION + 1);
        let refused = DecodeError::NewerVersion(newer);
        assert_eq!(decode(&key, &envelope(&key, newer, &[])), Err(refused));
    }
}
