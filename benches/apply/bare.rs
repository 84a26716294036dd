//! The floor: the least that a program can do to have elements inserted, deleted and dumped.
//!
//! Bytes written in one loop, one socket, one read for the answer. Nothing is checked that the
//! kernel does not say by itself.

use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// Room for 60,000 elements, in bytes.
const ROOM: usize = 16 << 20;

/// Elements in one message, whose list has 16 bits for its length.
const AT_ONCE: u16 = 400;

/// Types of messages (linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h), and flags
/// (linux/netlink.h).
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const DELETE_TABLE: u16 = 0xa02;
const GET_RULES: u16 = 0xa07;
const NEW_ELEMENTS: u16 = 0xa0c;
const GET_ELEMENTS: u16 = 0xa0d;
const DELETE_ELEMENTS: u16 = 0xa0e;
const GET_GENERATION: u16 = 0xa10;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const NESTED: u16 = 0x8000;

/// Its own table, with a map like that of forwards.
pub(crate) struct Bare {
    fd: OwnedFd,
    answer: Vec<u8>,
    batch: Vec<u8>,
}

impl Bare {
    /// Makes the table `ip6 bare`.
    pub(crate) fn new() -> Self {
        let table = "add table ip6 bare; add map ip6 bare m { type inet_proto . inet_service : \
            ipv6_addr . inet_service; size 65535; counter; }";
        let made = Command::new("nft").arg(table).status().expect("nft");
        assert!(made.success());
        let flags = SocketFlags::CLOEXEC;
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            flags,
            Some(NETFILTER),
        );
        let fd = fd.expect("a socket");
        connect(&fd, &SocketAddrNetlink::new(0, 0)).expect("connects");
        set_socket_send_buffer_size_force(&fd, ROOM).expect("room");
        set_socket_recv_buffer_size_force(&fd, ROOM).expect("room");
        Self {
            fd,
            answer: vec![0; 64 << 10],
            batch: Vec::new(),
        }
    }

    /// One batch that inserts ports `first` to `last`.
    pub(crate) fn insert(&mut self, first: u16, last: u16) {
        self.elements(NEW_ELEMENTS, CREATE, first, last);
    }

    /// One batch that deletes them.
    pub(crate) fn delete(&mut self, first: u16, last: u16) {
        self.elements(DELETE_ELEMENTS, 0, first, last);
    }

    fn elements(&mut self, kind: u16, flags: u16, first: u16, last: u16) {
        let b = &mut self.batch;
        b.clear();
        message(b, BEGIN, 0, [0, 0, 0, 10], |_| {});
        let mut from = first;
        loop {
            let to = last.min(from.saturating_add(AT_ONCE - 1));
            let ack = if to == last { ACK } else { 0 };
            message(b, kind, flags | ack, [10, 0, 0, 0], |b| {
                attr(b, 1, b"bare\0");
                attr(b, 2, b"m\0");
                nest(b, 3, |b| {
                    (from..=to).for_each(|port| element(b, port, kind == NEW_ELEMENTS));
                });
            });
            if to == last {
                break;
            }
            from = to + 1;
        }
        message(b, END, 0, [0, 0, 0, 10], |_| {});
        self.batch_is_acknowledged();
    }

    /// Removes a table of somebody's, if it is there.
    pub(crate) fn delete_table(&mut self, name: &str) {
        let b = &mut self.batch;
        b.clear();
        message(b, BEGIN, 0, [0, 0, 0, 10], |_| {});
        message(b, DELETE_TABLE, ACK, [10, 0, 0, 0], |b| {
            attr(b, 1, name.as_bytes());
        });
        message(b, END, 0, [0, 0, 0, 10], |_| {});
        self.batch_is_acknowledged();
    }

    fn batch_is_acknowledged(&mut self) {
        send(&self.fd, &self.batch, SendFlags::empty()).expect("sent");
        let length = self.receive();
        let code = i32::from_ne_bytes(self.answer[16..20].try_into().expect("four bytes"));
        assert_eq!((length > 20, code), (true, 0), "errno");
    }

    fn receive(&mut self) -> usize {
        let received = recv(&self.fd, &mut self.answer[..], RecvFlags::empty());
        received.expect("an answer").0
    }

    /// The number of the last change of any table here.
    pub(crate) fn generation(&mut self) -> u32 {
        let b = &mut self.batch;
        b.clear();
        message(b, GET_GENERATION, 0, [10, 0, 0, 0], |_| {});
        send(&self.fd, &self.batch, SendFlags::empty()).expect("sent");
        self.receive();
        u32::from_be_bytes(self.answer[24..28].try_into().expect("four bytes"))
    }

    /// Reads a dump of the map to its end, and throws it away.
    pub(crate) fn dump(&mut self) {
        self.count(GET_ELEMENTS, "bare\0", Some("m\0"));
    }

    /// How many elements a map has, in about as many as there are bytes of them.
    pub(crate) fn elements_of(&mut self, table: &str, map: &str) -> usize {
        self.count(GET_ELEMENTS, table, Some(map))
    }

    /// How many rules a table has.
    pub(crate) fn rules_of(&mut self, table: &str) -> usize {
        self.count(GET_RULES, table, None)
    }

    /// Messages of a dump; or of elements, which share messages, these.
    fn count(&mut self, kind: u16, table: &str, map: Option<&str>) -> usize {
        let b = &mut self.batch;
        b.clear();
        message(b, kind, DUMP, [10, 0, 0, 0], |b| {
            attr(b, 1, table.as_bytes());
            if let Some(map) = map {
                attr(b, 2, map.as_bytes());
            }
        });
        send(&self.fd, &self.batch, SendFlags::empty()).expect("sent");
        let mut found = 0;
        loop {
            let length = self.receive();
            let mut rest = &self.answer[..length];
            while let [l0, l1, l2, l3, k0, k1, ..] = rest {
                let long = u32::from_ne_bytes([*l0, *l1, *l2, *l3]) as usize;
                match u16::from_ne_bytes([*k0, *k1]) {
                    // An error too: what is not there has none.
                    2 | DONE => return found,
                    _ if map.is_some() => found += elements_in(&rest[20..long]),
                    _ => found += 1,
                }
                rest = &rest[long.next_multiple_of(4)..];
            }
        }
    }
}

