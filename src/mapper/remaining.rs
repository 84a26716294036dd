//! What Docker still shows of a container whose port is closed, and what closes the port there.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::forwards::Resolved;
use super::publish::NotPublished;
use super::skipped::Reason;
use crate::model::container::{Endpoint, Snapshot};
use crate::model::forward::{MAX_NAME_BYTES, Owner, Proto};
use crate::model::rule::HostPort;

/// Docker's last snapshot, and what it was resolved to.
#[derive(Debug, Default)]
pub struct Remaining {
    /// `None`: Docker has not answered.
    snapshot: Option<Arc<Snapshot>>,
    resolved: Arc<Resolved>,
}

/// What closes ports of containers, by the container's id.
#[derive(Debug)]
pub(crate) struct Obstacles<'r>(HashMap<&'r str, ObstaclesByPort>);

/// Without a port for all of the container's.
type ObstaclesByPort = HashMap<Option<(Proto, u16)>, Obstacle>;

/// Where a container is, compared with where it was when its port was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Docker does not show it any more.
    Ended,
    /// Its interface is gone, and Docker has not said yet whether it has ended or left the network.
    EndedOrLeft,
    /// It runs, and is not in the network any more.
    LeftNetwork,
    /// It runs, in the same network.
    There,
    /// Docker has not answered about it, or its answer cannot be read.
    Unknown,
}

/// What closes a port of a container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Docker does not publish it to the outside over IPv6.
    Unpublished,
    /// The container has no network of its own.
    NoNetwork,
    /// A label, the network's options, `--prefix`, or the limit of rules.
    Setting,
    /// Another container has the address, or the port.
    TakenOver,
    /// Docker has not said, or its answer cannot be read.
    Unknown,
}

impl Remaining {
    pub(crate) fn new(snapshot: Option<Arc<Snapshot>>, resolved: Arc<Resolved>) -> Self {
        Self { snapshot, resolved }
    }

    /// Where the container is that had this address.
    pub(crate) fn presence(&self, owner: &Owner, addr: Ipv6Addr) -> Presence {
        let Some(snapshot) = &self.snapshot else {
            return Presence::Unknown;
        };
        let id = &owner.container_id;
        let Some(container) = snapshot.containers.get(id) else {
            let is_unknown =
                snapshot.unanswered.contains_key(id) || snapshot.unreadable.contains_key(id);
            return match is_unknown {
                true => Presence::Unknown,
                false => Presence::Ended,
            };
        };
        // The journal cuts very long names of networks.
        let name = owner.network.raw();
        let was_in = |network: &str| match name.len() < MAX_NAME_BYTES {
            true => network == name,
            false => network.starts_with(name),
        };
        let find = |is: &dyn Fn(&&Endpoint) -> bool| container.endpoints.iter().find(is);
        let here =
            find(&|e| e.address == Some(addr)).or_else(|| find(&|e| was_in(e.network.raw())));
        match here {
            None => Presence::LeftNetwork,
            Some(endpoint) if endpoint.left => Presence::EndedOrLeft,
            Some(_) => Presence::There,
        }
    }

    /// When this container started, in nanoseconds since the epoch; `None` if Docker does not show it, or
    /// does not say.
    pub(crate) fn started(&self, owner: &Owner) -> Option<i64> {
        let containers = &self.snapshot.as_ref()?.containers;
        let at = containers.get(&owner.container_id)?.start.at;
        (at != 0).then_some(at)
    }

    /// What closes the ports of containers that run.
    pub(crate) fn obstacles(&self) -> Obstacles<'_> {
        let mut all = Obstacles(HashMap::new());
        for skipped in &self.resolved.skipped {
            let ports = all.0.entry(&skipped.container_id).or_default();
            let obstacle = Obstacle::of(&skipped.reason);
            let held = ports.entry(skipped.port).or_insert(obstacle);
            // Docker shows the same port for IPv4, too, where nothing is ever open.
            if *held == Obstacle::Unpublished {
                *held = obstacle;
            }
        }
        all
    }
}

impl Obstacles<'_> {
    /// What closes this port.
    pub(crate) fn of(&self, owner: &Owner, port: HostPort) -> Obstacle {
        let ports = self.0.get(owner.container_id.as_str());
        let obstacle = ports.and_then(|ports| {
            let own = ports.get(&Some((port.proto, port.port)));
            own.or_else(|| ports.get(&None))
        });
        obstacle.copied().unwrap_or(Obstacle::Unpublished)
    }
}

