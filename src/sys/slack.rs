//! Timers that may be late.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::{current_timer_slack, set_current_timer_slack};

/// How late the timers of such threads may be: so much that they hardly ever wake the processor.
const SLACK: Duration = Duration::from_secs(3600);

/// Runs `f`, which may start threads. A wait with a time limit in one of those may last an hour longer
/// than its limit (`PR_SET_TIMERSLACK`, prctl(2): a thread inherits it), while whatever is waited for
/// still ends it at once. For threads of a library that wait for work, and wake every second to find
/// none. Where the kernel refuses, they go on doing that.
pub(crate) fn with_late_timers<T>(f: impl FnOnce() -> T) -> T {
    let before = current_timer_slack().ok();
    let nanoseconds = u64::try_from(SLACK.as_nanos()).ok();
    let is_set =
        before.is_some() && set_current_timer_slack(nanoseconds.and_then(NonZeroU64::new)).is_ok();
    let result = f();
    if is_set {
        // This can only fail if the first call did.
        let _ = set_current_timer_slack(before.and_then(NonZeroU64::new));
    }
    result
}
