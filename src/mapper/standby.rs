//! Decides which rules the kernel may hold beside Docker's own IPv6 NAT.

use std::borrow::Cow;

use crate::docker_nat::gate::StandbyState;
use crate::model::change::Desired;

/// The part of `mapped` that should be in the kernel now. The firewall writer calls this in each
/// round just before it changes anything, because Docker may have set rules of its own since
/// `mapped` was computed.
pub(crate) fn admitted(mapped: &Desired, state: StandbyState) -> Cow<'_, Desired> {
    match state {
        StandbyState::Off => Cow::Borrowed(mapped),
        StandbyState::On => Cow::Owned(Desired::nothing()),
        StandbyState::Unsettled => Cow::Owned(Desired {
            may_insert: false,
            ..mapped.clone()
        }),
    }
}
