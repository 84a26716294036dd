//! Several cases of one test at once, each in namespaces of its own.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use rustix::thread::UnshareFlags;

use super::namespace::{self, leave};
use super::shell::sh;

/// A case: its name and its body.
pub(crate) type Case = (String, Box<dyn FnOnce() + Send>);

/// Makes a case.
pub(crate) fn case(name: &str, body: impl FnOnce() + Send + 'static) -> Case {
    (name.to_owned(), Box::new(body))
}

/// Runs every case in a thread that has left the test's network and mounts, and with an empty
/// `/run`. Call it inside [`namespace::fresh`], so that nothing reaches the machine's own network.
///
/// # Panics
/// When a case panics, once all have run.
pub(crate) fn together(cases: Vec<Case>) {
    let outside = namespace::here();
    thread::scope(|scope| {
        let running: Vec<_> = cases
            .into_iter()
            .map(|(name, body)| {
                let alone = || {
                    leave(UnshareFlags::FS | UnshareFlags::NEWNS | UnshareFlags::NEWNET);
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
