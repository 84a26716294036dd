//! Reads a whole database and decides whether it is sound.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::journal::codec::{self, DecodeError, Sentinel};
use crate::journal::error::OpenError;
use crate::journal::history::chain::Ends;
use crate::journal::history::past::StoredHistory;
use crate::journal::record::Record;
use crate::journal::store::{self, Database, DatabaseError, LaterStates, ReadError};
use crate::model::boot::BootId;
use crate::model::forward::Owner;
use crate::model::rule::RuleId;
use crate::model::shared::Shared;

pub(super) fn newer(found: u16) -> OpenError {
    OpenError::NewerVersion {
        found,
        known: codec::VERSION,
    }
}

/// A sound database.
pub(super) struct Loaded {
    pub(super) database: Database,
    pub(super) records: BTreeMap<RuleId, Record>,
    pub(super) later: LaterStates,
    pub(super) history: Ends,
    pub(super) generation: u64,
}

/// Why a database is not used.
pub(super) enum LoadError {
    Damaged {
        reason: String,
        salvaged: Vec<Record>,
        /// `None`: it cannot be read.
        history: Option<Box<StoredHistory>>,
    },
    NewerVersion(u16),
    /// The system refused, or another process has the database open.
    Refused(DatabaseError),
}

impl From<DatabaseError> for LoadError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Damaged(reason) => Self::Damaged {
                reason,
                salvaged: Vec::new(),
                history: None,
            },
            refused => Self::Refused(refused),
        }
    }
}

/// Opens the database in `path`, reads all of it, and checks it against its sentinel and the
/// generation that the marker says it reached.
pub(super) fn load(path: &Path, reached: Option<u64>) -> Result<Loaded, LoadError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            let reason = "it is not a directory".to_owned();
            return Err(DatabaseError::Damaged(reason).into());
        }
        Err(error) => return Err(DatabaseError::Io(error).into()),
    }
    let database = Database::open(path)?;
    let mut contents = Contents::default();
    database.scan(|key, value| contents.add(key, value))?;
    if let Some(version) = contents.newer {
        return Err(LoadError::NewerVersion(version));
    }
    let checked = contents.check(reached);
    let mut read = |generation| -> Result<(LaterStates, Ends), ReadError> {
        let later = LaterStates::read(&database, generation, &mut contents.records)?;
        Ok((later, store::ends(&database)?))
    };
    let reason = match checked.map(|generation| (generation, read(generation))) {
        Ok((generation, Ok((later, history)))) => {
            return Ok(Loaded {
                database,
                records: contents.records,
                later,
                history,
                generation,
            });
        }
        Ok((_, Err(ReadError::Content(DecodeError::NewerVersion(version))))) => {
            return Err(LoadError::NewerVersion(version));
        }
        // The records were read whole.
        Ok((_, Err(ReadError::Database(DatabaseError::Damaged(reason))))) => {
            return Err(LoadError::Damaged {
                reason,
                salvaged: contents.records.into_values().collect(),
                history: None,
            });
        }
        Ok((_, Err(ReadError::Database(refused)))) => return Err(refused.into()),
        Ok((_, Err(ReadError::Content(DecodeError::Damaged { reason })))) => reason,
        Err(reason) => reason,
    };
    Err(LoadError::Damaged {
        reason,
        salvaged: contents.records.into_values().collect(),
        history: store::stored(&database).ok().map(Box::new),
    })
}

/// The contents of a database.
#[derive(Default)]
struct Contents {
    records: BTreeMap<RuleId, Record>,
    common: Common,
    sentinel: Option<Sentinel>,
    damage: Option<String>,
    newer: Option<u16>,
}

/// What many records have in common. Each of them then holds it by reference.
#[derive(Default)]
struct Common {
    owners: BTreeSet<Shared<BTreeSet<Owner>>>,
    boot_ids: BTreeSet<BootId>,
}

impl Common {
    fn share(&mut self, record: &mut Record) {
        let owners = std::mem::take(&mut record.owned.owners);
        // Those of a record of an earlier version have no image; others of the same container may.
        let known = self.owners.get(&owners);
        if known.is_some_and(|known| Owner::lack_image_of(known, &owners)) {
            self.owners.remove(&owners);
        }
        record.owned.owners = shared(&mut self.owners, owners);
        record.boot_id = shared(&mut self.boot_ids, record.boot_id.clone());
    }
}

fn shared<T: Clone + Ord>(all: &mut BTreeSet<T>, one: T) -> T {
    if let Some(known) = all.get(&one) {
        return known.clone();
    }
    all.insert(one.clone());
    one
}

impl Contents {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let added = if key == codec::SENTINEL_KEY {
            codec::decode_sentinel(value).map(|sentinel| self.sentinel = Some(sentinel))
        } else {
            codec::decode(key, value).map(|mut record| {
                self.common.share(&mut record);
                self.records.insert(record.id(), record);
            })
        };
        match added {
            Ok(()) => {}
            Err(DecodeError::NewerVersion(version)) => {
                self.newer = self.newer.max(Some(version));
            }
            Err(DecodeError::Damaged { reason }) => {
                let shown: String = key.iter().map(|b| format!("{b:02x}")).collect();
                self.damage
                    .get_or_insert_with(|| format!("the value of {shown}: {reason}"));
            }
        }
    }

    /// The generation, or why the contents are damaged.
    fn check(&self, reached: Option<u64>) -> Result<u64, String> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone());
        }
        let Some(sentinel) = self.sentinel else {
            let found = self.records.len();
            return Err(format!("the sentinel is missing beside {found} records"));
        };
        if sentinel.live != self.records.len() as u64 {
            return Err(format!(
                "there are {} records, the sentinel says {}",
                self.records.len(),
                sentinel.live
            ));
        }
        match reached {
            Some(reached) if reached > sentinel.generation => Err(format!(
                "it was rolled back to generation {}, the marker says {reached}",
                sentinel.generation
            )),
            _ => Ok(sentinel.generation),
        }
    }
}
