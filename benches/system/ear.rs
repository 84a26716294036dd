//! Hears what Docker and the kernel announce, with the times.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use serde_json::Value;

use crate::subject::since_epoch;
use crate::support::lab::Lab;
use crate::support::wait::{SOON, eventually};

/// `NFNLGRP_NFTABLES`, the seventh group, and types of messages (linux/netfilter/nf_tables.h).
const GROUP: u32 = 1 << 6;
const SUBSYSTEM: u8 = 10;
const NEW_RULE: u8 = 6;
const DELETE_RULE: u8 = 8;
const NEW_ELEMENT: u8 = 12;
const DELETE_ELEMENT: u8 = 14;

/// Room for what comes at once.
const ROOM: usize = 64 << 20;

/// What became of a DNAT rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Came,
    Went,
}

/// An event of Docker's.
#[derive(Debug, Clone)]
pub(crate) struct DockerEvent {
    pub(crate) action: String,
    pub(crate) id: String,
    /// The Engine's clock.
    pub(crate) at: Duration,
    /// When it was read here.
    pub(crate) read: Duration,
}

/// Both, since it was made.
pub(crate) struct Ear {
    rules: Arc<Mutex<Vec<(Change, Duration)>>>,
    events: Arc<Mutex<Vec<DockerEvent>>>,
}

impl Ear {
    pub(crate) fn open(lab: &Lab) -> Self {
        let (socket, stream) = lab.host().enter(|| (announcements(), subscription()));
        let ear = Self {
            rules: Arc::default(),
            events: Arc::default(),
        };
        let rules = ear.rules.clone();
        thread::spawn(move || follow_rules(&socket, &rules));
        let events = ear.events.clone();
        thread::spawn(move || follow_events(stream, &events));
        ear
    }

    /// How many DNAT rules have come or gone so far.
    pub(crate) fn count(&self, change: Change) -> usize {
        self.times(change).len()
    }

    /// Waits for so many more, and returns when the last of them came or went.
    pub(crate) fn more(&self, change: Change, before: usize, count: usize) -> Duration {
        eventually(SOON, &format!("{count} rules {change:?}"), || {
            let times = self.times(change);
            times
                .get(before + count - 1)
                .copied()
                .ok_or(times.len() - before)
        })
    }

    /// Waits for an event of a container, and returns the last.
    pub(crate) fn event(&self, action: &str, id: &str) -> DockerEvent {
        eventually(SOON, &format!("{action} of {id}"), || {
            let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            let mut events = events.iter().rev();
            let found = events.find(|event| event.action == action && event.id == id);
            found.cloned().ok_or("none")
        })
    }

    fn times(&self, change: Change) -> Vec<Duration> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let of = rules.iter().filter(|(what, _)| *what == change);
        of.map(|(_, at)| *at).collect()
    }
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
    bind(&socket, &SocketAddrNetlink::new(0, GROUP)).expect("binds");
    socket
}

fn subscription() -> UnixStream {
    let mut stream = connect();
    let filters = "%7B%22type%22%3A%5B%22container%22%5D%7D";
    let request = format!("GET /v1.40/events?filters={filters} HTTP/1.1\r\nHost: engine\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asks");
    stream
}

/// A connection to the lab's Engine; called inside.
pub(crate) fn connect() -> UnixStream {
    UnixStream::connect("/var/run/docker.sock").expect("the Engine listens")
}

fn follow_rules(socket: &OwnedFd, rules: &Mutex<Vec<(Change, Duration)>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok((length, _)) = recv(socket, &mut buffer[..], RecvFlags::empty()) {
        let now = since_epoch();
        let mut rest = &buffer[..length];
        let mut rules = rules.lock().unwrap_or_else(PoisonError::into_inner);
        while let [l0, l1, l2, l3, kind, subsystem, ..] = *rest {
            let long = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            let message = rest.get(16..long).unwrap_or_default();
            if subsystem == SUBSYSTEM
                && let Some(change) = of_dnat(kind, message)
            {
                rules.push((change, now));
            }
            rest = rest.get(long.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Rules of ip6tables that rewrite a destination, and elements of our map of forwards.
fn of_dnat(kind: u8, message: &[u8]) -> Option<Change> {
    let has = |wanted: &[u8]| message.windows(wanted.len()).any(|part| part == wanted);
    if message.first() != Some(&10) {
        return None;
    }
    match kind {
        NEW_RULE if has(b"DNAT\0") => Some(Change::Came),
        DELETE_RULE if has(b"DNAT\0") => Some(Change::Went),
        NEW_ELEMENT if has(b"forwards\0") => Some(Change::Came),
        DELETE_ELEMENT if has(b"forwards\0") => Some(Change::Went),
        _ => None,
    }
}

fn follow_events(stream: UnixStream, events: &Mutex<Vec<DockerEvent>>) {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let read = since_epoch();
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(DockerEvent {
            action: text(&event["Action"]),
            id: text(&event["Actor"]["ID"]),
            at: Duration::from_nanos(event["timeNano"].as_u64().unwrap_or_default()),
            read,
        });
    }
}
