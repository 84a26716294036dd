//! Made-up comparisons, and counters of connections.

use super::samples;
use crate::control::comparison::{Comparison, Difference};
use crate::control::connections::PortConnections;
use crate::control::row::Row;

/// All three agree.
pub(super) fn equal() -> Comparison {
    Comparison {
        v: 1,
        equal: true,
        generation: 12_345,
        docker_known: true,
        journal: 1_009,
        kernel: 1_009,
        docker: 1_009,
        differences: Vec::new(),
    }
}

/// Each comparison with the name of its file.
pub(super) fn all() -> Vec<(&'static str, Comparison)> {
    // Ids are hashes.
    let hash = |(row, number): (Row, u64)| Row {
        id: format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        ..row
    };
    let mut rows = samples::rows().into_iter().zip(1..).map(hash);
    let mut differs = |journal: Option<&str>, in_kernel, astray, in_docker| Difference {
        row: rows.next().expect("a row"),
        in_journal: journal.map(str::to_owned),
        in_kernel,
        astray,
        in_docker,
    };
    let differences = vec![
        differs(Some("applied"), 0, 0, true),
        differs(Some("applied"), 0, 1, true),
        differs(Some("intended"), 1, 1, true),
        differs(None, 1, 0, false),
    ];
    let differing = Comparison {
        equal: false,
        docker_known: false,
        kernel: 1_010,
        differences,
        ..equal()
    };
    vec![("diff-equal", equal()), ("diff-differs", differing)]
}

/// Counters of two moments: one that rose, one that stayed, one that began anew, and a new one.
pub(super) fn connections() -> (Vec<PortConnections>, Vec<PortConnections>) {
    let count = |port: &str, container: &str, connections| PortConnections {
        port: port.to_owned(),
        container: container.to_owned(),
        connections,
    };
    let before = vec![
        count("8080/tcp", "web", 167),
        count("53/udp", "dns", 9),
        count("8081/tcp", "again", 50),
    ];
    let now = vec![
        count("8080/tcp", "web", 4_050),
        count("53/udp", "dns", 9),
        count("8081/tcp", "again", 1),
        count("[2001:db8:9::1]:5432/tcp", "my-compose-project-web_1", 3),
    ];
    (before, now)
}
