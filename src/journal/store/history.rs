//! The history in the database: appends entries, cuts off the oldest, and reads them.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv6Addr;

use super::database::{Change, Database, DatabaseError};
use crate::journal::codec;
use crate::journal::history::cause::{Cause, Reasons};
use crate::journal::history::chain::{self, ENDS_KEY, Ends, Link, Sealed};
use crate::journal::history::closing::{
    Closing, EndReason, Ended, HistoryEntry, Loss, closings, is_open,
};
use crate::journal::history::past::StoredHistory;
use crate::journal::record::{Record, RecordState, Records};
use crate::mapper::remaining::{Presence, Remaining};
use crate::model::forward::Owner;
use crate::model::rule::RuleId;

/// Most entries. A host whose containers come and go every minute fills them in a week.
const MOST_ENTRIES: u64 = 10_000;

/// Most bytes of all entries; one has about 250.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// Of so many closings at most it is found out later whether the container has ended. Docker says so
/// within a second.
const MOST_UNSURE: usize = 1_000;

/// How many entries are read at once.
const AT_ONCE: usize = 500;

/// How much of a limit is left after a cut, so that not every change cuts.
fn after_a_cut(most: u64) -> u64 {
    most / 10 * 9
}

/// A closing whose reason is not certain.
struct Unsure {
    /// The number of its entry.
    entry: u64,
    container: Owner,
    addr: Ipv6Addr,
    /// When the container started, as far as it was known.
    started: Option<i64>,
}

impl Unsure {
    /// Whether the container goes on, without its network; `None` while Docker has not answered.
    fn goes_on(&self, remaining: &Remaining) -> Option<bool> {
        match remaining.presence(&self.container, self.addr) {
            Presence::LeftNetwork => Some(true),
            Presence::Ended => Some(false),
            // It is there again: it has ended if it was started anew meanwhile.
            Presence::There => {
                let started = remaining.started(&self.container);
                Some(started.is_some() && started == self.started)
            }
            Presence::EndedOrLeft | Presence::Unknown => None,
        }
    }
}

/// The history of an open store. Its entries are not in memory.
pub(super) struct History {
    /// Where it begins and ends.
    pub(super) ends: Ends,
    /// Why forwards end now, and when that is; `None`: nobody keeps a history.
    occasion: Option<(Cause, u64)>,
    /// Closings of containers that have ended, most probably: Docker has not said so yet.
    unsure: VecDeque<Unsure>,
    /// The entries, while there is no database that holds them, or why they are lost.
    saved: Option<Result<StoredHistory, String>>,
    /// What is lost and was not reported yet.
    pub(super) losses: Vec<Loss>,
}

impl History {
    pub(super) fn new(ends: Ends) -> Self {
        Self {
            ends,
            occasion: None,
            unsure: VecDeque::new(),
            saved: None,
            losses: Vec::new(),
        }
    }

    /// What ends from now on ends for this cause, at the second `now` since the epoch.
    pub(super) fn because(&mut self, cause: Cause, now: u64) {
        if let Cause::Round { remaining, .. } = &cause {
            self.unsure
                .retain(|it| it.goes_on(remaining) != Some(false));
        }
        self.occasion = Some((cause, now));
    }

    /// What Docker shows of containers now.
    fn remaining(&self) -> Option<&Remaining> {
        match &self.occasion {
            Some((Cause::Round { remaining, .. }, _)) => Some(remaining),
            _ => None,
        }
    }

    /// Whether [`History::corrections`] may have something to correct later.
    pub(super) fn is_unsure(&self) -> bool {
        !self.unsure.is_empty()
    }

    /// Corrects the reasons of earlier closings: Docker has answered that their containers go on.
    pub(super) fn corrections(&self) -> Vec<HistoryEntry> {
        let Some(remaining) = self.remaining() else {
            return Vec::new();
        };
        let unsure = self.unsure.iter();
        let unsure = unsure.filter(|it| it.goes_on(remaining) == Some(true));
        let correction = |it: &Unsure| HistoryEntry::Correction {
            entry: it.entry,
            reason: EndReason::LeftNetwork,
        };
        unsure.map(correction).collect()
    }

