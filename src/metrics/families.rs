//! What is measured: the name of each family, its labels, and where its values come from.

use super::process;
use super::text::{Kind, Text};
use crate::control::board::Reports;
use crate::control::resync::ResyncReason;
use crate::control::status::{DaemonState, Status};
use crate::mapper::skipped::Reason;
use crate::model::problem::ProblemId;
use crate::model::text::escape;
use crate::reconcile::report::Operation;

/// The whole text. `status` is of the same moment as the reports.
pub(crate) fn text(status: &Status, reports: &Reports) -> String {
    let mut text = of_daemon(status, reports);
    process::write(&mut text);
    text.into_string()
}

/// Without the figures that every process has.
fn of_daemon(status: &Status, reports: &Reports) -> Text {
    let mut text = Text::default();
    state(&mut text, status, reports);
    rules(&mut text, status, reports);
    connections(&mut text, reports);
    docker_and_journal(&mut text, status, reports);
    text
}

fn state(text: &mut Text, status: &Status, reports: &Reports) {
    let engine = engine_label(status.docker.engine_version.as_deref());
    text.family(
        "docker_nat66_build_info",
        Kind::Gauge,
        "Always 1; the labels say what runs. The engine is empty before the first connection.",
    )
    .sample(
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("backend", &status.backend),
            ("engine", &engine),
        ],
        1_u64,
    );
    let is_ready = !matches!(
        reports.figures.state,
        DaemonState::Starting | DaemonState::Stopping
    );
    text.family(
        "docker_nat66_ready",
        Kind::Gauge,
        "Whether the first complete list of Docker has been applied.",
    )
    .sample(&[], is_ready);
    let mut degraded = text.family(
        "docker_nat66_degraded",
        Kind::Gauge,
        "Whether there is a problem of this kind; docker-nat66 status describes it.",
    );
    for id in ProblemId::ALL {
        let has = status.problems.iter().any(|p| p.id == id.as_str());
        degraded.sample(&[("reason", id.as_str())], has);
    }
    text.family(
        "docker_nat66_log_lines_lost_total",
        Kind::Counter,
        "Lines of the log that nobody read in time.",
    )
    .sample(&[], status.log_lines_lost);
}

/// What the Engine says of itself may be anything, and `docker-nat66 metrics` prints it to terminals.
fn engine_label(version: Option<&str>) -> String {
    escape(version.unwrap_or_default().chars())
}

fn rules(text: &mut Text, status: &Status, reports: &Reports) {
    let measured = &reports.measured;
    let mut forwards = text.family(
        "docker_nat66_forwards",
        Kind::Gauge,
        "Published ports: those that should be open, and those that are.",
    );
    forwards.sample(&[("state", "wanted")], measured.wanted);
    forwards.sample(&[("state", "applied")], status.forwards);
    let mut closed = text.family(
        "docker_nat66_closed_ports",
        Kind::Gauge,
        "Published ports, and containers, that open nothing over IPv6.",
    );
    for reason in Reason::WORDS {
        let count = measured.closed.get(reason).copied();
        closed.sample(&[("reason", reason)], count.unwrap_or_default());
    }
    text.family("docker_nat66_rules", Kind::Gauge, "Rules in the kernel.")
        .sample(&[], status.rules);
    let mut changes = text.family(
        "docker_nat66_rule_changes_total",
        Kind::Counter,
        "Rules inserted and removed, and those that the kernel refused.",
    );
    for (change, times) in &measured.changes {
        let outcome = if change.succeeded { "ok" } else { "failed" };
        let labels = [
            ("op", change.operation.as_str()),
            ("kind", &change.kind),
            ("outcome", outcome),
        ];
        changes.sample(&labels, *times);
    }
    text.family(
        "docker_nat66_event_to_rule_seconds",
        Kind::Histogram,
        "From reading an event of Docker to the change of the last rule that follows from it.",
    )
    .histogram(&[], &measured.event_to_rule);
    let mut apply = text.family(
        "docker_nat66_apply_seconds",
        Kind::Histogram,
        "How long the kernel, or its tool, took for a batch of changes.",
    );
    for operation in [Operation::Insert, Operation::Remove, Operation::Replace] {
        let histogram = measured.apply.get(&operation).cloned();
        let labels = [("op", operation.as_str())];
        apply.histogram(&labels, &histogram.unwrap_or_default());
    }
    let last_resync = status.last_resync.as_ref().map(|it| it.at.as_secs());
    let mut resyncs = text.family(
        "docker_nat66_resyncs_total",
        Kind::Counter,
        "Full comparisons of Docker, journal and kernel.",
    );
    for (reason, word) in ResyncReason::ALL {
        let times = measured.resyncs.get(&reason).copied();
        resyncs.sample(&[("reason", word)], times.unwrap_or_default());
    }
    text.family(
        "docker_nat66_last_resync_timestamp_seconds",
        Kind::Gauge,
        "When the last of them ended, since the epoch; 0 before the first.",
    )
    .sample(&[], last_resync.unwrap_or_default());
    text.family(
        "docker_nat66_drift_repairs_total",
        Kind::Counter,
        "Rules of ours that another program had changed, and that were put right.",
    )
    .sample(&[], status.drift_repairs);
}

/// What the ports without a series of their own have instead of each label.
const OTHER: &str = "other";

