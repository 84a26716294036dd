//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks: short beside everything that is waited for (an exec takes 2 ms, a
/// container 300 ms), long enough to leave the machine to those who work.
const PAUSE: Duration = Duration::from_millis(20);

/// What most things are given that take milliseconds on an idle machine: the tests must hold on
/// two busy cores.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Looks until `look` gives a value, and returns it.
///
/// # Panics
/// When `deadline` has passed, with what was waited for and the last reason that `look` gave.
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
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Lets time pass because the moment itself is what is tested: never a wait for anything.
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
