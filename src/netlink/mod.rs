//! Netlink, as far as netfilter's subsystems share it: framing ([`message`]), and the socket
//! ([`socket`]).
//!
//! Used by [`crate::conntrack`] and by the nftables backend. No task runs here, and nothing is
//! remembered; what a message means is its subsystem's affair.

pub(crate) mod message;
pub(crate) mod socket;

pub use self::message::Malformed;
pub use self::socket::SocketError;
