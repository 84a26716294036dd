//! A client that opens one connection after the other, as fast as it can, and is never let down.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lab::{CLIENT, Lab};
use crate::talk::Proto::Tcp;
use crate::talk::{Answer, ask_here};

/// Fewer show nothing: on a busy machine a connection takes some milliseconds.
const MANY: usize = 20;

/// Does `work` while the client connects to `to`: the container `name` answers every time, and
/// sees the client itself. A lost packet would be sent again after a second, which no attempt is
/// given.
#[track_caller]
pub(crate) fn while_connecting<T>(lab: &Lab, to: &str, name: &str, work: impl FnOnce() -> T) -> T {
    let expected = Ok(Answer {
        name: name.to_owned(),
        peer: CLIENT.into(),
    });
    let done = AtomicBool::new(false);
    let (worked, answers) = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            lab.client().enter(|| {
                let mut answers = Vec::new();
                // One more when all is done.
                let mut last = false;
                while !last {
                    last = done.load(Ordering::Relaxed) && answers.len() >= MANY;
                    answers.push(ask_here(Tcp, to, CLIENT));
                }
                answers
            })
        });
        let worked = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        (worked, client.join().expect("the client"))
    });
    let worked = worked.unwrap_or_else(|panic| resume_unwind(panic));
    let failed = answers.iter().enumerate().filter(|(_, a)| **a != expected);
    let failed: Vec<_> = failed.collect();
    assert!(failed.is_empty(), "{failed:?} of {}", answers.len());
    println!("{} connections to {to}", answers.len());
    worked
}
