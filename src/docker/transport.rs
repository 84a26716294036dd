//! How a request of bollard's travels: bollard builds it and reads the answer, we carry it.
//!
//! bollard's own connectors do not serve, for three reasons. They drop the API version from the
//! path (an absolute path joined to the address replaces it), so that every request is answered
//! in whatever version the Engine likes best; they do not tell when the head of an answer has
//! arrived, which is how we know that a subscription to events stands before anything is
//! listed; and nothing bounds what they read. Here every request gets the negotiated version,
//! one that carries a [`Watch`] says when it was answered, and none reads more than its
//! [`Bound`].
//!
//! Every request has its own connection: an idle one that the Engine closed meanwhile would be
//! an error of ours. One task runs per connection and ends with it: when the answer has been
//! read, or when whoever waits for it has been dropped.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{BollardRequest, Docker};
use http::{HeaderValue, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

use super::host::DockerHost;

/// Unused connections to a dead peer are found after this long: a host behind TCP may vanish
/// without a word, and the stream of events is silent for hours.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// bollard's own limit for the head of an answer, in seconds. Ours are shorter and cover the
/// body too; this one only has to be out of the way.
const BOLLARD_TIMEOUT_S: u64 = 3600;

/// One MiB, in bytes.
pub(super) const MIB: u64 = 1 << 20;

/// Put into a request's extensions: what happens to it on its way.
#[derive(Clone, Default)]
pub(super) struct Watch {
    /// Told when the head of a successful answer has arrived.
    pub(super) head: Arc<Notify>,
    /// Set when the answer goes over its bound; bollard's stream of events does not hand on
    /// why it broke.
    pub(super) too_long: Arc<OnceLock<TooLong>>,
}

/// Put into a request's extensions: how much of an answer is read. Whatever serves the socket
/// may be no Engine, or a broken one; it must not take the host's memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    /// So many bytes altogether, head included.
    Whole(u64),
    /// So many bytes in one line.
    Line(u64),
}

/// What an answer without a [`Bound`] of its own may have.
const SMALL: Bound = Bound::Whole(MIB);

/// An answer went over its [`Bound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} of more than {} MiB", if *.line { "a line" } else { "an answer" }, .bytes / MIB)]
pub(super) struct TooLong {
    line: bool,
    bytes: u64,
}

impl Bound {
    /// What is said of an answer that went over it.
    pub(super) fn complaint(self) -> TooLong {
        let (line, bytes) = match self {
            Self::Whole(bytes) => (false, bytes),
            Self::Line(bytes) => (true, bytes),
        };
        TooLong { line, bytes }
    }
}

/// The connection could not be made.
#[derive(Debug, thiserror::Error)]
#[error("connecting to {host}")]
pub(super) struct NoConnection {
    host: DockerHost,
    #[source]
    pub(super) cause: io::Error,
}

/// The negotiated version as a path prefix, `/v1.41`; empty before.
pub(super) type VersionPrefix = Arc<OnceLock<String>>;

/// A bollard client that reaches `host`. Nothing is connected to yet.
///
/// # Errors
/// None in practice; bollard's signature has one.
pub(super) fn dial(host: &DockerHost, version: VersionPrefix) -> Result<Docker, Error> {
    let host = host.clone();
    let deliver = move |mut request: BollardRequest| {
        let host = host.clone();
        let target = target(version.get(), request.uri());
        async move {
            *request.uri_mut() = target?;
            let name = match &host {
                // A socket has no name.
                DockerHost::Unix(_) => "docker",
                DockerHost::Tcp(authority) => authority,
            };
            let name = HeaderValue::from_str(name).map_err(http::Error::from)?;
            request.headers_mut().insert(header::HOST, name);
            let watch = request
                .extensions_mut()
                .remove::<Watch>()
                .unwrap_or_default();
            let bound = request.extensions_mut().remove().unwrap_or(SMALL);
            let response = match connect(&host).await {
                Ok(Peer::Unix(io)) => exchange(Bounded::new(io, bound, &watch), request).await,
                Ok(Peer::Tcp(io)) => exchange(Bounded::new(io, bound, &watch), request).await,
                Err(cause) => Err(io::Error::other(NoConnection { host, cause }).into()),
            }?;
            if response.status().is_success() {
                watch.head.notify_one();
            }
            Ok(response)
        }
    };
    Docker::connect_with_custom_transport(
        deliver,
        Some("http://engine"),
        BOLLARD_TIMEOUT_S,
        bollard::API_DEFAULT_VERSION,
    )
}

