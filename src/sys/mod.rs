//! The ground floor: what serves the process and the host it runs on, and nothing of the job.
//!
//! | file | owns |
//! |---|---|
//! | [`causes`] | an error and its causes as one line |
//! | [`failpoint`] | where tests crash, panic or stop a debug build |
//! | [`host`] | addresses, routes, sysctls and processes of this network namespace |
//! | [`locks`] | one daemon per state directory and per network namespace |
//! | [`memory`] | returning free memory to the kernel |
//! | [`panics`] | the hook that turns every panic into the end of the process |
//! | [`privilege`] | giving up the capabilities that no part needs |
//! | [`progress`] | signs of life from work that takes long |
//! | [`signals`] | SIGTERM, SIGINT and SIGHUP as values |
//! | [`supervisor`] | readiness and keep-alive messages to systemd |

pub mod causes;
pub mod failpoint;
pub mod host;
pub mod locks;
pub mod memory;
pub mod panics;
pub mod privilege;
pub mod progress;
pub mod signals;
pub mod supervisor;