    /// These entries are in the database, which has these ends now.
    pub(super) fn written(&mut self, entries: &[HistoryEntry], ends: Ends) {
        let first = self.ends.head.number + 1;
        self.ends = ends;
        let Some((Cause::Round { remaining, .. }, _)) = &self.occasion else {
            return;
        };
        let mut corrected = BTreeSet::new();
        for (entry, number) in entries.iter().zip(first..) {
            match entry {
                HistoryEntry::Correction { entry, .. } => drop(corrected.insert(*entry)),
                HistoryEntry::Closing(Closing {
                    container: Some(container),
                    addr,
                    reason: EndReason::ContainerEnded,
                    ..
                }) if remaining.presence(container, *addr) != Presence::Ended => {
                    self.unsure.push_back(Unsure {
                        entry: number,
                        container: container.clone(),
                        addr: *addr,
                        started: remaining.started(container),
                    });
                }
                HistoryEntry::Closing(_) | HistoryEntry::Loss(_) => {}
            }
        }
        self.unsure.retain(|it| !corrected.contains(&it.entry));
        let excess = self.unsure.len().saturating_sub(MOST_UNSURE);
        self.unsure.drain(..excess);
    }

    /// The entries for what a change of records ends.
    pub(super) fn closings<'a>(
        &self,
        records: &Records,
        new: impl Iterator<Item = (RuleId, Option<&'a Record>)>,
    ) -> Vec<HistoryEntry> {
        let Some((cause, now)) = &self.occasion else {
            return Vec::new();
        };
        let mut reasons = Reasons::new(cause, records);
        let mut ended = Vec::new();
        for (id, after) in new {
            let Some(record) = records.get(&id).filter(|record| is_open(record)) else {
                continue;
            };
            // One that is only intended is not in the kernel any more.
            let is_put_in_again = after.is_some_and(|it| it.state == RecordState::Intended);
            let after = after.filter(|_| !is_put_in_again);
            let after = after.map(|it| &it.owned.owners);
            let owners = &record.owned.owners;
            if after == Some(owners) {
                continue;
            }
            let mut end = |container| {
                let reason = reasons.of(record, container, is_put_in_again);
                ended.push(Ended {
                    record,
                    container,
                    at: reasons.moment(record, *now),
                    reason,
                });
            };
            let has_left = |owner: &&Owner| after.is_none_or(|them| !them.contains(*owner));
            owners.iter().filter(has_left).map(Some).for_each(&mut end);
            if owners.is_empty() && after.is_none() {
                end(None);
            }
        }
        let closings = closings(ended.into_iter()).into_iter();
        closings.map(HistoryEntry::Closing).collect()
    }

    /// Keeps the entries of a database that is replaced, until there is a new one, or why they cannot be
    /// kept: then they are lost with it.
    pub(super) fn save(&mut self, leaving: Result<&Database, String>) {
        let entries = leaving.and_then(|it| self.acknowledged(it).map_err(|e| e.to_string()));
        self.saved = Some(entries);
    }

    /// Keeps no entries: the database that has them stays in use.
    pub(super) fn unsave(&mut self) {
        self.saved = None;
    }

    /// Whether the entries are kept, to go into a new database.
    pub(super) fn is_saved(&self) -> bool {
        matches!(self.saved, Some(Ok(_)))
    }

    /// The entries for a new database, and which are lost.
    pub(super) fn saved(&self) -> (Cow<'_, StoredHistory>, Option<Loss>) {
        let why = match &self.saved {
            Some(Ok(saved)) => return (Cow::Borrowed(saved), None),
            Some(Err(why)) => why,
            None => "they were not read",
        };
        let Ends { anchor, head, .. } = self.ends;
        let (left, loss) = StoredHistory::lost(anchor, head, self.now(), why);
        (Cow::Owned(left), loss)
    }

    /// When something was last done, in seconds since the epoch.
    pub(super) fn now(&self) -> u64 {
        self.occasion.as_ref().map_or(0, |(_, now)| *now)
    }

    /// The entries of a database without those of a change that has failed.
    fn acknowledged(&self, database: &Database) -> Result<StoredHistory, DatabaseError> {
        let mut history = stored(database)?;
        let head = self.ends.head;
        history.entries.retain(|(number, _)| *number <= head.number);
        Ok(StoredHistory { head, ..history })
    }

    /// There is a new database, which has these ends.
    pub(super) fn goes_on(&mut self, ends: Ends) {
        self.ends = ends;
        self.saved = None;
    }

    /// Some entries behind the one of this number.
    pub(super) fn page(
        &self,
        database: &Database,
        after: u64,
    ) -> Result<StoredHistory, DatabaseError> {
        Ok(StoredHistory {
            anchor: self.ends.anchor,
            head: self.ends.head,
            entries: some(database, after, AT_ONCE)?,
        })
    }
}