/// Elements in the list of one message.
fn elements_in(attributes: &[u8]) -> usize {
    let each = |mut rest: &[u8], f: &mut dyn FnMut(u16, &[u8])| {
        while let [l0, l1, k0, k1, ..] = rest {
            let long = usize::from(u16::from_ne_bytes([*l0, *l1]));
            f(u16::from_ne_bytes([*k0, *k1]) & !NESTED, &rest[4..long]);
            rest = rest.get(long.next_multiple_of(4)..).unwrap_or(&[]);
        }
    };
    let mut found = 0;
    each(attributes, &mut |kind, list| {
        if kind == 3 {
            each(list, &mut |_, _| found += 1);
        }
    });
    found
}

fn message(
    b: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    family: [u8; 4],
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = b.len();
    b.extend([0; 4]);
    b.extend(kind.to_ne_bytes());
    b.extend((flags | REQUEST).to_ne_bytes());
    b.extend([0; 8]);
    b.extend(family);
    fill(b);
    let length = u32::try_from(b.len() - start).expect("fits");
    b[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn attr(b: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).expect("fits");
    b.extend(length.to_ne_bytes());
    b.extend(kind.to_ne_bytes());
    b.extend(value);
    b.resize(b.len().next_multiple_of(4), 0);
}

fn nest(b: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = b.len();
    attr(b, kind | NESTED, &[]);
    fill(b);
    let length = u16::try_from(b.len() - start).expect("fits");
    b[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

/// tcp . port : address . port, with a comment as long as ours.
fn element(b: &mut Vec<u8>, port: u16, whole: bool) {
    let [high, low] = port.to_be_bytes();
    nest(b, 1, |b| {
        nest(b, 1, |b| attr(b, 1, &[6, 0, 0, 0, high, low, 0, 0]));
        if whole {
            let mut target = [0; 20];
            (target[0], target[15]) = (0xfd, 2);
            (target[16], target[17]) = (high, low);
            nest(b, 2, |b| attr(b, 1, &target));
            let mut comment = [b'x'; 32];
            (comment[0], comment[1], comment[31]) = (0, 30, 0);
            attr(b, 6, &comment);
        }
    });
}
