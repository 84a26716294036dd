//! Version 3 of a record's body: that of version 2, and the owners' images. Frozen: never add or move a
//! field. What this version cannot express needs a new version beside it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::parts::cut;
use super::v2::RecordV2;
use crate::journal::record::Record;
use crate::model::rule::RuleId;

#[derive(Serialize, Deserialize)]
pub(super) struct RecordV3<'a> {
    pub(super) v2: RecordV2<'a>,
    /// One for each owner, in their order; empty: not known.
    images: Vec<Cow<'a, str>>,
}

impl<'a> RecordV3<'a> {
    /// `None`: no image is known, so that version 2 expresses the record.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        let owners = &record.owned.owners;
        let is_known = owners.iter().any(|owner| !owner.image.is_empty());
        is_known.then(|| Self {
            v2: RecordV2::from(record),
            images: owners.iter().map(|owner| cut(&owner.image)).collect(),
        })
    }
}

impl RecordV3<'_> {
    /// The record under this key.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub(super) fn record(self, key: RuleId) -> Result<Record, String> {
        self.v2.record_of_images(key, self.images)
    }
}
