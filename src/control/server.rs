//! The daemon's side of the control socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, debug, warn};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connect::connect_within;
use super::protocol::{Answer, MAX_REQUEST, Request};
use crate::killpoint;

/// Connections at once, of which each takes a descriptor and some 10 KiB. A person asks one
/// question at a time; but those who ask nothing must not keep others waiting for long.
const MAX_CONNECTIONS: usize = 256;

/// Dumps answered at once: one may take some megabytes, and whoever asks may not read.
const MAX_DUMPS: usize = 4;

/// How long a dump waits for its turn. One that is read takes milliseconds.
const DUMP_PATIENCE: Duration = Duration::from_secs(1);

/// How long a request may take to come. A client sends it as soon as it is connected.
const REQUEST_PATIENCE: Duration = Duration::from_millis(500);

/// How long one exchange may take, from the accepted connection to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept, so that an exhausted process does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest path of a socket, in bytes: 108 of `sun_path` (unix(7)) less the closing NUL, and less
/// the process id that is appended while the socket is young.
const MAX_PATH: usize = 99;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody answers there.
    #[error("{} belongs to another running process; choose another with --control", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else stands there.
    #[error("{} is not a socket, and is left alone; choose another with --control", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// No socket can have this name.
    #[error("{} cannot name a socket: {why}; choose another with --control", path.display())]
    BadPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It cannot be created.
    #[error("cannot listen on {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// How long it may take to find out whether somebody listens: with a full backlog, somebody does.
const PROBE: Duration = Duration::from_millis(100);

/// A bound socket. Dropping it removes its file.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens on `path`, mode 0600. A socket that nobody answers is replaced.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let io_error = |source| ServerError::Io {
            path: path.to_owned(),
            source,
        };
        if path.as_os_str().len() > MAX_PATH {
            let (path, why) = (path.to_owned(), "it has more than 99 bytes");
            return Err(ServerError::BadPath { path, why });
        }
        if let Ok(found) = std::fs::symlink_metadata(path) {
            let path = path.to_owned();
            if !found.file_type().is_socket() {
                return Err(ServerError::NotASocket { path });
            }
            // Only this says that nobody is there; a live datagram socket refuses otherwise.
            match connect_within(&path, PROBE) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(ServerError::InUse { path }),
            }
        }
        if let Some(dir) = path.parent() {
            crate::locks::create_runtime_dir(dir).map_err(io_error)?;
        }
        // Never visible with wider permissions, and replaced in one step.
        let mut young = path.as_os_str().to_owned();
        young.push(format!(".{}", std::process::id()));
        let young = PathBuf::from(young);
        let _ = std::fs::remove_file(&young);
        let listener = UnixListener::bind(&young).map_err(io_error)?;
        std::fs::set_permissions(&young, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&young, path))
            .map_err(io_error)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves for ever, in a `LocalSet`. `answer` is asked once per request.
    pub async fn serve<F>(self, answer: F, log: Logger)
    where
        F: AsyncFn(Request) -> Answer + 'static,
    {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let shared = Rc::new(Shared {
            answer,
            dumps: Semaphore::new(MAX_DUMPS),
            own_uid: rustix::process::geteuid().as_raw(),
        });
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(log, "a connection was not accepted"; "reason" => %error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (shared, log) = (shared.clone(), log.clone());
            tokio::task::spawn_local(async move {
                let _slot = slot;
                let served = timeout(TIMEOUT, exchange(stream, &*shared));
                match served.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(log, "request failed"; "reason" => %error),
                    Err(_) => debug!(log, "request timed out"),
                }
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A socket left behind is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the connections have in common.
struct Shared<F> {
    answer: F,
    dumps: Semaphore,
    own_uid: u32,
}

async fn exchange<F>(mut stream: UnixStream, shared: &Shared<F>) -> io::Result<()>
where
    F: AsyncFn(Request) -> Answer,
{
    killpoint::pass("a connection is served");
    let peer = stream.peer_cred()?.uid();
    // Held until the answer is written.
    let mut _turn = None;
    let reply = if peer == 0 || peer == shared.own_uid {
        let (reading, _) = stream.split();
        let mut line = Vec::new();
        let mut reading = BufReader::new(reading.take(MAX_REQUEST));
        let request = reading.read_until(b'\n', &mut line);
        timeout(REQUEST_PATIENCE, request).await??;
        match Request::read(&line) {
            Some(Request::Dump) => {
                _turn = timeout(DUMP_PATIENCE, shared.dumps.acquire()).await.ok();
                match _turn {
                    Some(_) => (shared.answer)(Request::Dump).await,
                    None => Answer::Error("busy with other dumps".into()),
                }
            }
            Some(request) => (shared.answer)(request).await,
            None => Answer::Error(
                "expected one line: {\"ask\":\"dump\"} or {\"ask\":\"status\"}".into(),
            ),
        }
    } else {
        Answer::Error("only root and the daemon's own user are served".into())
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

#[cfg(any(test, fuzzing))]
mod judge;
#[cfg(any(test, fuzzing))]
pub(crate) use judge::judge;