fn connections(text: &mut Text, reports: &Reports) {
    let Some(figures) = &reports.measured.connections else {
        return;
    };
    let mut family = text.family(
        "docker_nat66_connections_total",
        Kind::Counter,
        "Connections to published ports; of 200 by themselves, of all others together.",
    );
    for (at, container, connections) in &figures.ports {
        let port = match at.addr {
            Some(addr) => format!("[{addr}]:{}", at.port),
            None => at.port.to_string(),
        };
        let labels = [
            ("port", port.as_str()),
            ("proto", at.proto.as_str()),
            ("container", container),
        ];
        family.sample(&labels, *connections);
    }
    let labels = ["port", "proto", "container"].map(|label| (label, OTHER));
    family.sample(&labels, figures.others);
}

fn docker_and_journal(text: &mut Text, status: &Status, reports: &Reports) {
    let measured = &reports.measured;
    text.family(
        "docker_nat66_docker_connected",
        Kind::Gauge,
        "Whether the daemon follows Docker's events.",
    )
    .sample(&[], status.docker.connected);
    text.family(
        "docker_nat66_docker_reconnects_total",
        Kind::Counter,
        "Connections to Docker after the first.",
    )
    .sample(&[], measured.docker_reconnects);
    text.family(
        "docker_nat66_journal_records",
        Kind::Gauge,
        "Records of the journal.",
    )
    .sample(&[], status.journal.records);
    text.family(
        "docker_nat66_journal_bytes",
        Kind::Gauge,
        "Size of the journal's files.",
    )
    .sample(&[], measured.journal_bytes);
    text.family(
        "docker_nat66_journal_generation",
        Kind::Gauge,
        "Counts every change of the journal, across restarts.",
    )
    .sample(&[], status.journal.generation);
    text.family(
        "docker_nat66_journal_sync_seconds",
        Kind::Histogram,
        "How long a change of the journal took until it was on the disk.",
    )
    .histogram(&[], &measured.journal_sync);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::connections::ConnectionFigures;
    use crate::model::forward::Proto;
    use crate::model::rule::HostPort;
    use crate::reconcile::report::Change;

    /// The words of a text that are names of metrics.
    fn names(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names = words.filter(|word| word.starts_with("docker_nat66_"));
        let suffixes = ["_bucket", "_sum", "_count"];
        let base = |name: &'_ str| {
            suffixes
                .iter()
                .find_map(|it| name.strip_suffix(it).map(str::len))
        };
        names
            .map(|name| &name[..base(name).unwrap_or(name.len())])
            .collect()
    }

    #[test]
    fn the_alerts_ask_only_for_metrics_that_there_are() {
        let text = text(&Status::default(), &Reports::default());
        let there = names(&text);
        let asked = names(include_str!("../assets/alerts.yaml"));
        assert!(
            asked.len() > 5 && asked.is_subset(&there),
            "{asked:?} {there:?}"
        );
    }

    #[test]
    fn connections_are_named_by_port_and_container_where_they_are_read() {
        let mut reports = Reports::default();
        let name = "docker_nat66_connections_total";
        let shown = |reports: &Reports| {
            let text = text(&Status::default(), reports);
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(shown(&reports), Vec::<String>::new());
        let (proto, port) = (Proto::Udp, 53);
        let bound = "2001:db8::1".parse().ok();
        let at = |addr| HostPort { proto, addr, port };
        let ports = vec![
            (at(None), "a\"b".to_owned(), 3),
            (at(bound), r"c\n".to_owned(), 4),
        ];
        let others = 5;
        reports.measured.connections = Some(ConnectionFigures { ports, others });
        let expected = [
            r#"{port="53",proto="udp",container="a\"b"} 3"#,
            r#"{port="[2001:db8::1]:53",proto="udp",container="c\\n"} 4"#,
            r#"{port="other",proto="other",container="other"} 5"#,
        ];
        assert_eq!(
            shown(&reports),
            expected.map(|labels| format!("{name}{labels}"))
        );
    }

    /// `tests/ship` gives the file to promtool. It is written anew where `DOCKER_NAT66_WRITE_GOLDENS` is
    /// set.
    #[test]
    fn the_text_is_the_one_that_promtool_reads() {
        let mut reports = Reports::default();
        let (proto, addr) = (Proto::Tcp, "2001:db8::1".parse().ok());
        let at = |addr, port| HostPort { proto, addr, port };
        let measured = &mut reports.measured;
        measured.connections = Some(ConnectionFigures {
            ports: vec![
                (at(None, 8080), "web".to_owned(), 3),
                (at(addr, 5432), "a\"b\\u{1b}".to_owned(), u64::MAX),
            ],
            others: 5,
        });
        for succeeded in [true, false] {
            let change = Change {
                operation: Operation::Insert,
                kind: "dnat".into(),
                succeeded,
            };
            measured.changes.insert(change, 7);
        }
        let text = of_daemon(&Status::default(), &reports).into_string();
        let text = text.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shipped/metrics.prom");
        if std::env::var_os("DOCKER_NAT66_WRITE_GOLDENS").is_some() {
            std::fs::write(path, &text).expect("written");
        }
        let golden = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(text, golden, "{path}");
    }

    #[test]
    fn a_version_cannot_steer_a_terminal() {
        let label = engine_label(Some("28.5\x1b[2J\r\n1"));
        assert_eq!(label, r"28.5\u{1b}[2J\r\n1");
        assert_eq!(engine_label(None), "");
    }
}
