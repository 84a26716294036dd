//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// Shortest and longest pause between two checks: short compared with what tests wait for (an exec
/// takes 2 ms, a container 300 ms), and in the end long enough to leave the processors to others.
const PAUSE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];

/// The deadline for most things that take milliseconds on an idle machine: the tests must pass on two
/// busy cores.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The deadline for what a daemon does under faults. The longest wait is for an Engine that is silent:
/// the daemon waits for an answer (10 s), reconnects after the longest pause (10 s), and waits again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Calls `look` until it gives a value, and returns that.
///
/// # Panics
/// When `deadline` has passed; the message names `what` and the last reason that `look` gave.
#[track_caller]
pub(crate) fn eventually<T, E: Debug>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(reason) if begin.elapsed() > deadline => {
                panic!("waited {deadline:?} in vain for {what}: {reason:#?}")
            }
            Err(_) => thread::sleep((begin.elapsed() / 8).clamp(PAUSE[0], PAUSE[1])),
        }
    }
}

/// Waits until `is` holds, and returns how long that took.
#[track_caller]
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    eventually(PATIENCE, what, || is().then_some(()).ok_or("not yet"));
    began.elapsed()
}

/// Lets time pass where the test is about the time itself. Do not wait for a condition with this.
pub(crate) fn let_pass(time: Duration) {
    thread::sleep(time);
}

/// `Ok` where `is` is what it `should` be: a condition for [`eventually`].
pub(crate) fn same<T: PartialEq + Debug>(is: T, should: T) -> Result<(), Mismatch<T>> {
    if is == should {
        Ok(())
    } else {
        Err(Mismatch { is, should })
    }
}

/// Two values that should be equal and are not.
#[derive(Debug)]
#[expect(dead_code, reason = "read through Debug, which the lint does not see")]
pub(crate) struct Mismatch<T> {
    is: T,
    should: T,
}
