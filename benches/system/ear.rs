//! Hears what the Engine and the kernel announce, with the times.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use rustix::process::nice;

use crate::api::{ContainerEvent, EndOfSubscription, Subscription};
use crate::subject::{since_epoch, unit_nice};
use crate::support::lab::Lab;
use crate::support::wait::{SOON, eventually};

/// `NFNLGRP_NFTABLES`, the seventh group, and types of messages (linux/netfilter/nf_tables.h).
const GROUP: u32 = 1 << 6;
const SUBSYSTEM: u8 = 10;
const NEW_RULE: u8 = 6;
const DELETE_RULE: u8 = 8;
const NEW_ELEMENT: u8 = 12;
const DELETE_ELEMENT: u8 = 14;

/// Lengths of the headers of netlink and nfnetlink (linux/netlink.h, linux/netfilter/nfnetlink.h).
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// `AF_INET6` (linux/socket.h).
const INET6: u8 = 10;

/// Room for what comes at once.
const ROOM: usize = 64 << 20;

/// How long nothing must come for a change to be over: the rules of one port come in one batch, or in some
/// runs of a tool, of which each takes milliseconds.
const QUIET: Duration = Duration::from_millis(700);

/// How often an ear that hears nothing sees whether it has been dropped.
const LISTEN: Duration = Duration::from_secs(1);

/// What became of a DNAT rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Came,
    Went,
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    came: Vec<Duration>,
    went: Vec<Duration>,
    events: Vec<ContainerEvent>,
    /// Why no more rules are heard.
    deaf: Option<String>,
}

impl Heard {
    fn times(&self, change: Change) -> &[Duration] {
        match change {
            Change::Came => &self.came,
            Change::Went => &self.went,
        }
    }

    fn what(&self) -> String {
        let (came, went) = (self.came.len(), self.went.len());
        let deaf = self.deaf.as_deref().unwrap_or("the ear listens");
        format!("{came} came and {went} went in all; {deaf}")
    }
}

/// Both, since it was made.
pub(crate) struct Ear {
    heard: Arc<Mutex<Heard>>,
    _end: EndOfSubscription,
}

impl Ear {
    pub(crate) fn open(lab: &Lab) -> Self {
        let socket = lab.host().enter(announcements);
        let subscription = Subscription::open(lab);
        let ear = Self {
            heard: Arc::default(),
            _end: subscription.end(),
        };
        let heard = Arc::downgrade(&ear.heard);
        thread::spawn(move || follow_rules(&socket, &heard));
        let heard = ear.heard.clone();
        thread::spawn(move || {
            let hear = |event| lock(&heard).events.push(event);
            subscription.events().for_each(hear);
        });
        ear
    }

    /// How many DNAT rules have come or gone so far.
    pub(crate) fn count(&self, change: Change) -> usize {
        lock(&self.heard).times(change).len()
    }

    /// Waits for `count` more than `before`, and returns when the last of them came or went.
    pub(crate) fn more(&self, change: Change, before: usize, count: usize) -> Duration {
        eventually(SOON, &format!("{count} DNAT rules: {change:?}"), || {
            let heard = lock(&self.heard);
            let at = heard.times(change).get(before + count - 1).copied();
            at.ok_or_else(|| format!("{before} before; {}", heard.what()))
        })
    }

    /// Waits until rules have come or gone since there were `before`, and no more do; how many these were.
    pub(crate) fn all(&self, change: Change, before: usize) -> usize {
        eventually(SOON, &format!("any DNAT rule: {change:?}"), || {
            let heard = lock(&self.heard);
            let times = &heard.times(change)[before..];
            let last = times.last().ok_or_else(|| heard.what())?;
            let is_over = since_epoch().saturating_sub(*last) > QUIET;
            is_over.then_some(times.len()).ok_or_else(|| heard.what())
        })
    }

    /// Waits for an event of a container since a time, and returns its own time.
    pub(crate) fn event(&self, action: &str, id: &str, since: Duration) -> Duration {
        let what = format!("the Engine's event {action} of {id}");
        eventually(SOON, &what, || {
            let heard = lock(&self.heard);
            let mut events = heard.events.iter().rev();
            let is = |event: &&ContainerEvent| {
                event.at >= since && event.action == action && event.id == id
            };
            let found = events.find(is).map(|event| event.at);
            found.ok_or_else(|| format!("{} other events", heard.events.len()))
        })
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn announcements() -> OwnedFd {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(NETFILTER),
    );
    let socket = socket.expect("a socket");
    set_socket_recv_buffer_size_force(&socket, ROOM).expect("room");
    set_socket_timeout(&socket, Timeout::Recv, Some(LISTEN)).expect("a limit");
    bind(&socket, &SocketAddrNetlink::new(0, GROUP)).expect("binds");
    socket
}

/// Hears rules until the ear is dropped.
fn follow_rules(socket: &OwnedFd, heard: &Weak<Mutex<Heard>>) {
    // What comes is not to wait for those who are measured.
    nice(unit_nice().parse().expect("a number")).expect("root may");
    let mut buffer = vec![0; 64 << 10];
    loop {
        let received = recv(socket, &mut buffer[..], RecvFlags::empty());
        let now = since_epoch();
        let Some(heard) = heard.upgrade() else {
            return;
        };
        let mut heard = lock(&heard);
        match received {
            Ok((length, _)) => {
                for change in changes(&buffer[..length]) {
                    match change {
                        Change::Came => heard.came.push(now),
                        Change::Went => heard.went.push(now),
                    }
                }
            }
            Err(Errno::AGAIN) => {}
            Err(error) => {
                heard.deaf = Some(format!("the ear is deaf: {error}"));
                return;
            }
        }
    }
}

/// The DNAT rules that came or went by these messages.
fn changes(mut rest: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    while let [l0, l1, l2, l3, kind, subsystem, ..] = *rest {
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let Some(message) = rest.get(HEADER..length) else {
            break;
        };
        if subsystem == SUBSYSTEM && message.first() == Some(&INET6) {
            changes.extend(of_dnat(kind, message.get(FAMILY_HEADER..).unwrap_or(&[])));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    changes
}

/// Rules of ip6tables with the target DNAT, and elements of the maps of forwards: the daemon's are called
/// `forwards…`, the probe's is the only one in its table.
fn of_dnat(kind: u8, attributes: &[u8]) -> Option<Change> {
    let has = |wanted: &[u8]| attributes.windows(wanted.len()).any(|part| part == wanted);
    let (change, is_dnat) = match kind {
        NEW_RULE => (Change::Came, has(b"DNAT\0")),
        DELETE_RULE => (Change::Went, has(b"DNAT\0")),
        NEW_ELEMENT => (Change::Came, has(b"forwards") || has(b"bare\0")),
        DELETE_ELEMENT => (Change::Went, has(b"forwards") || has(b"bare\0")),
        _ => return None,
    };
    is_dnat.then_some(change)
}
