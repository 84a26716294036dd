//! A journal record, its states, and what leads from one state to another.
//!
//! ```text
//!              Write             Commit             Remove             Forget
//!   (none) ─────────▶ Intended ─────────▶ Applied ─────────▶ Removing ─────────▶ (none)
//!                        │  ▲                 │                  │                  ▲
//!                        │  └──── Write ──────┴───── Write ──────┘                  │
//!                        └──────────────── Remove / Forget ─────────────────────────┘
//! ```
//!
//! A record is written in any state and from any state, because a listing of the kernel may show at
//! any time that its rule is there. [`step`] is the whole table; every other event needs a record,
//! and a commit that comes after the removal began is refused. In every state the rule may be in the
//! kernel, so recovery treats all states alike.

use std::collections::BTreeMap;

use crate::model::boot::BootId;
use crate::model::rule::{OwnedRule, RuleId};

/// How far the rule of a record has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordState {
    /// Recorded; the rule may have been inserted.
    Intended,
    /// Inserted.
    Applied,
    /// About to be removed, or removed.
    Removing,
}

impl RecordState {
    /// The name that `dump` shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Applied => "applied",
            Self::Removing => "removing",
        }
    }
}

/// What happens to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordEvent {
    /// The record is written in this state, for the first time or with new content.
    Write(RecordState),
    /// Its rule has been inserted.
    Commit,
    /// Its rule is about to be removed.
    Remove,
    /// Its rule is confirmed gone from the kernel.
    Forget,
}

/// An event that does not fit the state of its record. The record stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} does not fit a record in state {state:?}")]
pub struct IllegalStep {
    /// The record's state; `None`: there is no record.
    pub state: Option<RecordState>,
    /// The event.
    pub event: RecordEvent,
}

/// The state after an event; `None` stands for no record, before and after.
///
/// # Errors
/// The event does not fit the state, which stays.
pub fn step(
    state: Option<RecordState>,
    event: RecordEvent,
) -> Result<Option<RecordState>, IllegalStep> {
    use RecordEvent::{Commit, Forget, Remove, Write};
    match (state, event) {
        (_, Write(state)) => Ok(Some(state)),
        (Some(RecordState::Intended | RecordState::Applied), Commit) => {
            Ok(Some(RecordState::Applied))
        }
        (Some(_), Remove) => Ok(Some(RecordState::Removing)),
        (Some(_), Forget) => Ok(None),
        (None, Commit | Remove | Forget) | (Some(RecordState::Removing), Commit) => {
            Err(IllegalStep { state, event })
        }
    }
}

/// One rule, with all that is needed to remove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The rule and its owners.
    pub owned: OwnedRule,
    /// How far it has come.
    pub state: RecordState,
    /// When the intent was recorded, seconds since the epoch.
    pub inserted_at: u64,
    /// The boot in which it was recorded.
    pub boot_id: BootId,
}

impl Record {
    /// The record's key.
    pub fn id(&self) -> RuleId {
        self.owned.rule.id()
    }
}

/// Records by id.
pub(crate) type Records = BTreeMap<RuleId, Record>;

/// Lets an event happen to one of the records. Returns the record if it goes by that.
///
/// # Errors
/// The event does not fit the record, which stays as it is.
pub(crate) fn step_one(
    records: &mut Records,
    id: RuleId,
    event: RecordEvent,
) -> Result<Option<Record>, IllegalStep> {
    let record = records.get_mut(&id);
    let next = step(record.as_ref().map(|record| record.state), event)?;
    if let Some((record, state)) = record.zip(next) {
        record.state = state;
        return Ok(None);
    }
    Ok(records.remove(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_an_outcome_in_every_state() {
        use RecordEvent::{Commit, Forget, Remove, Write};
        use RecordState::{Applied, Intended, Removing};
        let states = [None, Some(Intended), Some(Applied), Some(Removing)];
        // One column for each state; `Err` is an illegal step.
        let (gone, illegal) = (Ok(None), Err(()));
        let to = |state| Ok(Some(state));
        let table = [
            (Write(Intended), [to(Intended); 4]),
            (Write(Applied), [to(Applied); 4]),
            (Write(Removing), [to(Removing); 4]),
            (Commit, [illegal, to(Applied), to(Applied), illegal]),
            (Remove, [illegal, to(Removing), to(Removing), to(Removing)]),
            (Forget, [illegal, gone, gone, gone]),
        ];
        for (event, outcomes) in table {
            for (state, expected) in states.into_iter().zip(outcomes) {
                let outcome = step(state, event);
                let expected = expected.map_err(|()| IllegalStep { state, event });
                assert_eq!(outcome, expected, "{event:?} in {state:?}");
            }
        }
    }

    #[test]
    fn a_refused_step_leaves_its_record_and_says_why() {
        let removing = Record {
            state: RecordState::Removing,
            ..crate::journal::testing::record(80)
        };
        let id = removing.id();
        let mut records = Records::from([(id, removing.clone())]);
        let refusal = step_one(&mut records, id, RecordEvent::Commit).expect_err("illegal");
        let text = "Commit does not fit a record in state Some(Removing)";
        assert_eq!(refusal.to_string(), text);
        assert_eq!(records, Records::from([(id, removing.clone())]));
        let gone = step_one(&mut records, id, RecordEvent::Forget);
        assert_eq!((gone, records), (Ok(Some(removing)), Records::new()));
    }
}
