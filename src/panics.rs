//! A panic anywhere ends the process at once: a daemon with a dead part must not look alive.

use slog::{Logger, crit};

use crate::panic_guard::{is_guarded, message};

/// Exit code of a bug (`EX_SOFTWARE` of sysexits(3)).
pub const EXIT_BUG: i32 = 70;

/// Installs the hook that logs a panic and ends the process, whichever thread or task it is
/// in. Panics inside [`crate::panic_guard::guarded`] are the guard's to handle.
pub fn install_hook(log: Logger) {
    std::panic::set_hook(Box::new(move |info| {
        if is_guarded() {
            return;
        }
        let place = info
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let what = message(info.payload());
        crit!(log, "bug: panic in {place}: {what}"; "thread" => std::thread::current().name().unwrap_or("unnamed").to_owned());
        exit_now(EXIT_BUG);
    }));
}

/// Ends the process without running anything else: no destructor may wait for a dead thread.
#[allow(unsafe_code)]
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes any integer, touches no memory and does not return. It is the
    // point here that no exit handler runs.
    unsafe { libc::_exit(code) }
}
