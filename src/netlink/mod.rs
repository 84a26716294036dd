//! Netlink, as far as its subsystems share it: framing ([`message`]), and the socket ([`socket`]);
//! noticing that routes or rules have changed ([`watch`]), of which interfaces the kernel tells
//! ([`links`]), and looking one up ([`interface`]).
//!
//! Used by [`crate::conntrack`], the nftables backend and two actors. Only what watches or listens
//! has a thread, and nothing is remembered; what a message means is its subsystem's affair.

pub mod interface;
#[cfg(any(test, fuzzing))]
mod judge;
pub mod links;
pub(crate) mod message;
pub(crate) mod socket;
pub mod watch;

#[cfg(any(test, fuzzing))]
pub(crate) use self::judge::judge;
pub use self::message::Malformed;
pub use self::socket::SocketError;
