//! What must hold of any bytes that stand where a record or the sentinel is expected.

use super::{
    DecodeError, FIRST_VERSION, HEADER_BYTES, SENTINEL_KEY, VERSION, WITHOUT_IMAGE, decode,
    decode_sentinel, encode, encode_sentinel, envelope, read, v1, v2, v3,
};
use crate::journal::record::Record;
use crate::model::rule::RuleId;

/// The length of a record's key, and so of what stands before a value in the input.
const KEY_BYTES: usize = 8;

/// The input is taken for a record with its key, for the sentinel, and for a body with a fitting
/// checksum: a checksum is no defence against an attacker who can compute it.
pub(crate) fn check(bytes: &[u8]) {
    let (key, value) = bytes.split_at(bytes.len().min(KEY_BYTES));
    match decode(key, value) {
        Ok(record) => same_again(key, &record),
        Err(DecodeError::NewerVersion(version)) => assert!(version > VERSION),
        Err(DecodeError::Damaged { .. }) => {}
    }
    if let Ok(sentinel) = decode_sentinel(bytes) {
        assert_eq!(encode_sentinel(sentinel), bytes);
    }
    sealed(bytes);
}

fn sealed(body: &[u8]) {
    let sentinel = decode_sentinel(&envelope(SENTINEL_KEY, FIRST_VERSION, body));
    assert_eq!(sentinel.is_ok(), body.len() == 16);
    let other = [0; KEY_BYTES];
    let id = RuleId::from_bytes(other);
    // A record of version 1 may stand under any key.
    let first = envelope(&other, FIRST_VERSION, body);
    match read::<v1::RecordV1>(body)
        .ok()
        .and_then(|body| body.record(id).ok())
    {
        Some(record) => assert_eq!(decode(&other, &first), Ok(record)),
        None => assert!(decode(&other, &first).is_err()),
    }
    let id = read::<v2::RecordV2>(body).ok().map(|body| body.id());
    sealed_as(WITHOUT_IMAGE, body, id);
    let id = read::<v3::RecordV3>(body).ok().map(|body| body.v2.id());
    sealed_as(VERSION, body, id);
}

/// A record of version 2 or 3 stands under the key that its content has, or is damage. `id`: the
/// identity that the body has; `None`: it is no body of this version.
fn sealed_as(version: u16, body: &[u8], id: Option<Option<RuleId>>) {
    let other = [0; KEY_BYTES];
    let value = envelope(&other, version, body);
    let Some(id) = id else {
        assert!(decode(&other, &value).is_err());
        return;
    };
    let key = id.map_or(other, |id| *id.as_bytes());
    assert!(key == other || decode(&other, &value).is_err());
    let value = envelope(&key, version, body);
    let Ok(record) = decode(&key, &value) else {
        return;
    };
    same_again(&key, &record);
    // A change of one byte is detected.
    let at = HEADER_BYTES + body.len() / 2;
    let mut changed = value;
    if let Some(byte) = changed.get_mut(at) {
        *byte = byte.wrapping_add(1);
        assert!(decode(&key, &changed).is_err());
    }
}

/// What was read is written, read again, and written the same. Only names are cut when written.
fn same_again(key: &[u8], record: &Record) {
    assert_eq!(record.id().as_bytes(), key);
    let value = encode(record).expect("it was as long when it was read");
    let again = decode(key, &value).expect("as written");
    let count = |record: &Record| record.owned.owners.len();
    assert!(count(&again) <= count(record));
    assert_eq!(again.owned.rule, record.owned.rule);
    assert_eq!(
        (again.state, again.inserted_at, &again.boot_id),
        (record.state, record.inserted_at, &record.boot_id)
    );
    assert_eq!(encode(&again), Ok(value));
}
