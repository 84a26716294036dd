//! Serves the metrics over HTTP.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use slog::{Logger, debug, warn};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::address::MetricsAddress;
use super::{families, health};
use crate::control::board::StatusBoard;
use crate::control::listen::{ListenError, UnixSocket};

/// Most connections at once. A scrape takes milliseconds.
const MAX_CONNECTIONS: usize = 8;

/// How long a connection may take, from its beginning to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept, so that a process without descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the metrics are.
const METRICS: &str = "/metrics";

/// The media type of the text format, version 0.0.4.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why the metrics are not served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address cannot be used.
    #[error("--metrics: cannot listen on {address}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be created.
    #[error(transparent)]
    Unix(#[from] ListenError),
}

/// A bound server.
pub(crate) enum MetricsServer {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl MetricsServer {
    /// Listens on the address. Call this in the runtime that serves.
    ///
    /// # Errors
    /// See [`MetricsError`].
    pub(crate) fn bind(address: &MetricsAddress) -> Result<Self, MetricsError> {
        match address {
            MetricsAddress::Tcp(address) => {
                let failed = |source| MetricsError::Tcp {
                    address: *address,
                    source,
                };
                // The standard library's listener reuses the address after a crash.
                let listener = std::net::TcpListener::bind(address).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                TcpListener::from_std(listener)
                    .map(Self::Tcp)
                    .map_err(failed)
            }
            MetricsAddress::Unix(path) => Ok(Self::Unix(UnixSocket::bind(path, "--metrics")?)),
        }
    }

    /// Serves until it is cancelled, in a `LocalSet`. `refresh` brings up to date what is read only for
    /// a scrape.
    pub(crate) async fn serve<R>(self, board: StatusBoard, refresh: R, log: Logger)
    where
        R: AsyncFn() + 'static,
    {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let shared = Rc::new((board, refresh));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let shared = shared.clone();
            let accepted = match &self {
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::task::spawn_local(exchange(stream, shared, log.clone(), slot));
                }),
                Self::Unix(socket) => socket.listener.accept().await.map(|(stream, _)| {
                    tokio::task::spawn_local(exchange(stream, shared, log.clone(), slot));
                }),
            };
            if let Err(error) = accepted {
                warn!(log, "cannot accept a connection"; "reason" => %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one request.
async fn exchange<S, R>(
    stream: S,
    shared: Rc<(StatusBoard, R)>,
    log: Logger,
    _slot: tokio::sync::OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    R: AsyncFn() + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let shared = shared.clone();
        async move {
            let (board, refresh) = &*shared;
            let path = request.uri().path();
            if path == METRICS {
                refresh().await;
            }
            Ok::<_, Infallible>(answer(request.method(), path, board))
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(log, "request failed"; "reason" => %error),
        Err(_) => debug!(log, "request failed"; "reason" => "it took too long"),
    }
}

fn answer(method: &Method, path: &str, board: &StatusBoard) -> Response<String> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD".to_owned());
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let now = Instant::now();
    match path {
        METRICS => {
            let mut response = plain(StatusCode::OK, text(board, now));
            let format = HeaderValue::from_static(TEXT_FORMAT);
            response.headers_mut().insert(CONTENT_TYPE, format);
            response
        }
        "/healthz" => healthy_unless(health::is_ill(&board.lock(), now)),
        "/readyz" => healthy_unless(health::is_unready(&board.lock()).map(str::to_owned)),
        "/" => plain(StatusCode::OK, "/metrics\n/healthz\n/readyz\n".to_owned()),
        _ => plain(
            StatusCode::NOT_FOUND,
            "not found: there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
    }
}

/// What `/metrics` shows.
pub(crate) fn text(board: &StatusBoard, now: Instant) -> String {
    let status = board.status(now);
    families::text(&status, &board.lock())
}

fn healthy_unless(reason: Option<String>) -> Response<String> {
    match reason {
        None => plain(StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn plain(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let format = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}
