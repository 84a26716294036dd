//! The daemon's side of the control socket.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use slog::{Logger, debug, warn};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::listen::{ListenError, UnixSocket};
use super::protocol::{Answer, MAX_REQUEST, Request};
use super::row::Row;
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

/// A server on a bound socket.
pub(crate) struct Server(UnixSocket);

impl Server {
    /// Listens on `path`.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub(crate) fn bind(path: &Path) -> Result<Self, ListenError> {
        UnixSocket::bind(path, "--control").map(Self)
    }

    /// Serves until it is cancelled, in a `LocalSet`. `answer` answers every request but a dump's;
    /// `page` gives one page of a dump, beginning after a rule that the page before names
    /// ([`Page::next`]).
    pub(crate) async fn serve<A, P>(self, answer: A, page: P, log: Logger)
    where
        A: AsyncFn(Request) -> Answer + 'static,
        P: AsyncFn(Option<RuleId>) -> Result<Page, String> + 'static,
    {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let shared = Rc::new(Shared {
            answer,
            page,
            dumps: Semaphore::new(MAX_DUMPS),
            own_uid: rustix::process::geteuid().as_raw(),
        });
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let stream = match self.0.listener.accept().await {
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

/// Some rows of a dump.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// The rule after which the next page begins; `None` on the last page.
    pub next: Option<RuleId>,
}

/// What all connections share.
struct Shared<A, P> {
    answer: A,
    page: P,
    dumps: Semaphore,
    own_uid: u32,
}

async fn exchange<A, P>(mut stream: UnixStream, shared: &Shared<A, P>) -> io::Result<()>
where
    A: AsyncFn(Request) -> Answer,
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
            Some(request) => (shared.answer)(request).await,
            None => Answer::Error(
                "expected one line, such as {\"ask\":\"dump\"} or {\"ask\":\"status\"}".into(),
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
        let write = async {
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
            text.clear();
            io::Result::Ok(())
        };
        let Some(after) = part.next else {
            write.await?;
            return stream.shutdown().await;
        };
        // The journal prepares the next page meanwhile.
        let (next, written) = join(timeout(TIMEOUT, page(Some(after))), write).await;
        written?;
        part = next?.map_err(io::Error::other)?;
    }
}

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/control.rs"]
pub(crate) mod oracle;
