//! The control socket: how `dump` and `status` ask a running daemon.
//!
//! One request per connection: a line of JSON, answered with a line of JSON ([`protocol`]).
//! [`server`] runs in the daemon, one task per connection, bounded in number, size and time;
//! it serves root and the daemon's own user. [`client`] is blocking and used by the commands.

pub mod client;
mod connect;
pub mod protocol;
pub mod server;
pub mod status;
