//! Several cases of one test at once, each in namespaces of its own.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::namespace;
use crate::scene::sh;

/// Set by `tests/torture`: then every case is tried.
const FULL: &str = "DOCKER_NAT66_TORTURE_STRIDE";

/// Whether all cases are to be tried, and not the sample.
pub(crate) fn in_full() -> bool {
    std::env::var_os(FULL).is_some()
}

/// A case: its name, and what is done.
pub(crate) type Case = (String, Box<dyn FnOnce() + Send>);

/// A case of a test.
pub(crate) fn case(name: &str, body: impl FnOnce() + Send + 'static) -> Case {
    (name.to_owned(), Box::new(body))
}

/// Runs every case in a thread that has left the test's network and mounts, and with an empty
/// `/run`. To be called inside [`namespace::fresh`], so that nothing reaches the machine's own.
///
/// # Panics
/// When any has; all are run.
pub(crate) fn together(cases: Vec<Case>) {
    let outside = namespace::here();
    thread::scope(|scope| {
        let running: Vec<_> = cases
            .into_iter()
            .map(|(name, body)| {
                let alone = || {
                    leave();
                    assert_ne!(namespace::here(), outside, "the namespace was not left");
                    sh("mount -t tmpfs tmpfs /run");
                    body();
                };
                let guarded = move || catch_unwind(AssertUnwindSafe(alone));
                (name, scope.spawn(guarded))
            })
            .collect();
        let mut failure = None;
        for (name, running) in running {
            if let Ok(Err(panic)) = running.join() {
                eprintln!("the case failed: {name}");
                failure = Some(panic);
            }
        }
        if let Some(panic) = failure {
            resume_unwind(panic);
        }
    });
}

#[allow(unsafe_code)]
fn leave() {
    let what = UnshareFlags::FS | UnshareFlags::NEWNS | UnshareFlags::NEWNET;
    // SAFETY: only `FILES` is dangerous.
    unsafe { unshare_unsafe(what) }.expect("unshare (root is needed)");
}
