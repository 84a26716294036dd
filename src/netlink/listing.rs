//! Lists all objects of a kind, again if they change meanwhile.

use std::time::Instant;

use super::error::NetlinkError;
use super::request::{self, Channel, Ended, Fill};

/// How many times to ask if the objects change while the kernel answers.
const TRIES: usize = 10;

/// What `read` makes of all objects of a kind; `None` if they kept changing while the kernel
/// answered, [`TRIES`] times in a row.
///
/// # Errors
/// The kernel does not answer, or not as it should.
pub(crate) fn list_all<T>(
    channel: &mut dyn Channel,
    deadline: Instant,
    kind: u16,
    fill: &Fill<'_>,
    mut read: impl FnMut(&[u8]) -> Option<T>,
) -> Result<Option<Vec<T>>, NetlinkError> {
    for _ in 0..TRIES {
        let mut found = Vec::new();
        let mut take = |payload: &[u8]| {
            found.extend(read(payload));
            Ok(())
        };
        match request::dump(channel, deadline, kind, fill, &mut take) {
            Ok(Ended::Whole) => return Ok(Some(found)),
            // An interrupted dump may lack objects that were there all the time.
            Ok(Ended::Interrupted) => {}
            Err(error) if error.is_overtaken() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
