//! `explain` against the real kernel, each time with the verdict of a real client beside it.
//!
//! The host, the client and the containers are those of [`super::packets`]; the Engine is the fake
//! one, and says that container `one` publishes the port.

mod alone;
mod killed;
mod knock;
mod old_kernels;
mod others;
mod random;
mod rulesets;
mod scenarios;
mod traces;
mod wrong;

use std::process::{Child, Command, Output};

use serde_json::Value;

use super::flows::scenery::{HOST, ONE, PORT};
use super::packets::scenery::{self, CLIENT};
use crate::support::PROGRAM;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::process;
use crate::support::shell::sh;

/// The rule that forwards the published port, in a table of nobody in particular.
const FORWARDED: &str = "nft -f - <<'N'
table ip6 forwarder {
  chain pre {
    type nat hook prerouting priority dstnat
    iifname eth0 meta l4proto { tcp, udp } th dport 8080 dnat to [fdfd:5898:4917:1::2]:80
  }
}
N";

/// A host with a container that publishes a port, and an Engine that says so.
struct Host {
    engine: FakeEngine,
    /// A process in the container's network namespace.
    inside: Child,
    container: FakeContainer,
}

impl Host {
    /// Builds it around the calling thread, with a rule that forwards the port.
    fn build() -> Self {
        scenery::build();
        sh(FORWARDED);
        let mut sleep = Command::new("ip");
        let inside = sleep.args(["netns", "exec", "one", "sleep", "infinity"]);
        let inside = inside.spawn().expect("a process in the container");
        let mut container = FakeContainer::new(2, "one").publish(PORT, 80);
        container.address = ONE.parse().ok();
        container.pid = inside.id();
        let host = Self {
            engine: FakeEngine::start(),
            inside,
            container,
        };
        host.engine.put(host.container.clone());
        host
    }

    /// The container publishes this port of its own from now on.
    fn publishes(&mut self, container_port: u16) {
        self.container.ports.clear();
        let container = self.container.clone();
        self.container = container.publish(PORT, container_port);
        self.engine.put(self.container.clone());
    }

    /// Runs `explain` with these arguments besides the interface and the Engine.
    fn explain(&self, args: &[&str]) -> Told {
        self.explain_on("eth0", args)
    }

    /// The same on another interface.
    fn explain_on(&self, device: &str, args: &[&str]) -> Told {
        let mut command = self.command(device);
        Told::of(&command.args(args).arg("--json").output().expect("it runs"))
    }

    fn command(&self, device: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .env_clear()
            .args(["explain", "--dev", device, "--state-dir", "/run/none"])
            .arg("--docker-host")
            .arg(format!("unix://{}", self.engine.socket().display()));
        command
    }

    /// What it says of the published port, asked for the client.
    fn explain_port(&self) -> Told {
        self.explain(&[&PORT.to_string(), HOST, "--from", CLIENT])
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        process::kill(&mut self.inside);
    }
}

/// What `explain` answered.
#[derive(Debug)]
struct Told {
    exit: Option<i32>,
    said: Value,
    stderr: String,
}

impl Told {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Self {
            exit: output.status.code(),
            said: serde_json::from_str(&text).unwrap_or(Value::Null),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn text(&self, field: &str) -> &str {
        self.said[field].as_str().unwrap_or_default()
    }

    /// Whether a client reaches the port; the exit code must say the same.
    #[track_caller]
    fn is_reachable(&self) -> bool {
        let said = self.said["reachable"].as_bool();
        let expected = match said {
            Some(true) => 0,
            Some(false) => 1,
            None => panic!("no answer: {self:?}"),
        };
        assert_eq!(self.exit, Some(expected), "{self:?}");
        said == Some(true)
    }

    /// The rule or policy at which the packet was stopped.
    fn stopped(&self) -> Option<Value> {
        let way = self.said["way"].as_array()?;
        let stopped = way.iter().find(|step| step["stopped"] == true)?;
        let named = ["family", "table", "chain", "handle"].map(|part| stopped[part].clone());
        Some(Value::from(named.to_vec()))
    }
}
