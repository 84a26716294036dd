//! Flows that outlive their rules: deletes stale IPv6 connection-tracking entries.
//!
//! A DNAT rule is asked only about a flow's first packet; the kernel sends the others wherever
//! the first one went, whatever became of the rule, and to whichever container takes that
//! address next. So after the rules have changed, [`Flows::purge`] deletes the entries that
//! the new rules would not have made. The next packet of such a flow is judged by the rules as
//! they are now.
//!
//! [`Conntrack`] lists the kernel's table over netlink (one dump for any number of purges),
//! picks entries in userspace, and deletes each by its tuple, zone and id. The kernel's own
//! filter (`CTA_FILTER`) is not used: on IPv6 addresses it is inverted in 6.18. There is no
//! task here; a call blocks, for 2 s at the most. Nothing is remembered between calls but the
//! socket, so a crash leaves at worst entries that the next purge of the same port finds.
//!
//! The messages are written and read here, over [`crate::netlink`]. Two requests and one answer
//! are needed of ctnetlink, about 300 lines: crates bring netlink's framing (netlink-packet-core)
//! and leave conntrack's attributes to us all the same, generated bindings (netlink-bindings)
//! bring every message of every subsystem, and the tuple that a deletion must repeat is safest
//! as the kernel's own bytes, which none of them hands out.
//!
//! A connection that nothing tracked before us has no entry. Its next packet makes one, as if it
//! were the first, and the rules would send it in midstream to a container that knows nothing of
//! it. So before the first forward, [`Flows::keep`] makes entries for what the host itself has
//! accepted on its port.
//!
//! What a purge cannot do: an entry that a packet is making while the rules change is not in
//! the table yet and is missed; the time is microseconds, unless something holds packets back
//! (nfqueue). A container that goes on sending from the published port by itself opens a flow
//! of its own; where host port and container port are equal, answers to it look like the old
//! flow's packets.

mod answer;
mod entry;
mod exchange;
pub mod fake;
mod neighbours;
mod selection;
mod sockets;

#[cfg(any(test, fuzzing))]
pub(crate) use entry::judge;

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use self::exchange::Exchange;
use self::neighbours::Neighbours;
use self::selection::Selection;
use crate::model::forward::Proto;
use crate::model::rule::Dnat;
use crate::netlink::{Malformed, SocketError};

/// How long one call may take, with all its repetitions. The kernel takes 11 ms to walk its
/// 262,144 buckets, and 2 ms for each 1,000 entries (measured on 6.18): this is enough for the
/// 262,144 entries of its default limit. What waits behind it are changes of rules.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a purge is begun before a dump that is overtaken by changes is called a failure.
/// Conntrack's own dumps never are; the flag is netlink's.
const TRIES: usize = 3;

/// One published port: what is looked for among the flows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Transport protocol.
    pub proto: Proto,
    /// The host's address that the port is bound to; `None` for any local address.
    pub host_addr: Option<Ipv6Addr>,
    /// The published port on the host.
    pub host_port: u16,
    /// The container's address and port.
    pub target: (Ipv6Addr, u16),
}

impl From<&Dnat> for Flow {
    fn from(dnat: &Dnat) -> Self {
        Self {
            proto: dnat.key.proto,
            host_addr: dnat.key.host_addr,
            host_port: dnat.key.host_port,
            target: (dnat.target, dnat.target_port),
        }
    }
}

/// Which entries are stale after a change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Purge {
    /// The forward is gone, leads elsewhere now, or belongs to another container: entries to
    /// the host port with exactly this DNAT target. It is the only way to cut flows whose
    /// target stays the same, and wins over an equal [`Purge::Installed`] of the same call.
    ///
    /// Not for a rule that leaves while another with the same ports and target stays (one of
    /// two egress interfaces): flows do not tell by which of them they came.
    Removed(Flow),
    /// The forward is new: entries from elsewhere to its port on a local address of the host
    /// that carry another DNAT or none. What carries the DNAT of some `Installed` of the same
    /// call stays, and so does a TCP connection that the host itself has accepted.
    Installed(Flow),
}

impl Purge {
    /// The published port in question.
    pub fn flow(&self) -> &Flow {
        match self {
            Self::Removed(flow) | Self::Installed(flow) => flow,
        }
    }
}

/// Where flows are kept.
pub trait Flows: Send {
    /// Deletes every entry that one of `purges` means, and returns how many that were. Call it
    /// after the kernel's rules have changed, or the next packet makes the same entry again.
    ///
    /// # Errors
    /// Entries may be left; some may have been deleted. To do it again is harmless. What is
    /// worth repeating at once ([`FlowError::is_passing`]) was tried three times.
    fn purge(&mut self, purges: &[Purge]) -> Result<usize, FlowError>;

    /// Makes entries for the TCP connections that the host itself has accepted on these ports and
    /// that are not tracked yet, so that rules which are to come leave them where they are; returns
    /// how many that were. Call it before the kernel's rules change.
    ///
    /// # Errors
    /// Some may have none. To do it again is harmless.
    fn keep(&mut self, ports: &BTreeSet<u16>) -> Result<usize, FlowError>;

    /// Lets go of the packets that wait for these addresses, which nothing is forwarded to any
    /// more, or not to whom it was. Call it after the purge.
    ///
    /// # Errors
    /// Some may still wait. To do it again is harmless.
    fn release(&mut self, gone: &BTreeSet<Ipv6Addr>) -> Result<(), FlowError>;
}

