//! The kernel's boot id.

use std::sync::Arc;

/// The kernel's boot id: in which boot of which machine a record was written. Clones share its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(Arc<str>);

impl BootId {
    /// Takes any text, because only equality counts.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
