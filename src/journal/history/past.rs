//! Reads the history and checks its seals. Pure.

use super::chain::{self, Link, Sealed};
use super::closing::{Closing, EndReason, HistoryEntry, Loss};
use crate::journal::codec::{self, DecodeError};

/// The history as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredHistory {
    /// The last entry that was cut off.
    pub anchor: Link,
    /// The newest entry.
    pub head: Link,
    /// The number and the value of each entry, in order.
    pub entries: Vec<(u64, Vec<u8>)>,
}

impl StoredHistory {
    /// What could be read of a history whose journal was damaged, and an entry that says so: how much is
    /// missing is not known.
    pub(crate) fn salvaged(self, at: u64, why: &str) -> (Self, Loss) {
        let loss = Loss {
            entries: None,
            at,
            why: why.to_owned(),
        };
        (self.with(&HistoryEntry::Loss(loss.clone())), loss)
    }

    /// What is left of a history that ended at `head` once its entries behind `anchor` are lost: one
    /// entry that says so; `None` where it had none.
    pub(crate) fn lost(anchor: Link, head: Link, at: u64, why: &str) -> (Self, Option<Loss>) {
        let bare = Self {
            anchor: head,
            head,
            entries: Vec::new(),
        };
        if head.number <= anchor.number {
            return (bare, None);
        }
        let loss = Loss {
            entries: Some((anchor.number + 1, head.number)),
            at,
            why: why.to_owned(),
        };
        (bare.with(&HistoryEntry::Loss(loss.clone())), Some(loss))
    }

    fn with(mut self, entry: &HistoryEntry) -> Self {
        let (version, body) = codec::history::encode(entry);
        let (link, value) = chain::seal(&self.head, version, &body);
        self.entries.push((link.number, value));
        self.head = link;
        self
    }

    /// Where the chain of seals breaks first, and how; `None`: it is whole.
    pub fn broken(&self) -> Option<String> {
        Past::read(self).broken
    }

    /// The size of its entries, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let sizes = self.entries.iter().map(|(_, value)| chain::size(value));
        sizes.sum()
    }
}

/// The history as it is read.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The entries that can be read, oldest first.
    pub(crate) closings: Vec<(Link, Closing)>,
    /// What was lost when the journal was rebuilt.
    pub(crate) losses: Vec<(Link, Loss)>,
    /// Where the chain of seals breaks first, and how; `None`: it is whole.
    pub(crate) broken: Option<String>,
}

impl Past {
    /// Reads every entry, behind a break, too.
    pub(crate) fn read(stored: &StoredHistory) -> Self {
        let mut past = Self::default();
        let mut before = stored.anchor;
        for (number, value) in &stored.entries {
            let expected = before.number + 1;
            if *number != expected {
                past.breaks(match number - 1 {
                    last if last == expected => format!("entry {expected} is missing"),
                    last if last > expected => format!("entries {expected} to {last} are missing"),
                    _ => format!("entry {number} stands behind entry {}", before.number),
                });
            }
            let Some(sealed) = Sealed::read(*number, value) else {
                past.breaks(format!("entry {number} is cut short"));
                before.number = *number;
                continue;
            };
            if !sealed.fits(&before) {
                past.breaks(format!("entry {number} does not fit its seal"));
            }
            before = sealed.link;
            let (version, body) = sealed.body();
            match codec::history::decode(version, body) {
                Ok(HistoryEntry::Closing(closing)) => past.closings.push((before, closing)),
                Ok(HistoryEntry::Correction { entry, reason }) => past.correct(entry, reason),
                Ok(HistoryEntry::Loss(loss)) => past.losses.push((before, loss)),
                Err(DecodeError::NewerVersion(_)) => {
                    past.breaks(format!("entry {number} is of a newer version"));
                }
                Err(why) => past.breaks(format!("entry {number} cannot be read: {why}")),
            }
        }
        if before != stored.head {
            past.breaks(match stored.head.number {
                newest if newest > before.number => {
                    format!("the newest entries are missing: there were {newest}")
                }
                newest => format!("entry {newest} is not the one that was written last"),
            });
        }
        past
    }

    /// The entry may have been cut off since.
    fn correct(&mut self, entry: u64, reason: EndReason) {
        let at = self
            .closings
            .binary_search_by_key(&entry, |(link, _)| link.number);
        if let Ok(at) = at {
            self.closings[at].1.reason = reason;
        }
    }

