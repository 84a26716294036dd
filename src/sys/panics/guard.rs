//! Catches the panics that the daemon expects and survives, past the panic hook.
//!
//! A panic ends the process (the hook calls `_exit(70)`), with two exceptions. sled panics on
//! some kinds of damage, and such a panic reports damage, not a bug of ours. And the parts of the
//! daemon that read rules of other programs, in whatever form, only report what they find: a bug there
//! must not end a daemon that works without them, again and again. Both run inside [`guarded`]; there
//! the hook does nothing, because [`is_guarded`] holds. The mark is per thread: a panic on a thread
//! that sled itself started ends the process.

use std::any::Any;
use std::cell::Cell;
use std::panic::{UnwindSafe, catch_unwind};

thread_local! {
    /// How many calls of [`guarded`] this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Counts the guard down when dropped, also while a panic unwinds.
struct Entered;

impl Entered {
    fn new() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Runs `f` and returns its result, or the message of its panic.
///
/// # Errors
/// The message of the panic. Nothing was retried.
pub fn guarded<T>(f: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    let _entered = Entered::new();
    catch_unwind(f).map_err(|payload| message(&*payload))
}

/// Whether [`guarded`] would catch a panic on this thread. If so, the panic hook neither logs nor
/// exits.
pub(crate) fn is_guarded() -> bool {
    DEPTH.get() > 0
}

/// The text of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_panic_is_returned_as_its_message() {
        assert_eq!(guarded(|| 7), Ok(7));
        assert_eq!(
            guarded(|| -> u8 { panic!("segment {}", 3) }),
            Err("segment 3".into())
        );
        assert_eq!(guarded(|| -> u8 { panic!("plain") }), Err("plain".into()));
    }

    #[test]
    fn only_the_inside_of_a_guard_is_guarded_even_after_a_panic() {
        assert!(!is_guarded());
        assert_eq!(guarded(is_guarded), Ok(true));
        let nested = guarded(|| {
            let inner = guarded(|| -> () { panic!("inner") });
            (inner.is_err(), is_guarded())
        });
        assert_eq!(nested, Ok((true, true)));
        assert!(!is_guarded());
    }
}
