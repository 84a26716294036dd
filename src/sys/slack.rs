//! Timers that may be late.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::{current_timer_slack, set_current_timer_slack};

/// How late the timers of such threads may be: so much that they hardly ever wake the processor.
const SLACK: Duration = Duration::from_secs(3600);

/// Runs `f`, which may start threads. A wait with a time limit in one of those may last an hour longer
/// than its limit (`PR_SET_TIMERSLACK`, prctl(2): a thread inherits it), while whatever is waited for
/// still ends it at once. For threads of a library that wait for work, and wake every second to find
/// none. Where the kernel refuses, they go on doing that. The calling thread's timers are then as
/// before, also after a panic in `f`. Not to be nested: prctl(2) returns an `int`, and cannot say how much an
/// hour was.
pub(crate) fn with_late_timers<T>(f: impl FnOnce() -> T) -> T {
    let _late = Late::begin();
    f()
}

/// While this lives, the timers of the thread are late.
struct Late {
    /// The slack to give back, in nanoseconds.
    before: Option<NonZeroU64>,
}

impl Late {
    /// `None`: the kernel refuses, and nothing has changed.
    fn begin() -> Option<Self> {
        let before = NonZeroU64::new(current_timer_slack().ok()?);
        let late = NonZeroU64::new(u64::try_from(SLACK.as_nanos()).ok()?)?;
        set_current_timer_slack(Some(late)).ok()?;
        Some(Self { before })
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        // This can only fail if the first call did.
        let _ = set_current_timer_slack(self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::thread::gettid;

    use super::*;
    use crate::sys::panics::guard::guarded;

    #[test]
    fn timers_are_late_inside_only_even_after_a_panic() {
        let slack = || {
            let thread = gettid().as_raw_nonzero();
            let slack = fs::read_to_string(format!("/proc/{thread}/timerslack_ns"));
            slack.expect("the kernel has it").trim().to_owned()
        };
        let before = slack();
        let hour = SLACK.as_nanos().to_string();
        assert_eq!(with_late_timers(slack), hour);
        assert_eq!(slack(), before);
        let panicked = guarded(|| with_late_timers(|| -> () { panic!("{}", slack()) }));
        assert_eq!(panicked, Err(hour));
        assert_eq!(slack(), before);
    }
}
