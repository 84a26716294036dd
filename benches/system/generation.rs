//! When the kernel's tables last changed, without an announcement: those slow down large batches.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use rustix::process::nice;

use crate::subject::{NEVER, since_epoch, unit_nice};
use crate::support::lab::Lab;
use crate::support::wait::{eventually, let_pass};

/// Asks for the number of the last change: `NFT_MSG_GETGEN` (linux/netfilter/nf_tables.h) in a request of
/// 20 bytes (linux/netlink.h), of which the family's header is empty.
const REQUEST: [u8; 20] = [
    20, 0, 0, 0, 0x10, 0x0a, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Where the number stands in the answer: behind both headers and that of the attribute.
const NUMBER: std::ops::Range<usize> = 24..28;

/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);

/// Looks at the number all the time, until it is dropped.
pub(crate) struct Generation(Arc<Mutex<Duration>>);

impl Generation {
    pub(crate) fn watch(lab: &Lab) -> Self {
        let socket = lab.host().enter(|| {
            let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
            let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(NETFILTER));
            let socket = socket.expect("a socket");
            connect(&socket, &SocketAddrNetlink::new(0, 0)).expect("connects");
            socket
        });
        let last = Arc::new(Mutex::new(Duration::ZERO));
        let weak = Arc::downgrade(&last);
        thread::spawn(move || look(&socket, &weak));
        Self(last)
    }

    /// When the last change was seen; zero before the first.
    pub(crate) fn last_change(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change after `time`, which `what` is to make, and returns when it was seen.
    pub(crate) fn change_after(&self, time: Duration, what: &str) -> Duration {
        let what = format!("a change of the kernel's tables: {what}");
        eventually(NEVER, &what, || {
            let last = self.last_change();
            (last > time).then_some(last).ok_or("none")
        })
    }
}

fn look(socket: &OwnedFd, last: &Weak<Mutex<Duration>>) {
    nice(unit_nice().parse().expect("a number")).expect("root may");
    let mut answer = [0; 64];
    let mut before = None;
    while let Some(last) = last.upgrade() {
        send(socket, &REQUEST, SendFlags::empty()).expect("asks");
        recv(socket, &mut answer[..], RecvFlags::empty()).expect("an answer");
        let number: [u8; 4] = answer[NUMBER].try_into().expect("four bytes");
        if before.is_some_and(|before| before != number) {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = since_epoch();
        }
        before = Some(number);
        drop(last);
        let_pass(LOOK);
    }
}
