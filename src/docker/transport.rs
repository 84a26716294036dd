//! Connections to an Engine: one for each request, and none that brings more than its [`Bound`].
//!
//! Connections are not reused: an idle one that the Engine closed meanwhile would be an error of
//! ours. One task runs per connection and ends with it: when the answer has been read, or when
//! the future that waits for it has been dropped.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::bound::{Bound, TooLong};
use super::host::DockerHost;

/// Unused connections to a dead peer are found after this long: a host behind TCP may vanish
/// without a word, and the stream of events is silent for hours.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The connection could not be made.
#[derive(Debug, thiserror::Error)]
#[error("connecting to {host}")]
pub(super) struct NoConnection {
    host: DockerHost,
    #[source]
    pub(super) cause: io::Error,
}

/// Where a connection notes that it exceeded its bound. Whatever reads the answer may hide it.
pub(super) type Exceeded = Arc<OnceLock<TooLong>>;

/// Sends a request over a connection of its own, which ends with the answer's body.
///
/// # Errors
/// With [`NoConnection`], [`TooLong`] or [`hyper::Error`] inside.
pub(super) async fn send<B>(
    host: &DockerHost,
    request: Request<B>,
    bound: Bound,
    exceeded: Exceeded,
) -> io::Result<Response<Incoming>>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let io = connect(host).await.map_err(|cause| {
        let host = host.clone();
        io::Error::other(NoConnection { host, cause })
    })?;
    let io = TokioIo::new(Bounded::new(io, bound, exceeded));
    let (mut sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
    // Its failure is also the request's or the body's, and is reported there.
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request).await.map_err(io::Error::other)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn connect(host: &DockerHost) -> io::Result<Box<dyn Stream>> {
    match host {
        DockerHost::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        DockerHost::Tcp(authority) => {
            let stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
            rustix::net::sockopt::set_tcp_keepidle(&stream, TCP_KEEPALIVE)?;
            Ok(Box::new(stream))
        }
    }
}

/// A connection that fails with [`TooLong`] once it has brought more than its bound.
struct Bounded<S> {
    io: S,
    bound: Bound,
    /// Bytes that count so far: of all, or of the line.
    bytes: u64,
    /// Whether the last byte was a carriage return.
    after_cr: bool,
    exceeded: Exceeded,
}

impl<S> Bounded<S> {
    fn new(io: S, bound: Bound, exceeded: Exceeded) -> Self {
        Self {
            io,
            bound,
            bytes: 0,
            after_cr: false,
            exceeded,
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
            return Err(*self.exceeded.get_or_init(|| TooLong(self.bound)));
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
    use crate::docker::bound::MIB;

    #[test]
    fn a_line_is_bounded_and_the_stream_is_not() {
        let mut lines = Bounded::new((), Bound::Line(8), Exceeded::default());
        for _ in 0..100 {
            assert_eq!(lines.count(b"1234567\n"), Ok(()));
        }
        // The frame of a chunk ends no line.
        assert_eq!(lines.count(b"1234\r\n2\r"), Ok(()));
        assert_eq!(lines.count(b"\n"), Err(TooLong(Bound::Line(8))));
    }

    #[test]
    fn a_whole_answer_is_bounded() {
        let mut whole = Bounded::new((), Bound::Whole(MIB), Exceeded::default());
        assert_eq!(whole.count(&vec![b'\n'; MIB as usize]), Ok(()));
        let error = whole.count(b"1").expect_err("too long");
        assert_eq!(error.to_string(), "an answer of more than 1 MiB");
    }
}
