//! The journal, the kernel and Docker side by side: the answer to `dump --diff`.

use serde::{Deserialize, Serialize};

use super::row::Row;

/// What was compared, and what differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Version of this shape.
    pub v: u32,
    /// Whether all three agree.
    pub equal: bool,
    /// The journal's generation at that moment. Nothing changed in between: the writer, which alone
    /// changes rules and records, did the comparing.
    pub generation: u64,
    /// Whether Docker has answered, so that all that should be there is known.
    pub docker_known: bool,
    /// Rules in the journal.
    pub journal: usize,
    /// Rules of ours in the kernel, every copy counted.
    pub kernel: usize,
    /// Rules that follow from what Docker says and from the settings.
    pub docker: usize,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// A rule that is not in the same state everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The rule, with the first container that it is for.
    #[serde(flatten)]
    pub row: Row,
    /// Its state in the journal; null: no record.
    pub in_journal: Option<String>,
    /// Copies in the kernel that are as they should be.
    pub in_kernel: usize,
    /// Copies that others have altered, or that have no effect where they stand.
    pub astray: usize,
    /// Whether Docker and the settings want it.
    pub in_docker: bool,
}

impl Comparison {
    /// Version of the shape.
    pub(crate) const VERSION: u32 = 1;
}
