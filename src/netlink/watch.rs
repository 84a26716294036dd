//! Notices that the kernel's routes, links or rules have changed.
//!
//! A message only means that the kernel must be listed again; of the change, only the table is
//! read, and the sender: our own changes are no news. Each watch has one thread, which waits for
//! messages as long as the process lives and holds nothing that a crash could lose. While a large
//! change of ours is made, the watch of rules pauses ([`pause`]).

mod pause;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use rustix::net::{Protocol, RecvFlags, recv};

use self::pause::Listener;
pub(crate) use self::pause::Pause;
use super::message::{Attrs, INET, IPV6, Message, Messages, NFGENMSG_IPV6};
use super::nf_tables::SUBSYSTEM;
use super::socket::{BUFFER, ROUTE, make_room_to_receive, subscribe};
use crate::sys::failpoint;

/// The tables that our rules, Docker's or Podman's stand in, and their families.
const TABLES: [(u8, &[u8]); 5] = [
    (IPV6, b"nat\0"),
    (IPV6, b"filter\0"),
    (IPV6, b"docker_nat66\0"),
    (IPV6, b"docker-bridges\0"),
    (INET, b"netavark\0"),
];

/// The attribute that names the table, in every message of nf_tables that has one
/// (`NFTA_TABLE_NAME`, `NFTA_RULE_TABLE` and so on, linux/netfilter/nf_tables.h).
const TABLE: u16 = 1;

/// How many ports of our own are remembered. A tool's is used for some milliseconds, and a change
/// is announced within microseconds.
pub(super) const PORTS: usize = 64;

/// Room for announcements that wait, in bytes; it takes memory only while they do. A rule of ip6tables
/// takes about 1 KiB, and where they do not fit all is listed again, though the change was our own.
const ROOM: usize = 4 << 20;

/// The netlink ports from which our own changes come: that of a socket of ours, or that of a tool
/// that we have started, which is its process id (`netlink_autobind`, net/netlink/af_netlink.c). Whoever
/// makes the changes shares it with the watch of rules.
#[derive(Debug, Clone, Default)]
pub struct OwnPorts {
    ports: Arc<Mutex<VecDeque<u32>>>,
    watch: Arc<Mutex<Option<Arc<Listener>>>>,
}

impl OwnPorts {
    /// From now on, changes from this port are ours.
    pub fn add(&self, port: u32) {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.len() == PORTS {
            ports.pop_front();
        }
        ports.push_back(port);
    }

    fn contains(&self, port: u32) -> bool {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.contains(&port)
    }

    /// Lets the watch of rules pause; `None`: nobody watches.
    pub(crate) fn pause_watch(&self) -> Option<Pause> {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        Pause::begin(watch.clone()?)
    }
}

/// Whose changes there were; of several the last of these counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changes {
    /// Nobody's.
    None,
    /// Only ours.
    Own,
    /// Also another program's, or one whose author is not known.
    Foreign,
}

/// What is watched, in the network namespace of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Links, IPv6 routes, and what is forwarded.
    Routes,
    /// The rules of nf_tables, those of ip6tables' nft variant included. The kernel announces
    /// nothing that ip6tables' legacy variant does.
    Rules,
}

impl Watched {
    /// Groups as bits: `RTMGRP_LINK`, `RTMGRP_IPV6_ROUTE` and `RTNLGRP_IPV6_NETCONF`, the 25th
    /// (uapi/linux/rtnetlink.h), or `NFNLGRP_NFTABLES`, the seventh
    /// (uapi/linux/netfilter/nfnetlink_compat.h).
    pub(super) fn groups(self) -> u32 {
        match self {
            Self::Routes => 0x1 | 0x400 | 1 << 24,
            Self::Rules => 1 << 6,
        }
    }

    fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Routes => ROUTE,
            Self::Rules => Some(NETFILTER),
        }
    }

    /// Whether a datagram announces a change by another program to what concerns us.
    pub(super) fn is_news(self, datagram: &[u8], own: &OwnPorts) -> bool {
        self.changes(datagram, own) == Changes::Foreign
    }

    /// Whose changes to what concerns us a datagram announces.
    pub(super) fn changes(self, datagram: &[u8], own: &OwnPorts) -> Changes {
        let of = |message: Message<'_>| match is_about_us(&message) {
            true if own.contains(message.port) => Changes::Own,
            true => Changes::Foreign,
            false => Changes::None,
        };
        match self {
            Self::Routes => Changes::Foreign,
            Self::Rules => {
                let messages = Messages::new(datagram);
                let changes = messages.map(|message| message.map_or(Changes::Foreign, of));
                changes.max().unwrap_or(Changes::None)
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Rules => "rules",
        }
    }
}

