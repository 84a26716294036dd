//! Decides what one row of Docker's `Ports` means over IPv6.
//!
//! One rule stands behind every case: a published port is never wider over IPv6 than in Docker.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::model::container::{Bindings, Container, HostIp, PortRow, Rows};
use crate::model::text::Untrusted;

/// Where a published port is open over IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// On any local address.
    AnyLocal,
    /// On one local address.
    Only(Ipv6Addr),
}

/// Why a published port opens nothing over IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPublished {
    /// Bound only to this IPv4 address.
    BoundToV4(Ipv4Addr),
    /// Bound to `::1` or a link-local address.
    NotRoutable(Ipv6Addr),
    /// Routed: clients reach the container at its own IPv6 addresses, and not at the host's.
    Routed,
    /// Bound to `0.0.0.0` in the list; only the inspect, which is still to come, shows why.
    BindingsUnknown,
    /// The binding's address is malformed.
    Malformed(Untrusted),
}

impl fmt::Display for NotPublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BoundToV4(addr) => write!(f, "bound to the IPv4 address {addr} only"),
            Self::NotRoutable(addr) => {
                write!(f, "bound to {addr}, which other hosts cannot reach")
            }
            Self::Routed => write!(
                f,
                "routed: over IPv6 the container is reached at its own addresses, not at the host's"
            ),
            Self::BindingsUnknown => write!(f, "its binding is not known yet"),
            Self::Malformed(text) => write!(f, "bound to \"{text}\", which is not an address"),
        }
    }
}

/// What a container publishes, row by row.
#[derive(Debug)]
pub(crate) struct Publication<'c> {
    bound: Rows<'c>,
    asked: Rows<'c>,
    bindings: &'c Bindings,
}

impl<'c> Publication<'c> {
    /// Indexes the ports and bindings of a container.
    pub(crate) fn of(container: &'c Container) -> Self {
        let asked = match &container.bindings {
            Bindings::Known { rows, .. } => Rows::of(rows),
            Bindings::Unknown => Rows::default(),
        };
        Self {
            bound: Rows::of(&container.ports),
            asked,
            bindings: &container.bindings,
        }
    }

    /// What one of the container's rows means. `None` for a port that is only exposed, and where
    /// another row decides for the same port: the `::` row for the IPv4 half of a double binding,
    /// and the row with the host's port for the `::` row of a routed port that is published over
    /// IPv4.
    pub(crate) fn scope(&self, row: &PortRow) -> Option<Result<Scope, NotPublished>> {
        if row.host_port.is_none() {
            let has_host_port = self.bound.like(row).any(|other| other.host_port.is_some());
            return (row.is_routed_v6() && !has_host_port).then_some(Err(NotPublished::Routed));
        }
        let routed = self.bound.show_routed_v6(row);
        let any = HostIp::V6(Ipv6Addr::UNSPECIFIED);
        let half = row.host_ip.is_empty_or_any_v4()
            && self
                .bound
                .like(row)
                .any(|other| other.host_ip == any && other.host_port == row.host_port);
        if half {
            return None;
        }
        Some(match &row.host_ip {
            HostIp::V6(_) | HostIp::Empty if routed => Err(NotPublished::Routed),
            HostIp::V4(addr) if routed && addr.is_unspecified() => Err(NotPublished::Routed),
            HostIp::V6(addr) if addr.is_unspecified() => Ok(Scope::AnyLocal),
            HostIp::V6(addr) => v6(*addr),
            HostIp::V4(addr) if !addr.is_unspecified() => Err(NotPublished::BoundToV4(*addr)),
            HostIp::Malformed(text) => Err(NotPublished::Malformed(text.clone())),
            HostIp::V4(_) | HostIp::Empty => self.any_v4(row),
        })
    }

