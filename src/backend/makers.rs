//! What each backend makes of the parts of an intent. Pure.

use super::{ip6tables, nftables};
use crate::model::forward::Forward;
use crate::model::intent::Policy;
use crate::model::rule::{BackendKind, Rule};

/// What a backend makes of the parts of an intent.
pub(super) struct Makers {
    /// The rules that follow from a policy alone.
    pub(super) statics: fn(&Policy) -> Vec<Rule>,
    /// Those for source addresses of subnets, once Docker has answered.
    pub(super) snat: fn(&Policy) -> Vec<Rule>,
    /// The rules that one forward needs.
    pub(super) of_forward: fn(&Policy, &Forward) -> Vec<Rule>,
}

pub(super) fn makers(backend: BackendKind) -> Makers {
    match backend {
        BackendKind::Ip6tables => Makers {
            statics: ip6tables::compile::statics,
            snat: ip6tables::compile::snat,
            of_forward: ip6tables::compile::of_forward,
        },
        BackendKind::Nftables => Makers {
            statics: nftables::compile::statics,
            snat: nftables::compile::snat,
            of_forward: nftables::compile::of_forward,
        },
    }
}
