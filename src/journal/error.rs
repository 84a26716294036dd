//! Why a journal could not be opened.

use std::io;
use std::path::{Path, PathBuf};

/// Why the journal cannot be opened. Nothing was moved or removed. Damage is not among the reasons
/// for [`super::recover::open`], which quarantines a damaged journal and opens a new one.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path of the state directory is not a directory.
    #[error("{} is not a directory, choose another --state-dir or move it away", .0.display())]
    NotADirectory(PathBuf),
    /// The state directory is a symbolic link.
    #[error("{} is a symbolic link, name the directory itself", .0.display())]
    Symlink(PathBuf),
    /// The state directory belongs to somebody else, who could forge the journal.
    #[error("{} belongs to uid {uid}, it must belong to root or to the daemon's user", path.display())]
    ForeignOwner {
        /// The state directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// There is no journal to read. Only [`super::recover::snapshot_copy`] returns this.
    #[error("there is no journal in {}", .0.display())]
    Missing(PathBuf),
    /// Another process has the database open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A newer daemon wrote the journal, which stays unchanged.
    #[error(
        "the journal has format version {found}, this daemon knows {known}: \
         start the newer daemon again, or run its cleanup first"
    )]
    NewerVersion {
        /// The version found.
        found: u16,
        /// The highest version that this daemon knows.
        known: u16,
    },
    /// The disk is full, or the quota is used up.
    #[error("{operation}: no space left, about 2 MiB are needed")]
    NoSpace {
        /// What was being done, with its object.
        operation: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file system is mounted read-only.
    #[error("{operation}: the file system is read-only, it must be writable")]
    ReadOnly {
        /// What was being done, with its object.
        operation: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Permissions are missing.
    #[error("{operation}: permission denied, the daemon's user must own the state directory")]
    Denied {
        /// What was being done, with its object.
        operation: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Any other error of the system, such as a failing disk. It may be transient.
    #[error("{operation} failed")]
    Io {
        /// What was being done, with its object.
        operation: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The copy to read is damaged. Only [`super::recover::snapshot_copy`] returns this.
    #[error("the journal in {} is damaged: {reason}", path.display())]
    Damaged {
        /// The state directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl OpenError {
    /// The error for an `operation` on `path` that the system refused.
    pub(super) fn io(operation: &str, path: &Path, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let operation = format!("{operation} {}", path.display());
        match source.kind() {
            Kind::StorageFull | Kind::QuotaExceeded => Self::NoSpace { operation, source },
            Kind::ReadOnlyFilesystem => Self::ReadOnly { operation, source },
            Kind::PermissionDenied => Self::Denied { operation, source },
            _ => Self::Io { operation, source },
        }
    }
}

/// Whether an I/O error means that the files are not what we wrote. A full, read-only, forbidden or
/// failing disk is not damage.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    if error.raw_os_error() == Some(libc::ELOOP) {
        return true;
    }
    matches!(
        error.kind(),
        Kind::NotFound
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::UnexpectedEof
            | Kind::InvalidData
            | Kind::InvalidInput
            // The system never returns this kind; sled uses it for damage that it finds itself.
            | Kind::Other
    )
}
