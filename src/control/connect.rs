//! Connecting to a Unix socket, with a time limit.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Connects to the stream socket at `path`. If its listener accepts no connection and its backlog
/// is full, this gives up after `limit`.
///
/// # Errors
/// `TimedOut` in that case; `ConnectionRefused` if no process listens; other failures of the system.
pub(super) fn connect_within(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    // The send timeout also limits connect(2) (unix_stream_connect, net/unix/af_unix.c).
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => Ok(socket.into()),
        Err(Errno::AGAIN) => {
            let why = "its listener accepts no connection";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{bind, listen};

    use super::*;

    #[test]
    fn a_listener_that_accepts_nobody_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
        let listener = socket_with(family, kind, SocketFlags::CLOEXEC, None).expect("a socket");
        bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("it is bound");
        let refused = connect_within(&path, Duration::from_secs(30)).expect_err("not yet");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        listen(&listener, 0).expect("it listens");
        let limit = Duration::from_millis(10);
        let waiting: Vec<_> = (0..3).map(|_| connect_within(&path, limit)).collect();
        let last = waiting.last().expect("three").as_ref();
        let full = last.expect_err("there is room for one");
        assert_eq!(full.kind(), io::ErrorKind::TimedOut);
    }
}
