//! Processes: signals, waiting, and what `/proc` says about them.

use std::fs;
use std::io::{PipeReader, PipeWriter, Write as _, pipe};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::namespace;
use super::wait::eventually;

/// Sends a signal to a process that this one started and has not waited for.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("kill");
}

/// Waits for the end of a process.
#[track_caller]
pub(crate) fn wait(child: &mut Child, what: &str, deadline: Duration) -> ExitStatus {
    eventually(deadline, &format!("the end of {what}"), || {
        child.try_wait().expect("wait").ok_or("still running")
    })
}

/// Ends a process at once and waits for it.
pub(crate) fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The field `name` of `/proc/PID/status` (proc_pid_status(5)), such as `VmRSS` or `SigCgt`.
pub(crate) fn status(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| *found == name)?;
    Some(value.trim().to_owned())
}

/// The same for an amount of memory, in KiB.
#[track_caller]
pub(crate) fn kib(pid: u32, name: &str) -> u64 {
    let value = status(pid, name).expect("it runs");
    let kib = value.trim_end_matches(" kB").parse();
    kib.expect("a size")
}

/// Whether the process handles SIGHUP by now. One that has just begun would end by it.
pub(crate) fn heeds_hangup(pid: u32) -> bool {
    let mask = status(pid, "SigCgt").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    mask.is_some_and(|mask| mask & 1 != 0)
}

/// Whether the process exists and is not a zombie.
pub(crate) fn lives(pid: u32) -> bool {
    let state = status(pid, "State").unwrap_or_default();
    !(state.is_empty() || state.starts_with(['Z', 'X']))
}

/// A process of this thread's network namespace.
pub(crate) struct Neighbour {
    pub(crate) pid: u32,
    /// The file it executes; empty while it is ending.
    pub(crate) program: PathBuf,
}

/// All processes of this thread's network namespace.
pub(crate) fn neighbours() -> Vec<Neighbour> {
    let here = namespace::here();
    let link = |path: PathBuf| fs::read_link(path).unwrap_or_default();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").expect("mounted").flatten() {
        let path = process.path();
        let name = process.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
            && link(path.join("ns/net")) == here
        {
            let program = link(path.join("exe"));
            found.push(Neighbour { pid, program });
        }
    }
    found
}

/// Programs of ip6tables that run in this thread's network namespace, except children of `daemon`.
pub(crate) fn tools_but_of(daemon: Option<u32>) -> Vec<String> {
    let parent = daemon.map(|pid| pid.to_string());
    let is_tool = |it: &Neighbour| it.program.to_string_lossy().contains("xtables");
    // One that has ended meanwhile is nobody's.
    let is_other = |it: &Neighbour| status(it.pid, "PPid").is_some_and(|its| Some(its) != parent);
    let tools = neighbours()
        .into_iter()
        .filter(|it| is_tool(it) && is_other(it));
    tools.map(|it| it.program.display().to_string()).collect()
}

/// What a pipe takes in one write (`PIPE_BUF`, pipe(7)).
const AT_ONCE: usize = 4096;

/// A full pipe, like a log that nobody reads.
pub(crate) fn full_pipe() -> (PipeReader, PipeWriter) {
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