    /// What `0.0.0.0` in `Ports` means. An Engine that binds `::` too shows a row for `::`, and
    /// that row decides. Engines before 20.10.6 show no such row; there only the requested binding
    /// distinguishes an unspecified address (any family) from an explicit `0.0.0.0` (IPv4 only).
    fn any_v4(&self, row: &PortRow) -> Result<Scope, NotPublished> {
        let explicit = Err(NotPublished::BoundToV4(Ipv4Addr::UNSPECIFIED));
        if self.bound.show_any_v6(row) {
            return explicit;
        }
        let Bindings::Known { publish_all, .. } = self.bindings else {
            return Err(NotPublished::BindingsUnknown);
        };
        let mut asked = self.asked.like(row).peekable();
        if asked.peek().is_none() {
            return if *publish_all {
                Ok(Scope::AnyLocal)
            } else {
                explicit
            };
        }
        let (exact, loose): (Vec<_>, Vec<_>) = asked.partition(|b| b.host_port == row.host_port);
        // A binding of this very host port decides. Otherwise Docker chose the port, and every
        // binding that it may have been chosen for must leave the address open.
        let deciding = if exact.is_empty() { loose } else { exact };
        if deciding.iter().all(|b| b.host_ip == HostIp::Empty) {
            Ok(Scope::AnyLocal)
        } else {
            explicit
        }
    }
}

