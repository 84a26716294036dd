//! The status of the daemon: every figure once.
//!
//! [`Status`] is what goes over the control socket, what `status --json` prints, and what the screen
//! of `status` is made from ([`crate::cli`]). A new figure takes a field here, and the line that
//! reports it where it is known ([`super::board`]).

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::resync::LastResync;
use crate::docker_nat::gate::StandbyState;
use crate::model::problem::Problem;

/// `status --json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this shape.
    pub v: u32,
    /// Process id.
    pub pid: u32,
    /// What it is doing.
    pub state: DaemonState,
    /// Why it is degraded; one sentence each, after the id of its kind.
    pub troubles: Vec<String>,
    /// The same, in parts.
    #[serde(default)]
    pub problems: Vec<ReportedProblem>,
    /// Which backend holds the rules.
    pub backend: String,
    /// The Engine.
    pub docker: DockerFigures,
    /// Published ports that are open over IPv6.
    pub forwards: usize,
    /// Rules in the kernel.
    pub rules: usize,
    /// Published ports that open nothing, with the reason.
    pub skipped: Vec<String>,
    /// What the daemon waits for before its start is over; null once it is.
    #[serde(default)]
    pub waiting_for: Option<String>,
    /// Containers that Docker has named; it has not yet said what they publish.
    #[serde(default)]
    pub unanswered: Vec<String>,
    /// Docker's own IPv6 NAT; null with `--native force`, and before the first observation.
    pub native: Option<DockerNatFigures>,
    /// Rules that somebody else had changed and the daemon put right.
    pub drift_repairs: u64,
    /// Full comparisons of Docker, journal and kernel.
    pub resyncs: u64,
    /// The journal.
    pub journal: JournalFigures,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// Since when it is degraded without a break; null while it is not.
    #[serde(default)]
    pub degraded_since: Option<Moment>,
    /// Containers that have a published port open over IPv6.
    #[serde(default)]
    pub containers: usize,
    /// The ports of `skipped`, in parts.
    #[serde(default)]
    pub closed: Vec<ClosedPort>,
    /// The egress interfaces.
    #[serde(default)]
    pub egress: Vec<EgressFigures>,
    /// The containers' prefixes.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Which of them are followed, by the option that says `auto`: `dev`, `prefix`.
    #[serde(default)]
    pub auto: Vec<String>,
    /// Which variant of the backend it is.
    #[serde(default)]
    pub backend_variant: String,
    /// Why this backend was chosen.
    #[serde(default)]
    pub backend_reason: String,
    /// The last change of what is open.
    #[serde(default)]
    pub last_change: Option<LastChange>,
    /// The last comparison of `resyncs`.
    #[serde(default)]
    pub last_resync: Option<LastResync>,
    /// When the last rule of `drift_repairs` was put right.
    #[serde(default)]
    pub last_repair: Option<Moment>,
    /// Rounds that ended with the kernel or the journal not as they should be.
    #[serde(default)]
    pub failed_rounds: u64,
    /// Lines of the log that nobody read in time, since the start.
    #[serde(default)]
    pub log_lines_lost: u64,
}

impl Status {
    /// Version of the shape.
    pub(super) const VERSION: u32 = 1;

    /// Whether Docker's own IPv6 NAT serves; `None` if nobody observes it.
    pub(crate) fn standby_state(&self) -> Option<StandbyState> {
        self.native.as_ref().map(|nat| nat.state)
    }
}

/// What `status` says of the backend in use.
#[derive(Debug, Clone, Default)]
pub struct AboutBackend {
    /// Which variant of it.
    pub variant: &'static str,
    /// Why it was chosen; empty where nothing was to choose.
    pub reason: String,
}

impl AboutBackend {
    /// A variant that was not chosen.
    pub(crate) fn variant(variant: &'static str) -> Self {
        let reason = String::new();
        Self { variant, reason }
    }
}

