//! Lets the watch of rules look away while a large change of ours is made.
//!
//! The kernel announces each element of a set that comes or goes, and composing the announcement takes it
//! three times as long as the element itself; it composes none where nobody listens
//! (`nf_tables_setelem_notify`, net/netfilter/nf_tables_api.c). So the watch's socket leaves its group
//! for that time. Whoever makes the change says afterwards whether the number of the last change of all
//! tables shows that nobody else has made one meanwhile.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{bind, getsockname};

type Ended = Box<dyn FnOnce(io::Error) + Send>;

/// The socket of a watch, and whom it tells.
pub(super) struct Listener {
    socket: OwnedFd,
    port: u32,
    groups: u32,
    changed: Box<dyn Fn() + Send + Sync>,
    /// `None` once it has been told.
    ended: Mutex<Option<Ended>>,
}

impl Listener {
    pub(super) fn new(
        socket: OwnedFd,
        groups: u32,
        changed: impl Fn() + Send + Sync + 'static,
        ended: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let port = getsockname(&socket).and_then(SocketAddrNetlink::try_from)?;
        Ok(Self {
            socket,
            port: port.pid(),
            groups,
            changed: Box::new(changed),
            ended: Mutex::new(Some(Box::new(ended))),
        })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn changed(&self) {
        (self.changed)();
    }

    pub(super) fn ended(&self, why: io::Error) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = ended.take() {
            ended(why);
        }
    }

    /// Hears these groups and no others: to bind a netlink socket again changes nothing else
    /// (`netlink_bind`, net/netlink/af_netlink.c). What has been announced stays to be read.
    fn hear(&self, groups: u32) -> io::Result<()> {
        bind(&self.socket, &SocketAddrNetlink::new(self.port, groups)).map_err(io::Error::from)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Listener");
        shown.field("groups", &self.groups).finish_non_exhaustive()
    }
}

/// The time in which a watch hears nothing. When it is dropped, the watch goes on, and takes it that others
/// have changed rules meanwhile.
#[derive(Debug)]
pub(crate) struct Pause {
    listener: Arc<Listener>,
    is_over: bool,
}

impl Pause {
    /// `None`: the kernel does not let it leave the group.
    pub(super) fn begin(listener: Arc<Listener>) -> Option<Self> {
        listener.hear(0).ok()?;
        let is_over = false;
        Some(Self { listener, is_over })
    }

    /// The watch goes on. `is_only_ours` is asked afterwards, so that no change falls between the two, and
    /// tells whether nobody else has changed rules since the pause began; else that counts as announced.
    pub(crate) fn end(mut self, is_only_ours: impl FnOnce() -> bool) {
        self.go_on(is_only_ours);
    }

    fn go_on(&mut self, is_only_ours: impl FnOnce() -> bool) {
        self.is_over = true;
        if let Err(error) = self.listener.hear(self.listener.groups) {
            self.listener.ended(error);
        } else if !is_only_ours() {
            self.listener.changed();
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if !self.is_over {
            self.go_on(|| false);
        }
    }
}
