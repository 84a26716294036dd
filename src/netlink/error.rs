//! How a request over netlink fails.

use rustix::io::Errno;

use super::message::Malformed;

/// Why a request has no answer, or not the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// No answer within the deadline.
    #[error("the kernel did not answer in time")]
    TimedOut,
    /// The socket's buffer was too small for the answers (ENOBUFS, `NLMSG_OVERRUN`).
    #[error("the kernel's answers were lost")]
    Overrun,
    /// The kernel's answer could not be read.
    #[error("the kernel's answer is malformed")]
    Malformed(#[from] Malformed),
    /// The kernel answered with an error.
    #[error("the kernel refused the request")]
    Refused(#[source] Errno),
    /// A system call failed.
    #[error("{operation} failed")]
    Failed {
        /// Which one.
        operation: &'static str,
        /// How.
        #[source]
        errno: Errno,
    },
}

impl NetlinkError {
    /// Whether a dump broke off because what it lists has changed or gone meanwhile: worth another
    /// try.
    pub(crate) fn is_overtaken(&self) -> bool {
        matches!(
            self,
            Self::Refused(Errno::INTR | Errno::AGAIN | Errno::NOENT)
        )
    }

    /// The failure of a system call.
    pub(crate) fn failed(operation: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOBUFS => Self::Overrun,
            errno => Self::Failed { operation, errno },
        }
    }
}
