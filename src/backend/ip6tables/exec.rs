//! The one place that starts a process: a tool with an empty environment, bounded in time and
//! output, that does not outlive the daemon.
//!
//! No task or thread: the calling thread feeds and drains the child, and does not return before
//! the child is reaped (one that SIGKILL does not end at once is remembered, and nothing else
//! is started while it lives). So the thread that forked lives as long as the child, which
//! PR_SET_PDEATHSIG asks for. A crash takes the child along, by that signal; between fork and
//! signal the inherited lock ([`super::lock`]) shows it to the next daemon.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::patience::{Patience, time_used};
use crate::netlink::watch::OwnPorts;
use crate::sys::failpoint;
use crate::sys::progress::{self, Worker};

/// What the tool may search for programs of its own (modprobe).
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a killed tool may take to vanish before the caller gets an error. One in
/// an uninterruptible system call may take for ever.
const REAP_WITHIN: Duration = Duration::from_secs(2);

/// Bytes per read: the default capacity of a pipe.
const CHUNK: usize = 64 * 1024;

/// What a run may take, and what its child inherits.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// From start to exit. One that uses the processor meanwhile gets as much again, time after
    /// time, within bounds ([`Patience`]).
    pub(crate) deadline: Duration,
    /// Bytes, standard output and standard error each.
    pub(crate) max_output: usize,
    /// Descriptors that stay open in the child.
    pub(crate) inherit: Vec<Arc<OwnedFd>>,
    /// Where it is noted whose changes are ours.
    pub(crate) own_ports: OwnPorts,
}

/// Whose network the tool sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Ours.
    Own,
    /// An empty one that vanishes with the tool.
    Fresh,
}

/// A tool that came to its end.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it printed.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: Vec<u8>,
}

/// Why a tool gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It could not be started.
    #[error("cannot be started: {0}")]
    Start(#[source] io::Error),
    /// It did not end in time and was killed; its standard error as far as it came.
    #[error("killed after {} ms", .0.as_millis())]
    Deadline(Duration, Vec<u8>),
    /// It printed more than is believable and was killed.
    #[error("killed after printing more than {0} bytes")]
    Output(usize),
    /// A tool was killed and is still there; nothing else may be started beside it.
    #[error("process {0} was killed and does not end")]
    Undead(u32),
    /// Its pipes or its exit could not be watched; it was killed.
    #[error("cannot be watched: {0}")]
    Watch(#[source] io::Error),
}

/// Starts tools, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    undead: Option<Running>,
    /// The port from which the last tool's changes come.
    pub(crate) last_port: OwnPorts,
}

impl Runner {
    /// Runs `program` with `args`, feeds it `input`, and waits for its end.
    ///
    /// # Errors
    /// [`Failure`]; the child is gone then, except after [`Failure::Undead`].
    pub(crate) fn run<A: AsRef<OsStr>>(
        &mut self,
        program: &Path,
        args: &[A],
        input: &[u8],
        network: Network,
        bounds: &Bounds,
    ) -> Result<Finished, Failure> {
        if let Some(mut earlier) = self.undead.take()
            && !earlier.kill_and_reap(Duration::ZERO)
        {
            let pid = earlier.child.id();
            self.undead = Some(earlier);
            return Err(Failure::Undead(pid));
        }
        let start = Instant::now();
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on the daemon's terminal must not end a tool in the middle of its work.
            .process_group(0);
        before_exec(&mut command, bounds.inherit.clone(), network);
        failpoint::crash("before a tool is started");
        let mut running = Running::new(command.spawn().map_err(Failure::Start)?);
        bounds.own_ports.add(running.child.id());
        self.last_port = OwnPorts::default();
        self.last_port.add(running.child.id());
        failpoint::crash("while a tool runs");
        let outcome = running.watch(input, start, bounds);
        failpoint::crash("after a tool has ended");
        if outcome.is_err() && !running.kill_and_reap(REAP_WITHIN) {
            self.undead = Some(running);
        }
        outcome
    }
}

