//! A log that nobody reads any more: ports open and close as before, and `status` says it.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use docker_nat66::control::status::State;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::daemon::{Daemon, PATIENCE};
use crate::fake_engine::{FakeContainer, FakeEngine};
use crate::namespace;
use crate::scene::{Backend, PROGRAM, Scene};

/// As much as a pipe takes at once (`PIPE_BUF`, pipe(7)).
const AT_ONCE: usize = 4096;

/// Between two looks at a process.
const PAUSE: Duration = Duration::from_millis(10);

fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let has_room = |writer: &PipeWriter| {
        let mut fds = [PollFd::from_borrowed_fd(writer.as_fd(), PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec::default())).expect("poll") > 0
    };
    while has_room(&writer) {
        writer.write_all(&[b'\n'; AT_ONCE]).expect("there is room");
    }
    (reader, writer)
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
        let mut daemon = Daemon::start(&scene, command);
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
        assert_eq!(status.state, State::Degraded);
        let trouble = status.troubles.concat();
        assert!(
            trouble.starts_with("log: the log is not read: "),
            "{trouble}"
        );

        // Somebody reads, and it has something to say.
        let mut lines = BufReader::new(reader).lines().map(|l| l.expect("reads"));
        lines.by_ref().take(AT_ONCE).for_each(drop);
        engine.die(&container(3).id);
        daemon.waits("health", |scene| {
            scene.status().is_some_and(|s| s.state == State::Running)
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

#[test]
fn a_command_that_fails_ends_though_nobody_reads_why() {
    let (_reader, writer) = full_pipe();
    let mut command = Command::new(PROGRAM);
    let mut child = command.arg("run").stderr(writer).spawn().expect("starts");
    drop(command);
    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        match child.try_wait().expect("waits") {
            None if Instant::now() < deadline => std::thread::park_timeout(PAUSE),
            ended => break ended,
        }
    };
    let _ = child.kill();
    assert_eq!(ended.and_then(|end| end.code()), Some(2));
}
