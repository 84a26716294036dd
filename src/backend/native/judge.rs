//! What must hold of any bytes that somebody else's rule is printed with.

use super::DOCKER;
use super::decode::Rule;

/// Addresses, ports and names are in the rule, and are not made up.
pub(in crate::backend) fn judge(payload: &[u8]) {
    let rule = Rule::read(payload);
    let holds = |part: &[u8]| payload.windows(part.len()).any(|bytes| bytes == part);
    if let Some((addr, port)) = rule.target() {
        assert!(holds(&addr.octets()) && holds(&port.to_be_bytes()));
    }
    assert!(!rule.jumps_to(DOCKER) || holds(DOCKER.as_bytes()));
}
