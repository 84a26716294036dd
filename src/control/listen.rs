//! A Unix socket to listen on, which replaces what a dead process has left.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;

use super::connect::connect_within;

/// Longest path of a socket, in bytes: 108 of `sun_path` (unix(7)) less the closing NUL, and less
/// the process id that is appended while the socket is being created.
const MAX_PATH: usize = 99;

/// How long to probe whether a process listens. A full backlog means that one does.
const PROBE: Duration = Duration::from_millis(100);

/// Why there is no socket. `option` is the one that names it.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error("{} belongs to another running process; choose another with {option}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
        /// The option.
        option: &'static str,
    },
    /// The path names a file that is not a socket.
    #[error("{} is not a socket, so it stays as it is; choose another with {option}", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// The option.
        option: &'static str,
    },
    /// No socket can have this name.
    #[error("{} cannot name a socket: {why}; choose another with {option}", path.display())]
    BadPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
        /// The option.
        option: &'static str,
    },
    /// The socket cannot be created.
    #[error("cannot listen on {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// A bound socket. Dropping it removes its file.
pub(crate) struct UnixSocket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Listens on `path`, mode 0600. A socket without a listener is replaced. `option` is the one
    /// that names the path.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub(crate) fn bind(path: &Path, option: &'static str) -> Result<Self, ListenError> {
        let io_error = |source| ListenError::Io {
            path: path.to_owned(),
            source,
        };
        if path.as_os_str().len() > MAX_PATH {
            return Err(ListenError::BadPath {
                path: path.to_owned(),
                why: "it has more than 99 bytes",
                option,
            });
        }
        if let Ok(found) = std::fs::symlink_metadata(path) {
            let path = path.to_owned();
            if !found.file_type().is_socket() {
                return Err(ListenError::NotASocket { path, option });
            }
            // Only this error means that no process listens; a live datagram socket gives another.
            match connect_within(&path, PROBE) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(ListenError::InUse { path, option }),
            }
        }
        if let Some(dir) = path.parent() {
            crate::sys::locks::create_runtime_dir(dir).map_err(io_error)?;
        }
        // Created beside its place and renamed, so that it never has wider permissions there.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let _ = std::fs::remove_file(&temporary);
        let listener = UnixListener::bind(&temporary).map_err(io_error)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&temporary, path))
            .map_err(io_error)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // A socket left behind is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}