enum Peer {
    Unix(UnixStream),
    Tcp(TcpStream),
}

async fn connect(host: &DockerHost) -> io::Result<Peer> {
    match host {
        DockerHost::Unix(path) => UnixStream::connect(path).await.map(Peer::Unix),
        DockerHost::Tcp(authority) => {
            let stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
            rustix::net::sockopt::set_tcp_keepidle(&stream, TCP_KEEPALIVE)?;
            Ok(Peer::Tcp(stream))
        }
    }
}

/// Sends a request over a connection of its own. The connection ends with the answer's body.
async fn exchange<S>(io: S, request: BollardRequest) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    // Its failure is the request's or the body's too, and is told there.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender.send_request(request).await?)
}

/// The address of a request: its path and query, with the version before it. `/version` and
/// `/_ping` exist without one in every Engine, and must not fail on a version that it lacks.
fn target(version: Option<&String>, asked: &Uri) -> Result<Uri, Error> {
    let path = asked.path_and_query().map_or("/", |p| p.as_str());
    let unversioned = matches!(asked.path(), "/version" | "/_ping");
    let version = version.filter(|_| !unversioned).map_or("", String::as_str);
    Ok(format!("{version}{path}").parse()?)
}

/// A connection that fails with [`TooLong`] once it has brought more than its bound.
struct Bounded<S> {
    io: S,
    bound: Bound,
    /// Bytes that count so far: of all, or of the line.
    bytes: u64,
    /// Whether the last byte was a carriage return.
    after_cr: bool,
    too_long: Arc<OnceLock<TooLong>>,
}

impl<S> Bounded<S> {
    fn new(io: S, bound: Bound, watch: &Watch) -> Self {
        Self {
            io,
            bound,
            bytes: 0,
            after_cr: false,
            too_long: watch.too_long.clone(),
        }
    }

    fn count(&mut self, read: &[u8]) -> Result<(), TooLong> {
        let most = match self.bound {
            Bound::Whole(most) => {
                self.bytes += read.len() as u64;
                most
            }
            Bound::Line(most) => {
                for &byte in read {
                    // HTTP's own lines, those between chunks among them, end with CR LF, the
                    // Engine's with LF alone.
                    let ends = byte == b'\n' && !self.after_cr;
                    self.bytes = if ends { 0 } else { self.bytes + 1 };
                    self.after_cr = byte == b'\r';
                    if self.bytes > most {
                        break;
                    }
                }
                most
            }
        };
        if self.bytes > most {
            let bound = self.bound;
            return Err(*self.too_long.get_or_init(|| bound.complaint()));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let counted = self.count(&buf.filled()[before..]);
                Poll::Ready(counted.map_err(io::Error::other))
            }
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_bounded_and_the_stream_is_not() {
        let mut lines = Bounded::new((), Bound::Line(8), &Watch::default());
        for _ in 0..100 {
            assert_eq!(lines.count(b"1234567\n"), Ok(()));
        }
        // The frame of a chunk ends no line.
        assert_eq!(lines.count(b"1234\r\n2\r"), Ok(()));
        assert_eq!(
            lines.count(b"\n"),
            Err(TooLong {
                line: true,
                bytes: 8
            })
        );
    }

    #[test]
    fn a_whole_answer_is_bounded() {
        let mut whole = Bounded::new((), Bound::Whole(MIB), &Watch::default());
        assert_eq!(whole.count(&vec![b'\n'; MIB as usize]), Ok(()));
        let error = whole.count(b"1").expect_err("too long");
        assert_eq!(error.to_string(), "an answer of more than 1 MiB");
    }

    #[test]
    fn every_request_names_the_version_but_those_that_come_before() {
        let version = "/v1.41".to_owned();
        for (asked, sent) in [
            ("http://engine/events?a=b", "/v1.41/events?a=b"),
            ("http://engine/version", "/version"),
            ("http://engine/_ping", "/_ping"),
        ] {
            let asked = asked.parse().expect("an address");
            assert_eq!(target(Some(&version), &asked).expect("valid"), sent);
        }
    }
}
