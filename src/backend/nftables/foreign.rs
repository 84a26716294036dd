//! Removes what other programs have left, for a person who asks for that.

use std::time::Duration;

use super::exec::{Session, open};
use super::render::Step;
use crate::backend::BackendError;

/// Longest wait for the kernel, which takes microseconds unless a commit holds its mutex.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes the table `ip6 NAME` with all that is in it.
///
/// # Errors
/// Why the kernel refused; a table that has gone meanwhile is enough. Nothing was retried.
pub(crate) fn remove_table(name: &str) -> Result<(), BackendError> {
    let mut session = Session::new(Box::new(open), PATIENCE);
    let removed = session.commit(&[Step::DropTable], name);
    removed.map_err(|fault| fault.during(format!("removal of table ip6 {name}")))
}
