//! What the host's settings say where no rule explains the end: sysctls, routes, listeners.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::error::ExplainError;
use super::verdict::{Ending, Endpoint};
use crate::model::forward::Proto;
use crate::netlink::interface::{self, Link};
use crate::netlink::route::{self, Route};
use crate::sys::host::{flag, read_optional, read_or_empty};

/// The sockets, and tables, of this network namespace.
const NET: &str = "/proc/thread-self/net";

/// `TCP_LISTEN`, and what an unconnected UDP socket shows (`TCP_CLOSE`), as `/proc/net` prints
/// them (net/tcp_states.h).
const LISTENING: [&str; 2] = ["0A", "07"];

/// Facts about the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `net.ipv6.conf.all.forwarding`; `None` without IPv6.
    pub(super) forwarding: Option<bool>,
    /// `net.ipv6.conf.DEV.force_forwarding` of the interface where packets arrive.
    pub(super) force_forwarding: bool,
    /// Interfaces on whose IPv6 is off: that of arrival, and that of departure where it is known.
    pub(super) disabled: Vec<String>,
    /// Where a packet to the last destination seen would go.
    pub(super) route: Option<Route>,
    /// The interface by which it leaves, or would.
    pub(super) out: Option<Link>,
    /// Whether the address that was asked is one of the host's.
    pub(super) is_local: bool,
    /// Who listens on the host where the packet came to it.
    pub(super) listener: Option<Listener>,
    /// Whether, without such a one, somebody listens on that port at another address, or over IPv4.
    pub(super) listens_elsewhere: bool,
    /// The tables of ip6tables-legacy that are in use.
    pub(super) legacy: Vec<String>,
    /// Entries of connection tracking, and how many there may be.
    pub(super) conntrack: Option<(u64, u64)>,
    /// Where an answer of the last destination would go; `None` where the packet did not get there.
    pub(super) way_back: Option<Route>,
}

/// A process with a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Its id; `None` where it cannot be seen.
    pub(crate) pid: Option<u32>,
    /// What it calls itself; untrusted.
    pub(crate) name: String,
}

impl Facts {
    /// Reads what explains this ending of a packet of `proto` from `from`, sent to `sent` at `link`.
    /// `last` is the destination where it was seen last.
    ///
    /// # Errors
    /// A file is there and cannot be read, or the kernel does not answer.
    pub(crate) fn read(
        ending: &Ending,
        proto: Proto,
        (from, sent): (Ipv6Addr, Endpoint),
        last: Endpoint,
        link: &Link,
    ) -> Result<Self, ExplainError> {
        let device = link.name.as_str();
        let route = route::route(Some(from), last.0, Some(link.index))?;
        let index = match (ending, route) {
            (Ending::Out(_, Some(index)), _) => Some(*index),
            (_, Route::Out(index, _)) => Some(index),
            _ => None,
        };
        let out = index.map(interface::link_of).transpose()?.flatten();
        let leaves = out.iter().map(|out| out.name.as_str());
        let mut disabled = Vec::new();
        for name in std::iter::once(device).chain(leaves) {
            if flag(name, "disable_ipv6")? == Some(true) {
                disabled.push(name.to_owned());
            }
        }
        let listener = match ending {
            Ending::Host(_) => listener(Path::new(NET), proto, last)?,
            _ => None,
        };
        let listens_elsewhere = match ending {
            Ending::Host(_) if listener.is_none() => listens(proto, last.1)? == Some(true),
            _ => false,
        };
        let way_back = match (ending, &out) {
            (Ending::Out(..), Some(out)) if out.index != link.index => {
                Some(route::route(Some(last.0), from, Some(out.index))?)
            }
            _ => None,
        };
        Ok(Self {
            way_back,
            forwarding: flag("all", "forwarding")?,
            force_forwarding: flag(device, "force_forwarding")? == Some(true),
            disabled,
            route: Some(route),
            out,
            is_local: route::route(None, sent.0, None)? == Route::Here,
            listener,
            listens_elsewhere,
            legacy: lines(&format!("{NET}/ip6_tables_names"))?,
            conntrack: conntrack()?,
        })
    }
}

/// The names in a file; none where it may not be read, for only root may.
fn lines(path: &str) -> io::Result<Vec<String>> {
    let text = match read_optional(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        text => text?,
    };
    let text = text.unwrap_or_default();
    Ok(text.lines().map(str::to_owned).collect())
}

