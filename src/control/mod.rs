//! The control socket: how `dump` and `status` ask a running daemon.
//!
//! One request per connection: a line of JSON, answered with a line of JSON ([`protocol`]).
//! [`server`] runs in the daemon, one task per connection, with a bound on their number, size and
//! time; it serves root and the daemon's own user. [`client`] is blocking and serves the commands.
//!
//! [`status`] is the one struct of every figure; the parts of the daemon write into it through the
//! [`board`]. [`measured`] is what they have counted and timed since the start. [`row`] is one line of
//! a dump, [`comparison`] what `dump --diff` shows, [`history`] what `dump --history` is made of,
//! [`connections`] what `status --watch` counts, [`moment`] a time in any of them.

pub(crate) mod board;
pub mod client;
pub(crate) mod comparison;
mod connect;
pub mod connections;
pub(crate) mod histogram;
pub mod history;
pub mod listen;
pub(crate) mod measured;
pub mod moment;
pub mod protocol;
pub mod resync;
pub mod row;
pub(crate) mod server;
pub mod status;