/// What a specific IPv6 address means. An IPv4-mapped one (`::ffff:a.b.c.d`) counts as IPv4.
fn v6(addr: Ipv6Addr) -> Result<Scope, NotPublished> {
    if let Some(v4) = addr.to_ipv4_mapped() {
        return Err(NotPublished::BoundToV4(v4));
    }
    if addr.is_loopback() || addr.is_unicast_link_local() || addr.is_multicast() {
        return Err(NotPublished::NotRoutable(addr));
    }
    Ok(Scope::Only(addr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::forwards::samples::{container, known, row};

    fn scope(container: &Container, row: &PortRow) -> Option<Result<Scope, NotPublished>> {
        Publication::of(container).scope(row)
    }

    type Case<'a> = (&'a str, &'a [(&'a str, u16)], Bindings, Vec<Scope>);

    /// One case of the documented table each: the `Ports` rows of container port 80, the requested
    /// bindings, and where the port is open. Host port 0 stands for none.
    #[test]
    fn every_row_of_the_documented_table_holds() {
        let specific: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let any = || vec![Scope::AnyLocal];
        let cases: Vec<Case<'_>> = vec![
            (
                ":: among the rows",
                &[("0.0.0.0", 8080), ("::", 8080)],
                Bindings::Unknown,
                any(),
            ),
            (":: alone", &[("::", 8080)], Bindings::Unknown, any()),
            (
                "old Engine, -p 8080:80",
                &[("0.0.0.0", 8080)],
                known(&[("", Some(8080))]),
                any(),
            ),
            (
                "old Engine, -p 80",
                &[("0.0.0.0", 32768)],
                known(&[("", None)]),
                any(),
            ),
            (
                "old Engine, empty row",
                &[("", 8080)],
                known(&[("", Some(8080))]),
                any(),
            ),
            (
                "explicit 0.0.0.0",
                &[("0.0.0.0", 8080)],
                known(&[("0.0.0.0", Some(8080))]),
                vec![],
            ),
            (
                "127.0.0.1",
                &[("127.0.0.1", 8080)],
                known(&[("127.0.0.1", Some(8080))]),
                vec![],
            ),
            (
                "another IPv4",
                &[("192.0.2.1", 8080)],
                Bindings::Unknown,
                vec![],
            ),
            (
                "dockerd --ip=127.0.0.1",
                &[("127.0.0.1", 8080)],
                known(&[("", Some(8080))]),
                vec![],
            ),
            (
                "specific IPv6",
                &[("2001:db8::1", 8080)],
                Bindings::Unknown,
                vec![Scope::Only(specific)],
            ),
            ("::1", &[("::1", 8080)], Bindings::Unknown, vec![]),
            (
                "link-local",
                &[("fe80::1", 8080)],
                Bindings::Unknown,
                vec![],
            ),
            ("multicast", &[("ff02::1", 8080)], Bindings::Unknown, vec![]),
            (
                "IPv4-mapped loopback",
                &[("::ffff:127.0.0.1", 8080)],
                Bindings::Unknown,
                vec![],
            ),
            ("zone", &[("fe80::1%eth0", 8080)], Bindings::Unknown, vec![]),
            (
                "list row not inspected yet",
                &[("0.0.0.0", 8080)],
                Bindings::Unknown,
                vec![],
            ),
            (
                "another port of the same container port is IPv4 only",
                &[("0.0.0.0", 8080), ("::", 8080), ("0.0.0.0", 9090)],
                known(&[("", Some(8080)), ("0.0.0.0", Some(9090))]),
                any(),
            ),
            (
                "old Engine, one open and one explicit",
                &[("0.0.0.0", 8080), ("0.0.0.0", 9090)],
                known(&[("", Some(8080)), ("0.0.0.0", Some(9090))]),
                any(),
            ),
            (
                "old Engine, chosen port of a doubtful pair stays closed",
                &[("0.0.0.0", 32768)],
                known(&[("", None), ("0.0.0.0", None)]),
                vec![],
            ),
            (
                "routed: `::` without a host port",
                &[("0.0.0.0", 8080), ("::", 0)],
                known(&[("", Some(8080))]),
                vec![],
            ),
            (
                "routed, whatever else is shown",
                &[("", 8080), ("::", 8080), ("2001:db8::1", 8080), ("::", 0)],
                known(&[("", Some(8080))]),
                vec![],
            ),
            (
                "routed over IPv4 only",
                &[("0.0.0.0", 0), ("::", 8080)],
                Bindings::Unknown,
                any(),
            ),
            (
                "a binding nobody asked for",
                &[("0.0.0.0", 8080)],
                known(&[]),
                vec![],
            ),
        ];
        for (what, rows, bindings, expected) in cases {
            let mut c = container("c1");
            c.ports = rows
                .iter()
                .map(|(ip, port)| row(ip, (*port != 0).then_some(*port), 80))
                .collect();
            c.bindings = bindings;
            let open: Vec<Scope> = c.ports.iter().filter_map(|r| scope(&c, r)?.ok()).collect();
            assert_eq!(open, expected, "{what}");
        }
    }

    #[test]
    fn a_port_made_by_publish_all_is_open_on_an_old_engine() {
        let mut c = container("c1");
        c.ports = vec![row("0.0.0.0", Some(32768), 80)];
        c.bindings = Bindings::Known {
            rows: vec![],
            publish_all: true,
        };
        assert_eq!(scope(&c, &c.ports[0]), Some(Ok(Scope::AnyLocal)));
    }

    #[test]
    fn a_routed_port_is_closed_once_and_with_that_reason() {
        let reasons = |ports: Vec<PortRow>| -> Vec<_> {
            let mut c = container("c1");
            c.bindings = known(&[("", Some(8080))]);
            c.ports = ports;
            c.ports.iter().filter_map(|r| scope(&c, r)).collect()
        };
        let v4 = row("0.0.0.0", Some(8080), 80);
        let v6 = row("::", None, 80);
        assert_eq!(reasons(vec![v4, v6.clone()]), [Err(NotPublished::Routed)]);
        // On a network without IPv4.
        assert_eq!(reasons(vec![v6.clone()]), [Err(NotPublished::Routed)]);
        // A second container port is decided by its own rows.
        let other = row("::", Some(9090), 90);
        assert_eq!(
            reasons(vec![v6, other]),
            [Err(NotPublished::Routed), Ok(Scope::AnyLocal)]
        );
    }

    #[test]
    fn a_port_without_host_port_is_only_exposed() {
        let mut c = container("c1");
        c.ports = vec![row("", None, 80)];
        c.bindings = known(&[("", None)]);
        assert_eq!(scope(&c, &c.ports[0]), None);
    }
}
