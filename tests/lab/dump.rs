//! `dump` and `status` of a running daemon, and the journal of a killed one.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Output;
use std::thread;

use serde_json::{Value, json};

use crate::support::PROGRAM;
use crate::support::backend::in_use;
use crate::support::lab::daemon::{self, Daemon, STATE_DIR};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, Lab};
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];

/// The documented fields of a row of `dump --json`.
const FIELDS: [&str; 18] = [
    "v",
    "id",
    "state",
    "kind",
    "backend",
    "proto",
    "host_addr",
    "host_port",
    "container_addr",
    "container_port",
    "container_id",
    "container_name",
    "network",
    "dev",
    "prefix",
    "inserted_at",
    "boot_id",
    "image",
];

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn dump_says_the_same_with_the_daemon_and_without_and_it_is_what_the_kernel_has() {
    let lab = Lab::up("dump");
    let engine = Engine::up(&lab, &[]);
    let id = engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("brief", &["-p", "8082:80"], &["tcp:80"]);
    let history = |output: Output| {
        let mut rows: Vec<Value> = text(&output)
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect();
        let chain = rows.pop().expect("the chain");
        assert_eq!(chain["chain"], "whole", "{chain}");
        rows
    };
    let is_brief = |row: &Value, closed: bool| {
        row["container_name"] == "brief" && row["closed"].is_string() == closed
    };
    let shows = |closed| {
        eventually(SOON, "the short life of a container", || {
            let rows = history(daemon.command(&["dump", "--history", "--json"]));
            let found = rows.iter().find(|row| is_brief(row, closed)).cloned();
            found.ok_or(rows)
        })
    };
    let open = shows(false);
    engine.remove("brief");
    let brief = shows(true);
    for field in ["container_id", "container_addr", "host_port", "opened"] {
        assert_eq!(brief[field], open[field], "{field} of {brief}");
    }
    assert_eq!(brief["reason"], "container-ended");
    let alive = eventually(SOON, "every rule to be applied", || {
        let rows = rows(&daemon.command(&["dump", "--json"]));
        let applied = rows.iter().filter(|row| row["state"] == "applied").count();
        same(applied, in_use().statics() + 1).map(|()| rows)
    });
    let forward = alive
        .iter()
        .find(|row| row["host_port"] == 8080)
        .expect("the forward");
    for (field, value) in [
        ("backend", json!(in_use().name())),
        ("proto", json!("tcp")),
        ("host_addr", Value::Null),
        ("container_addr", json!(engine.address("web").to_string())),
        ("container_port", json!(80)),
        ("container_id", json!(id)),
        ("container_name", json!("web")),
        ("network", json!("bridge")),
        ("image", json!("lab")),
        ("dev", in_use().dev_of_forward("eth0")),
    ] {
        assert_eq!(forward[field], value, "{field} of {forward}");
    }
    let kernel = rules::ours(lab.host()).join("\n");
    for row in &alive {
        let fields = row.as_object().expect("an object");
        assert!(
            FIELDS.iter().all(|field| fields.contains_key(*field)),
            "{row}"
        );
        let comment = format!("docker-nat66:{}", row["id"].as_str().expect("an id"));
        assert_eq!(kernel.matches(&comment).count(), 1, "{comment} in {kernel}");
    }
    let table = text(&daemon.command(&["dump"]));
    assert!(table.contains("web") && table.contains("8080"), "{table}");

    daemon.sigkill();
    assert_eq!(rows(&daemon::command(&lab, &["dump", "--json"])), alive);
    // The dump wrote nothing, and the next daemon finds its journal.
    assert_eq!(rows(&daemon::command(&lab, &["dump", "--json"])), alive);
    Daemon::ready(&lab, &ARGS).leaves();
    assert_eq!(
        rows(&daemon::command(&lab, &["dump", "--json"])),
        [Value::Null; 0]
    );
    // The kill ended nothing: the forward was open from the first daemon to the end of the second.
    let call = ["dump", "--history", "--json"];
    let past = history(daemon::command(&lab, &call));
    assert_eq!(past[0], brief);
    let web: Vec<&Value> = past[1..].iter().collect();
    assert_eq!(web.len(), 1, "{past:#?}");
    assert_eq!(web[0]["opened"], forward["inserted"]);
    assert_eq!(web[0]["reason"], "daemon-left");
    assert_eq!(
        (&brief["image"], &web[0]["image"]),
        (&json!("lab"), &json!("lab"))
    );
    let screen = text(&daemon::command(&lab, &["dump", "--history"]));
    println!("{screen}");
    let of_port = [&call[..], &["--port", "8080"]].concat();
    assert_eq!(history(daemon::command(&lab, &of_port)), past[1..]);
    let long_ago = [&call[..], &["--at", "2026-01-01T00:00:00Z"]].concat();
    assert_eq!(history(daemon::command(&lab, &long_ago)), [Value::Null; 0]);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn status_tells_healthy_from_absent_and_the_socket_is_private() {
    let lab = Lab::up("dump_status");
    let engine = Engine::up(&lab, &[]);
    assert_eq!(daemon::command(&lab, &["status"]).status.code(), Some(3));
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let status = eventually(SOON, "one forward in the status", || {
        let output = daemon.command(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        same(status["forwards"].clone(), json!(1)).map_err(|e| format!("{e:?}"))?;
        same(output.status.code(), Some(0)).map_err(|e| format!("{e:?}"))?;
        Ok::<_, String>(status)
    });
    for field in [
        "v",
        "pid",
        "state",
        "backend",
        "docker",
        "rules",
        "drift_repairs",
        "resyncs",
        "journal",
        "uptime_s",
    ] {
        assert!(status.get(field).is_some(), "{field} in {status}");
    }
    assert_eq!(status["docker"]["connected"], json!(true));
    let (mode, owner) = lab.host().enter(|| {
        let socket = Path::new("/run/docker-nat66/control.sock").metadata();
        let socket = socket.expect("the control socket");
        (socket.permissions().mode() & 0o777, socket.uid())
    });
    assert_eq!((mode, owner), (0o600, 0));
    daemon.leaves();
    assert_eq!(daemon::command(&lab, &["status"]).status.code(), Some(3));
}

/// The counters are those of the kernel, so each connection counts once.
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn watch_shows_new_connections_and_a_terminal_is_never_too_narrow() {
    let lab = Lab::up("dump_watch");
    let engine = Engine::up(&lab, &[]);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("shut", &["-p", "127.0.0.1:9000:80"], &["tcp:80"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    for _ in 0..3 {
        lab.answers(Tcp, "[2001:db8::1]:8080", "web", CLIENT);
    }
    let call = format!("{PROGRAM} status --watch=1s --state-dir {STATE_DIR}");
    let shown = thread::scope(|scope| {
        let watching = scope.spawn(|| lab.host().sh(&format!("timeout 4 {call} || true")));
        while !watching.is_finished() {
            lab.answers(Tcp, "[2001:db8::1]:8080", "web", CLIENT);
        }
        watching.join().expect("what it shows")
    });
    println!("{shown}");
    let line = |line: &str| {
        let [port, name, rate, total] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return None;
        };
        let is_it = (port, name) == ("8080/tcp", "web");
        Some((rate.parse::<f64>().ok(), total.parse::<u64>().ok()?)).filter(|_| is_it)
    };
    let lines: Vec<(Option<f64>, u64)> = shown.lines().filter_map(line).collect();
    assert!(
        lines.len() > 1 && lines[0].0.is_none() && lines[0].1 >= 3,
        "{lines:?}"
    );
    assert!(
        lines[1..]
            .iter()
            .any(|(rate, _)| rate.is_some_and(|r| r > 0.0)),
        "{lines:?}"
    );
    // The counter of monitoring goes on where the kernel's begins again.
    let series = "docker_nat66_connections_total{port=\"8080\",proto=\"tcp\",container=\"web\"} ";
    let total = || {
        let shown = text(&daemon.command(&["metrics"]));
        let value = shown.lines().find_map(|line| line.strip_prefix(series));
        value
            .and_then(|value| value.parse::<u64>().ok())
            .ok_or(shown)
    };
    let last = lines.last().map_or(0, |(_, total)| *total);
    let before = eventually(SOON, "all connections", || {
        total().and_then(|total| {
            if total >= last {
                Ok(total)
            } else {
                Err(total.to_string())
            }
        })
    });
    engine.docker(&["restart", "-t", "0", "web"]);
    eventually(SOON, "the port again", || {
        let shown = text(&daemon.command(&["dump"]));
        let is_open = |line: &str| line.starts_with("8080/tcp") && line.contains("open");
        if shown.lines().any(is_open) {
            Ok(())
        } else {
            Err(shown)
        }
    });
    for _ in 0..2 {
        lab.answers(Tcp, "[2001:db8::1]:8080", "web", CLIENT);
    }
    eventually(SOON, "two more connections", || {
        total().and_then(|total| {
            if total >= before + 2 {
                Ok(())
            } else {
                Err(total.to_string())
            }
        })
    });
    let diff = daemon.command(&["dump", "--diff"]);
    assert!(diff.status.success(), "{diff:?}");
    // On a terminal, in colour and as wide as it is; with NO_COLOR without.
    for (setting, is_coloured) in [("TERM=xterm", true), ("TERM=xterm NO_COLOR=1", false)] {
        for command in ["dump", "dump --rules", "status"] {
            let call =
                format!("stty cols 80; {setting} {PROGRAM} {command} --state-dir {STATE_DIR}");
            let screen = lab
                .host()
                .sh(&format!("script -qec '{call}' /dev/null </dev/null"));
            println!("{screen}");
            assert_eq!(
                screen.contains("\u{1b}["),
                is_coloured,
                "{command}: {screen}"
            );
            if !is_coloured {
                let wide = screen
                    .lines()
                    .find(|line| line.trim_end().chars().count() > 80);
                assert_eq!(wide, None, "{command}");
                assert!(screen.contains("8080/tcp"), "{command}: {screen}");
            }
        }
    }
    let dump = text(&daemon.command(&["dump"]));
    let shut = dump
        .lines()
        .find(|line| line.starts_with("9000/tcp"))
        .expect("it is named");
    assert!(shut.contains("closed"), "{dump}");
    daemon.leaves();
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_no_panic() {
    let lab = Lab::up("dump_reader");
    let mut daemon = Daemon::start(&lab, &ARGS);
    daemon.says("NAT66 set postrouting: ");
    for command in ["dump", "dump --json", "status", "status --json"] {
        let call = format!("{PROGRAM} {command} --state-dir {STATE_DIR}");
        let plain = lab.host().output(&["sh", "-c", &call]).status.code();
        // The reader closes its end before the command runs.
        let gone = format!("(sleep 0.2; {call}; echo $? >/run/code) | exec 0<&-; cat /run/code");
        let gone = lab.host().output(&["sh", "-c", &gone]);
        let code = String::from_utf8_lossy(&gone.stdout).trim().parse().ok();
        assert_eq!(
            (code, &*gone.stderr),
            (plain, &b""[..]),
            "{command}: {gone:?}"
        );
        let full = lab
            .host()
            .output(&["sh", "-c", &format!("{call} >/dev/full")]);
        assert_eq!(full.status.code(), Some(1), "{full:?}");
        let said = String::from_utf8_lossy(&full.stderr);
        assert!(
            said.contains("No space left on device"),
            "{command}: {said}"
        );
        assert!(!said.contains("panicked"), "{command}: {said}");
    }
    daemon.leaves();
}

/// One object per line; sorted, because the order is not specified.
fn rows(output: &Output) -> Vec<Value> {
    let shown = text(output);
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    let mut rows: Vec<Value> = shown.lines().map(parse).collect();
    rows.sort_by_key(|row| row["id"].to_string());
    rows
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}
