//! The container at the end of the way, as its network namespace shows it: whether it has the
//! address, whether something listens there, and whether it has a way back.
//!
//! Read from `/proc/PID/net`, which needs no entering of the namespace.

use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::sockets::{self, Waiting};
use super::verdict::Endpoint;
use crate::model::forward::Proto;
use crate::sys::host::{parse_addresses, read_optional};

/// What is wrong in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No interface has the address.
    NoAddress,
    /// The kernel is still finding out whether another has the address.
    Tentative,
    /// Another has the address.
    Duplicate,
    /// Nothing listens on the port.
    NothingListens,
    /// Something listens, for IPv4 only.
    OnlyV4,
    /// Something listens, at this address only.
    OnlyAt(Ipv6Addr),
    /// It has no route to the client.
    NoRoute,
}

/// The files of a container's network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inside {
    addresses: String,
    routes: String,
    /// The sockets that wait; `None` where they are not listed, as those of SCTP.
    sockets: Option<Vec<Waiting>>,
}

impl Inside {
    /// Reads the namespace of the process `pid`, the first one of the container `id`. `None` where
    /// that process is not the container's, because the Engine counts processes elsewhere, or
    /// where its files may not be read.
    pub(crate) fn read(
        pid: u32,
        id: &str,
        proto: Proto,
        addr: Ipv6Addr,
    ) -> io::Result<Option<Self>> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let namespace = |path: &Path| std::fs::read_link(path.join("ns/net")).ok();
        let own = namespace(Path::new("/proc/thread-self"));
        match namespace(&process) {
            Some(its) if Some(&its) != own.as_ref() => Self::of(&process, id, proto, addr),
            _ => Ok(None),
        }
    }

    /// The same of a process whose files stand in this directory.
    fn of(process: &Path, id: &str, proto: Proto, addr: Ipv6Addr) -> io::Result<Option<Self>> {
        let read = |name: &str| match read_optional(&process.join(name).to_string_lossy()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            // The process has ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            text => text,
        };
        let Some(addresses) = read("net/if_inet6")? else {
            return Ok(None);
        };
        let has_address = parse_addresses(&addresses).iter().any(|a| a.addr == addr);
        let is_named = read("cgroup")?.is_some_and(|groups| groups.contains(id));
        if !has_address && !is_named {
            return Ok(None);
        }
        Ok(Some(Self {
            addresses,
            routes: read("net/ipv6_route")?.unwrap_or_default(),
            sockets: sockets::waiting(proto, |file| read(&format!("net/{file}")))?,
        }))
    }

    /// Whether the listening sockets are known: those of SCTP are not.
    pub(crate) fn knows_listeners(&self) -> bool {
        self.sockets.is_some()
    }

    /// What keeps the container from answering a packet from `from` to `to`.
    pub(crate) fn fault(&self, to: Endpoint, from: Ipv6Addr) -> Option<Fault> {
        let addresses = parse_addresses(&self.addresses);
        let Some(own) = addresses.iter().find(|assigned| assigned.addr == to.0) else {
            return Some(Fault::NoAddress);
        };
        if own.is_duplicate {
            return Some(Fault::Duplicate);
        }
        if own.is_tentative {
            return Some(Fault::Tentative);
        }
        if let Some(fault) = self.deaf(to) {
            return Some(fault);
        }
        let is_near = addresses.iter().any(|assigned| {
            // The loopback interface has a network of one address.
            assigned.net().is_some_and(|net| net.contains(&from))
        });
        (!is_near && !has_route(&self.routes, from)).then_some(Fault::NoRoute)
    }

    fn deaf(&self, to: Endpoint) -> Option<Fault> {
        let of_port = |socket: &&Waiting| socket.port == to.1;
        let here: Vec<&Waiting> = self.sockets.as_ref()?.iter().filter(of_port).collect();
        if here.iter().any(|socket| socket.hears(to)) {
            return None;
        }
        let mut six = here.iter().filter(|socket| !socket.is_v4());
        let mut four = here.iter().filter(|socket| socket.is_v4());
        Some(match six.next() {
            Some(socket) => Fault::OnlyAt(socket.addr),
            None if four.any(|socket| !socket.is_loopback()) => Fault::OnlyV4,
            None => Fault::NothingListens,
        })
    }
}