    /// Only the first break counts: nothing after it can be verified.
    fn breaks(&mut self, how: String) {
        self.broken.get_or_insert(how);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::history::chain::seal;
    use crate::journal::history::closing::{Ended, closings};
    use crate::journal::testing::record;

    /// A history of so many entries.
    fn stored(count: u16) -> StoredHistory {
        let mut stored = StoredHistory::default();
        for n in 1..=count {
            let record = record(n);
            let ended = Ended {
                record: &record,
                container: record.owned.owners.first(),
                at: 1_767_400_000 + u64::from(n),
                reason: EndReason::ContainerEnded,
            };
            let made = closings([ended].into_iter());
            let entry = HistoryEntry::Closing(made[0].clone());
            let (link, value) = sealed(&stored.head, &entry);
            stored.entries.push((link.number, value));
            stored.head = link;
        }
        stored
    }

    fn sealed(before: &Link, entry: &HistoryEntry) -> (Link, Vec<u8>) {
        let (version, body) = codec::history::encode(entry);
        seal(before, version, &body)
    }

    fn broken(stored: &StoredHistory) -> String {
        Past::read(stored).broken.unwrap_or_default()
    }

    #[test]
    fn a_history_that_nobody_touched_is_whole() {
        for count in [0, 1, 40] {
            let past = Past::read(&stored(count));
            assert_eq!(past.broken, None);
            assert_eq!(past.closings.len(), usize::from(count));
        }
        // So is one whose oldest entries were cut off by us.
        let mut cut = stored(40);
        let (number, value) = cut.entries[9].clone();
        cut.anchor = Sealed::read(number, &value).expect("whole").link;
        cut.entries.drain(..10);
        let past = Past::read(&cut);
        assert_eq!((past.broken, past.closings.len()), (None, 30));
    }

    #[test]
    fn any_change_by_others_shows_where_it_is() {
        type Harm = fn(&mut StoredHistory);
        let cases: [(Harm, &str); 9] = [
            (
                |s| *s.entries[4].1.last_mut().expect("bytes") ^= 1,
                "entry 5 does not fit its seal",
            ),
            (|s| drop(s.entries.remove(4)), "entry 5 is missing"),
            (
                |s| drop(s.entries.drain(4..7)),
                "entries 5 to 7 are missing",
            ),
            (|s| s.entries.swap(4, 5), "entry 5 is missing"),
            (
                |s| s.entries[4].1 = s.entries[5].1.clone(),
                "entry 5 does not fit its seal",
            ),
            (
                |s| s.entries.truncate(7),
                "the newest entries are missing: there were 10",
            ),
            (|s| drop(s.entries.drain(..3)), "entries 1 to 3 are missing"),
            (|s| s.entries[4].1.truncate(20), "entry 5 is cut short"),
            (|s| s.entries[4].1[0] = 9, "entry 5 does not fit its seal"),
        ];
        for (harm, expected) in cases {
            let mut stored = stored(10);
            harm(&mut stored);
            assert_eq!(broken(&stored), expected);
        }
        // Entries that are sealed anew by somebody else fit each other, and not the next.
        let mut forged = stored(10);
        let before = Sealed::read(4, &forged.entries[3].1).expect("whole").link;
        let ninth = forged.entries[8].1.clone();
        let (version, body) = Sealed::read(9, &ninth).expect("ours").body();
        forged.entries[4].1 = seal(&before, version, body).1;
        assert_eq!(broken(&forged), "entry 6 does not fit its seal");
        let other = stored(9).entries[8].1.clone();
        let mut replaced = stored(10);
        replaced.entries[9].1 = seal(&Link::default(), 1, &other).1;
        assert_eq!(broken(&replaced), "entry 10 does not fit its seal");
    }

    #[test]
    fn a_correction_gives_an_earlier_entry_its_reason() {
        let mut stored = stored(3);
        let reason = EndReason::LeftNetwork;
        // One of them is cut off, and one is none.
        for entry in [2, 1, 9, 4] {
            let (link, value) = sealed(&stored.head, &HistoryEntry::Correction { entry, reason });
            stored.entries.push((link.number, value));
            stored.head = link;
        }
        let (number, value) = stored.entries.remove(0);
        stored.anchor = Sealed::read(number, &value).expect("whole").link;
        let past = Past::read(&stored);
        assert_eq!(past.broken, None);
        let reasons: Vec<EndReason> = past.closings.iter().map(|(_, it)| it.reason).collect();
        assert_eq!(reasons, [reason, EndReason::ContainerEnded]);
        // A newer version of an entry is named as such.
        let (link, value) = seal(&stored.head, 99, b"");
        stored.entries.push((link.number, value));
        stored.head = link;
        assert_eq!(broken(&stored), "entry 8 is of a newer version");
    }

    #[test]
    fn what_is_behind_a_break_is_read_all_the_same() {
        let mut stored = stored(10);
        stored.entries.remove(4);
        assert_eq!(Past::read(&stored).closings.len(), 9);
    }
}
