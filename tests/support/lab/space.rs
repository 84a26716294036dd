//! A host of the lab's own: network, mount and process namespaces without names.
//!
//! Process 1 in there reads a pipe from this process and ends with it. The kernel then kills
//! every process in the namespace, and the network namespaces and mounts (a private `/run`
//! among them) go with the last process: nothing can be left behind, however the test ends.
//!
//! A thread enters the namespaces; what it starts or connects belongs there.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use crate::support::namespace::{self, leave};

/// How long a command may take before it is killed: seconds, for `timeout`. A container starts
/// in 0.3 s; two busy cores are slower.
const COMMAND_SECONDS: &str = "60";

/// How long the kernel may take to end all processes in there. It takes milliseconds.
const END: Duration = Duration::from_secs(20);

/// Makes the host of the lab what the tests expect, then holds it until standard input ends.
///
/// Duplicate address detection is off for what comes later too, so that a fresh bridge answers
/// at once and not after two seconds.
const SETUP: &str = r#"set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/lab/home
mount --bind "$1" /run/lab/home
[ ! -d /etc/docker ] || mount -t tmpfs tmpfs /etc/docker
ls /sys/fs/cgroup/* >/dev/null 2>&1 || mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /proc/sys/net
echo 0 >ipv6/conf/all/accept_dad
echo 0 >ipv6/conf/default/accept_dad
echo 1 >ipv6/conf/all/forwarding
echo 1 >ipv4/ip_forward
ip link set lo up
ip netns add client
ip -n client link set lo up
for n in 0 1; do
  ip link add eth$n type veth peer name eth$n netns client
  ip addr add 192.0.2.$((n * 128 + 1))/25 dev eth$n
  ip addr add 2001:db8:$n::1/64 dev eth$n nodad
  ip -n client addr add 192.0.2.$((n * 128 + 2))/25 dev eth$n
  ip -n client addr add 2001:db8:$n::2/64 dev eth$n nodad
  ip link set eth$n up
  ip -n client link set eth$n up
done
ip addr add 2001:db8:0::11/64 dev eth0 nodad
ip addr add 2001:db8:0::12/64 dev eth0 nodad
echo ready
exec cat >/dev/null
"#;

/// The namespaces, as long as this value lives.
#[derive(Debug)]
pub(crate) struct Space {
    init: Child,
    pidfd: OwnedFd,
}

/// One of the two network namespaces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'s> {
    space: &'s Space,
    client: bool,
}

impl Space {
    /// Makes the namespaces and their links, and shows the directory `home` as `/run/lab/home` in
    /// there; `setup.log` in it says what went wrong.
    pub(crate) fn new(home: &Path) -> Self {
        let errors = File::create(home.join("setup.log")).expect("make the log of the set-up");
        let mut init = thread::scope(|scope| {
            let starter = scope.spawn(|| {
                leave(UnshareFlags::FS | UnshareFlags::NEWNS | UnshareFlags::NEWNET);
                leave(UnshareFlags::NEWPID);
                let mut command = bare("tini");
                command.args(["--", "sh", "-c", SETUP, "setup"]).arg(home);
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
                command.stderr(errors).spawn().expect("start tini")
            });
            starter.join().expect("new namespaces (root is needed)")
        });
        let mut line = String::new();
        let stdout = init.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("read");
        let pid = i32::try_from(init.id()).ok().and_then(Pid::from_raw);
        let pidfd = pidfd_open(pid.expect("a process id"), PidfdFlags::empty());
        let space = Self {
            init,
            pidfd: pidfd.expect("pidfd_open"),
        };
        assert_eq!(line, "ready\n", "set-up failed, see {}", home.display());
        space
    }

    /// The id of process 1 in there, as this machine sees it.
    pub(crate) fn init(&self) -> u32 {
        self.init.id()
    }

    /// The network namespace of the Engine and the daemon.
    pub(crate) fn host(&self) -> Place<'_> {
        Place {
            space: self,
            client: false,
        }
    }

    /// The network namespace from which requests come.
    pub(crate) fn client(&self) -> Place<'_> {
        Place {
            space: self,
            client: true,
        }
    }

    fn enter(&self, client: bool) {
        // A thread that shares its working directory cannot change its mount namespace.
        leave(UnshareFlags::FS);
        let spaces = ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::PROCESS_ID;
        move_into_thread_name_spaces(self.pidfd.as_fd(), spaces).expect("enter the host");
        if client {
            namespace::enter("/run/netns/client");
        }
    }
}

impl Drop for Space {
    /// Ends process 1 and with it all others. The kernel completes that only when those that
    /// this process started are waited for: their guards borrow the lab, so they went before.
    fn drop(&mut self) {
        let _ = self.init.kill();
        let begin = Instant::now();
        while matches!(self.init.try_wait(), Ok(None)) {
            if begin.elapsed() > END {
                eprintln!("the namespaces of process {} do not end", self.init.id());
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Place<'_> {
    /// Runs `work` in a thread inside the namespaces. It cannot start threads of its own.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let Self { space, client } = *self;
        let worker = move || {
            space.enter(client);
            work()
        };
        thread::scope(|scope| match scope.spawn(worker).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Starts a process inside, with standard output and error going to `log`.
    pub(crate) fn spawn(&self, program: &str, args: &[&str], log: &Path) -> Child {
        let out = File::create(log).expect("make a log");
        let err = out.try_clone().expect("duplicate a descriptor");
        self.enter(move || {
            let mut command = bare(program);
            command.args(args).stdin(Stdio::null());
            let started = command.stdout(out).stderr(err).spawn();
            started.unwrap_or_else(|e| panic!("start {program}: {e}"))
        })
    }

    /// Runs a command to its end, which comes in [`COMMAND_SECONDS`] at the latest.
    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.enter(|| {
            let mut command = bare("timeout");
            command.args(["-k", "1", COMMAND_SECONDS]).args(args);
            let ended = command.stdin(Stdio::null()).output();
            ended.unwrap_or_else(|e| panic!("run {args:?}: {e}"))
        })
    }

    /// Runs a command that must succeed; its standard output.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "{args:?}: {}: {out}{err}",
            output.status
        );
        out
    }

    /// Runs a line of shell that must succeed; its standard output.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> String {
        self.run(&["sh", "-ec", line])
    }
}

/// A command with the environment of a service, instead of the one in which the tests run.
fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env(
            "PATH",
            "/run/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/lab",
        )
        .env("HOME", "/run/lab");
    command
}
