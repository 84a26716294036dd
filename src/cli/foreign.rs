//! `cleanup --foreign`: lists the rules that another program has left, and removes them when asked
//! twice. Ours stay, and the daemon may run: its rules carry comments, and these have none.

mod engine;
mod go;
mod ipv6nat;
mod tables;

use clap::ValueEnum;

use super::failure::{Exit, Failure};
use crate::docker::host::DockerHost;

/// `--foreign`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Foreign {
    /// The first docker-nat66, written in Go, and what its documentation says to set by hand: in the
    /// nat table, for the prefixes of --prefix.
    #[value(name = "docker-nat66-go")]
    Go,
    /// docker-ipv6nat 0.4: its rules and chains in the tables nat and filter, but for DOCKER-USER;
    /// refused where an Engine does IPv6 NAT itself in the same chains, or one of 27 or later runs,
    /// which may.
    #[value(name = "docker-ipv6nat")]
    Ipv6Nat,
    /// What a Docker Engine has left behind that drops published ports, now that its own IPv6 NAT is
    /// off; refused while it is on.
    #[value(name = "docker")]
    Docker,
}

impl Foreign {
    /// Its value on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Go => "docker-nat66-go",
            Self::Ipv6Nat => "docker-ipv6nat",
            Self::Docker => "docker",
        }
    }

    /// Whether its rules are known by the containers' prefix.
    pub(super) fn has_prefix(self) -> bool {
        self == Self::Go
    }
}

/// Lists the rules, and with `yes` removes them. `prefixes` is for [`Foreign::Go`], `docker` for
/// the two others.
pub(super) fn run(
    whose: Foreign,
    prefixes: &[String],
    docker: &DockerHost,
    yes: bool,
) -> Result<Exit, Failure> {
    match whose {
        Foreign::Go => go::run(prefixes, yes),
        Foreign::Ipv6Nat => ipv6nat::run(docker, yes),
        Foreign::Docker => engine::run(docker, yes),
    }
}
