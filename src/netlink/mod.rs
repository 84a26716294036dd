//! Netlink, as far as its subsystems share it: framing ([`message`]), requests and their answers
//! ([`request`]) over a socket ([`socket`]), the numbers of nf_tables
//! ([`nf_tables`]), and how it shows chains and rules ([`shown`]). Besides,
//! five uses of rtnetlink and nf_tables that belong to no other module: noticing that routes or
//! rules have changed ([`watch`]), telling whether others have changed rules ([`witness`]), hearing which
//! interfaces come ([`links`]), looking one up ([`interface`]), and asking for the default routes and
//! where a packet would go ([`route`]).
//!
//! Used by [`crate::conntrack`], the nftables backend, the reader of Docker's own NAT,
//! [`crate::explain`], and two actors. [`watch`] and [`links`] have a thread each; nothing here remembers anything.

mod error;
pub mod interface;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/kernel_script.rs"]
pub(crate) mod kernel_script;
pub mod links;
pub(crate) mod listing;
pub(crate) mod message;
pub(crate) mod nf_tables;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/netlink.rs"]
pub(crate) mod oracle;
pub(crate) mod request;
pub(crate) mod route;
pub(crate) mod shown;
pub(crate) mod socket;
pub mod watch;
pub(crate) mod witness;

pub use self::error::NetlinkError;
pub use self::message::Malformed;
