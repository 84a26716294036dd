//! Failpoints: places where a test makes the daemon fail, in debug builds only.
//!
//! * [`crash`] numbers each step that changes the kernel or the disk, from 1, and prints it. At the
//!   step whose number is in [`AT`] the process kills itself with SIGKILL. With number 0 it runs on
//!   and prints all steps.
//! * [`panic`] panics at the place that [`FAIL_AT`] names.
//! * [`stops`] makes the part of the daemon that [`FAIL_AT`] names stop by itself.
//! * [`lacks`] makes the program ask the kernel for what no kernel has, in place of what [`FAIL_AT`]
//!   names, so that the kernel refuses it.
//!
//! The kill tests run every step, the panic tests every name. A release build contains no failpoint.

/// The environment variable with the number of the fatal step.
pub const AT: &str = "DOCKER_NAT66_TEST_KILL_AT";

/// The environment variable that names the place that panics or the part that stops.
pub const FAIL_AT: &str = "DOCKER_NAT66_TEST_FAIL_AT";

/// Kills the process here if a test has chosen this step.
#[cfg(debug_assertions)]
pub fn crash(step: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static FATAL: OnceLock<Option<u64>> = OnceLock::new();
    static STEPS: AtomicU64 = AtomicU64::new(0);
    panic(step);
    let read = || std::env::var(AT).ok()?.parse().ok();
    let Some(fatal) = *FATAL.get_or_init(read) else {
        return;
    };
    let number = STEPS.fetch_add(1, Ordering::SeqCst) + 1;
    eprintln!("step {number}: {step}");
    if number == fatal {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may take a moment to arrive.
        loop {
            std::thread::park();
        }
    }
}

/// Panics here if a test has chosen this place. Such a place changes neither the kernel nor the
/// disk. It has no number, because how often it is reached depends on timing.
#[cfg(debug_assertions)]
pub fn panic(place: &str) {
    assert!(!is_named(place), "a test wants a panic: {place}");
}

/// Whether a test has chosen this part to stop.
#[cfg(debug_assertions)]
pub(crate) fn stops(part: &str) -> bool {
    is_named(part)
}

/// Whether a test wants the kernel to lack this.
#[cfg(debug_assertions)]
pub(crate) fn lacks(feature: &str) -> bool {
    is_named(feature)
}

#[cfg(debug_assertions)]
fn is_named(name: &str) -> bool {
    use std::sync::OnceLock;

    static NAMED: OnceLock<Option<String>> = OnceLock::new();
    let named = NAMED.get_or_init(|| std::env::var(FAIL_AT).ok());
    named.as_deref() == Some(name)
}

/// Kills the process here if a test has chosen this step.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn crash(_step: &str) {}

/// Panics here if a test has chosen this place.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn panic(_place: &str) {}

/// Whether a test has chosen this part to stop.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn stops(_part: &str) -> bool {
    false
}

/// Whether a test wants the kernel to lack this.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn lacks(_feature: &str) -> bool {
    false
}
