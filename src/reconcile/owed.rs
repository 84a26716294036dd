//! What is owed to the journal: changes of the kernel that it does not know yet.
//!
//! There is one debt per rule; a later one takes the place of an earlier one.
//!
//! ```text
//!   adopted, confirmed, has other owners ──▶ Record ─┐
//!   inserted after its intent ─────────────▶ Commit ─┼──▶ paid before an insertion
//!   removed ───────────────────────────────▶ Forget ─┘    and at the end of the round
//!                                              ▲
//!   removed by another program ──▶ Lost ───────┘ end of the round
//!                                   └──▶ inserted again as it was: nothing is owed
//! ```
//!
//! A debt that cannot be paid stays. The journal is then behind: nothing is inserted, the round
//! reports [`super::Trouble::Journal`], and so does `status`. The next round, which the port mapper
//! starts after a growing pause, pays first. A crash loses the debts; recovery reads from the kernel's
//! listing what they said.

use std::collections::BTreeMap;

use slog::{Logger, debug};

use crate::journal::record::{Record, RecordState, Records};
use crate::journal::{Journal, JournalError};
use crate::model::rule::RuleId;

/// What the journal does not know of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Debt {
    /// Its record, as the reconciler holds it.
    Record,
    /// That it was inserted, as was intended.
    Commit,
    /// That it is gone.
    Forget,
    /// The same, but the journal holds exactly this record: in this round the rule may be inserted
    /// again without a new intent.
    Lost(Box<Record>),
}

/// The queue of debts.
#[derive(Debug, Default)]
pub(super) struct Owed {
    debts: BTreeMap<RuleId, Debt>,
    /// Why they could not be paid when that was last tried.
    failure: Option<JournalError>,
    /// Whether that was in this round, in which the journal is then not asked again.
    has_failed: bool,
}

impl Owed {
    /// The journal lacks this rule's record, or has an older one.
    pub(super) fn record(&mut self, id: RuleId) {
        self.debts.insert(id, Debt::Record);
    }

    /// The rule was inserted after its intent was written.
    pub(super) fn commit(&mut self, id: RuleId) {
        self.debts.insert(id, Debt::Commit);
    }

    /// The rule is gone.
    pub(super) fn forget(&mut self, id: RuleId) {
        self.debts.insert(id, Debt::Forget);
    }

    /// Another program has removed the rule of this record.
    pub(super) fn lose(&mut self, id: RuleId, record: Record) {
        // With an older debt, or an older state, the journal may not hold it as it is here.
        let is_written = record.state == RecordState::Applied && !self.debts.contains_key(&id);
        let debt = match is_written {
            true => Debt::Lost(Box::new(record)),
            false => Debt::Forget,
        };
        self.debts.insert(id, debt);
    }

    /// Whether the journal holds a record of the same rule, owners and boot, because another program
    /// has removed the rule: a repair does not wait for the disk.
    pub(super) fn holds(&self, id: RuleId, record: &Record) -> bool {
        matches!(self.debts.get(&id), Some(Debt::Lost(held))
            if held.owned == record.owned && held.boot_id == record.boot_id)
    }

    /// The journal holds the record of this rule as it is to be.
    pub(super) fn settle(&mut self, id: RuleId) {
        self.debts.remove(&id);
    }

    /// Writing the intents of these rules failed, so the rules are not inserted. The journal may hold
    /// the intents all the same.
    pub(super) fn refused(&mut self, ids: impl IntoIterator<Item = RuleId>, failure: JournalError) {
        self.debts
            .extend(ids.into_iter().map(|id| (id, Debt::Forget)));
        self.failure = Some(failure);
        self.has_failed = true;
    }

    /// How many rules the journal does not know the truth about.
    pub(super) fn len(&self) -> usize {
        self.debts.len()
    }

    /// Whether anything is to be paid now. What others have removed waits for the end of the round.
    pub(super) fn is_due(&self) -> bool {
        let is_lost = |debt: &Debt| matches!(debt, Debt::Lost(_));
        !self.has_failed && !self.debts.values().all(is_lost)
    }

    /// Whether the journal could not be written in this round.
    pub(super) fn is_behind(&self) -> bool {
        self.has_failed
    }

    /// Rules that have not been inserted again by the end of the round are gone.
    pub(super) fn forget_lost(&mut self) {
        for debt in self.debts.values_mut() {
            if matches!(debt, Debt::Lost(_)) {
                *debt = Debt::Forget;
            }
        }
    }

    /// Ends the round. Returns why the journal is behind, also where this round did not write to it.
    pub(super) fn end_round(&mut self) -> Option<JournalError> {
        self.has_failed = false;
        self.failure.clone()
    }

    /// Writes what is due, unless the journal has failed in this round. Commits and removals are tried
    /// twice, because after a failure the store builds a new database ([`crate::journal::store`]).
    pub(super) fn pay(&mut self, journal: &mut impl Journal, records: &Records, log: &Logger) {
        if !self.is_due() {
            return;
        }
        let written = self.pay_each(&Debt::Record, |ids| {
            let written = ids.iter().filter_map(|id| records.get(id).cloned());
            journal.intend(&written.collect::<Vec<Record>>())
        });
        let mut marked = || {
            self.pay_each(&Debt::Commit, |ids| journal.commit(ids))?;
            self.pay_each(&Debt::Forget, |ids| journal.forget(ids))
        };
        let paid = written.and_then(|()| {
            marked().or_else(|error| {
                debug!(log, "journal write postponed"; "reason" => %error);
                marked()
            })
        });
        self.failure = paid.err();
        self.has_failed = self.failure.is_some();
    }

    fn pay_each(
        &mut self,
        kind: &Debt,
        write: impl FnOnce(&[RuleId]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let owed = self.debts.iter().filter(|(_, debt)| *debt == kind);
        let owed: Vec<RuleId> = owed.map(|(id, _)| *id).collect();
        if owed.is_empty() {
            return Ok(());
        }
        write(&owed)?;
        self.debts.retain(|_, debt| debt != kind);
        Ok(())
    }
}
