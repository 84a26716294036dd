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
use super::row::Row;
use super::status::Status;
use crate::model::rule::RuleId;
use crate::sys::failpoint;

/// Most connections at once; each takes a descriptor and about 10 KiB. A person asks one question at
/// a time, but silent clients must not block the others for long.
const MAX_CONNECTIONS: usize = 256;

/// Most dumps answered at once: one may take a megabyte, and its client may be slow to read it.
const MAX_DUMPS: usize = 4;

/// How long a dump waits for its turn. All but the largest take milliseconds if their clients read.
const DUMP_PATIENCE: Duration = Duration::from_secs(1);

/// How long a dump may take: 60,000 ports with three rules each take several seconds.
const DUMP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the request may take to arrive. A client sends it as soon as it is connected.
const REQUEST_PATIENCE: Duration = Duration::from_millis(500);

/// How long one exchange may take, from the accepted connection to the last byte. For a dump, this
/// limits each page.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept, so that a process without descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest path of a socket, in bytes: 108 of `sun_path` (unix(7)) less the closing NUL, and less
/// the process id that is appended while the socket is being created.
const MAX_PATH: usize = 99;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process listens there.
    #[error("{} belongs to another running process; choose another with --control", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path names a file that is not a socket.
    #[error("{} is not a socket, so it stays as it is; choose another with --control", path.display())]
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

/// How long to probe whether a process listens. A full backlog means that one does.
const PROBE: Duration = Duration::from_millis(100);

/// A bound socket. Dropping it removes its file.
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens on `path`, mode 0600. A socket without a listener is replaced.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub(crate) fn bind(path: &Path) -> Result<Self, ServerError> {
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
            // Only this error means that no process listens; a live datagram socket gives another.
            match connect_within(&path, PROBE) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(ServerError::InUse { path }),
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

    /// Serves until it is cancelled, in a `LocalSet`. `status` gives the status; `page` gives one page
    /// of a dump, beginning after a rule that the page before names ([`Page::next`]).
    pub(crate) async fn serve<S, P>(self, status: S, page: P, log: Logger)
    where
        S: Fn() -> Status + 'static,
        P: AsyncFn(Option<RuleId>) -> Result<Page, String> + 'static,
    {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let shared = Rc::new(Shared {
            status,
            page,
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
                    warn!(log, "cannot accept a connection"; "reason" => %error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (shared, log) = (shared.clone(), log.clone());
            tokio::task::spawn_local(async move {
                let _slot = slot;
                if let Err(error) = exchange(stream, &*shared).await {
                    debug!(log, "request failed"; "reason" => %error);
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

/// Some rows of a dump.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// The rule after which the next page begins; `None` on the last page.
    pub next: Option<RuleId>,
}

/// What all connections share.
struct Shared<S, P> {
    status: S,
    page: P,
    dumps: Semaphore,
    own_uid: u32,
}

async fn exchange<S, P>(mut stream: UnixStream, shared: &Shared<S, P>) -> io::Result<()>
where
    S: Fn() -> Status,
    P: AsyncFn(Option<RuleId>) -> Result<Page, String>,
{
    failpoint::panic("a connection is served");
    let peer = stream.peer_cred()?.uid();
    let reply = if peer == 0 || peer == shared.own_uid {
        let (reading, _) = stream.split();
        let mut line = Vec::new();
        let mut reading = BufReader::new(reading.take(MAX_REQUEST));
        let request = reading.read_until(b'\n', &mut line);
        timeout(REQUEST_PATIENCE, request).await??;
        match Request::read(&line) {
            Some(Request::Dump) => match timeout(DUMP_PATIENCE, shared.dumps.acquire()).await {
                Ok(_turn) => return timeout(DUMP_TIMEOUT, dump(stream, &shared.page)).await?,
                Err(_) => Answer::Error("busy with other dumps".into()),
            },
            Some(Request::Status) => Answer::Status(Box::new((shared.status)())),
            None => Answer::Error(
                "expected one line: {\"ask\":\"dump\"} or {\"ask\":\"status\"}".into(),
            ),
        }
    } else {
        Answer::Error("only root and the daemon's own user are served".into())
    };
    send(stream, &reply).await
}

/// Sends one answer and ends the connection.
async fn send(mut stream: UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    timeout(TIMEOUT, stream.write_all(&line)).await??;
    stream.shutdown().await
}

/// Sends the line of an [`Answer::Dump`] page by page, so that the whole is never in memory. If the
/// journal fails in between, the line ends there, and the client sees malformed JSON.
async fn dump<P>(mut stream: UnixStream, page: &P) -> io::Result<()>
where
    P: AsyncFn(Option<RuleId>) -> Result<Page, String>,
{
    let mut part = match timeout(TIMEOUT, page(None)).await? {
        Ok(part) => part,
        Err(why) => return send(stream, &Answer::Error(why)).await,
    };
    let mut text = b"{\"dump\":[".to_vec();
    let mut is_first = true;
    loop {
        for row in &part.rows {
            if !std::mem::take(&mut is_first) {
                text.push(b',');
            }
            serde_json::to_writer(&mut text, row)?;
        }
        if part.next.is_none() {
            text.extend(b"]}\n");
        }
        timeout(TIMEOUT, stream.write_all(&text)).await??;
        if part.next.is_none() {
            return stream.shutdown().await;
        }
        text.clear();
        let next = timeout(TIMEOUT, page(part.next)).await?;
        part = next.map_err(io::Error::other)?;
    }
}

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/control.rs"]
pub(crate) mod oracle;
