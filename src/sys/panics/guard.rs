//! Panics that are expected and survived: the escape from the panic hook.
//!
//! A panic ends the process (the hook calls `_exit(70)`), with one exception: sled panics on
//! some kinds of damage, and such a panic is a finding, not a bug of ours. Code that may meet
//! one runs inside [`guarded`]; the hook asks [`is_guarded`] and stays silent there. The mark is
//! per thread: a panic on a thread that sled started itself is not guarded, and ends the process.

use std::any::Any;
use std::cell::Cell;
use std::panic::{UnwindSafe, catch_unwind};

thread_local! {
    /// How many guards this thread stands in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Leaves the guard also when unwinding.
struct Entered;

impl Entered {
    fn new() -> Self {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Runs `f`; a panic in it, on this thread, comes back as its message.
///
/// # Errors
/// The message of the panic. Nothing was retried.
pub fn guarded<T>(f: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    let _entered = Entered::new();
    catch_unwind(f).map_err(|payload| message(&*payload))
}

/// Whether a panic on this thread would be caught by [`guarded`]. The panic hook asks this: if
/// so, it neither prints nor exits.
pub fn is_guarded() -> bool {
    DEPTH.with(Cell::get) > 0
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
    fn a_panic_inside_comes_back_as_its_message() {
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
