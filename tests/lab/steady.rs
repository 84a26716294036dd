//! A client that opens one connection after the other, as fast as it can, and is never let down.

use std::net::Ipv6Addr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::talk::{Answer, ask_here};
use crate::support::lab::{CLIENT, Lab};

/// Fewer show nothing: on a busy machine a connection takes some milliseconds.
const MANY: u64 = 20;

/// A failure more is no news.
const FAILURES: usize = 20;

/// What became of the connections.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// All of them, whatever became of them.
    pub(crate) count: u64,
    /// How many failed.
    pub(crate) failed: u64,
    /// The first that did, and how.
    pub(crate) failures: Vec<String>,
}

/// Does `work` while the client connects to `to`: the container `name` answers every time, and
/// sees the client itself. A lost packet would be sent again after a second, which no attempt is
/// given.
#[track_caller]
pub(crate) fn while_connecting<T>(lab: &Lab, to: &str, name: &str, work: impl FnOnce() -> T) -> T {
    let (worked, opened) = while_counting(lab, &[CLIENT], to, name, |_| work());
    assert_eq!(opened.failed, 0, "{opened:?}");
    worked
}

/// The same, from each of these addresses in turn: one has about 28,000 ports, and each rests for
/// a minute after use. Tells the work how many connections there were until then, and the caller
/// how many failed.
pub(crate) fn while_counting<T>(
    lab: &Lab,
    from: &[Ipv6Addr],
    to: &str,
    name: &str,
    work: impl FnOnce(&AtomicU64) -> T,
) -> (T, Opened) {
    let done = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let connect = || {
        let mut opened = Opened::default();
        // One more when all is done.
        let mut last = false;
        for from in from.iter().cycle() {
            if last {
                break;
            }
            last = done.load(Ordering::Relaxed) && opened.count >= MANY;
            let expected = Answer {
                name: name.to_owned(),
                peer: (*from).into(),
            };
            let answer = ask_here(Tcp, to, *from);
            if answer.as_ref() != Ok(&expected) {
                opened.failed += 1;
                if opened.failures.len() < FAILURES {
                    opened
                        .failures
                        .push(format!("{}: {answer:?}", opened.count));
                }
            }
            opened.count += 1;
            count.store(opened.count, Ordering::Relaxed);
        }
        opened
    };
    let (worked, opened) = std::thread::scope(|scope| {
        let client = scope.spawn(|| lab.client().enter(connect));
        let worked = catch_unwind(AssertUnwindSafe(|| work(&count)));
        done.store(true, Ordering::Relaxed);
        (worked, client.join().expect("the client"))
    });
    let worked = worked.unwrap_or_else(|panic| resume_unwind(panic));
    println!("{} connections to {to}", opened.count);
    (worked, opened)
}
