//! Flows that outlive their rules: deletes stale IPv6 connection-tracking entries.
//!
//! A DNAT rule sees only a flow's first packet; the kernel sends the others wherever the first one
//! went, even after the rule is gone, and so to whichever container takes that address next. So
//! after the rules have changed, [`Flows::purge`] deletes the entries that the new rules would not
//! have made. The rules as they are now then decide about the next packet of such a flow.
//!
//! [`Conntrack`] lists the kernel's table over netlink (one dump for any number of purges),
//! picks entries in userspace, and deletes each by its tuple, zone and id. The kernel's own
//! filter (`CTA_FILTER`) is not used: on IPv6 addresses it is inverted in 6.18. No task runs here;
//! a call blocks, for 2 s at the most. Only the socket is kept between calls, so a crash leaves at
//! worst entries that the next purge of the same port finds.
//!
//! The messages are written and read here ([`entry`]), over [`crate::netlink`]. Of ctnetlink, three
//! requests and one answer are needed, about 300 lines: crates bring netlink's framing
//! (netlink-packet-core) and leave conntrack's attributes to us all the same, generated bindings
//! (netlink-bindings) bring every message of every subsystem, and the tuple that a deletion must
//! repeat is safest as the kernel's own bytes, which none of them hands out.
//!
//! A connection from before connection tracking was in use has no entry. Its next packet makes one,
//! as if it were the first, and the rules would send it in midstream to a container that knows
//! nothing of it. So before the first forward, [`Flows::keep`] makes entries for what the host
//! itself has accepted on its port.
//!
//! What a purge cannot do: it misses an entry that a packet is making while the rules change, for
//! it is not in the table yet; that takes microseconds, unless something holds packets back
//! (nfqueue). Where docker-proxy takes longer than [`UNDER_WAY`] to answer a UDP packet that came before
//! the rules, that answer makes an entry, too, and the client stays with docker-proxy. A container that goes on sending from the published port opens a flow of its own;
//! where host port and container port are equal, answers to it look like the old flow's packets.

mod entry;
pub mod fake;
mod flow;
mod neighbours;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/conntrack.rs"]
pub(crate) mod oracle;
mod selection;
mod sockets;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub use self::flow::{Flow, FlowError, Flows, Purge};
use self::neighbours::Neighbours;
use self::selection::Selection;
use crate::model::forward::Proto;
use crate::netlink::request::{self, Ended};
use crate::netlink::socket::Socket;

/// How long one call may take, with all its repetitions. The kernel takes 11 ms to walk its
/// 262,144 buckets, and 2 ms for each 1,000 entries (measured on 6.18): this is enough for the
/// 262,144 entries of its default limit. Changes of rules wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a purge is begun before a dump that changes interrupt counts as a failure. Conntrack
/// itself never interrupts its dumps; netlink may.
const TRIES: usize = 3;

/// How long an answer of docker-proxy may be under way when the entry of its UDP flow is deleted. It makes
/// another entry, so that a second look is worth it: docker-proxy and the container take some 100 µs.
const UNDER_WAY: Duration = Duration::from_millis(3);

/// The kernel's flows in the network namespace of the thread that purges first.
#[derive(Debug)]
pub struct Conntrack {
    local: fn() -> io::Result<BTreeSet<Ipv6Addr>>,
    socket: Option<Socket>,
    neighbours: Option<Neighbours>,
}

impl Conntrack {
    /// Opens nothing yet. `local` reads the host's own IPv6 addresses
    /// ([`crate::sys::host::addresses`]); it is called once in each purge that has a
    /// [`Purge::Installed`].
    pub fn new(local: fn() -> io::Result<BTreeSet<Ipv6Addr>>) -> Self {
        Self {
            local,
            socket: None,
            neighbours: None,
        }
    }

