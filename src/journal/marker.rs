//! The marker: a small file beside the database that records that the database exists.
//!
//! After many kinds of damage sled silently opens an empty or rolled-back database. The marker
//! distinguishes an empty journal from a vanished one, and holds a generation that the database must
//! have reached.
//!
//! It has two slots, one sector apart, written in turn, so that a torn write spoils only one. Its
//! generation is raised only after the database's own is on disk, and so is never ahead of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::codec;
use super::error::OpenError;
use super::layout::{self, StateDir};
use crate::sys::failpoint;

const MAGIC: [u8; 8] = *b"NAT66MRK";
/// Magic, version u16, generation u64, CRC u32 over the bytes before it; little-endian.
const SLOT_BYTES: usize = 22;
/// Distance of the slots, in bytes: a disk writes at least this much atomically.
const SECTOR: u64 = 512;

/// An open marker.
pub(super) struct Marker {
    file: File,
}

/// What [`read`] found at the marker's path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A marker: the database has reached this generation.
    Generation(u64),
    /// Something other than a marker.
    Unreadable,
    /// The marker of a journal in a newer format.
    NewerVersion(u16),
}

/// Reads the marker without changing anything.
pub(super) fn read(dir: &StateDir) -> Result<Found, OpenError> {
    let path = dir.marker();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) if super::error::is_damage(&error) => return Ok(Found::Unreadable),
        Err(error) => return Err(OpenError::io("opening", &path, error)),
    };
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Ok(Found::Unreadable);
    }
    let mut found = Found::Unreadable;
    for at in [0, SECTOR] {
        let mut slot = [0; SLOT_BYTES];
        match file.read_exact_at(&mut slot, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(OpenError::io("reading", &path, error)),
        }
        match (decode(&slot), &found) {
            (Some((version, _)), _) if version > codec::VERSION => {
                return Ok(Found::NewerVersion(version));
            }
            (Some((_, generation)), Found::Generation(other)) if generation <= *other => {}
            (Some((_, generation)), _) => found = Found::Generation(generation),
            (None, _) => {}
        }
    }
    Ok(found)
}

impl Marker {
    /// Writes `generation` durably, and creates the marker if it is missing.
    pub(super) fn write(dir: &StateDir, generation: u64) -> Result<Self, OpenError> {
        let path = dir.marker();
        let found = read(dir)?;
        if !matches!(found, Found::Generation(_)) {
            return Self::create(dir, generation);
        }
        let marker = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map(|file| Self { file })
            .map_err(|e| OpenError::io("opening", &path, e))?;
        if found != Found::Generation(generation) {
            marker
                .put(generation)
                .and_then(|()| marker.file.sync_data())
                .map_err(|e| OpenError::io("writing", &path, e))?;
        }
        Ok(marker)
    }

    fn create(dir: &StateDir, generation: u64) -> Result<Self, OpenError> {
        let path = dir.marker();
        let made = path.with_extension("marker.new");
        let failed = |e| OpenError::io("writing", &made, e);
        layout::remove(&made)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&made)
            .map_err(failed)?;
        let marker = Self { file };
        marker.file.set_len(2 * SECTOR).map_err(failed)?;
        marker.put(generation).map_err(failed)?;
        marker.file.sync_all().map_err(failed)?;
        if path.is_dir() {
            // A rename cannot replace a directory, and this one is not ours to remove.
            layout::rename(&path, &path.with_extension("marker.unknown"))?;
        }
        layout::rename(&made, &path)?;
        dir.sync()?;
        Ok(marker)
    }

    /// Raises the generation. The database on disk must have reached it. The marker itself is not
    /// synced, so after a power cut it may hold an older generation, which is still true.
    pub(super) fn raise(&self, generation: u64) {
        // A failure leaves an older generation, which is still true.
        let _ = self.put(generation);
    }

    fn put(&self, generation: u64) -> io::Result<()> {
        failpoint::crash("before the marker is written");
        let slot = (generation % 2) * SECTOR;
        self.file.write_all_at(&encode(generation), slot)
    }
}

fn encode(generation: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&MAGIC);
    slot[8..10].copy_from_slice(&codec::FIRST_VERSION.to_le_bytes());
    slot[10..18].copy_from_slice(&generation.to_le_bytes());
    let crc = crc32fast::hash(&slot[..18]);
    slot[18..].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// Version and generation of an intact slot.
fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u16, u64)> {
    let (body, crc) = slot.split_at(18);
    let whole = body.starts_with(&MAGIC) && crc32fast::hash(body).to_le_bytes() == crc;
    let version = u16::from_le_bytes(body[8..10].try_into().ok()?);
    let generation = u64::from_le_bytes(body[10..18].try_into().ok()?);
    whole.then_some((version, generation))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Overwrites the marker as a daemon of that format version would have left it.
    pub(in crate::journal) fn write_as_version(path: &std::path::Path, version: u16) {
        let mut slot = encode(7);
        slot[8..10].copy_from_slice(&version.to_le_bytes());
        let crc = crc32fast::hash(&slot[..18]);
        slot[18..].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(path, slot).expect("writes");
    }

    #[test]
    fn a_torn_write_leaves_the_previous_generation() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = StateDir::prepare(dir.path()).expect("private");
        let marker = Marker::write(&state, 1).expect("makes");
        for generation in 2..6 {
            marker.raise(generation);
            assert_eq!(read(&state).expect("reads"), Found::Generation(generation));
            for torn in 0..SLOT_BYTES {
                let mut half = encode(generation + 1);
                half[torn..].fill(0);
                let at = ((generation + 1) % 2) * SECTOR;
                marker.file.write_all_at(&half, at).expect("writes");
                assert_eq!(read(&state).expect("reads"), Found::Generation(generation));
            }
        }
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = StateDir::prepare(&dir.path().join("state")).expect("private");
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, encode(7)).expect("writes");
        std::os::unix::fs::symlink(&elsewhere, state.marker()).expect("links");
        assert_eq!(read(&state).expect("reads"), Found::Unreadable);
        Marker::write(&state, 8).expect("makes").raise(9);
        assert_eq!(read(&state).expect("reads"), Found::Generation(9));
        assert_eq!(std::fs::read(&elsewhere).expect("reads"), encode(7));
    }

    #[test]
    fn every_single_bit_flip_of_a_slot_is_detected() {
        let slot = encode(123_456);
        assert_eq!(decode(&slot), Some((codec::FIRST_VERSION, 123_456)));
        for bit in 0..slot.len() * 8 {
            let mut flipped = slot;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }
}
