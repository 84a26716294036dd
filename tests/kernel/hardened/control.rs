//! Clients of the control socket that ask nonsense, say nothing, never read, come in crowds, or are
//! other users: the daemon goes on, answers proper requests, and does not grow.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use docker_nat66::control::protocol::Answer;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::draw::Draw;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::namespace;
use crate::support::process::kib;
use crate::support::scene::Scene;
use crate::support::shell::sh;
use crate::support::torture::{SEED, number};

/// Fuzzed requests, and clients in a crowd.
const MANY: usize = 1000;

/// Published ports, so that a dump is larger than a socket's buffers.
const PORTS: u16 = 400;

/// What the crowds may cost in memory, in KiB: 256 connections and four dumps, twice.
const MEMORY: u64 = 32 * 1024;

/// A proper request is answered within the time for which `status` waits, whatever others do.
const ANSWERED: Duration = Duration::from_secs(5);

fn with_daemon(test: impl FnOnce(&Scene, &mut Daemon<'_>)) {
    let scene = Scene::new(Backend::Nftables);
    let engine = FakeEngine::start();
    let mut container = FakeContainer::new(2, "web");
    for port in 1..=PORTS {
        container = container.publish(10_000 + port, port);
    }
    engine.put(container);
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    test(&scene, &mut daemon);
    daemon.leaves();
}

/// Descriptors, and resident KiB.
fn size(daemon: &Daemon<'_>) -> (usize, u64) {
    let proc = Path::new("/proc").join(daemon.id().to_string());
    let descriptors = fs::read_dir(proc.join("fd")).expect("it runs").count();
    (descriptors, kib(daemon.id(), "VmRSS"))
}

/// `status` works; how long it took.
#[track_caller]
fn answers(daemon: &mut Daemon<'_>, what: &str) {
    let asked = Instant::now();
    let mut status = None;
    daemon.waits("an answer", |scene| {
        status = scene.status();
        status.is_some()
    });
    let took = asked.elapsed();
    eprintln!("{what}: status after {} ms", took.as_millis());
    assert!(took < ANSWERED, "{what}: {took:?}");
    assert_eq!(status.map(|s| s.forwards), Some(usize::from(PORTS)));
}

/// Everything that comes until the daemon closes.
fn answer(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // What it had not read when it closed.
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("{e}"),
    }
    bytes
}