    fn socket(&mut self) -> Result<&mut Socket, FlowError> {
        Ok(match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::netfilter()?),
        })
    }

    /// Deletes the entries of one connection, from its first packet's source to its destination
    /// before all rewriting; returns how many there were.
    ///
    /// # Errors
    /// As [`Flows::purge`]. Nothing was retried.
    pub(crate) fn forget(
        &mut self,
        proto: Proto,
        from: (Ipv6Addr, u16),
        to: (Ipv6Addr, u16),
    ) -> Result<usize, FlowError> {
        let deadline = Instant::now() + PATIENCE;
        let socket = self.socket()?;
        let mut found = BTreeSet::new();
        entry::list(socket, deadline, &mut |entry| {
            if entry.proto == proto && entry.destination == to && entry.begins_at(from) {
                found.insert(entry.locator());
            }
        })?;
        let found: Vec<_> = found.into_iter().collect();
        let mut deleted = 0;
        match request::send_each(socket, deadline, &found, entry::delete, &mut deleted)? {
            None => Ok(deleted),
            Some((left, last)) => Err(FlowError::Deletion { left, last }),
        }
    }

    /// One dump, and the deletions that it calls for. Adds to `deleted` as it goes.
    fn attempt(
        &mut self,
        selection: &Selection<'_>,
        deadline: Instant,
        deleted: &mut usize,
    ) -> Result<(), FlowError> {
        let socket = self.socket()?;
        // A set: a dump may show an entry twice when the table is resized meanwhile.
        let mut stale = BTreeSet::new();
        let ended = entry::list(socket, deadline, &mut |entry| {
            if selection.means(entry) {
                stale.insert(entry.locator());
            }
        })?;
        let stale: Vec<_> = stale.into_iter().collect();
        let refused = request::send_each(socket, deadline, &stale, entry::delete, deleted)?;
        if let Some((left, last)) = refused {
            return Err(FlowError::Deletion { left, last });
        }
        // What an interrupted dump has shown was there, and was stale.
        match ended {
            Ended::Whole => Ok(()),
            Ended::Interrupted => Err(FlowError::Interrupted),
        }
    }

    fn create(
        &mut self,
        accepted: &[sockets::Accepted],
        deadline: Instant,
    ) -> Result<usize, FlowError> {
        let mut made = 0;
        let socket = self.socket()?;
        match request::send_each(socket, deadline, accepted, entry::create, &mut made)? {
            None => Ok(made),
            Some((_, errno)) => Err(FlowError::Failed {
                operation: "making an entry for a connection",
                errno,
            }),
        }
    }
}

/// Whether there is no entry at all, so that none is stale. An entry counts from the moment when a packet
/// begins to make it (`__nf_conntrack_alloc`, net/netfilter/nf_conntrack_core.c), and those that begin
/// after the change of the rules follow the new ones. IPv4's count, too: most hosts have some.
fn is_without_entries() -> bool {
    /// Of the network namespace of the thread that reads it (nf_conntrack-sysctl.rst).
    const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
    fs::read_to_string(COUNT).is_ok_and(|count| count.trim() == "0")
}

impl Flows for Conntrack {
    fn purge(&mut self, purges: &[Purge]) -> Result<usize, FlowError> {
        if purges.is_empty() {
            return Ok(0);
        }
        // Once the kernel has answered: what keeps it from that must be reported.
        if self.socket.is_some() && is_without_entries() {
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
        let is_udp =
            |purge: &Purge| matches!(purge, Purge::Installed(flow) if flow.proto == Proto::Udp);
        let mut answers_under_way = purges.iter().any(is_udp);
        for _ in 0..TRIES {
            outcome = self.attempt(&selection, deadline, &mut deleted);
            match &outcome {
                Ok(()) if deleted > 0 && answers_under_way => {
                    answers_under_way = false;
                    thread::sleep(UNDER_WAY);
                }
                Ok(()) => break,
                Err(error) => {
                    // Late answers to this attempt must not be read as those to the next one.
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
        let kept = self.create(&accepted, deadline);
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