impl Obstacle {
    fn of(reason: &Reason) -> Self {
        match reason {
            Reason::NotPublished(NotPublished::BindingsUnknown | NotPublished::Malformed(_))
            | Reason::Unreadable(_) => Self::Unknown,
            Reason::NotPublished(_) | Reason::PortZero => Self::Unpublished,
            Reason::NoOwnNetwork(_) | Reason::LeftNetwork(_) => Self::NoNetwork,
            Reason::NoAddress(has) if has.is_empty() => Self::NoNetwork,
            Reason::NoAddress(_)
            | Reason::Refused(..)
            | Reason::Label(_)
            | Reason::NotListed
            | Reason::NotForwarding(..)
            | Reason::SwarmIngress
            | Reason::TooMany { .. } => Self::Setting,
            Reason::AddressOf(..) | Reason::TakenBy(_) => Self::TakenOver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::forwards::{Bounds, resolve, samples};
    use crate::model::container::{Container, HostIp};

    const ADDR: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    fn port(port: u16) -> HostPort {
        let (proto, addr) = (Proto::Tcp, None);
        HostPort { proto, addr, port }
    }

    /// What is found of the port 8080 of `c1` once that has happened to it.
    fn after(prefix: &str, change: impl FnOnce(&mut Container)) -> (Presence, Obstacle) {
        let mut snapshot = samples::snapshot();
        change(snapshot.containers.get_mut("c1").expect("shown"));
        let bounds = Bounds {
            prefixes: vec![prefix.parse().expect("a prefix")],
            ..Bounds::default()
        };
        let resolved = resolve(&snapshot, &bounds).into();
        let remaining = Remaining::new(Some(snapshot.into()), resolved);
        let owner = Owner::new("c1", "name-c1", "bridge");
        let found = remaining.presence(&owner, ADDR);
        (found, remaining.obstacles().of(&owner, port(8080)))
    }

    #[test]
    fn what_a_running_container_has_lost_is_found() {
        use {Obstacle as O, Presence as P};
        let label = |key: &str, value: &str| {
            let label = (key.to_owned(), value.to_owned());
            move |c: &mut Container| c.labels.extend([label])
        };
        let ours = "fd00::/64";
        let there = |obstacle| (P::There, obstacle);
        let found = after(ours, |c| c.endpoints.clear());
        assert_eq!(found, (P::LeftNetwork, O::NoNetwork));
        let found = after(ours, |c| c.endpoints[0].left = true);
        assert_eq!(found, (P::EndedOrLeft, O::NoNetwork));
        let found = after(ours, |c| c.endpoints[0].address = None);
        assert_eq!(found, there(O::NoNetwork));
        assert_eq!(after("fd99::/64", |_| ()), there(O::Setting));
        let found = after(ours, label("docker-nat66.enable", "false"));
        assert_eq!(found, there(O::Setting));
        let found = after(ours, label("docker-nat66.ports", "81"));
        assert_eq!(found, there(O::Setting));
        assert_eq!(after(ours, |c| c.ports.clear()), there(O::Unpublished));
        let to_v4 = |c: &mut Container| {
            c.bindings = samples::known(&[("0.0.0.0", Some(8080))]);
            c.ports.truncate(1);
            c.ports[0].host_ip = HostIp::parse("0.0.0.0");
        };
        assert_eq!(after(ours, to_v4), there(O::Unpublished));
    }

    #[test]
    fn a_container_that_docker_does_not_show_has_ended_and_one_it_does_not_answer_about_may_not() {
        let owner = Owner::new("c9", "name-c9", "bridge");
        let presence = |snapshot: Option<Snapshot>| {
            let snapshot = snapshot.map(Arc::new);
            Remaining::new(snapshot, Arc::default()).presence(&owner, ADDR)
        };
        assert_eq!(presence(None), Presence::Unknown);
        let mut snapshot = samples::snapshot();
        assert_eq!(presence(Some(snapshot.clone())), Presence::Ended);
        snapshot.unanswered.insert("c9".to_owned(), "c9".into());
        assert_eq!(presence(Some(snapshot)), Presence::Unknown);
    }
}