/// What the daemon is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DaemonState {
    /// Before the first complete list has been applied.
    #[default]
    Starting,
    /// The kernel matches what Docker publishes.
    Running,
    /// Something is wrong; `troubles` says what.
    Degraded,
    /// Asked to leave.
    Stopping,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedProblem {
    /// Its kind, see [`crate::model::problem::ProblemId`].
    pub id: String,
    /// One sentence.
    pub what: String,
    /// What solves it: a command for a shell, or a few words; null where that is unknown.
    #[serde(rename = "do")]
    pub remedy: Option<String>,
}

impl From<&Problem> for ReportedProblem {
    fn from(problem: &Problem) -> Self {
        Self {
            id: problem.id.to_string(),
            what: problem.what.clone(),
            remedy: problem.remedy.clone(),
        }
    }
}

/// A published port that opens nothing over IPv6, or a container of which all are closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedPort {
    /// The container's full id.
    pub container_id: String,
    /// Its name, as Docker gave it.
    pub container_name: String,
    /// `tcp`, `udp` or `sctp`; null where the whole container is closed.
    pub proto: Option<String>,
    /// The port, on the host where it has one there; null where the whole container is closed.
    pub port: Option<u16>,
    /// Why, in a sentence.
    pub reason: String,
    /// Why, in a few words.
    pub brief: String,
    /// Whether an operator would be surprised: the rest is Docker's everyday business.
    pub unexpected: bool,
}

/// An egress interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressFigures {
    /// Its name.
    pub dev: String,
    /// Its addresses that routers forward.
    pub addresses: Vec<Ipv6Addr>,
}

/// What became of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortChange {
    /// It was opened.
    Opened,
    /// It leads to another container or port than before.
    Moved,
    /// It was closed.
    Closed,
}

/// The last change of what is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastChange {
    /// When.
    pub at: Moment,
    /// What happened.
    pub change: PortChange,
    /// The port: `8080/tcp`, `[2001:db8::1]:8080/tcp`.
    pub port: String,
    /// The container's name, as Docker gave it.
    pub container: String,
    /// How many other ports were changed with it.
    pub others: usize,
    /// Microseconds from Docker's event to the rule; null where no event caused it.
    pub after_us: Option<u64>,
}

/// The Engine as the daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerFigures {
    /// Whether the daemon is following its events.
    pub connected: bool,
    /// The API version in use; null before the first connection.
    pub api_version: Option<String>,
    /// What the Engine calls itself; null before the first connection.
    #[serde(default)]
    pub engine_version: Option<String>,
    /// Since when it is connected; null while it is not.
    #[serde(default)]
    pub connected_since: Option<Moment>,
}

/// Docker's own IPv6 NAT as the daemon sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerNatFigures {
    /// Whether it serves.
    #[serde(with = "StandbyText")]
    pub state: StandbyState,
    /// How many published ports it serves.
    pub served: usize,
    /// Published ports that it does not serve. This list and the next two are empty unless it is on.
    pub unserved: Vec<String>,
    /// Ports that it serves although no container publishes them.
    pub stray: Vec<String>,
    /// Ports that it serves although a label of ours closes them, or limits their sources.
    pub closed: Vec<String>,
}

/// How a [`StandbyState`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "StandbyState", rename_all = "lowercase")]
enum StandbyText {
    Off,
    On,
    Unsettled,
}