fn is_about_us(message: &Message<'_>) -> bool {
    let Some((header, attributes)) = message.payload.split_at_checked(NFGENMSG_IPV6.len()) else {
        return false;
    };
    let is_rules = message.kind >> 8 == SUBSYSTEM;
    let mut names = Attrs::new(attributes).map_while(Result::ok);
    is_rules && names.any(|(kind, name)| kind == TABLE && TABLES.contains(&(header[0], name)))
}

/// Calls `changed` after each change that does not come from `own` ports, from a thread of its
/// own, and `ended` with the reason if the kernel's announcements end. Changes that come together
/// count as one.
///
/// # Errors
/// The kernel gives no such socket, or no thread.
pub fn watch(
    what: Watched,
    own: OwnPorts,
    changed: impl Fn() + Send + Sync + 'static,
    ended: impl FnOnce(io::Error) + Send + 'static,
) -> io::Result<()> {
    let socket = subscribe(what.protocol(), what.groups())?;
    make_room_to_receive(&socket, ROOM)?;
    let listener = Arc::new(Listener::new(socket, what.groups(), changed, ended)?);
    if what == Watched::Rules {
        let mut watch = own.watch.lock().unwrap_or_else(PoisonError::into_inner);
        *watch = Some(listener.clone());
    }
    let wait = move || listener.ended(follow(what, &listener, &own));
    thread::Builder::new()
        .name(what.name().to_owned())
        .spawn(wait)
        .map(drop)
}

fn follow(what: Watched, listener: &Listener, own: &OwnPorts) -> io::Error {
    let mut chunk = vec![0_u8; BUFFER];
    let mut news = false;
    loop {
        // Everything that has come is read first.
        let flags = match news {
            true => RecvFlags::DONTWAIT,
            false => RecvFlags::empty(),
        };
        let received = recv(listener.socket(), &mut chunk[..], flags);
        failpoint::panic("news are read");
        if failpoint::stops(what.name()) {
            return io::Error::other("a test wants it to end");
        }
        match received {
            Ok((length, _)) => news |= what.is_news(&chunk[..length], own),
            // More came than the socket holds: something changed.
            Err(Errno::NOBUFS) => news = true,
            Err(Errno::AGAIN) => {
                news = false;
                listener.changed();
            }
            Err(Errno::INTR) => {}
            Err(error) => return error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Writer;
    use super::*;

    /// `NFT_MSG_NEWRULE`, of family ip6, in this table.
    fn announcement(table: &[u8], family: u8) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(SUBSYSTEM << 8 | 6, 0, 0, |writer| {
            writer.raw(&[family, 0, 0, 0]);
            writer.attr(TABLE, table);
        });
        writer.bytes().to_vec()
    }

    #[test]
    fn only_changes_of_others_to_our_tables_are_news() {
        let own = OwnPorts::default();
        let is_news = |datagram: &[u8]| Watched::Rules.is_news(datagram, &own);
        let ours = announcement(b"nat\0", 10);
        assert!(is_news(&ours));
        assert!(is_news(&[announcement(b"x\0", 10), ours.clone()].concat()));
        assert!(!is_news(&announcement(b"nat\0", 2)));
        assert!(is_news(&announcement(b"netavark\0", 1)));
        assert!(!is_news(&announcement(b"nat\0", 1)));
        assert!(!is_news(&announcement(b"nat2\0", 10)));
        assert!(!is_news(&announcement(b"", 10)));
        // What `explain` makes for a moment.
        assert!(!is_news(&announcement(b"docker_nat66_explain_7_0\0", INET)));
        assert!(is_news(&ours[..20]), "cut");
        // The writer's port is 0.
        own.add(0);
        assert!(!is_news(&ours));
        assert_eq!(Watched::Rules.changes(&ours, &own), Changes::Own);
        let other = announcement(b"x\0", 10);
        assert_eq!(Watched::Rules.changes(&other, &own), Changes::None);
        (1..=64).for_each(|port| own.add(port));
        assert!(is_news(&ours), "ports are not remembered for ever");
    }
}
