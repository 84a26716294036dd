//! What Docker says about the port: which container publishes it, and why it opens nothing over
//! IPv6. Pure; the command asks the daemon and the Engine.
//!
//! The running daemon knows its own options, so its forwards and its reasons count first. While
//! Docker's own NAT serves, and without a daemon, what Docker publishes counts.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use crate::control::row::Row;
use crate::control::status::Status;
use crate::docker_nat::gate::StandbyState;
use crate::mapper::forwards::{Bounds, resolve};
use crate::mapper::networks;
use crate::mapper::published::published;
use crate::model::container::Snapshot;
use crate::model::forward::Proto;
use crate::model::text::Untrusted;

/// A container to which the port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortTarget {
    pub(crate) addr: Ipv6Addr,
    pub(crate) port: u16,
    /// The host's address that the port is bound to; `None` for any.
    pub(crate) host_addr: Option<Ipv6Addr>,
    /// The container's full id, its name and the network; empty where nobody says.
    pub(crate) id: String,
    pub(crate) name: Untrusted,
    pub(crate) network: Untrusted,
    /// Who may use it; empty for everybody.
    pub(crate) sources: Vec<Ipv6Net>,
}

impl PortTarget {
    /// The container, for people.
    pub(crate) fn who(&self) -> String {
        match self.id.as_str() {
            "" => format!("[{}]:{}", self.addr, self.port),
            id => format!("{} ({})", self.name, short(id)),
        }
    }
}

/// What the running daemon says.
#[derive(Debug, Clone, Default)]
pub(crate) struct FromDaemon {
    pub(crate) rows: Vec<Row>,
    pub(crate) status: Option<Status>,
}

/// What is known about the port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Publication {
    /// Where it leads.
    pub(crate) targets: Vec<PortTarget>,
    /// Why containers that publish it open nothing, one sentence each; safe to print.
    pub(crate) closed: Vec<String>,
    /// Whether the daemon has a forward for it.
    pub(crate) by_daemon: bool,
    /// Whether Docker's own NAT serves, and the daemon stands by.
    pub(crate) by_docker: bool,
    /// Whether Docker has answered, so that nothing is missing here. What the daemon says is not enough:
    /// what it says of a container that is closed as a whole names no port.
    pub(crate) is_complete: bool,
}

impl Publication {
    /// Puts together what was said about a port.
    pub(crate) fn of(
        (proto, port): (Proto, u16),
        daemon: Option<&FromDaemon>,
        docker: Option<&Snapshot>,
        prefixes: &[Ipv6Net],
        host_addrs: &BTreeSet<Ipv6Addr>,
    ) -> Self {
        let mut known = Self::default();
        if let Some(daemon) = daemon {
            known.targets = of_rows(&daemon.rows, proto, port);
            known.by_daemon = !known.targets.is_empty();
            if let Some(status) = &daemon.status {
                known.by_docker = status.standby_state() == Some(StandbyState::On);
                let of_port = format!("port {port}/{proto} of ");
                // A line about a whole container names no port.
                let whole: Vec<String> = docker.map_or_else(Vec::new, |snapshot| {
                    let ids = snapshot.containers.keys();
                    let fitting = ids.filter(|id| publishes(snapshot, id, proto, port));
                    fitting.map(|id| format!(" ({}): ", short(id))).collect()
                });
                let is_about = |line: &&String| {
                    line.starts_with(&of_port)
                        || line.starts_with("container ")
                            && whole.iter().any(|id| line.contains(id))
                };
                known.closed = status.skipped.iter().filter(is_about).cloned().collect();
            }
        }
        if let Some(snapshot) = docker {
            known.is_complete = true;
            known.add_dockers(
                (proto, port),
                snapshot,
                daemon.is_some(),
                prefixes,
                host_addrs,
            );
        }
        known
    }

