//! A knock that is killed at its steps.

use std::time::{Duration, Instant};

use docker_nat66::sys::failpoint;

use super::super::flows::scenery::{HOST, PORT};
use super::super::packets::scenery::CLIENT;
use super::Host;
use super::traces::Sniffer;
use crate::support::namespace;
use crate::support::shell::sh;
use crate::support::wait::{SOON, eventually, same};

/// How long what a killed one has left may be seen.
const GONE: Duration = Duration::from_millis(100);

/// Everything that a knock might leave: its table, its entry of connection tracking, a half-open
/// connection in the container.
const LEFT: &str = "nft list tables | grep explain || :
conntrack -L -f ipv6 2>/dev/null | grep 'dport=8080' || :
ip netns exec one ss -Htn state syn-recv";

impl Host {
    /// Explains, to be killed before this step; the exit code, and the steps that it took.
    fn killed_at(&self, step: usize, back: &str) -> (Option<i32>, usize) {
        let mut command = self.command("eth0");
        command.env(failpoint::AT, step.to_string());
        command.args([&PORT.to_string(), HOST, "--from", CLIENT, "--back", back]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let steps = said.lines().filter(|line| line.starts_with("step "));
        (output.status.code(), steps.count())
    }
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn a_knock_that_is_killed_at_any_step_leaves_nothing() {
    namespace::fresh(|| {
        let host = Host::build();
        // Neighbours are known from here on.
        assert!(host.knock(&PORT.to_string()).is_reachable());
        // The way back is tried first; what it leaves ends within two seconds.
        let (ended, before) = host.killed_at(0, "mirror");
        assert_eq!(ended, Some(0));
        let at_client = Sniffer::open("client");
        let mut times = Vec::new();
        let mut step = before + 1;
        loop {
            let (ended, _) = host.killed_at(step, "knock");
            // How many steps it takes depends on how often it has to ask for the answer.
            if ended.is_some() {
                assert_eq!(ended, Some(0), "step {step}");
                break;
            }
            let begun = Instant::now();
            let mut looked = Duration::ZERO;
            eventually(SOON, &format!("nothing left of step {step}"), || {
                looked = begun.elapsed();
                same(sh(LEFT), String::new())
            });
            times.push(looked);
            // Each of the first steps, and some of those in which it asks again and again.
            step += 1 + times.len() / 4;
        }
        assert!(times.len() > 3, "{} steps of a knock", times.len());
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        eprintln!(
            "{} kills: gone after {median:?}, at worst {worst:?}",
            times.len()
        );
        // A busy machine may be late once.
        assert!(median < GONE, "{times:?}");
        assert_eq!(at_client.seen(), Vec::<Vec<u8>>::new());
    });
}
