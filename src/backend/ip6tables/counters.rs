//! Reads how many connections each rule of the NAT table has taken. Pure.
//!
//! The kernel consults that table for the first packet of a connection only, so its counters count
//! connections.

use std::collections::BTreeMap;

use crate::model::rule::{COMMENT_PREFIX, RuleId};

/// The counters in the output of `ip6tables-save -c`, by the rules of ours. A line of another form is
/// another program's.
pub(super) fn read(saved: &[u8]) -> BTreeMap<RuleId, u64> {
    let text = String::from_utf8_lossy(saved);
    text.lines().filter_map(line).collect()
}

/// `[3:240] -A PREROUTING … --comment "docker-nat66:0123456789abcdef" …`.
fn line(line: &str) -> Option<(RuleId, u64)> {
    let (packets, rest) = line.strip_prefix('[')?.split_once(':')?;
    let (_, rule) = rest.split_once("] -A ")?;
    let comment = &rule[rule.find(COMMENT_PREFIX)?..];
    let end = comment.find(['"', ' ']).unwrap_or(comment.len());
    Some((
        RuleId::from_comment(&comment[..end])?,
        packets.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_of_rules_of_ours_are_read_and_nothing_else() {
        let saved = br#"*nat
:PREROUTING ACCEPT [9:900]
[7:560] -A PREROUTING -i eth0 -p tcp -m comment --comment "docker-nat66:0123456789abcdef" -j DNAT
[5:5] -A PREROUTING -i eth0 -m comment --comment docker-nat66:00000000000000ff -j DNAT
[4:4] -A PREROUTING -i eth0 -m comment --comment "docker-nat66:short" -j DNAT
[3:3] -A PREROUTING -i eth0 -j ACCEPT
-A PREROUTING -m comment --comment "docker-nat66:0123456789abcdee" -j DNAT
COMMIT
"#;
        let counts: Vec<(String, u64)> = read(saved)
            .into_iter()
            .map(|(id, packets)| (id.to_string(), packets))
            .collect();
        let expected = [("00000000000000ff", 5), ("0123456789abcdef", 7)];
        assert_eq!(counts, expected.map(|(id, n)| (id.to_owned(), n)));
    }
}