/// Why stale entries may be left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// This kernel has no connection tracking over netlink (`CONFIG_NF_CT_NETLINK`), or may
    /// not load the module: it will not change while the daemon runs.
    #[error("the kernel does not offer its flows over netlink (nf_conntrack_netlink)")]
    Unsupported(#[source] Errno),
    /// CAP_NET_ADMIN is missing in the user namespace that owns this network namespace.
    #[error("the kernel's flows may not be touched without CAP_NET_ADMIN")]
    Denied(#[source] Errno),
    /// No answer within 2 s.
    #[error("the kernel did not answer about its flows in time")]
    TimedOut,
    /// The list changed while it was read, each time.
    #[error("the list of flows changed while it was read")]
    Interrupted,
    /// The socket's buffer was too small for the answers.
    #[error("answers about flows were lost")]
    Overrun,
    /// The kernel's answer could not be read.
    #[error("the kernel's answer about its flows is malformed")]
    Malformed(#[from] Malformed),
    /// Some entries could not be deleted; the others were.
    #[error("{left} stale flows could not be deleted")]
    Deletion {
        /// How many are left.
        left: usize,
        /// The last refusal.
        #[source]
        last: Errno,
    },
    /// A system call or request failed in another way.
    #[error("{operation} failed")]
    Failed {
        /// Which one.
        operation: &'static str,
        /// How.
        #[source]
        errno: Errno,
    },
}

impl FlowError {
    /// Whether the next attempt may well succeed.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Interrupted | Self::Overrun => true,
            Self::Unsupported(_)
            | Self::Denied(_)
            | Self::TimedOut
            | Self::Malformed(_)
            | Self::Deletion { .. }
            | Self::Failed { .. } => false,
        }
    }

    /// What an errno means, wherever it comes from.
    fn from_errno(operation: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS => Self::Denied(errno),
            // nfnetlink's word for a subsystem that is not there is EINVAL; what is sent here
            // is well-formed.
            Errno::INVAL | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                Self::Unsupported(errno)
            }
            Errno::NOBUFS => Self::Overrun,
            errno => Self::Failed { operation, errno },
        }
    }
}

impl From<SocketError> for FlowError {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::TimedOut => Self::TimedOut,
            SocketError::Malformed(malformed) => Self::Malformed(malformed),
            SocketError::Failed { operation, errno } => Self::from_errno(operation, errno),
        }
    }
}

/// The kernel's flows in the network namespace of the thread that purges first.
#[derive(Debug)]
pub struct Conntrack {
    local: fn() -> io::Result<BTreeSet<Ipv6Addr>>,
    socket: Option<Exchange>,
    neighbours: Option<Neighbours>,
}

impl Conntrack {
    /// Opens nothing yet. `local` tells the host's own IPv6 addresses
    /// ([`crate::sys::host::addresses`]); it is asked in each call that has a [`Purge::Installed`].
    pub fn new(local: fn() -> io::Result<BTreeSet<Ipv6Addr>>) -> Self {
        Self {
            local,
            socket: None,
            neighbours: None,
        }
    }

    fn exchange(&mut self) -> Result<&mut Exchange, FlowError> {
        Ok(match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Exchange::open()?),
        })
    }

    /// One dump, and the deletions it asks for. Adds to `deleted` as it goes.
    fn attempt(
        &mut self,
        selection: &Selection<'_>,
        deadline: Instant,
        deleted: &mut usize,
    ) -> Result<(), FlowError> {
        let socket = self.exchange()?;
        // A set: a dump may show an entry twice when the table is resized meanwhile.
        let mut stale = BTreeSet::new();
        let complete = socket.dump(deadline, |entry| {
            if selection.means(entry) {
                stale.insert(entry.locator());
            }
        })?;
        let stale: Vec<_> = stale.into_iter().collect();
        socket.delete(&stale, deadline, deleted)?;
        // What an interrupted dump has shown was there, and was stale.
        if complete {
            Ok(())
        } else {
            Err(FlowError::Interrupted)
        }
    }
}

impl Flows for Conntrack {
    fn purge(&mut self, purges: &[Purge]) -> Result<usize, FlowError> {
        if purges.is_empty() {
            return Ok(0);
        }
        let deadline = Instant::now() + PATIENCE;
        let local = match purges.iter().any(|p| matches!(p, Purge::Installed(_))) {
            true => (self.local)().map_err(|error| FlowError::Failed {
                operation: "reading the host's addresses",
                errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            })?,
            false => BTreeSet::new(),
        };
        let selection = Selection::new(purges, &local);
        let mut deleted = 0;
        let mut outcome = Ok(());
        for _ in 0..TRIES {
            outcome = self.attempt(&selection, deadline, &mut deleted);
            match &outcome {
                Ok(()) => break,
                Err(error) => {
                    // Answers to what has failed must not meet the next request.
                    self.socket = None;
                    if !error.is_passing() {
                        break;
                    }
                }
            }
        }
        outcome.map(|()| deleted)
    }

    fn keep(&mut self, ports: &BTreeSet<u16>) -> Result<usize, FlowError> {
        let deadline = Instant::now() + PATIENCE;
        let accepted = sockets::accepted(ports, deadline)?;
        if accepted.is_empty() {
            return Ok(0);
        }
        let socket = self.exchange()?;
        let kept = socket.create(&accepted, deadline);
        if kept.is_err() {
            self.socket = None;
        }
        kept
    }

    fn release(&mut self, gone: &BTreeSet<Ipv6Addr>) -> Result<(), FlowError> {
        if gone.is_empty() {
            return Ok(());
        }
        let neighbours = match &mut self.neighbours {
            Some(neighbours) => neighbours,
            none => none.insert(Neighbours::open()?),
        };
        let released = neighbours.release(gone, Instant::now() + PATIENCE);
        if released.is_err() {
            self.neighbours = None;
        }
        released
    }
}
