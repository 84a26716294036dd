//! Made-up rows and statuses.

use std::net::Ipv6Addr;

use crate::control::moment::Moment;
use crate::control::resync::{LastResync, ResyncReason};
use crate::control::row::Row;
use crate::control::status::{
    ClosedPort, DaemonState, DockerFigures, DockerNatFigures, EgressFigures, JournalFigures,
    LastChange, PortChange, ReportedProblem, Status,
};
use crate::docker_nat::gate::StandbyState;

/// The moment of every sample, 2026-11-30T09:08:02Z.
const NOW_SECS: u64 = 1_796_029_682;

/// The same.
pub(super) fn now() -> Moment {
    Moment::from_secs(NOW_SECS)
}

pub(super) fn ago(secs: u64) -> Moment {
    Moment::from_secs(NOW_SECS - secs)
}

pub(super) fn addr(text: &str) -> Option<Ipv6Addr> {
    Some(text.parse().expect("an address"))
}

/// A DNAT rule of this port.
fn dnat(name: &str, (host, container): (u16, u16), proto: &str, age: u64) -> Row {
    Row {
        v: 1,
        id: format!("{:016x}", u64::from(host) * 7919 + u64::from(container)),
        state: "applied".to_owned(),
        kind: "dnat".to_owned(),
        backend: "nftables".to_owned(),
        proto: Some(proto.to_owned()),
        host_port: Some(host),
        container_addr: addr("fdfd:5898:4917:1:0:242:ac11:2"),
        container_port: Some(container),
        container_id: Some("c9".repeat(32)),
        container_name: Some(name.to_owned()),
        network: Some("bridge".to_owned()),
        inserted_at: NOW_SECS - age,
        purpose: Some("outside".to_owned()),
        hook: Some("forwards".to_owned()),
        ..Row::default()
    }
}

/// What is open.
pub(super) fn rows() -> Vec<Row> {
    let limited = |(host, source): (u16, &str)| Row {
        source: Some(source.to_owned()),
        ..dnat("ranged", (host, host), "tcp", 150)
    };
    let mut rows: Vec<Row> = (7000..7005)
        .map(|port| limited((port, "2001:db8::/32")))
        .collect();
    rows.extend([
        limited((7010, "2001:db8::/32")),
        limited((7010, "2001:db8:9:1::/64")),
        Row {
            source: None,
            purpose: Some("host".to_owned()),
            ..limited((7010, ""))
        },
        dnat("dns", (53, 53), "udp", 11_520),
        dnat("dns", (53, 53), "tcp", 11_520),
        Row {
            host_addr: addr("2001:db8:9::1"),
            network: Some("my-compose-project_default".to_owned()),
            ..dnat("my-compose-project-web_1", (5432, 5432), "tcp", 11_520)
        },
        Row {
            state: "intended".to_owned(),
            ..dnat("starting", (8080, 80), "tcp", 0)
        },
        Row {
            state: "removing".to_owned(),
            ..dnat("ending", (8081, 80), "tcp", 86_400 * 3)
        },
    ]);
    rows
}

fn shut(name: &str, port: Option<(u16, &str)>, brief: &str, reason: &str) -> ClosedPort {
    ClosedPort {
        container_id: format!("{name}0123456789abcdef"),
        container_name: name.to_owned(),
        proto: port.map(|(_, proto)| proto.to_owned()),
        port: port.map(|(port, _)| port),
        reason: reason.to_owned(),
        brief: brief.to_owned(),
        unexpected: brief == "malformed label",
    }
}

/// What is closed.
pub(super) fn closed() -> Vec<ClosedPort> {
    let v4 = "bound to the IPv4 address 127.0.0.1 only";
    vec![
        shut("v4only", Some((9000, "tcp")), "IPv4 only", v4),
        shut("v4only", Some((9001, "tcp")), "IPv4 only", v4),
        shut("v4only", Some((9001, "udp")), "IPv4 only", v4),
        shut(
            "inside",
            Some((9100, "tcp")),
            "internal network",
            "its network back is internal",
        ),
        shut(
            "odd",
            None,
            "malformed label",
            "label docker-nat66.ports=\"80/icmp\" is malformed, expected PORT[/PROTO] or a range",
        ),
    ]
}