    fn add_dockers(
        &mut self,
        (proto, port): (Proto, u16),
        snapshot: &Snapshot,
        has_daemon: bool,
        prefixes: &[Ipv6Net],
        host_addrs: &BTreeSet<Ipv6Addr>,
    ) {
        if self.targets.is_empty() && (self.by_docker || !has_daemon) {
            let all = published(snapshot, true).unwrap_or_default();
            let of_port = all.forwards.iter();
            let of_port = of_port.filter(|f| (f.proto, f.host_port) == (proto, port));
            self.targets = of_port
                .map(|forward| {
                    let (addr, port) = forward.target;
                    target(snapshot, forward.host_addr, addr, port)
                })
                .collect();
        }
        if self.closed.is_empty() {
            let prefixes = match prefixes {
                [] => networks::prefixes(snapshot),
                given => given.to_vec(),
            };
            let bounds = Bounds {
                prefixes,
                host_addrs: host_addrs.clone(),
            };
            let resolved = resolve(snapshot, &bounds);
            let reasons = resolved.skipped.iter();
            let of_port = reasons.filter(|skipped| match skipped.port {
                Some(named) => named == (proto, port),
                // The whole container: only if it publishes the port.
                None => publishes(snapshot, &skipped.container_id, proto, port),
            });
            self.closed = of_port.map(ToString::to_string).collect();
            let mut forwards = resolved.forwards.iter();
            let is_open = forwards.any(|f| (f.proto, f.host_port) == (proto, port));
            if is_open && has_daemon && self.targets.is_empty() {
                let line = format!("port {port}/{proto}: the daemon has no forward for it yet");
                self.closed.push(line);
            }
        }
    }

    /// Whether anything publishes the port, or may serve it.
    pub(crate) fn is_anything(&self) -> bool {
        !self.targets.is_empty() || !self.closed.is_empty()
    }

    /// Whether it is certain that nobody publishes the port.
    pub(crate) fn is_nobodys(&self) -> bool {
        self.is_complete && !self.is_anything()
    }
}

/// The first digits of an id, as Docker shows it.
fn short(id: &str) -> Untrusted {
    Untrusted::new(id.chars().take(12).collect::<String>())
}

