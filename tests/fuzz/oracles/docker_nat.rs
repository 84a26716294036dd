//! What must hold of any bytes that the kernel prints another program's rule with.

use super::decode::{Rule, verdicts};
use crate::netlink::shown::ShownChain;

/// Addresses, ports and names are in the rule, and are not made up.
pub(crate) fn check(payload: &[u8]) {
    let rule = Rule::read(payload);
    let holds = |part: &[u8]| payload.windows(part.len()).any(|bytes| bytes == part);
    if let Some(forward) = rule.forward {
        let (addr, port) = forward.target;
        assert!(holds(&addr.octets()) && holds(&port.to_be_bytes()));
        assert!(forward.host_addr.is_none_or(|addr| holds(&addr.octets())));
        let port = forward.host_port;
        assert!(holds(&port.to_be_bytes()) || holds(&port.to_ne_bytes()));
    }
    let bridge = rule.bridge.unwrap_or_default();
    assert!(bridge.is_empty() || bridge.contains('\u{fffd}') || holds(bridge.as_bytes()));
    let chains = ShownChain::read(payload).map(|chain| chain.name);
    let names = rule
        .jumps
        .into_iter()
        .chain(verdicts(payload))
        .chain(chains);
    for name in names.filter(|name| !name.is_empty() && !name.contains('\u{fffd}')) {
        assert!(holds(name.as_bytes()));
    }
}
