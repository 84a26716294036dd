//! Results of system calls that strace injects.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Makes strace answer system calls of a process in the kernel's place, until this is dropped.
pub(crate) struct Injected(Child);

impl Injected {
    /// `what` is an expression for strace's `inject=`.
    pub(crate) fn into(process: u32, what: &str) -> Self {
        let mut strace = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-p", &process.to_string()])
            .args(["-e", &format!("inject={what}")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is installed");
        let mut said = BufReader::new(strace.stderr.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("reads");
        assert!(line.contains(" attached"), "{line}");
        // It writes more later, and a full pipe must not stop it.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self(strace)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // SIGTERM makes it detach from the daemon first.
        let _ = kill_process(pid.expect("a process id"), Signal::TERM);
        let _ = self.0.wait();
    }
}
