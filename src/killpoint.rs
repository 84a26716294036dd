//! Where a test harms the daemon: it is killed at the numbered steps of everything that changes
//! the kernel or the disk, and of starting and leaving; it panics at any place that has a name; and
//! a part of it ends as if by itself.
//!
//! In a debug build the process kills itself (SIGKILL, as `kill -9` would) when it comes to the
//! step whose number, counted from 1, is in [`AT`]; until then it says each of its steps, all of
//! them where the number is 0. It panics where it comes to the place that is named in [`FAIL_AT`],
//! or ends the part that is. `tests/killpoints.rs` goes through all steps, `tests/hardened` through
//! all that has a name. In a release build nothing of this is there.

/// The environment variable that has the number of the fatal step.
pub const AT: &str = "DOCKER_NAT66_TEST_KILL_AT";

/// The environment variable that has the name of the place where it panics, or of the part that
/// ends.
pub const FAIL_AT: &str = "DOCKER_NAT66_TEST_FAIL_AT";

/// The process has come to this step.
#[cfg(debug_assertions)]
pub fn reach(step: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static FATAL: OnceLock<Option<u64>> = OnceLock::new();
    static STEPS: AtomicU64 = AtomicU64::new(0);
    pass(step);
    let read = || std::env::var(AT).ok()?.parse().ok();
    let Some(fatal) = *FATAL.get_or_init(read) else {
        return;
    };
    let number = STEPS.fetch_add(1, Ordering::SeqCst) + 1;
    eprintln!("step {number}: {step}");
    if number == fatal {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // Until it takes effect nothing more happens here.
        loop {
            std::thread::park();
        }
    }
}

/// The process has come to this place, which is no step: it changes neither kernel nor disk, and
/// how often it is passed depends on the timing.
#[cfg(debug_assertions)]
pub fn pass(place: &str) {
    assert!(!is_named(place), "a test wants a panic: {place}");
}

/// Whether this part is to end now, as if by itself.
#[cfg(debug_assertions)]
pub fn ends(part: &str) -> bool {
    is_named(part)
}

#[cfg(debug_assertions)]
fn is_named(name: &str) -> bool {
    use std::sync::OnceLock;

    static NAMED: OnceLock<Option<String>> = OnceLock::new();
    let named = NAMED.get_or_init(|| std::env::var(FAIL_AT).ok());
    named.as_deref() == Some(name)
}

/// The process has come to this step.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reach(_step: &str) {}

/// The process has come to this place.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn pass(_place: &str) {}

/// Whether this part is to end now, as if by itself.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn ends(_part: &str) -> bool {
    false
}