fn conntrack() -> io::Result<Option<(u64, u64)>> {
    let read = |name: &str| -> io::Result<Option<u64>> {
        let text = read_optional(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"))?;
        Ok(text.and_then(|text| text.trim().parse().ok()))
    };
    Ok(read("count")?.zip(read("max")?))
}

/// Who listens at `at`, to judge by the sockets below `net`.
///
/// # Errors
/// The list of sockets is there and cannot be read.
fn listener(net: &Path, proto: Proto, at: Endpoint) -> io::Result<Option<Listener>> {
    let file = match proto {
        Proto::Tcp => "tcp6",
        Proto::Udp => "udp6",
        // Its sockets are not listed like this.
        Proto::Sctp => return Ok(None),
    };
    let text = read_or_empty(&net.join(file).to_string_lossy())?;
    let found = sockets(&text);
    let mut fitting = found.into_iter().filter(|socket| {
        socket.port == at.1 && (socket.addr.is_unspecified() || socket.addr == at.0)
    });
    Ok(fitting.next().map(|socket| holder(&socket.inode)))
}

/// Whether anybody listens on this port of the host, over IPv6 or IPv4 and not for the host alone;
/// `None` for SCTP, whose sockets are not listed here.
///
/// # Errors
/// The list of sockets is there and cannot be read.
pub(crate) fn listens(proto: Proto, port: u16) -> io::Result<Option<bool>> {
    let (six, four) = match proto {
        Proto::Tcp => ("tcp6", "tcp"),
        Proto::Udp => ("udp6", "udp"),
        Proto::Sctp => return Ok(None),
    };
    let is_it = |socket: &Waiting| socket.port == port && !socket.addr.is_loopback();
    let six = read_or_empty(&format!("{NET}/{six}"))?;
    let four = read_or_empty(&format!("{NET}/{four}"))?;
    Ok(Some(
        sockets(&six).iter().any(is_it) || sockets_v4(&four).contains(&port),
    ))
}

/// A socket that waits for anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) addr: Ipv6Addr,
    pub(super) port: u16,
    inode: String,
}

/// The waiting sockets in `/proc/net/tcp6` or `udp6`. Each line: number, local address, remote
/// address, state, queues, timer, retransmissions, user, timeout, inode (net/ipv6/tcp_ipv6.c). An
/// address is four words in the machine's order.
pub(super) fn sockets(text: &str) -> Vec<Waiting> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (addr, port) = fields.get(1)?.split_once(':')?;
        if !LISTENING.contains(fields.get(3)?) {
            return None;
        }
        let remote = fields.get(2)?;
        if remote.bytes().any(|b| !matches!(b, b'0' | b':')) {
            return None;
        }
        Some(Waiting {
            addr: address(addr)?,
            port: u16::from_str_radix(port, 16).ok()?,
            inode: (*fields.get(9)?).to_owned(),
        })
    };
    text.lines().filter_map(read).collect()
}

/// The ports of the waiting sockets in `/proc/net/tcp` or `udp`, except those on loopback.
pub(super) fn sockets_v4(text: &str) -> BTreeSet<u16> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (addr, port) = fields.get(1)?.split_once(':')?;
        let is_waiting = LISTENING.contains(fields.get(3)?);
        let addr = u32::from_str_radix(addr, 16).ok()?.to_ne_bytes();
        let is_loopback = Ipv4Addr::from(addr).is_loopback();
        let port = u16::from_str_radix(port, 16).ok()?;
        (is_waiting && !is_loopback).then_some(port)
    };
    text.lines().filter_map(read).collect()
}

fn address(hex: &str) -> Option<Ipv6Addr> {
    let mut bytes = [0; 16];
    for (at, word) in bytes.chunks_mut(4).enumerate() {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        let value = u32::from_str_radix(digits, 16).ok()?;
        word.copy_from_slice(&value.to_ne_bytes());
    }
    Some(bytes.into())
}

/// The process that holds a socket; without an id where it cannot be seen.
fn holder(inode: &str) -> Listener {
    let link = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in pids {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let Ok(open) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let mut links = open
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok());
        if links.any(|target| target.as_os_str() == link.as_str()) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Listener {
                pid: Some(pid),
                name: name.trim_end().to_owned(),
            };
        }
    }
    Listener {
        pid: None,
        name: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000000000000000 100 0 0 10 0
   2: B80D0120000000000000000001000000:0051 B80D0120000000000000000002000000:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4244 1 0000000000000000 100 0 0 10 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_waiting_sockets_are_read_from_the_kernels_table() {
        let found = sockets(TCP6);
        let expected = [
            (Ipv6Addr::UNSPECIFIED, 8080, "4242"),
            (Ipv6Addr::LOCALHOST, 80, "4243"),
        ];
        let found: Vec<_> = found
            .iter()
            .map(|socket| (socket.addr, socket.port, socket.inode.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_listener_of_this_process_is_found_with_its_name() {
        let Ok(socket) = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            return;
        };
        let at = (
            Ipv6Addr::LOCALHOST,
            socket.local_addr().expect("bound").port(),
        );
        let found = listener(Path::new(NET), Proto::Tcp, at).expect("readable");
        let found = found.expect("it listens");
        assert_eq!(found.pid, Some(std::process::id()));
        assert!(!found.name.is_empty());
        // It hears nobody else.
        assert_eq!(listens(Proto::Tcp, at.1).expect("readable"), Some(false));
        assert_eq!(listens(Proto::Sctp, at.1).expect("readable"), None);
        let open = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
        let port = open.local_addr().expect("bound").port();
        assert_eq!(listens(Proto::Tcp, port).expect("readable"), Some(true));
    }
}