/// Names that want to steer a terminal or fill it.
pub(super) fn hostile_rows() -> Vec<Row> {
    vec![
        dnat("\u{1b}[2J\u{202e}red\nline", (1, 1), "tcp", 1),
        dnat(&"x".repeat(65_536), (2, 2), "tcp", 1),
        dnat(&"データベース".repeat(9), (3, 3), "tcp", 1),
        Row {
            network: Some("n".repeat(300)),
            source: Some("2001:db8:1111:2222:3333:4444:5555:6666/128".to_owned()),
            host_addr: addr("2001:db8:1111:2222:3333:4444:5555:6666"),
            ..dnat("", (65_535, 65_535), "sctp", 1)
        },
    ]
}

/// Rules of both backends.
pub(super) fn rules() -> Vec<Row> {
    let fixed = |number: u32, kind: &str, purpose: &str, hook: &str| Row {
        id: format!("{number:016x}"),
        state: "applied".to_owned(),
        kind: kind.to_owned(),
        purpose: Some(purpose.to_owned()).filter(|p| !p.is_empty()),
        hook: Some(hook.to_owned()),
        dev: Some("eth0".to_owned()),
        prefix: Some("fdfd:5898:4917:1::/64".to_owned()),
        inserted_at: NOW_SECS - 11_520,
        ..Row::default()
    };
    let mut rows = vec![
        fixed(1, "masquerade", "", "nat POSTROUTING"),
        fixed(2, "hairpin", "", "nat POSTROUTING"),
        fixed(3, "jump", "forward", "filter FORWARD"),
        fixed(4, "guard", "established", "filter DOCKER-NAT66"),
        fixed(5, "guard", "forwarded", "filter DOCKER-NAT66"),
        fixed(6, "guard", "unpublished", "filter DOCKER-NAT66"),
        fixed(7, "prefix", "", "prefixes"),
        Row {
            hook: None,
            ..fixed(8, "refuse", "", "")
        },
    ];
    rows.extend(self::rows());
    for (row, number) in rows.iter_mut().zip(1_u64..) {
        row.id = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    rows
}

fn healthy() -> Status {
    Status {
        v: 1,
        pid: 371,
        state: DaemonState::Running,
        backend: "nftables".to_owned(),
        docker: DockerFigures {
            connected: true,
            api_version: Some("1.41".to_owned()),
            engine_version: Some("20.10.24".to_owned()),
            connected_since: Some(ago(11_520)),
        },
        forwards: 9,
        rules: 15,
        drift_repairs: 9,
        resyncs: 40,
        journal: JournalFigures {
            records: 15,
            generation: 42,
        },
        uptime_s: 11_520,
        version: "0.3.0".to_owned(),
        containers: 4,
        closed: super::samples::closed()[..4].to_vec(),
        egress: vec![EgressFigures {
            dev: "eth0".to_owned(),
            addresses: vec!["2001:db8:9::1".parse().expect("an address")],
        }],
        prefixes: vec!["fdfd:5898:4917:1::/64".to_owned()],
        backend_variant: "owned table".to_owned(),
        backend_reason: "no ip6tables tool works here".to_owned(),
        last_change: Some(LastChange {
            at: ago(240),
            change: PortChange::Opened,
            port: "8080/tcp".to_owned(),
            container: "web".to_owned(),
            others: 0,
            after_us: Some(2_412),
        }),
        last_resync: Some(LastResync {
            at: ago(12),
            reason: ResyncReason::Timer,
            repaired: 0,
        }),
        last_repair: Some(ago(7_300)),
        ..Status::default()
    }
}

/// Two things are wrong.
pub(super) fn degraded() -> Status {
    let problem = |id: &str, what: &str, remedy: Option<&str>| ReportedProblem {
        id: id.to_owned(),
        what: what.to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    Status {
        state: DaemonState::Degraded,
        degraded_since: Some(ago(40)),
        failed_rounds: 3,
        log_lines_lost: 17,
        problems: vec![
            problem(
                "forwarding",
                "net.ipv6.conf.all.forwarding is 0: no packet reaches a container",
                Some("sysctl -w net.ipv6.conf.all.forwarding=1"),
            ),
            problem(
                "forward-drop",
                "chain ufw6-user-forward of table ip6 filter drops every new connection to a \
                 published port, and our rules cannot overrule it",
                Some(
                    "ufw route allow in on eth0 to fdfd:5898:4917:1::/64 comment 'published ports \
                     of containers' && ufw reload",
                ),
            ),
            problem("watchdog", "the journal has not answered for 7 s", None),
        ],
        closed: super::samples::closed(),
        ..healthy()
    }
}

/// A status for each state, with its name.
pub(super) fn statuses() -> Vec<(&'static str, Status)> {
    let starting = Status {
        state: DaemonState::Starting,
        docker: DockerFigures::default(),
        forwards: 0,
        containers: 0,
        closed: Vec::new(),
        drift_repairs: 0,
        last_repair: None,
        last_change: None,
        last_resync: None,
        uptime_s: 3,
        waiting_for: Some("Docker".to_owned()),
        prefixes: Vec::new(),
        egress: Vec::new(),
        backend: "ip6tables".to_owned(),
        backend_variant: "nf_tables".to_owned(),
        backend_reason: "--backend".to_owned(),
        ..healthy()
    };
    let waiting = Status {
        unanswered: (0..22)
            .map(|n| format!("container web{n} (0123456789ab)"))
            .collect(),
        waiting_for: Some("Docker's answer about container web0 (0123456789ab)".to_owned()),
        ..starting.clone()
    };
    let standby = Status {
        forwards: 0,
        containers: 0,
        rules: 0,
        closed: Vec::new(),
        native: Some(DockerNatFigures {
            state: StandbyState::On,
            served: 1,
            unserved: vec!["8081/tcp to [fdfd:5898:4917:1::3]:80".to_owned()],
            stray: vec!["8082/tcp to [fdfd:5898:4917:1::4]:80".to_owned()],
            closed: (0..25)
                .map(|n| format!("{n}/tcp to [fdfd::2]:80"))
                .collect(),
        }),
        ..healthy()
    };
    let changes = Status {
        last_change: Some(LastChange {
            at: ago(1),
            change: PortChange::Closed,
            port: "[2001:db8:9::1]:8080/tcp".to_owned(),
            container: "x".repeat(300),
            others: 41,
            after_us: None,
        }),
        last_resync: Some(LastResync {
            at: ago(0),
            reason: ResyncReason::RulesChanged,
            repaired: 2,
        }),
        egress: vec![
            EgressFigures {
                dev: "eth0".to_owned(),
                addresses: Vec::new(),
            },
            EgressFigures {
                dev: "wan0".to_owned(),
                addresses: (1..4)
                    .map(|n| Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1))
                    .collect(),
            },
        ],
        ..healthy()
    };
    vec![
        ("starting", starting),
        ("waiting", waiting),
        ("healthy", healthy()),
        ("degraded", degraded()),
        ("standby", standby),
        ("changes", changes),
        (
            "many",
            Status {
                forwards: 10_000,
                rules: 20_007,
                backend: "ip6tables".to_owned(),
                backend_variant: "nf_tables".to_owned(),
                backend_reason: "the tool works and its tables can be listed".to_owned(),
                ..healthy()
            },
        ),
        (
            "stopping",
            Status {
                state: DaemonState::Stopping,
                ..healthy()
            },
        ),
    ]
}
