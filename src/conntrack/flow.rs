//! What is asked of a table of flows, and how that fails: the published port ([`Flow`]), which
//! entries go ([`Purge`]), and the table itself ([`Flows`]).

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use rustix::io::Errno;

use crate::model::forward::Proto;
use crate::model::rule::{HostPort, Rule};
use crate::netlink::{Malformed, NetlinkError};

/// One published port whose flows are wanted.
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

impl Flow {
    /// The flows that a rule makes; `None` for a rule that makes none.
    pub fn of(rule: &Rule) -> Option<Self> {
        let (port, target) = rule.dnat()?;
        Some(Self {
            proto: port.proto,
            host_addr: port.addr,
            host_port: port.port,
            target: (target.addr, target.port),
        })
    }

    /// The published port.
    pub(crate) fn port(&self) -> HostPort {
        HostPort {
            proto: self.proto,
            addr: self.host_addr,
            port: self.host_port,
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
    /// Not for a rule that goes while another with the same ports and target stays (one of two
    /// egress interfaces): a flow does not show by which interface it came.
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

/// A table of flows: the kernel's, or a fake.
pub trait Flows: Send {
    /// Deletes every entry that one of `purges` means, and returns how many that were. Call it
    /// after the kernel's rules have changed, or the next packet makes the same entry again.
    ///
    /// # Errors
    /// Entries may be left; some may have been deleted. A repetition is harmless. What is worth
    /// repeating at once (an interrupted list, lost answers) was tried three times.
    fn purge(&mut self, purges: &[Purge]) -> Result<usize, FlowError>;

    /// Makes entries for the TCP connections that the host itself has accepted on these ports and
    /// that are not tracked yet, so that the rules to come leave them where they are; returns how
    /// many that were. Call it before the kernel's rules change.
    ///
    /// # Errors
    /// Some may have none. A repetition is harmless.
    fn keep(&mut self, ports: &BTreeSet<u16>) -> Result<usize, FlowError>;

    /// Drops the packets that wait for these addresses, to which no port is forwarded any more, or
    /// which belong to another container now. Call it after the purge.
    ///
    /// # Errors
    /// Some may still wait. A repetition is harmless.
    fn release(&mut self, gone: &BTreeSet<Ipv6Addr>) -> Result<(), FlowError>;
}

/// Why stale entries may be left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// This kernel has no connection tracking over netlink (`CONFIG_NF_CT_NETLINK`), or may not
    /// load the module: that will not change while the daemon runs.
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
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Overrun)
    }

    /// The failure of `operation`, a request that is not about flows: its errno says nothing about
    /// them.
    pub(super) fn beside(operation: &'static str) -> impl Fn(NetlinkError) -> Self {
        move |error| match error {
            NetlinkError::Refused(errno @ (Errno::PERM | Errno::ACCESS)) => Self::Denied(errno),
            NetlinkError::Refused(errno) | NetlinkError::Failed { errno, .. } => {
                Self::Failed { operation, errno }
            }
            error => error.into(),
        }
    }

    fn from_errno(operation: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS => Self::Denied(errno),
            // nfnetlink answers EINVAL for a subsystem that is not there; what is sent here is
            // well-formed.
            Errno::INVAL | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                Self::Unsupported(errno)
            }
            Errno::NOBUFS => Self::Overrun,
            errno => Self::Failed { operation, errno },
        }
    }
}

/// Of a request about flows.
impl From<NetlinkError> for FlowError {
    fn from(error: NetlinkError) -> Self {
        match error {
            NetlinkError::TimedOut => Self::TimedOut,
            NetlinkError::Overrun => Self::Overrun,
            NetlinkError::Malformed(malformed) => Self::Malformed(malformed),
            NetlinkError::Refused(errno) => Self::from_errno("listing flows", errno),
            NetlinkError::Failed { operation, errno } => Self::from_errno(operation, errno),
        }
    }
}