/// Ties the child to this process and to our locks.
#[allow(unsafe_code)]
fn before_exec(command: &mut Command, inherit: Vec<Arc<OwnedFd>>, network: Network) {
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the signal was asked for.
        if rustix::process::getppid() != Some(parent) {
            return Err(Errno::SRCH.into());
        }
        for descriptor in &inherit {
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        if network == Network::Fresh {
            // SAFETY: NEWNET alone leaves memory and the table of descriptors as they are.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes plain system calls only, which are
    // async-signal-safe; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(prepare) };
}

/// A child that is killed and reaped if the thread unwinds.
#[derive(Debug)]
struct Running {
    child: Child,
    reaped: bool,
}

impl Running {
    fn new(child: Child) -> Self {
        Self {
            child,
            reaped: false,
        }
    }

    /// Feeds and drains the child until it ends.
    fn watch(
        &mut self,
        input: &[u8],
        start: Instant,
        bounds: &Bounds,
    ) -> Result<Finished, Failure> {
        let watch = |e: Errno| Failure::Watch(e.into());
        let pidfd = rustix::process::pidfd_open(self.pid(), PidfdFlags::empty()).map_err(watch)?;
        let mut stdin = self.child.stdin.take().map(OwnedFd::from);
        let mut stdout = Drain::new(self.child.stdout.take().map(OwnedFd::from));
        let mut stderr = Drain::new(self.child.stderr.take().map(OwnedFd::from));
        for fd in [stdin.as_ref(), stdout.fd.as_ref(), stderr.fd.as_ref()]
            .into_iter()
            .flatten()
        {
            rustix::io::ioctl_fionbio(fd, true).map_err(watch)?;
        }
        let mut input = input;
        let mut patience = Patience::new(start, bounds.deadline);
        loop {
            let Some(left) = patience.left(|| time_used(self.pid())) else {
                return Err(Failure::Deadline(start.elapsed(), stderr.bytes));
            };
            let ended = wait(
                pidfd.as_fd(),
                stdin.as_ref(),
                [stdout.fd.as_ref(), stderr.fd.as_ref()],
                left,
            )
            .map_err(watch)?;
            feed(&mut stdin, &mut input);
            // After the end, what is in the pipes is all that counts: a grandchild may hold
            // them open for ever.
            for drain in [&mut stdout, &mut stderr] {
                drain.read(bounds.max_output).map_err(watch)?;
                if drain.bytes.len() > bounds.max_output {
                    return Err(Failure::Output(bounds.max_output));
                }
            }
            if ended {
                let status = self.child.wait().map_err(Failure::Watch)?;
                self.reaped = true;
                progress::made(Worker::Writer);
                return Ok(Finished {
                    status,
                    stdout: stdout.bytes,
                    stderr: stderr.bytes,
                });
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Kills the child with all that it started, and waits for its end; whether it came.
    fn kill_and_reap(&mut self, within: Duration) -> bool {
        if self.reaped {
            return true;
        }
        // The group is the child's own; while it is not reaped, its id cannot be another's.
        let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
        let end = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(_)) => {
                    self.reaped = true;
                    return true;
                }
                Ok(None) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(None) | Err(_) => return false,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_and_reap(REAP_WITHIN);
    }
}

/// Waits until the child ends or a pipe is ready; whether it ended.
fn wait(
    pidfd: BorrowedFd<'_>,
    stdin: Option<&OwnedFd>,
    outputs: [Option<&OwnedFd>; 2],
    left: Duration,
) -> Result<bool, Errno> {
    let mut fds = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    fds.extend(stdin.map(|fd| PollFd::new(fd, PollFlags::OUT)));
    fds.extend(
        outputs
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::IN)),
    );
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(!fds[0].revents().is_empty()),
        Err(e) => Err(e),
    }
}

/// Writes what the pipe takes; closes it at the end, or when its reader has closed it.
fn feed(stdin: &mut Option<OwnedFd>, input: &mut &[u8]) {
    while let Some(fd) = stdin {
        if input.is_empty() {
            *stdin = None;
            return;
        }
        match rustix::io::write(&*fd, input) {
            Ok(n) => *input = &input[n..],
            Err(Errno::AGAIN | Errno::INTR) => return,
            // Its exit status says whether it had read enough.
            Err(_) => *stdin = None,
        }
    }
}

/// One output of the child.
#[derive(Debug)]
struct Drain {
    fd: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Drain {
    fn new(fd: Option<OwnedFd>) -> Self {
        Self {
            fd,
            bytes: Vec::new(),
        }
    }

    /// Reads what is there, to a little more than `max` bytes in all.
    fn read(&mut self, max: usize) -> Result<(), Errno> {
        while let Some(fd) = &self.fd {
            if self.bytes.len() > max {
                return Ok(());
            }
            self.bytes.reserve(CHUNK);
            let spare = rustix::buffer::spare_capacity(&mut self.bytes);
            match rustix::io::read(fd, spare) {
                Ok(0) => self.fd = None,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
