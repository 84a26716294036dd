//! How long a tool may take: as long as it works, and a while when it does not.

use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::sys::progress::{self, Worker};

/// A tool that works may take this many times its deadline: tables of 50,000 rules take it
/// 6 s to list on a machine that has nothing else to do.
const LONGEST: u32 = 3;

/// The part of the deadline that a tool must have used the processor for, to get more: little, for
/// it need not be alone on the machine.
const AT_WORK: u32 = 20;

/// How often the tool is checked for progress.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// How long a tool may go on.
pub(super) struct Patience {
    begun: Instant,
    deadline: Duration,
    until: Instant,
    /// The processor's time that it had used when it was last given more.
    used: Duration,
    /// The same at the last check.
    seen: Duration,
    next_check: Instant,
}

impl Patience {
    pub(super) fn new(begun: Instant, deadline: Duration) -> Self {
        Self {
            begun,
            deadline,
            until: begun + deadline,
            used: Duration::ZERO,
            seen: Duration::ZERO,
            next_check: begun + CHECK_EVERY,
        }
    }

    /// How long to wait before this is asked again; `None` when the time is over. `used` returns the
    /// processor's time that the tool has used; it is a sign of life when that grows.
    pub(super) fn left(&mut self, used: impl Fn() -> Duration) -> Option<Duration> {
        let now = Instant::now();
        if now >= self.next_check {
            let used = used();
            if used > self.seen {
                progress::made(Worker::Writer);
            }
            (self.seen, self.next_check) = (used, now + CHECK_EVERY);
        }
        if now >= self.until {
            let used = used();
            let works = used >= self.used + self.deadline / AT_WORK;
            if !works || now >= self.begun + self.deadline * LONGEST {
                return None;
            }
            (self.used, self.until) = (used, now + self.deadline);
        }
        Some((self.until - now).min(self.next_check.saturating_duration_since(now)))
    }
}

/// The processor's time that a process has used; none where that cannot be read. Fields 14 and 15
/// of `/proc/PID/stat` (proc_pid_stat(5)), in the 1/100 s that the kernel shows to programs
/// (`USER_HZ`); field 2, in parentheses, may hold anything.
pub(super) fn time_used(pid: Pid) -> Duration {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_gets_more_time_and_nobody_gets_it_for_ever() {
        let deadline = Duration::from_secs(10);
        let ago = |seconds| Instant::now() - Duration::from_secs(seconds);
        let mut patience = Patience::new(ago(0), deadline);
        assert!(patience.left(|| Duration::ZERO).is_some());
        let mut patience = Patience::new(ago(11), deadline);
        assert_eq!(patience.left(|| Duration::from_millis(499)), None);
        assert!(patience.left(|| Duration::from_millis(500)).is_some());
        // Nothing new since.
        patience.until = ago(1);
        assert_eq!(patience.left(|| Duration::from_millis(500)), None);
        assert!(patience.left(|| Duration::from_secs(1)).is_some());
        let mut patience = Patience::new(ago(120), deadline);
        assert_eq!(patience.left(|| Duration::from_secs(100)), None);
    }

    #[test]
    fn the_time_that_a_process_has_used_is_read() {
        let own = rustix::process::getpid();
        let before = time_used(own);
        while time_used(own) == before {
            std::hint::spin_loop();
        }
        let none = Pid::from_raw(i32::MAX).expect("a number");
        assert_eq!(time_used(none), Duration::ZERO);
    }
}