/// The daemon's forwards of a port, without copies for several interfaces or sources.
fn of_rows(rows: &[Row], proto: Proto, port: u16) -> Vec<PortTarget> {
    let mut targets: Vec<PortTarget> = Vec::new();
    for row in rows.iter().filter(|row| row.kind == "dnat") {
        let is_it = row.proto.as_deref() == Some(proto.as_str()) && row.host_port == Some(port);
        let (Some(addr), Some(container_port), true) =
            (row.container_addr, row.container_port, is_it)
        else {
            continue;
        };
        // One with a prefix serves only requests from containers.
        if row.prefix.is_some() {
            continue;
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let source = row.source.as_deref().and_then(|net| net.parse().ok());
        let found = PortTarget {
            addr,
            port: container_port,
            host_addr: row.host_addr,
            id: text(&row.container_id),
            name: Untrusted::new(text(&row.container_name)),
            network: Untrusted::new(text(&row.network)),
            sources: source.into_iter().collect(),
        };
        let is_same = |known: &&mut PortTarget| {
            let at = |t: &PortTarget| (t.addr, t.port, t.host_addr);
            at(known) == at(&found) && known.id == found.id
        };
        match targets.iter_mut().find(is_same) {
            Some(known) => known.sources.extend(found.sources),
            None => targets.push(found),
        }
    }
    for target in &mut targets {
        target.sources.sort();
        target.sources.dedup();
    }
    targets
}

fn target(
    snapshot: &Snapshot,
    host_addr: Option<Ipv6Addr>,
    addr: Ipv6Addr,
    port: u16,
) -> PortTarget {
    let mut all = snapshot.containers.values();
    let holder = all.find_map(|container| {
        let mut endpoints = container.endpoints.iter();
        let endpoint = endpoints.find(|endpoint| endpoint.address == Some(addr))?;
        Some((container, endpoint))
    });
    PortTarget {
        addr,
        port,
        host_addr,
        id: holder.map_or_else(String::new, |(container, _)| container.id.clone()),
        name: holder.map_or_else(Untrusted::default, |(c, _)| c.name.clone()),
        network: holder.map_or_else(Untrusted::default, |(_, e)| e.network.clone()),
        sources: Vec::new(),
    }
}

fn publishes(snapshot: &Snapshot, id: &str, proto: Proto, port: u16) -> bool {
    let container = snapshot.containers.get(id);
    let mut rows = container.into_iter().flat_map(|c| &c.ports);
    rows.any(|row| (row.proto, row.host_port) == (proto, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::forwards::samples::snapshot;

    const PORT: (Proto, u16) = (Proto::Tcp, 8080);

    fn row(dev: &str, source: Option<&str>) -> Row {
        Row {
            kind: "dnat".into(),
            proto: Some("tcp".into()),
            host_port: Some(8080),
            container_addr: "fd00::9".parse().ok(),
            container_port: Some(80),
            container_id: Some("c9".into()),
            container_name: Some("web".into()),
            network: Some("bridge".into()),
            dev: Some(dev.into()),
            source: source.map(str::to_owned),
            ..Row::default()
        }
    }

    fn of(daemon: Option<&FromDaemon>, docker: Option<&Snapshot>) -> Publication {
        Publication::of(PORT, daemon, docker, &[], &BTreeSet::new())
    }

    #[test]
    fn the_daemons_forwards_count_first_and_once_for_all_interfaces() {
        let daemon = FromDaemon {
            rows: vec![
                row("eth0", Some("2001:db8::/32")),
                row("eth1", Some("2001:db8::/32")),
                row("eth0", Some("fd99::/64")),
            ],
            status: None,
        };
        let known = of(Some(&daemon), Some(&snapshot()));
        assert!(known.by_daemon && known.is_anything());
        let [target] = &known.targets[..] else {
            panic!("{known:?}");
        };
        assert_eq!(target.sources.len(), 2);
        assert_eq!(target.who(), "web (c9)");
    }

    #[test]
    fn without_a_daemon_what_docker_publishes_counts() {
        let known = of(None, Some(&snapshot()));
        let target = known.targets.first().expect("one");
        assert_eq!((target.addr, target.port), ("fd00::2".parse().unwrap(), 80));
        assert_eq!(target.who(), "name-c1 (c1)");
        assert!(!of(None, Some(&Snapshot::default())).is_anything());
        assert!(!of(None, None).is_anything());
    }

    #[test]
    fn only_docker_s_word_makes_it_certain_that_nobody_publishes_the_port() {
        let daemon = FromDaemon::default();
        let none = Snapshot::default();
        assert!(of(Some(&daemon), Some(&none)).is_nobodys());
        assert!(of(None, Some(&none)).is_nobodys());
        assert!(!of(Some(&daemon), None).is_nobodys());
        assert!(!of(None, None).is_nobodys());
        assert!(!of(None, Some(&snapshot())).is_nobodys());
    }

    #[test]
    fn the_reasons_are_those_of_the_mapper() {
        let mut limited = snapshot();
        let container = limited.containers.get_mut("c1").expect("it");
        let label = ("docker-nat66.enable".to_owned(), "false".to_owned());
        container.labels.extend([label]);
        let daemon = FromDaemon::default();
        let known = of(Some(&daemon), Some(&limited));
        assert!(known.targets.is_empty());
        let [reason] = &known.closed[..] else {
            panic!("{known:?}");
        };
        assert!(
            reason.contains("label docker-nat66.enable=false"),
            "{reason}"
        );
        // With prefixes that the address is not in.
        let elsewhere = ["fdee::/64".parse().expect("a prefix")];
        let none = BTreeSet::new();
        let known = Publication::of(PORT, Some(&daemon), Some(&snapshot()), &elsewhere, &none);
        assert!(
            known.closed[0].contains("no address of the container lies in"),
            "{known:?}"
        );
        // While Docker's own NAT serves, the label is Docker's no business.
        let status = Status {
            native: Some(crate::control::status::DockerNatFigures {
                state: StandbyState::On,
                served: 1,
                unserved: Vec::new(),
                stray: Vec::new(),
                closed: Vec::new(),
            }),
            ..Status::default()
        };
        let standing_by = FromDaemon {
            rows: Vec::new(),
            status: Some(status),
        };
        let known = of(Some(&standing_by), Some(&limited));
        assert!(known.by_docker && known.targets.len() == 1);
    }
}
