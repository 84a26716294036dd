//! What the host's settings say where no rule explains the end: sysctls, routes, listeners.

use std::io;
use std::net::Ipv6Addr;

use super::error::ExplainError;
use super::holder::{self, Process};
use super::sockets;
use super::verdict::{Ending, Endpoint};
use crate::model::forward::Proto;
use crate::netlink::interface::{self, Link};
use crate::netlink::route::{self, Route};
use crate::sys::host::{flag, read_optional};

/// The tables of ip6tables-legacy that are in use in this network namespace.
const LEGACY: &str = "/proc/thread-self/net/ip6_tables_names";

/// Facts about the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EndingFacts {
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

/// A listening socket of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    /// The process that has it; `None` where it cannot be seen.
    pub(crate) process: Option<Process>,
}

impl EndingFacts {
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
        let sockets = match ending {
            Ending::Host(_) => sockets::here(proto)?.unwrap_or_default(),
            _ => Vec::new(),
        };
        let listener = sockets.iter().find(|socket| socket.hears(last));
        let listener = listener.map(|socket| Listener {
            process: holder::of_socket(&socket.inode).into_iter().next(),
        });
        let mut others = sockets.iter().filter(|socket| socket.port == last.1);
        let listens_elsewhere = listener.is_none() && others.any(|socket| !socket.is_loopback());
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
            legacy: lines(LEGACY)?,
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
