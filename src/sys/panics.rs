//! A panic anywhere ends the process at once: a daemon with a dead part must not look alive.

pub mod guard;

use std::thread;
use std::time::Duration;

use slog::{Logger, crit};

use self::guard::{is_guarded, message};

/// Exit code of a bug (`EX_SOFTWARE` of sysexits(3)).
pub const EXIT_BUG: i32 = 70;

/// How long the reason may take to be written: whoever restarts the daemon should not wait for
/// it. A line takes microseconds.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Installs the hook that logs a panic and ends the process, whichever thread or task it is
/// in. Panics inside [`crate::sys::panics::guard::guarded`] are the guard's to handle.
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

/// Ends the process once `say` has told the log why, and soon in any case: the log may be stuck,
/// because nobody reads it, or because the panic came while a line was being made.
pub fn end(code: i32, say: impl FnOnce()) -> ! {
    let late = move || {
        thread::sleep(LAST_WORDS);
        exit_now(code)
    };
    // Without this thread the words are waited for, which is the best that is left.
    let _ = thread::Builder::new().name("end".into()).spawn(late);
    say();
    exit_now(code)
}

/// Ends the process without running anything else: no destructor may wait for a dead thread.
#[allow(unsafe_code)]
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes any integer, touches no memory and does not return. It is the
    // point here that no exit handler runs.
    unsafe { libc::_exit(code) }
}
