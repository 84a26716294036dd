//! Why the way of a packet cannot be followed.

use std::io;

use rustix::io::Errno;

use crate::backend::ErrorKind;
use crate::backend::nftables::error::Fault;
use crate::netlink::NetlinkError;
use crate::sys::locks::LockError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    /// A capability is missing.
    #[error("{what} needs {capability}: run as root, or give the capability")]
    Denied {
        /// What was tried.
        what: &'static str,
        /// The capability.
        capability: &'static str,
    },
    /// The kernel cannot do it.
    #[error("this kernel lacks what is needed: {0}")]
    Unsupported(String),
    /// The interface is not there.
    #[error("there is no interface {0} in this network namespace")]
    NoDevice(String),
    /// The packet was not taken.
    #[error("sending the packet into {device} failed")]
    Injection {
        /// The interface.
        device: String,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The kernel's reports were lost, or what it says cannot be read.
    #[error("following the packet failed")]
    Netlink(#[from] NetlinkError),
    /// Neither of the two ways to send it may be gone.
    #[error(
        "sending a packet into an interface: by BPF ({bpf}; it takes CAP_BPF and CAP_NET_ADMIN, or \
         CAP_SYS_ADMIN, and Linux 4.12), by a tap ({tap}; it takes CAP_NET_ADMIN)"
    )]
    NoInjection {
        /// What BPF was refused with.
        bpf: Errno,
        /// Why the tap does not serve.
        tap: String,
    },
    /// nf_tables failed.
    #[error("the probe's own table: {0}")]
    Table(String),
    /// The entry of the packet could not be removed from connection tracking.
    #[error("removing the probe's entry from connection tracking: {0}")]
    Flow(String),
    /// The kernel's log for legacy rules cannot be had alone.
    #[error("waiting for another explain")]
    Lock(#[from] LockError),
    /// A file of the system cannot be read.
    #[error("reading or writing the host's state failed")]
    Io(#[from] io::Error),
}

impl ExplainError {
    /// Whether a privilege or a feature of the kernel is missing.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. } | Self::Unsupported(_) | Self::NoInjection { .. }
        )
    }

    /// Whether the kernel did not make the probe's table, which the way back takes more for.
    pub(super) fn is_of_table(&self) -> bool {
        matches!(self, Self::Unsupported(_) | Self::Table(_))
    }
}

impl From<Fault> for ExplainError {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            ErrorKind::Denied => Self::Denied {
                what: "making a table of nf_tables",
                capability: "CAP_NET_ADMIN",
            },
            ErrorKind::Unsupported => Self::Unsupported(fault.detail),
            _ => Self::Table(fault.detail),
        }
    }
}
