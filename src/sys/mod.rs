//! What serves the process itself: its privileges, locks, signals and panics, and facts about the
//! host. Nothing here knows Docker's ports or firewall rules.
//!
//! | file | owns |
//! |---|---|
//! | [`beat`] | moments at which periodic work of several parts is done together |
//! | [`causes`] | an error and its causes as one line |
//! | [`failpoint`] | where tests crash, panic or stop a debug build |
//! | [`host`] | addresses, routes, sysctls and processes of this network namespace |
//! | [`locks`] | one daemon per state directory and per network namespace |
//! | [`memory`] | keeping little free memory, and returning it to the kernel |
//! | [`panics`] | the hook that turns every panic into the end of the process |
//! | [`privilege`] | giving up the capabilities that no part needs |
//! | [`progress`] | progress of work that takes minutes |
//! | [`signals`] | SIGTERM, SIGINT and SIGHUP as values |
//! | [`slack`] | timers of a library's threads that may be late |
//! | [`supervisor`] | readiness and keep-alive messages to systemd |

pub(crate) mod beat;
pub(crate) mod causes;
pub mod failpoint;
pub mod host;
pub mod locks;
pub(crate) mod memory;
pub mod panics;
pub(crate) mod privilege;
pub(crate) mod progress;
pub mod signals;
pub(crate) mod slack;
pub(crate) mod supervisor;
