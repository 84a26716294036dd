//! A panic on any thread ends the process at once: a daemon with a dead part must not look alive.

pub mod guard;

use std::thread;
use std::time::Duration;

use slog::{Logger, crit};

use self::guard::{is_guarded, message};

/// Exit code of a bug (`EX_SOFTWARE` of sysexits(3)).
pub(crate) const EXIT_BUG: i32 = 70;

/// How long writing the reason may take. A line takes microseconds, and the supervisor should not
/// have to wait before it restarts the daemon.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Installs the hook that logs a panic on any thread and ends the process. It ignores panics inside
/// [`crate::sys::panics::guard::guarded`], which the guard catches.
pub fn install_hook(log: Logger) {
    std::panic::set_hook(Box::new(move |info| {
        if is_guarded() {
            return;
        }
        let place = info
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let what = message(info.payload());
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        end(EXIT_BUG, || {
            crit!(log, "bug: panic in {place}: {what}"; "thread" => thread);
        });
    }));
}

/// Ends the process when `say` has logged the reason, or after [`LAST_WORDS`]. The log may be stuck
/// because nobody reads it, or because the panic came while a line was being written.
pub fn end(code: i32, say: impl FnOnce()) -> ! {
    let late = move || {
        thread::sleep(LAST_WORDS);
        exit_now(code)
    };
    // If the thread cannot be started, the process waits for the log.
    let _ = thread::Builder::new().name("end".into()).spawn(late);
    say();
    exit_now(code)
}

/// Ends the process without running destructors, which might wait for a dead thread.
#[allow(unsafe_code)]
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes any integer, touches no memory and does not return. No exit
    // handler may run here.
    unsafe { libc::_exit(code) }
}
