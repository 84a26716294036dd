//! A log that nobody reads any more: ports open and close as before, and `status` says it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

use docker_nat66::control::status::DaemonState;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::namespace;
use crate::support::process::full_pipe;
use crate::support::scene::Scene;
use crate::support::shell::sh;
use crate::support::wait::PATIENCE;

#[test]
#[ignore = "needs root: run by tests/run"]
fn what_keeps_the_daemon_from_starting_is_the_last_line_of_its_log() {
    namespace::fresh(|| {
        sh("ip link set lo up");
        let busy = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = busy.local_addr().expect("bound").to_string();
        let scene = Scene::new(Backend::Nftables);
        let engine = FakeEngine::start();
        for (format, begin) in [("json", "{"), ("journald", "<2>--metrics: ")] {
            let mut command = scene.daemon(engine.socket());
            command.args(["--metrics", &address, "--log-format", format]);
            let ended = command.stderr(Stdio::piped()).output().expect("runs");
            assert_eq!(ended.status.code(), Some(1), "{ended:?}");
            let said = String::from_utf8(ended.stderr).expect("UTF-8");
            let last = said.lines().last().expect("a line");
            let words = "--metrics: cannot listen on 127.0.0.1";
            assert!(last.starts_with(begin) && last.contains(words), "{said}");
            assert_eq!(said.matches(words).count(), 1, "{said}");
        }
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn in_json_the_line_of_a_port_names_it_and_its_container_in_fields() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = FakeEngine::start();
        let args = ["--log-format", "json"];
        let mut daemon = Daemon::ready(&scene, &engine, &args);
        let web = FakeContainer::new(2, "web").publish(8080, 80);
        let address = web.address.expect("it has one");
        engine.run(web.clone());
        daemon.says("NAT66 add portfwd");
        engine.die(&web.id);
        daemon.says("NAT66 del portfwd");
        daemon.leaves();
        let log = scene.log();
        let lines = log.lines().map(serde_json::from_str::<Value>);
        let lines: Vec<Value> = lines.map(|line| line.expect("JSON")).collect();
        for verb in ["add", "del"] {
            let begin = format!("NAT66 {verb} portfwd: nft ");
            let is_it = |line: &&Value| {
                let text = line["msg"].as_str().unwrap_or_default();
                text.starts_with(&begin)
            };
            let line = lines.iter().find(is_it).expect(&begin);
            for (field, value) in [
                ("level", "INFO"),
                ("port", "8080/tcp"),
                ("to", &*format!("[{address}]:80")),
                ("container", "web"),
                ("container_id", &web.id[..12]),
            ] {
                assert_eq!(line[field], value, "{field}: {line}");
            }
            assert_eq!(line["rules"], 1, "{line}");
            let took = line["after_ms"].as_str().unwrap_or_default();
            assert!(took.parse::<f64>().is_ok(), "{line}");
        }
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_log_that_nobody_reads_keeps_no_port_open() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = FakeEngine::start();
        let container = |number: u16| {
            FakeContainer::new(number, &format!("c{number}")).publish(8080 + number, 80)
        };
        engine.put(container(2));
        let (reader, writer) = full_pipe();
        let mut command = scene.daemon(engine.socket());
        command.stderr(writer);
        let mut daemon = Daemon::logged(&scene, command);
        let mut serves = |number: u16| {
            let address = container(number).address.expect("it has one").to_string();
            daemon.waits("the port", |scene| {
                let rules = scene.ours().concat();
                let is = |number: u16| rules.contains(&(8080 + number).to_string());
                rules.contains(&address) && is(number) && !is(5 - number)
            });
        };
        serves(2);
        engine.die(&container(2).id);
        engine.run(container(3));
        serves(3);
        let status = scene.status().expect("it answers");
        assert_eq!(status.state, DaemonState::Degraded);
        let trouble = status.troubles.concat();
        assert!(
            trouble.starts_with("log: the log is not read: "),
            "{trouble}"
        );

        // Somebody reads, and it has something to say.
        let mut lines = BufReader::new(reader).lines().map(|l| l.expect("reads"));
        lines.by_ref().take(4096).for_each(drop);
        engine.die(&container(3).id);
        daemon.waits("health", |scene| {
            scene
                .status()
                .is_some_and(|s| s.state == DaemonState::Running)
        });
        let told = "WARN the log was not read: lines before this one are lost, lines: ";
        assert!(lines.by_ref().any(|line| line.contains(told)));
        daemon.signal(Signal::TERM);
        assert!(lines.any(|line| line.contains("leaving")));
        // A second signal would not let it finish.
        let ended = daemon.ends_within(PATIENCE);
        assert!(ended.is_some_and(|end| end.success()), "{ended:?}");
        assert_eq!(scene.ours(), Vec::<String>::new());
    });
}
