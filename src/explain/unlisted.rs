//! Containers that may serve a port of the host although Docker lists none of theirs. Pure.

use super::holder::HostPort;
use super::published::Publication;
use super::way::shown;
use crate::mapper::skipped::{Reason, container};
use crate::model::container::{Container, Endpoint, Snapshot};

/// The Engine's own process, which holds the ports of a Swarm's services.
const ENGINE: &str = "dockerd";

/// Whether a container is on the host's network.
pub(crate) fn is_on_host(container: &Container) -> bool {
    container.network_mode.raw() == "host"
}

impl Publication {
    /// Adds the containers that serve the port, or may do so, although Docker lists none of theirs:
    /// those on the host's network, and those of Swarm's services, whose ports are the service's.
    /// `port` is who listens there on the host, as all of them need.
    pub(crate) fn add_unlisted(&mut self, snapshot: &Snapshot, port: &HostPort) {
        let serves = match port {
            HostPort::Containers(_) => "serves",
            _ => "may serve",
        };
        let may_be_it = |container: &Container| match port {
            HostPort::Free | HostPort::Own(_) => false,
            HostPort::Unknown => is_on_host(container),
            HostPort::Containers(ids) => ids.contains(&container.id),
        };
        self.closed.extend(unlisted(
            snapshot,
            may_be_it,
            &format!("on the host's network, {serves} the port on the host itself"),
        ));
        let may_be_swarms = match port {
            HostPort::Free | HostPort::Containers(_) => false,
            HostPort::Own(process) => process.name == ENGINE,
            HostPort::Unknown => true,
        };
        let is_ingress = |endpoint: &Endpoint| {
            let network = snapshot.networks.get(&endpoint.network_id);
            network.is_some_and(|network| network.ingress)
        };
        let is_of_swarm =
            |container: &Container| may_be_swarms && container.endpoints.iter().any(is_ingress);
        let swarm = format!(
            "of a Swarm's service, may publish it: {}",
            Reason::SwarmIngress
        );
        self.closed.extend(unlisted(snapshot, is_of_swarm, &swarm));
    }
}

/// What is said where nothing publishes the port, `what`.
pub(crate) fn nobodys(what: &str, port: Option<&HostPort>) -> String {
    match port {
        Some(HostPort::Own(process)) => format!(
            "nothing publishes {what}: the host's own process {} (pid {}) serves it",
            shown(&process.name),
            process.pid
        ),
        _ => format!("nothing publishes {what}"),
    }
}

/// A line on those containers of which `is_it` holds: the only one by its name.
fn unlisted(snapshot: &Snapshot, is_it: impl Fn(&Container) -> bool, what: &str) -> Option<String> {
    let found = snapshot.containers.values();
    let found: Vec<&Container> = found.map(|it| &**it).filter(|it| is_it(it)).collect();
    match found[..] {
        [] => None,
        [one] => Some(format!("{}, {what}", container(&one.id, &one.name))),
        _ => Some(format!("one of {} containers, {what}", found.len())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::holder::Process;
    use super::*;
    use crate::mapper::forwards::samples::snapshot;
    use crate::model::forward::Proto;
    use crate::model::text::Untrusted;

    const PORT: (Proto, u16) = (Proto::Tcp, 8080);

    #[test]
    fn a_container_whose_ports_docker_does_not_list_may_serve_what_is_listened_to() {
        let mut silent = snapshot();
        let only = silent.containers.get_mut("c1").expect("it");
        only.ports.clear();
        let lines = |snapshot: &Snapshot, port| {
            let mut known = Publication::of(PORT, None, Some(snapshot), &[], &BTreeSet::new());
            known.add_unlisted(snapshot, &port);
            known.closed
        };
        let of = |id: &str| HostPort::Containers([id.to_owned()].into());
        let process = |name: &str| {
            let (pid, name) = (812, name.to_owned());
            HostPort::Own(Process { pid, name })
        };
        assert!(lines(&silent, HostPort::Unknown).is_empty());

        let mut on_host = silent.clone();
        let only = on_host.containers.get_mut("c1").expect("it");
        only.network_mode = Untrusted::new("host");
        let own =
            "container name-c1 (c1), on the host's network, may serve the port on the host itself";
        assert_eq!(lines(&on_host, HostPort::Unknown), [own]);
        assert_eq!(
            lines(&on_host, of("c1")),
            [own.replace("may serve", "serves")]
        );
        assert!(lines(&on_host, HostPort::Free).is_empty());
        for name in ["sshd", ENGINE] {
            assert!(lines(&on_host, process(name)).is_empty(), "{name}");
        }
        let mut another = (*on_host.containers["c1"]).clone();
        another.id = "c2".to_owned();
        on_host.containers.insert("c2".to_owned(), another.into());
        let known = lines(&on_host, of("c2"));
        assert_eq!(
            known,
            [own.replace("(c1)", "(c2)").replace("may serve", "serves")]
        );
        let one_of =
            "one of 2 containers, on the host's network, may serve the port on the host itself";
        assert_eq!(lines(&on_host, HostPort::Unknown), [one_of]);

        let mut swarm = silent;
        for network in swarm.networks.values_mut() {
            network.ingress = true;
        }
        let of_swarm = "container name-c1 (c1), of a Swarm's service, may publish it: Swarm \
                        itself forwards what its service publishes through the ingress network";
        assert_eq!(lines(&swarm, HostPort::Unknown), [of_swarm]);
        // The Engine holds such a port itself.
        assert_eq!(lines(&swarm, process(ENGINE)), [of_swarm]);
        for port in [HostPort::Free, process("sshd"), of("c9")] {
            assert!(lines(&swarm, port).is_empty());
        }
    }

    #[test]
    fn the_process_that_serves_a_port_of_nobody_is_named() {
        let process = HostPort::Own(Process {
            pid: 812,
            name: "ss\nhd".to_owned(),
        });
        let said = nobodys("22/tcp", Some(&process));
        let named = "nothing publishes 22/tcp: the host's own process ss\\nhd (pid 812) serves it";
        assert_eq!(said, named);
        for port in [None, Some(&HostPort::Free), Some(&HostPort::Unknown)] {
            assert_eq!(nobodys("22/tcp", port), "nothing publishes 22/tcp");
        }
    }
}
