//! What `status` shows of a round, and why ports close in it.

use std::collections::BTreeSet;

use crate::actors::messages::Converge;
use crate::control::status::DockerNatFigures;
use crate::docker_nat::gate::StandbyState;
use crate::docker_nat::watch::Observation;
use crate::journal::history::cause::Cause;
use crate::model::published::HostForward;

/// Docker's own IPv6 NAT as `status` shows it.
pub(super) fn figures_of(observation: &Observation) -> DockerNatFigures {
    let audit = &observation.audit;
    let texts =
        |forwards: &BTreeSet<HostForward>| forwards.iter().map(ToString::to_string).collect();
    DockerNatFigures {
        state: observation.state,
        served: audit.served.len(),
        unserved: texts(&audit.unserved),
        stray: texts(&audit.stray),
        closed: texts(&audit.closed),
    }
}

/// Why ports close in the round that began at this second since the epoch, and in which Docker's own NAT has
/// this state.
pub(super) fn cause_of(message: &Converge, state: StandbyState, began: u64) -> Cause {
    Cause::Round {
        intent: message.intent.clone(),
        remaining: message.remaining.clone(),
        stands_by: state == StandbyState::On,
        began,
    }
}