/// Where the history of a database begins and ends.
pub(in crate::journal) fn ends(database: &Database) -> Result<Ends, DatabaseError> {
    let stored = database.history_value(ENDS_KEY)?;
    if let Some(ends) = stored.as_deref().and_then(Ends::decode) {
        return Ok(ends);
    }
    // Somebody has altered it. What is there stays, and reading it says so.
    let mut ends = Ends::default();
    for (number, value) in entries(database)? {
        ends.bytes += chain::size(&value);
        let sealed = Sealed::read(number, &value);
        ends.head = sealed.map_or(
            Link {
                number,
                ..ends.head
            },
            |sealed| sealed.link,
        );
    }
    Ok(ends)
}

/// Every entry, with its number.
pub(in crate::journal) fn entries(
    database: &Database,
) -> Result<Vec<(u64, Vec<u8>)>, DatabaseError> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or(0, |(number, _)| *number);
        let some = some(database, after, AT_ONCE)?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

/// The first entries behind the one of this number.
fn some(
    database: &Database,
    after: u64,
    most: usize,
) -> Result<Vec<(u64, Vec<u8>)>, DatabaseError> {
    let entries = database.history_after(chain::key(after), most)?;
    let numbered = |(key, value): (Vec<u8>, Vec<u8>)| Some((chain::number(&key)?, value));
    Ok(entries.into_iter().filter_map(numbered).collect())
}

/// The whole history of a database.
pub(in crate::journal) fn stored(database: &Database) -> Result<StoredHistory, DatabaseError> {
    let ends = ends(database)?;
    Ok(StoredHistory {
        anchor: ends.anchor,
        head: ends.head,
        entries: entries(database)?,
    })
}

/// The changes that put a history into a new database, in parts.
pub(super) fn copied(stored: &StoredHistory) -> impl Iterator<Item = Vec<Change>> {
    let ends = Ends {
        anchor: stored.anchor,
        head: stored.head,
        bytes: stored.bytes(),
    };
    let has_any = ends.head.number > 0;
    let ends = has_any.then(|| vec![(ENDS_KEY.to_vec(), Some(ends.encode()))]);
    let entry = |(number, value): &(u64, Vec<u8>)| -> Change {
        (chain::key(*number).to_vec(), Some(value.clone()))
    };
    let parts = stored.entries.chunks(AT_ONCE);
    let parts = parts.map(move |part| part.iter().map(entry).collect());
    parts.chain(ends)
}

/// The changes that append these entries, and where the history then ends. Where there are too many,
/// the oldest go.
pub(super) fn appended(
    database: &Database,
    before: &Ends,
    entries: &[HistoryEntry],
) -> Result<(Vec<Change>, Ends), DatabaseError> {
    if entries.is_empty() {
        return Ok((Vec::new(), *before));
    }
    let (mut ends, mut changes) = (*before, Vec::new());
    for entry in entries {
        let (version, body) = codec::history::encode(entry);
        let (link, value) = chain::seal(&ends.head, version, &body);
        ends.head = link;
        ends.bytes += chain::size(&value);
        changes.push((chain::key(link.number).to_vec(), Some(value)));
    }
    if is_above(&ends, MOST_ENTRIES, MOST_BYTES) {
        cut(database, &mut ends, &mut changes)?;
    }
    changes.push((ENDS_KEY.to_vec(), Some(ends.encode())));
    Ok((changes, ends))
}

fn is_above(ends: &Ends, entries: u64, bytes: u64) -> bool {
    ends.head.number - ends.anchor.number > entries || ends.bytes > bytes
}

/// Cuts off the oldest of the entries that are in the database.
fn cut(
    database: &Database,
    ends: &mut Ends,
    changes: &mut Vec<Change>,
) -> Result<(), DatabaseError> {
    let (entries, bytes) = (after_a_cut(MOST_ENTRIES), after_a_cut(MOST_BYTES));
    loop {
        let oldest = some(database, ends.anchor.number, AT_ONCE)?;
        if oldest.is_empty() {
            return Ok(());
        }
        for (number, value) in oldest {
            if !is_above(ends, entries, bytes) {
                return Ok(());
            }
            ends.bytes = ends.bytes.saturating_sub(chain::size(&value));
            let sealed = Sealed::read(number, &value);
            ends.anchor = sealed.map_or(
                Link {
                    number,
                    ..ends.anchor
                },
                |sealed| sealed.link,
            );
            changes.push((chain::key(number).to_vec(), None));
        }
    }
}

#[cfg(test)]
mod tests;