/// The journal as the daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalFigures {
    /// Records.
    pub records: usize,
    /// Counts every change of the journal.
    pub generation: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::resync::ResyncReason;

    #[test]
    fn the_json_has_stable_names() {
        let at = Moment::from_secs(1_480_496_882);
        let status = Status {
            v: Status::VERSION,
            pid: 7,
            state: DaemonState::Degraded,
            troubles: vec!["docker: gone".to_owned()],
            problems: vec![ReportedProblem {
                id: "docker".to_owned(),
                what: "gone".to_owned(),
                remedy: Some("start it".to_owned()),
            }],
            backend: "ip6tables".to_owned(),
            docker: DockerFigures {
                connected: false,
                api_version: Some("1.41".to_owned()),
                engine_version: Some("20.10".to_owned()),
                connected_since: None,
            },
            forwards: 2,
            rules: 9,
            skipped: vec!["web: no address".to_owned()],
            waiting_for: Some("Docker".to_owned()),
            unanswered: vec!["db".to_owned()],
            native: Some(DockerNatFigures {
                state: StandbyState::On,
                served: 3,
                unserved: vec!["80/tcp".to_owned()],
                stray: vec!["81/tcp".to_owned()],
                closed: vec!["82/tcp".to_owned()],
            }),
            drift_repairs: 4,
            resyncs: 5,
            journal: JournalFigures {
                records: 9,
                generation: 12,
            },
            uptime_s: 61,
            version: "0.3".to_owned(),
            degraded_since: Some(at),
            containers: 1,
            closed: vec![ClosedPort {
                container_id: "c1".to_owned(),
                container_name: "web".to_owned(),
                proto: Some("tcp".to_owned()),
                port: Some(80),
                reason: "no address".to_owned(),
                brief: "none".to_owned(),
                unexpected: false,
            }],
            egress: vec![EgressFigures {
                dev: "eth0".to_owned(),
                addresses: vec![Ipv6Addr::LOCALHOST],
            }],
            prefixes: vec!["fd00::/64".to_owned()],
            auto: vec!["dev".to_owned()],
            backend_variant: "nf_tables".to_owned(),
            backend_reason: "asked for".to_owned(),
            last_change: Some(LastChange {
                at,
                change: PortChange::Opened,
                port: "8080/tcp".to_owned(),
                container: "web".to_owned(),
                others: 0,
                after_us: Some(2400),
            }),
            last_resync: Some(LastResync {
                at,
                reason: ResyncReason::RulesChanged,
                repaired: 1,
            }),
            last_repair: None,
            failed_rounds: 2,
            log_lines_lost: 3,
        };
        let json = serde_json::to_string(&status).expect("plain values");
        let expected = concat!(
            r#"{"v":1,"pid":7,"state":"degraded","troubles":["docker: gone"],"#,
            r#""problems":[{"id":"docker","what":"gone","do":"start it"}],"#,
            r#""backend":"ip6tables","docker":{"connected":false,"api_version":"1.41","#,
            r#""engine_version":"20.10","connected_since":null},"#,
            r#""forwards":2,"rules":9,"skipped":["web: no address"],"waiting_for":"Docker","#,
            r#""unanswered":["db"],"native":{"state":"on","served":3,"unserved":["80/tcp"],"#,
            r#""stray":["81/tcp"],"closed":["82/tcp"]},"drift_repairs":4,"resyncs":5,"#,
            r#""journal":{"records":9,"generation":12},"uptime_s":61,"version":"0.3","#,
            r#""degraded_since":"2016-11-30T09:08:02Z","containers":1,"#,
            r#""closed":[{"container_id":"c1","container_name":"web","proto":"tcp","port":80,"#,
            r#""reason":"no address","brief":"none","unexpected":false}],"#,
            r#""egress":[{"dev":"eth0","addresses":["::1"]}],"prefixes":["fd00::/64"],"auto":["dev"],"#,
            r#""backend_variant":"nf_tables","backend_reason":"asked for","#,
            r#""last_change":{"at":"2016-11-30T09:08:02Z","change":"opened","port":"8080/tcp","#,
            r#""container":"web","others":0,"after_us":2400},"#,
            r#""last_resync":{"at":"2016-11-30T09:08:02Z","reason":"rules-changed","repaired":1},"#,
            r#""last_repair":null,"failed_rounds":2,"log_lines_lost":3}"#,
        );
        assert_eq!(json, expected);
    }
}
