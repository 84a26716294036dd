//! Tools that hang, babble, lie or are not there, and daemons that die while one works.

use std::env;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use docker_nat66::backend::ip6tables::{Ip6tables, ToolLock};
use docker_nat66::backend::{Backend, ErrorKind};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::again::again;
use crate::support::contract::rules::{insertion, tcp};
use crate::support::process::lives;
use crate::support::toolbox::{EMPTY, Toolbox, pid_in, settings_in};
use crate::support::wait::until;

#[test]
fn a_missing_tool_is_unsupported_and_the_remedy_is_named() {
    let dir = tempfile::tempdir().expect("temp dir");
    let error = Ip6tables::detect(settings_in(dir.path())).expect_err("no tools");
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(
        error.detail.contains("install the iptables package"),
        "{error}"
    );
}

#[test]
fn a_hung_tool_is_killed_in_time_and_leaves_no_process() {
    let tool = Toolbox::scripted(EMPTY);
    let mut settings = tool.settings();
    settings.deadline = Duration::from_secs(1);
    let mut backend = Ip6tables::detect(settings).expect("healthy so far");
    // The grandchild goes with it, though it is no child of ours.
    tool.behave("sleep 60 & echo $! >$here/grandchild; echo $$ >$here/child; echo woe >&2; wait");
    let start = Instant::now();
    let error = backend.list().expect_err("hangs");
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert!(error.detail.contains("woe"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3));
    for file in ["child", "grandchild"] {
        let pid = pid_in(&tool.path(file));
        until("its end", || !lives(pid));
    }
    tool.behave(EMPTY);
    assert_eq!(backend.list(), Ok(Vec::new()));
}

#[test]
fn a_babbling_tool_is_cut_off() {
    let tool = Toolbox::scripted(EMPTY);
    let mut settings = tool.settings();
    settings.max_output = 1024 * 1024;
    let mut backend = Ip6tables::detect(settings).expect("healthy so far");
    for babble in [
        "exec head -c 1073741824 /dev/zero",
        "exec head -c 1073741824 /dev/zero >&2",
    ] {
        tool.behave(babble);
        let error = backend.list().expect_err("too much");
        assert_eq!(error.kind, ErrorKind::Uncertain, "{error}");
    }
}

#[test]
fn what_is_no_listing_is_uncertain() {
    let tool = Toolbox::scripted(EMPTY);
    let mut backend = Ip6tables::detect(tool.settings()).expect("healthy so far");
    for nonsense in [
        "true",
        "head -c 3000 /dev/urandom",
        "empty | head -n 3",
        "echo \"# Table \\`nat' is incompatible, use 'nft' tool.\"",
        "empty; echo more",
    ] {
        tool.behave(nonsense);
        let error = backend.list().expect_err(nonsense);
        assert_eq!(error.kind, ErrorKind::Uncertain, "{nonsense}: {error}");
    }
}

#[test]
fn a_tool_that_fails_keeps_its_words() {
    let tool = Toolbox::scripted(EMPTY);
    let mut backend = Ip6tables::detect(tool.settings()).expect("healthy so far");
    tool.behave("cat >/dev/null; echo 'ip6tables-restore: line 2 failed: Why Not.' >&2; exit 1");
    let error = backend.commit(&insertion(&[tcp(7)])).expect_err("fails");
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.detail.contains("line 2 failed: Why Not."), "{error}");
    assert!(
        error
            .detail
            .contains("line 2 of the input: -A PREROUTING -i eth0 ")
    );
    tool.behave("kill -SEGV $$");
    let error = backend.commit(&insertion(&[tcp(7)])).expect_err("crashes");
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.detail.contains("signal"), "{error}");
}

#[test]
fn a_tool_that_reads_nothing_blocks_nobody() {
    let tool = Toolbox::scripted(EMPTY);
    let mut backend = Ip6tables::detect(tool.settings()).expect("healthy so far");
    // Far more than a pipe holds.
    let rules: Vec<_> = (1..=5000).map(tcp).collect();
    tool.behave("exit 4");
    let error = backend.commit(&insertion(&rules)).expect_err("fails");
    assert_eq!(error.kind, ErrorKind::Busy);
    tool.behave("cat >$here/input");
    assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
    let input = fs::read_to_string(tool.path("input")).expect("written");
    assert_eq!(input.lines().count(), 5002);
    assert!(input.ends_with("COMMIT\n"));
}

#[test]
fn a_process_that_a_tool_left_behind_does_not_hold_us_up() {
    let tool = Toolbox::scripted(EMPTY);
    let mut backend = Ip6tables::detect(tool.settings()).expect("healthy so far");
    tool.behave("empty; sleep 60 & echo $! >$here/left");
    assert_eq!(backend.list(), Ok(Vec::new()));
    kill(pid_in(&tool.path("left")));
}

