//! Names and labels that want to steer a terminal, forge a line of the log, or fill the disk: they
//! are inert wherever the daemon shows them, and what they belong to is forwarded all the same.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::namespace;
use crate::support::scene::Scene;

/// Longer than any text of Docker's that is shown may become: a line of the log has several.
const LINE: usize = 4096;

/// What a terminal obeys, and what reorders or hides text on it.
fn steers(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn hostile() -> Vec<String> {
    let long = "x".repeat(64 * 1024);
    vec![
        "\u{1b}[2J\u{1b}]0;owned\u{7}red\u{1b}[31m".to_owned(),
        "line\nNAT66 add portfwd: forged\r\n<0>CRIT forged\n{\"level\":\"CRIT\"}".to_owned(),
        "\u{9b}31m\u{202e}txet\u{2066}\u{feff}\u{200b}\u{2028}\u{0}".to_owned(),
        "docker-nat66:0123456789abcdef\" -j ACCEPT; $(touch /tmp/x) `id` %n%s".to_owned(),
        long,
    ]
}

/// A container with the name in every place that Docker has for one; with `labels` its labels
/// cannot be understood either.
fn container(number: u16, text: &str, labels: bool) -> FakeContainer {
    let mut container = FakeContainer::new(number, text).publish(8000 + number, 80);
    let mut row = container.row();
    let mut inspect: Value = serde_json::from_str(&container.inspect()).expect("JSON");
    let networks = row["NetworkSettings"]["Networks"].clone();
    let network = networks.as_object().and_then(|n| n.values().next());
    let networks = json!({text: network.expect("it is in one")});
    let labels = match labels {
        true => json!({"docker-nat66.enable": text, text: text}),
        false => json!({text: text}),
    };
    row["NetworkSettings"]["Networks"] = networks.clone();
    row["Labels"] = labels.clone();
    row["Image"] = json!(text);
    inspect["NetworkSettings"]["Networks"] = networks;
    inspect["Config"]["Labels"] = labels;
    container.raw_row = Some(row);
    container.raw_inspect = Some(inspect.to_string());
    container
}

#[track_caller]
fn is_inert(what: &str, text: &str) {
    let found = text.find(steers);
    let around = found.map(|at| text[at..].chars().take(40).collect::<String>());
    assert_eq!(around, None, "{what}");
    for line in text.lines() {
        assert!(
            !line.starts_with("NAT66 add portfwd: forged"),
            "{what}: {line}"
        );
        assert!(
            !line.starts_with("<0>") && !line.starts_with("CRIT"),
            "{what}: {line}"
        );
    }
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn hostile_names_and_labels_are_inert_in_log_dump_and_status() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        for format in ["term", "json", "journald"] {
            let engine = FakeEngine::start();
            let texts = hostile();
            let mut number = 2;
            for text in &texts {
                for labels in [false, true] {
                    engine.put(container(number, text, labels));
                    number += 1;
                }
            }
            // An Engine that calls itself something, and an event that cannot be read.
            let args = ["--log-format", format, "--log-level", "trace"];
            let mut command = scene.daemon(engine.socket());
            command.args(args);
            let mut daemon = Daemon::logged(&scene, command);
            daemon.says("ready");
            let status = scene.status().expect("it answers");
            assert_eq!(status.forwards, texts.len(), "{status:?}");
            engine.emit_raw(&format!("{{\"Type\":{}}}", json!(texts[1])));
            daemon.says("again");
            for command in [
                &["status"][..],
                &["status", "--json"],
                &["dump"],
                &["dump", "--json"],
            ] {
                let output = Command::new(PROGRAM)
                    .args(command)
                    .arg("--state-dir")
                    .arg(scene.state_dir())
                    .env_clear()
                    .output()
                    .expect("runs");
                let shown = String::from_utf8(output.stdout).expect("UTF-8");
                is_inert(&format!("{command:?}"), &shown);
                // The whole of a name is in the JSON, and nowhere else.
                let is_json = command.contains(&"--json");
                let long = shown.lines().any(|line| line.len() > LINE);
                assert!(is_json || !long, "{command:?}");
                if *command == ["dump", "--json"] {
                    let names: Vec<Value> = shown
                        .lines()
                        .map(|line| serde_json::from_str::<Value>(line).expect(line))
                        .map(|row| row["container_name"].clone())
                        .collect();
                    for text in &texts {
                        assert!(names.contains(&json!(text)), "{text:.100}");
                    }
                }
            }
            daemon.leaves();
            let log = scene.log();
            is_inert(format, &log);
            for line in log.lines() {
                assert!(
                    line.len() <= LINE,
                    "{format}: {} bytes: {line:.300}",
                    line.len()
                );
                let begins = match format {
                    "term" => line.starts_with("20"),
                    "json" => serde_json::from_str::<Value>(line).is_ok(),
                    _ => line.starts_with('<'),
                };
                assert!(begins, "{format}: {line:.300}");
            }
        }
    });
}
