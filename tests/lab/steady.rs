//! A client that opens one connection after the other, as fast as it can, and none of them fails.

use std::net::Ipv6Addr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::talk::{Answer, ask_here};
use crate::support::lab::{CLIENT, Lab};

/// Fewer connections prove nothing; on a busy machine one takes several milliseconds.
const MANY: u64 = 20;

/// Further failures are only counted.
const FAILURES: usize = 20;

/// The outcome of the connections.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// How many were attempted.
    pub(crate) count: u64,
    /// How many failed.
    pub(crate) failed: u64,
    /// The first failures, in words.
    pub(crate) failures: Vec<String>,
}

/// Does `work` while the client connects to `to`. The container `name` must answer every time, and
/// see the client itself. Every attempt has less than the second after which TCP would resend a
/// lost packet.
#[track_caller]
pub(crate) fn while_connecting<T>(lab: &Lab, to: &str, name: &str, work: impl FnOnce() -> T) -> T {
    let (worked, opened) = while_counting(lab, &[CLIENT], to, name, |_| work());
    assert_eq!(opened.failed, 0, "{opened:?}");
    worked
}

/// The same, from each of these addresses in turn, because an address has about 28,000 ports, and
/// each is out of use for a minute after its connection. `work` can read how many connections there
/// were so far; the caller gets the number of failures.
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
        // One more connection after the work.
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