#[test]
fn a_tool_sees_an_empty_environment_and_bounded_waiting() {
    let tool = Toolbox::scripted(EMPTY);
    let mut backend = Ip6tables::detect(tool.settings()).expect("healthy so far");
    tool.behave("cat >/dev/null; env >$here/env; echo \"$@\" >$here/args");
    assert_eq!(backend.commit(&insertion(&[tcp(1)])), Ok(()));
    let env = fs::read_to_string(tool.path("env")).expect("written");
    let mut names: Vec<_> = env.lines().filter_map(|l| l.split('=').next()).collect();
    // The shell sets PWD by itself, and some set more, all in capitals with no secret of ours.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["LC_ALL", "PATH"]);
    let args = fs::read_to_string(tool.path("args")).expect("written");
    assert_eq!(args, "--noflush --wait 8\n");
}

#[test]
fn a_tool_that_changes_its_variant_is_not_believed() {
    let tool = Toolbox::scripted(EMPTY);
    let mut backend = Ip6tables::detect(tool.settings()).expect("healthy so far");
    tool.claim("legacy");
    tool.behave("empty | sed 's/ (nf_tables)//'");
    let error = backend.list().expect_err("other tables");
    assert_eq!(error.kind, ErrorKind::Uncertain, "{error}");
    // The same variant in a new version is.
    tool.claim("nf_tables");
    tool.behave("empty | sed 's/1.8.9/1.8.11/'");
    assert_eq!(backend.list(), Ok(Vec::new()));
    assert_eq!(backend.generator(), "ip6tables-save v1.8.11 (nf_tables)");
}

#[test]
fn a_kernel_that_refuses_our_rules_is_unsupported() {
    let tool = Toolbox::scripted(
        "case $1 in -t) empty;; *) cat >/dev/null; \
         echo 'line 2: CHAIN_ADD failed (No such file or directory): chain PREROUTING' >&2; \
         exit 4;; esac",
    );
    // Where no network namespace may be made the probe is inconclusive.
    if rustix::process::geteuid().is_root() {
        let error = Ip6tables::detect(tool.settings()).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        assert!(error.detail.contains("nft_chain_nat"), "{error}");
    } else {
        Ip6tables::detect(tool.settings()).expect("inconclusive");
    }
}

/// Set in the process that plays the daemon: its state directory.
const DAEMON: &str = "DOCKER_NAT66_TEST_DAEMON";

/// Executes `test` of this binary once more as a daemon that takes the lock and lists; gives
/// it when the tool runs, with the tool's pid.
fn daemon(test: &impl Fn(), tool: &Toolbox) -> (Child, u32) {
    let child = again(test)
        .env(DAEMON, tool.path(""))
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    (child, pid_in(&tool.path("pid")))
}

/// The daemon's part of a test; does not return.
fn play_daemon() {
    let Some(dir) = env::var_os(DAEMON) else {
        return;
    };
    let dir = std::path::PathBuf::from(dir);
    let lock = ToolLock::acquire(&dir, Duration::ZERO).expect("free");
    let mut settings = settings_in(&dir);
    settings.inherit = vec![lock.descriptor()];
    let outcome = Ip6tables::detect(settings);
    panic!("the tool should not end: {outcome:?}");
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), Signal::KILL).expect("was there");
}

#[test]
fn a_tool_dies_with_its_daemon() {
    play_daemon();
    let tool = Toolbox::scripted("echo $$ >$here/pid; exec sleep 60");
    let (mut daemon, pid) = daemon(&a_tool_dies_with_its_daemon, &tool);
    let held = ToolLock::acquire(&tool.path(""), Duration::ZERO).expect_err("held");
    assert_eq!(held.kind, ErrorKind::TimedOut);
    assert!(lives(pid));
    daemon.kill().expect("killed");
    ToolLock::acquire(&tool.path(""), Duration::from_secs(10)).expect("free");
    assert!(!lives(pid));
    daemon.wait().expect("reaped");
}

#[test]
fn the_next_daemon_waits_for_what_a_tool_left_behind() {
    play_daemon();
    let tool =
        Toolbox::scripted("sleep 60 & echo $! >$here/left; echo $$ >$here/pid; exec sleep 60");
    let test = the_next_daemon_waits_for_what_a_tool_left_behind;
    let (mut daemon, pid) = daemon(&test, &tool);
    let left = pid_in(&tool.path("left"));
    daemon.kill().expect("killed");
    daemon.wait().expect("reaped");
    until("the tool's end", || !lives(pid));
    let held = ToolLock::acquire(&tool.path(""), Duration::from_millis(100));
    assert_eq!(held.expect_err("held").kind, ErrorKind::TimedOut);
    kill(left);
    ToolLock::acquire(&tool.path(""), Duration::from_secs(10)).expect("free");
}
