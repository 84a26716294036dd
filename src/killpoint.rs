//! Where a test kills the daemon: the numbered steps of everything that changes the kernel or the
//! disk, and of starting and leaving.
//!
//! In a debug build the process kills itself (SIGKILL, as `kill -9` would) when it comes to the
//! step whose number, counted from 1, is in [`AT`]; `tests/killpoints.rs` goes through all of
//! them. It says each of its steps until then, all of them where the number is 0. In a release
//! build nothing of this is there.

/// The environment variable that names the step.
pub const AT: &str = "DOCKER_NAT66_TEST_KILL_AT";

/// The process has come to this step.
#[cfg(debug_assertions)]
pub fn reach(step: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static FATAL: OnceLock<Option<u64>> = OnceLock::new();
    static STEPS: AtomicU64 = AtomicU64::new(0);
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

/// The process has come to this step.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reach(_step: &str) {}