fn request(draw: &mut Draw) -> Vec<u8> {
    let good: &[u8] = b"{\"ask\":\"status\"}\n";
    let mut below = |bound: usize| draw.below(bound as u64) as usize;
    let mut bytes = match below(6) {
        0 => (0..below(100)).map(|_| below(256) as u8).collect(),
        1 => good[..below(good.len())].to_vec(),
        2 => vec![b'['; below(3000)],
        3 => [&b"{\"ask\":\""[..], &vec![b'x'; below(3000)], b"\"}\n"].concat(),
        4 => vec![below(256) as u8; 1024 * 1024],
        _ => good.to_vec(),
    };
    for _ in 0..below(3) {
        let place = below(bytes.len() + 1);
        bytes.insert(place, below(256) as u8);
    }
    bytes
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn no_request_whatever_its_bytes_gets_more_than_one_proper_answer() {
    namespace::fresh(|| {
        with_daemon(|scene, daemon| {
            let seed = number(SEED, 1);
            eprintln!("seed {seed}");
            let mut draw = Draw(seed);
            let (before, _) = size(daemon);
            for _ in 0..MANY {
                let bytes = request(&mut draw);
                let mut stream = UnixStream::connect(scene.control()).expect("it listens");
                // It closes when it has read enough.
                let _ = stream.write_all(&bytes);
                if draw.below(4) == 0 {
                    continue;
                }
                let _ = stream.shutdown(Shutdown::Write);
                let answer = answer(&mut stream);
                let is_proper = || serde_json::from_slice::<Answer>(&answer).is_ok();
                let lines = answer.iter().filter(|b| **b == b'\n').count();
                let context = || (bytes[..bytes.len().min(100)].to_vec(), answer.clone());
                assert!(
                    lines == 1 && is_proper() || answer.is_empty(),
                    "{:?}",
                    context()
                );
            }
            answers(daemon, "after nonsense");
            daemon.rests_at(before);
        });
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn crowds_that_say_nothing_never_read_or_dawdle_keep_nobody_waiting() {
    namespace::fresh(|| {
        with_daemon(|scene, daemon| {
            answers(daemon, "alone");
            let (descriptors, kib) = size(daemon);
            let words: [(&str, &[u8]); 3] = [
                ("silent ones", b""),
                ("dawdlers", b"{\"ask\":"),
                ("those who never read a dump", b"{\"ask\":\"dump\"}\n"),
            ];
            for (what, words) in words {
                let path = scene.control();
                let crowd = std::thread::spawn(move || -> Vec<UnixStream> {
                    let join = |_| {
                        let mut stream = UnixStream::connect(&path).expect("it listens");
                        // It may have given up waiting for it.
                        let _ = stream.write_all(words);
                        stream
                    };
                    (0..MANY).map(join).collect()
                });
                answers(daemon, what);
                let (crowded, used) = size(daemon);
                let _crowd = crowd.join().expect("all are connected");
                answers(daemon, what);
                let (all, most) = size(daemon);
                let grown = used.max(most).saturating_sub(kib);
                eprintln!("{what}: {crowded}, {all} descriptors, {grown} KiB more");
                assert!(crowded.max(all) < descriptors + 300, "{what}");
                assert!(grown < MEMORY, "{what}: {grown} KiB");
            }
            daemon.rests_at(descriptors);
        });
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn nobody_but_root_and_the_daemon_s_user_is_answered() {
    namespace::fresh(|| {
        with_daemon(|scene, daemon| {
            let path = scene.control();
            let mode = fs::metadata(&path).expect("a socket").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            // Somebody has opened the way to it.
            let dir = path.parent().expect("a directory");
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("chmod");
            let as_nobody = || {
                let path = path.clone();
                let ask = move || {
                    let nobody = Uid::from_raw(65534);
                    set_thread_res_uid(nobody, nobody, nobody).expect("root may");
                    let mut stream = UnixStream::connect(path)?;
                    let _ = stream.write_all(b"{\"ask\":\"status\"}\n");
                    Ok::<_, std::io::Error>(answer(&mut stream))
                };
                std::thread::spawn(ask).join().expect("no panic")
            };
            let refused = as_nobody().expect_err("the socket's mode");
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
            let said = String::from_utf8(as_nobody().expect("connected")).expect("text");
            let expected = "{\"error\":\"only root and the daemon's own user are served\"}\n";
            assert_eq!(said, expected);
            answers(daemon, "root");
        });
    });
}

/// Somebody without rights.
const AS_NOBODY: [&str; 4] = [
    "--reuid=nobody",
    "--regid=nogroup",
    "--clear-groups",
    "--inh-caps=-all",
];

#[test]
#[ignore = "needs root: run by tests/run"]
fn who_may_not_ask_the_daemon_is_told_which_command_root_would_run() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = FakeEngine::start();
        let mut daemon = Daemon::ready(&scene, &engine, &[]);
        // The directories above the program may be closed to others.
        sh(&format!(
            "cp {PROGRAM} /run/program; chmod 755 /run/program"
        ));
        let state_dir = scene.state_dir().display().to_string();
        let control = scene.control().display().to_string();
        let there = ["--state-dir", &*state_dir];
        for args in [
            [&["status"][..], &there].concat(),
            [&["status"][..], &["--control", &control]].concat(),
            [&["dump", "--rules"][..], &there].concat(),
            [&["dump", "--history"][..], &there].concat(),
            [&["reload"][..], &there].concat(),
            [&["log-level", "debug"][..], &there].concat(),
            [&["metrics"][..], &there].concat(),
        ] {
            let mut command = Command::new("setpriv");
            command.args(AS_NOBODY).arg("/run/program").args(&args);
            let ended = command.env_clear().output().expect("runs");
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(4), "{args:?}: {said}");
            let words = format!("needs root: sudo docker-nat66 {}\n", args.join(" "));
            assert!(said.ends_with(&words), "{args:?}: {said}");
        }
        daemon.leaves();
    });
}