/// Whether `/proc/net/ipv6_route` has a route to `to`. Each line: destination, its length, source,
/// its length, next hop, metric, references, use, flags, interface (net/ipv6/route.c,
/// `rt6_info_route`); numbers are hexadecimal.
fn has_route(text: &str, to: Ipv6Addr) -> bool {
    /// `RTF_REJECT` (linux/route.h).
    const REJECT: u32 = 0x200;
    text.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [net, length, .., flags, device] = fields[..] else {
            return false;
        };
        let net = u128::from_str_radix(net, 16).ok();
        let length = u32::from_str_radix(length, 16).ok();
        let flags = u32::from_str_radix(flags, 16).unwrap_or(REJECT);
        let (Some(net), Some(length @ 0..=128)) = (net, length) else {
            return false;
        };
        let shift = 128 - length;
        let begins = |addr: u128| addr.checked_shr(shift).unwrap_or(0);
        flags & REJECT == 0 && device != "lo" && begins(net) == begins(u128::from(to))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "fdfd:5898:4917:1::2";

    fn inside(flags: &str, six: &[&str], four: &[&str], routes: &str) -> Inside {
        Inside {
            addresses: format!("fdfd5898491700010000000000000002 02 40 00 {flags} eth0\n"),
            routes: routes.to_owned(),
            sockets: Some(sockets::parse(&listed(six, four))),
        }
    }

    /// The lines of the kernel's lists for sockets that wait there.
    fn listed(six: &[&str], four: &[&str]) -> String {
        let line = |local: &&str, zeros: usize| {
            let remote = "0".repeat(zeros);
            format!(" 0: {local} {remote}:0000 0A 0:0 0:0 0 0 0 7 1\n")
        };
        let six = six.iter().map(|local| line(local, 32));
        six.chain(four.iter().map(|local| line(local, 8))).collect()
    }

    #[test]
    fn of_a_protocol_whose_sockets_are_not_listed_the_rest_is_known() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(dir.path().join("net")).expect("made");
        let known = inside("80", &[ANY], &[], DEFAULT);
        for (name, text) in [
            ("if_inet6", &known.addresses),
            ("ipv6_route", &known.routes),
            ("tcp6", &listed(&[ANY], &[])),
        ] {
            std::fs::write(dir.path().join("net").join(name), text).expect("written");
        }
        let (addr, from) = (TO.parse().unwrap(), "2001:db8::9".parse().unwrap());
        let of = |proto| Inside::of(dir.path(), "c1", proto, addr);
        assert_eq!(of(Proto::Tcp).expect("readable"), Some(known.clone()));
        let found = of(Proto::Sctp).expect("readable").expect("the container's");
        assert_eq!(found.addresses, known.addresses);
        assert_eq!(found.fault((addr, 80), from), None);
        let lost = Inside {
            routes: String::new(),
            ..found
        };
        let fault = lost.fault((addr, 80), from);
        assert_eq!(fault, Some(Fault::NoRoute));
    }

    const ANY: &str = "00000000000000000000000000000000:0050";
    const LOOPBACK: &str = "00000000000000000000000001000000:0050";
    const DEFAULT: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 \
                           00 fdfd5898491700010000000000000001 00000400 00000001 00000000 \
                           00000003 eth0\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn each_state_of_a_container_has_its_fault() {
        let cases = [
            (inside("80", &[ANY], &[], DEFAULT), None),
            (inside("80", &[], &[], DEFAULT), Some(Fault::NothingListens)),
            (
                inside(
                    "80",
                    &["00000000000000000000000000000000:0051"],
                    &[],
                    DEFAULT,
                ),
                Some(Fault::NothingListens),
            ),
            (
                inside("80", &[], &["00000000:0050"], DEFAULT),
                Some(Fault::OnlyV4),
            ),
            (
                inside("80", &[LOOPBACK], &["00000000:0050"], DEFAULT),
                Some(Fault::OnlyAt(Ipv6Addr::LOCALHOST)),
            ),
            (inside("c0", &[ANY], &[], DEFAULT), Some(Fault::Tentative)),
            (inside("88", &[ANY], &[], DEFAULT), Some(Fault::Duplicate)),
            (inside("80", &[ANY], &[], ""), Some(Fault::NoRoute)),
            (Inside::default(), Some(Fault::NoAddress)),
        ];
        let to = (TO.parse().unwrap(), 80);
        let from = "2001:db8::9".parse().unwrap();
        for (inside, expected) in cases {
            assert_eq!(inside.fault(to, from), expected, "{inside:?}");
        }
        // A neighbour needs no route.
        let neighbour = "fdfd:5898:4917:1::9".parse().unwrap();
        let inside = inside("80", &[ANY], &[], "");
        assert_eq!(inside.fault(to, neighbour), None);
    }
}
