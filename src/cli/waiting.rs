//! Waiting for an answer in a command that does nothing else meanwhile.

use std::io;

/// Waits for the answer.
///
/// # Errors
/// The process gets no descriptor that the wait needs.
pub(super) fn wait_for<T>(answer: impl Future<Output = T>) -> io::Result<T> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build()?;
    Ok(runtime.block_on(answer))
}
