//! The status of the daemon: every figure once, and the text for people.
//!
//! [`Status`] is what goes over the control socket, what `status --json` prints, and what the text
//! of `status` is written from. A new figure takes a field and a line of text here, and the line
//! that reports it where it is known ([`super::board`]).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::docker_nat::gate::StandbyState;
use crate::model::problem::Problem;
use crate::model::text::{Untrusted, escape};

/// `status --json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this shape.
    pub v: u32,
    /// Process id.
    pub pid: u32,
    /// What it is doing.
    pub state: State,
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
}

impl Status {
    /// Version of the shape.
    pub(super) const VERSION: u32 = 1;

    /// Whether Docker's own IPv6 NAT serves; `None` if nobody observes it.
    pub(crate) fn standby_state(&self) -> Option<StandbyState> {
        self.native.as_ref().map(|nat| nat.state)
    }
}

/// What the daemon is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
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

/// The Engine as the daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerFigures {
    /// Whether the daemon is following its events.
    pub connected: bool,
    /// The API version in use; null before the first connection.
    pub api_version: Option<String>,
    /// The Engine's version, as it calls itself; null before the first connection.
    #[serde(default)]
    pub engine_version: Option<String>,
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

/// One screen for people. What comes from Docker or from errors is escaped.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let safe = |text: &str| escape(text.chars());
        let state = match self.state {
            State::Starting => "starting",
            State::Running => "running",
            State::Degraded => "degraded",
            State::Stopping => "stopping",
        };
        let uptime = humantime::format_duration(Duration::from_secs(self.uptime_s));
        let docker = match (&self.docker.api_version, self.docker.connected) {
            (Some(api), true) => format!("connected, API {}", Untrusted::new(api.as_str())),
            (None, true) => "connected".to_owned(),
            (_, false) => "not connected".to_owned(),
        };
        let (ports, rules) = (self.forwards, self.rules);
        let JournalFigures {
            records,
            generation,
        } = self.journal;
        let (repairs, resyncs) = (self.drift_repairs, self.resyncs);
        writeln!(f, "state    {state}, process {}, up {uptime}", self.pid)?;
        writeln!(f, "docker   {docker}")?;
        writeln!(f, "backend  {}", self.backend)?;
        writeln!(
            f,
            "open     {ports} published ports, {rules} rules in the kernel"
        )?;
        writeln!(f, "journal  {records} records, generation {generation}")?;
        writeln!(
            f,
            "repairs  {repairs} rules that somebody else had changed, {resyncs} full comparisons"
        )?;
        if let Some(nat) = &self.native {
            write!(f, "{nat}")?;
        }
        for ReportedProblem { id, what, remedy } in &self.problems {
            writeln!(f, "trouble  {}: {}", safe(id), safe(what))?;
            if let Some(remedy) = remedy {
                writeln!(f, "do       {}", safe(remedy))?;
            }
        }
        if let Some(what) = &self.waiting_for {
            writeln!(f, "waiting  for {}", safe(what))?;
        }
        for container in &self.unanswered {
            writeln!(
                f,
                "waiting  {container}: Docker has not said yet what it publishes"
            )?;
        }
        for skipped in &self.skipped {
            writeln!(f, "closed   {skipped}")?;
        }
        Ok(())
    }
}

impl fmt::Display for DockerNatFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.state {
            StandbyState::Off => return Ok(()),
            StandbyState::On => "is on: standing by",
            StandbyState::Unsettled => "may be on: adding nothing until that is known",
        };
        let served = self.served;
        writeln!(
            f,
            "native   Docker's own IPv6 NAT {what}, {served} published ports served"
        )?;
        let lists = [
            (&self.unserved, "not served"),
            (&self.stray, "served, but not published"),
            (&self.closed, "served, though a label closes it"),
        ];
        for (ports, what) in lists {
            for port in ports {
                writeln!(f, "native   {what}: {}", escape(port.chars()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            v: Status::VERSION,
            pid: 7,
            state: State::Degraded,
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
                engine_version: Some("20.10.24".to_owned()),
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
        }
    }

    #[test]
    fn the_json_has_stable_names() {
        let json = serde_json::to_string(&status()).expect("plain values");
        let expected = concat!(
            r#"{"v":1,"pid":7,"state":"degraded","troubles":["docker: gone"],"#,
            r#""problems":[{"id":"docker","what":"gone","do":"start it"}],"#,
            r#""backend":"ip6tables","docker":{"connected":false,"api_version":"1.41","#,
            r#""engine_version":"20.10.24"},"#,
            r#""forwards":2,"rules":9,"skipped":["web: no address"],"waiting_for":"Docker","#,
            r#""unanswered":["db"],"native":{"state":"on","served":3,"unserved":["80/tcp"],"#,
            r#""stray":["81/tcp"],"closed":["82/tcp"]},"drift_repairs":4,"resyncs":5,"#,
            r#""journal":{"records":9,"generation":12},"uptime_s":61}"#,
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn the_text_has_every_figure_and_what_is_wrong() {
        let expected = "\
state    degraded, process 7, up 1m 1s
docker   not connected
backend  ip6tables
open     2 published ports, 9 rules in the kernel
journal  9 records, generation 12
repairs  4 rules that somebody else had changed, 5 full comparisons
native   Docker's own IPv6 NAT is on: standing by, 3 published ports served
native   not served: 80/tcp
native   served, but not published: 81/tcp
native   served, though a label closes it: 82/tcp
trouble  docker: gone
do       start it
waiting  for Docker
waiting  db: Docker has not said yet what it publishes
closed   web: no address
";
        assert_eq!(status().to_string(), expected);
    }
}
