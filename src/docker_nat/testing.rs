//! Samples for the tests of this module and of the firewall writer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::observation::DockerNat;
use crate::model::forward::Proto;
use crate::model::published::{HostForward, Published};

/// Forwards of these TCP ports of the host, all to one container.
pub(crate) fn ports(ports: &[u16]) -> BTreeSet<HostForward> {
    let forward = |port: &u16| HostForward {
        proto: Proto::Tcp,
        host_addr: None,
        host_port: *port,
        target: ("fd00::2".parse().unwrap(), 80),
    };
    ports.iter().map(forward).collect()
}

/// Docker publishes these ports.
pub(crate) fn published(forwards: &[u16]) -> Published {
    Published {
        forwards: ports(forwards),
        ..Published::default()
    }
}

/// Docker's chains are there and serve these ports.
pub(crate) fn docker(forwards: &[u16]) -> DockerNat {
    DockerNat {
        chains: true,
        forwards: ports(forwards),
        ..DockerNat::default()
    }
}

/// Podman's chains are there and serve these ports.
pub(crate) fn podman(forwards: &[u16]) -> DockerNat {
    DockerNat {
        netavark: true,
        podman: ports(forwards),
        ..DockerNat::default()
    }
}

/// The moment at this second.
pub(crate) fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}
