//! Containers that may serve a port of the host although Docker lists none of theirs. Pure.

use super::published::Publication;
use crate::mapper::skipped::{Reason, container};
use crate::model::container::{Container, Endpoint, Snapshot};

impl Publication {
    /// Adds the containers that may serve the port although Docker lists none of theirs: those on the
    /// host's network, and those of Swarm's services, whose ports are the service's. `listens` is
    /// whether anybody listens on the port on the host, as all of them need, where that is known.
    pub(crate) fn add_unlisted(&mut self, snapshot: &Snapshot, listens: Option<bool>) {
        if listens == Some(false) {
            return;
        }
        let is_on_host = |container: &Container| container.network_mode.raw() == "host";
        let is_ingress = |endpoint: &Endpoint| {
            let network = snapshot.networks.get(&endpoint.network_id);
            network.is_some_and(|network| network.ingress)
        };
        let is_of_swarm = |container: &Container| container.endpoints.iter().any(is_ingress);
        self.closed.extend(unlisted(
            snapshot,
            is_on_host,
            "on the host's network, may serve the port on the host itself",
        ));
        let swarm = format!(
            "of a Swarm's service, may publish it: {}",
            Reason::SwarmIngress
        );
        self.closed.extend(unlisted(snapshot, is_of_swarm, &swarm));
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
        let lines = |snapshot: &Snapshot, listens| {
            let mut known = Publication::of(PORT, None, Some(snapshot), &[], &BTreeSet::new());
            known.add_unlisted(snapshot, listens);
            known.closed
        };
        assert!(lines(&silent, Some(true)).is_empty());

        let mut on_host = silent.clone();
        let only = on_host.containers.get_mut("c1").expect("it");
        only.network_mode = Untrusted::new("host");
        let own =
            "container name-c1 (c1), on the host's network, may serve the port on the host itself";
        assert_eq!(lines(&on_host, Some(true)), [own]);
        assert_eq!(lines(&on_host, None), [own]);
        assert!(lines(&on_host, Some(false)).is_empty());
        let another = on_host.containers["c1"].clone();
        on_host.containers.insert("c2".to_owned(), another);
        let one_of =
            "one of 2 containers, on the host's network, may serve the port on the host itself";
        assert_eq!(lines(&on_host, Some(true)), [one_of]);

        let mut swarm = silent;
        for network in swarm.networks.values_mut() {
            network.ingress = true;
        }
        let of_swarm = "container name-c1 (c1), of a Swarm's service, may publish it: Swarm \
                        itself forwards what its service publishes through the ingress network";
        assert_eq!(lines(&swarm, Some(true)), [of_swarm]);
        assert!(lines(&swarm, Some(false)).is_empty());
    }
}
