//! Ports in few words.

use std::collections::BTreeMap;

/// `7000/tcp`, or `7000-7004/tcp` for a range.
pub(super) fn range(first: u16, last: u16, proto: &str) -> String {
    if first == last {
        format!("{first}/{proto}")
    } else {
        format!("{first}-{last}/{proto}")
    }
}

/// Ports in order, those of one protocol together and neighbours as ranges:
/// `53,8000-8003/tcp 53/udp`.
pub(super) fn list<'p>(ports: impl IntoIterator<Item = (u16, &'p str)>) -> String {
    let mut by_proto: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for (port, proto) in ports {
        by_proto.entry(proto).or_default().push(port);
    }
    let texts = by_proto.into_iter().map(|(proto, mut ports)| {
        ports.sort_unstable();
        ports.dedup();
        let ranges: Vec<String> = ports
            .chunk_by(|a, b| a.checked_add(1) == Some(*b))
            .map(|chunk| match chunk {
                [first, .., last] => format!("{first}-{last}"),
                _ => chunk.iter().map(u16::to_string).collect(),
            })
            .collect();
        format!("{}/{proto}", ranges.join(","))
    });
    texts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_ranges_and_protocols_stay_apart() {
        let ports = [
            (8002, "tcp"),
            (53, "udp"),
            (8000, "tcp"),
            (8001, "tcp"),
            (53, "tcp"),
        ];
        assert_eq!(list(ports), "53,8000-8002/tcp 53/udp");
        assert_eq!(list([(65535, "tcp"), (65534, "tcp")]), "65534-65535/tcp");
        assert_eq!(
            (&*range(1, 1, "tcp"), &*range(1, 2, "udp")),
            ("1/tcp", "1-2/udp")
        );
    }
}
