//! What only looks: `dump --diff` and `--dry-run`, beside a daemon that works and one that was killed.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::running::{change, engine};
use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::fake_engine::FakeEngine;
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::shell::sh;
use crate::support::together::{case, together};

fn ask(scene: &Scene, args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).arg("--state-dir").arg(scene.state_dir());
    command.env_clear().output().expect("runs")
}

/// `run --dry-run` with the daemon's options; its exit code, and its last line.
fn rehearse(scene: &Scene, engine: &FakeEngine) -> (Option<i32>, String) {
    let mut command = scene.daemon(engine.socket());
    command.arg("--dry-run").stdout(Stdio::piped());
    let output = command.output().expect("runs");
    last_line(&output)
}

fn last_line(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default().to_owned();
    (output.status.code(), last)
}

/// All files below a directory, with a hash of their content.
fn files(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let hash = |bytes: Vec<u8>| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        hasher.finish()
    };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("lists").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), hash(fs::read(&path).expect("reads")))),
        }
    }
    found
}

/// Every rule of the namespace, in the words of nft, without counters.
fn rulesets() -> String {
    sh("nft list ruleset | sed 's/counter packets [0-9]* bytes [0-9]*/counter/'")
}

fn differs(scene: &Scene) -> (Option<i32>, Value) {
    let output = ask(scene, &["dump", "--diff", "--json"]);
    let object = serde_json::from_slice(&output.stdout);
    (output.status.code(), object.expect("an object"))
}

fn looks(backend: Backend) {
    let scene = Scene::new(backend);
    let (few, more) = ([(2, 8080)], [(2, 8080), (3, 8081), (4, 8082)]);
    let engine = engine(&few);
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    let statics = scene.ours().len() - 1;

    // Equal, and never different while containers come and go.
    let (code, object) = differs(&scene);
    assert_eq!(code, Some(0), "{object}");
    assert_eq!(object["differences"], json!([]), "{object}");
    for field in ["journal", "kernel", "docker"] {
        assert_eq!(object[field], json!(statics + 1), "{field}: {object}");
    }
    for _ in 0..10 {
        for (from, to) in [(&few[..], &more[..]), (&more[..], &few[..])] {
            change(&engine, from, to);
            let (code, object) = differs(&scene);
            assert_eq!(code, Some(0), "{object}");
        }
    }
    daemon.shows("one port", |status, _| status.forwards == 1);
    change(&engine, &few, &more);
    daemon.shows("three ports", |status, _| status.forwards == 3);
    let waited = ask(&scene, &["status", "--wait=10s", "--json"]);
    let status: Value = serde_json::from_slice(&waited.stdout).expect("an object");
    assert_eq!(waited.status.code(), Some(0), "{status}");
    assert_eq!(status["last_change"]["change"], "opened", "{status}");
    assert!(status["last_change"]["after_us"].is_u64(), "{status}");

    // Beside the daemon, a second one would change nothing. It is stopped, so that it writes nothing
    // meanwhile.
    daemon.signal(Signal::STOP);
    let before = (rulesets(), files(&scene.state_dir()));
    let keep = statics + 3;
    let nothing = format!("would insert 0, remove 0, keep {keep}");
    assert_eq!(rehearse(&scene, &engine), (Some(0), nothing));
    let all = format!("would insert 0, remove {keep}, keep 0");
    let cleanup = ask(&scene, &["cleanup", "--dry-run"]);
    assert_eq!(last_line(&cleanup), (Some(0), all.clone()), "{cleanup:?}");
    assert_eq!((rulesets(), files(&scene.state_dir())), before);

    daemon.signal(Signal::CONT);

    // After a kill and with another container, it would make up for that.
    daemon.kill();
    change(&engine, &more, &[(2, 8080), (3, 8081), (5, 9090)]);
    let before = (rulesets(), files(&scene.state_dir()));
    let one = format!("would insert 1, remove 1, keep {}", keep - 1);
    assert_eq!(rehearse(&scene, &engine), (Some(0), one));
    assert_eq!((rulesets(), files(&scene.state_dir())), before);
    assert_eq!(differs(&scene).0, Some(3));
    drop(engine);
    let gone = FakeEngine::start();
    let socket = gone.socket().to_owned();
    drop(gone);
    let mut unknown = scene.daemon(&socket);
    let unknown = unknown.arg("--dry-run").output().expect("runs");
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let cleanup = ask(&scene, &["cleanup", "--dry-run"]);
    assert_eq!(last_line(&cleanup), (Some(0), all), "{cleanup:?}");
    assert_eq!((rulesets(), files(&scene.state_dir())), before);
    let cleaned = ask(&scene, &["cleanup"]);
    assert_eq!(cleaned.status.code(), Some(0));
    // The history shows what the daemon had left open.
    let past = ask(&scene, &["dump", "--history", "--json"]);
    let past = String::from_utf8_lossy(&past.stdout).into_owned();
    let rows = past.lines().map(serde_json::from_str::<Value>);
    let rows = rows.map(|row| row.expect("an object"));
    let left = rows.filter(|row| row["reason"] == "daemon-left");
    let mut ports: Vec<_> = left.filter_map(|row| row["host_port"].as_u64()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [8080, 8081, 8082], "{past}");
    // Its newest seal is in the log, of this run and of a daemon that leaves.
    let chain: Value = past.lines().last().map_or(Value::Null, |line| {
        serde_json::from_str(line).expect("an object")
    });
    let seal = chain["sha256"].as_str().expect("a seal");
    let said = String::from_utf8_lossy(&cleaned.stderr).into_owned();
    assert!(said.contains(seal), "{seal}: {said}");
    let engine = FakeEngine::start();
    let mut next = Daemon::ready(&scene, &engine, &[]);
    next.leaves();
    let said = fs::read_to_string(scene.log_path()).expect("a log");
    assert!(said.contains(seal), "{seal}: {said}");
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn what_only_looks_tells_the_truth_and_changes_nothing() {
    namespace::fresh(|| {
        together(vec![
            case("ip6tables", || looks(Backend::Ip6tables)),
            case("nftables", || looks(Backend::Nftables)),
        ]);
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn who_waits_for_health_hears_of_it_or_of_what_is_wrong_at_the_deadline() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = engine(&[(2, 8080)]);
        engine.stop();
        let waits = |patience: &str| {
            let mut command = Command::new(PROGRAM);
            command.args(["status", "--json", patience]);
            command
                .arg("--state-dir")
                .arg(scene.state_dir())
                .env_clear();
            command.stdout(Stdio::piped());
            command.spawn().expect("runs")
        };
        let status = |output: &Output| -> Value {
            serde_json::from_slice(&output.stdout).expect("an object")
        };
        // Before there is a daemon.
        let mut waiting = waits("--wait=60s");
        let mut daemon = Daemon::start(&scene, &engine, &[]);
        daemon.warns_of("Docker is not reachable");

        let begun = Instant::now();
        let ended = waits("--wait=300ms").wait_with_output().expect("ends");
        assert!(begun.elapsed() >= Duration::from_millis(300), "{ended:?}");
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert_eq!(status(&ended)["state"], "degraded", "{ended:?}");
        assert_eq!(waiting.try_wait().expect("it is ours"), None);

        engine.start_again();
        let ended = waiting.wait_with_output().expect("ends");
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(status(&ended)["state"], "running", "{ended:?}");
        daemon.leaves();
    });
}
