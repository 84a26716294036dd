//! Failures of netlink and of nf_tables as kinds of [`BackendError`]. Pure.

use rustix::io::Errno;

use crate::backend::{BackendError, ErrorKind};
use crate::netlink::NetlinkError;

/// A failure that does not say yet what was being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) detail: String,
}

impl Fault {
    /// What an errno of the kernel's means, and at which message of a batch it came.
    pub(super) fn at(errno: Errno, label: &str) -> Self {
        let kind = match errno {
            Errno::PERM | Errno::ACCESS => ErrorKind::Denied,
            Errno::NOENT => ErrorKind::NotFound,
            // The latter for a range that overlaps another.
            Errno::EXIST | Errno::NOTEMPTY => ErrorKind::Exists,
            // The last where the rules have changed since the generation that was named.
            Errno::BUSY | Errno::AGAIN | Errno::RESTART => ErrorKind::Busy,
            Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => ErrorKind::Unsupported,
            _ => ErrorKind::Failed,
        };
        let hint = match errno {
            Errno::NFILE | Errno::NOSPC => " (the set is full)",
            Errno::PERM => {
                " (CAP_NET_ADMIN is missing, or another process owns the table: a daemon that \
                 still runs)"
            }
            _ => "",
        };
        Self {
            kind,
            detail: format!("{label}: {errno}{hint}"),
        }
    }

    /// What an errno in answer to a request means. nfnetlink answers EINVAL for a subsystem that is
    /// not there; what is asked here is well-formed.
    fn refused(errno: Errno) -> Self {
        match errno {
            Errno::INVAL => Self {
                kind: ErrorKind::Unsupported,
                detail: "there is no nf_tables in this kernel".to_owned(),
            },
            errno => Self::at(errno, "the kernel's answer"),
        }
    }

    /// No certain answer.
    pub(super) fn uncertain(detail: &str) -> Self {
        Self {
            kind: ErrorKind::Uncertain,
            detail: detail.to_owned(),
        }
    }

    /// With what was being done.
    pub(crate) fn during(self, operation: String) -> BackendError {
        BackendError {
            operation,
            kind: self.kind,
            detail: self.detail,
        }
    }
}

impl From<NetlinkError> for Fault {
    fn from(error: NetlinkError) -> Self {
        match error {
            NetlinkError::TimedOut => Self {
                kind: ErrorKind::TimedOut,
                detail: error.to_string(),
            },
            NetlinkError::Overrun => Self::uncertain("answers were lost"),
            NetlinkError::Malformed(_) => Self::uncertain(&crate::sys::causes::chain(&error)),
            NetlinkError::Refused(errno) => Self::refused(errno),
            NetlinkError::Failed { operation, errno } => match errno {
                Errno::MSGSIZE => Self {
                    kind: ErrorKind::Failed,
                    detail: "the batch is larger than the socket may send here (SO_SNDBUFFORCE \
                             was refused, net.core.wmem_max is too small)"
                        .to_owned(),
                },
                errno => Self::at(errno, operation),
            },
        }
    }
}
