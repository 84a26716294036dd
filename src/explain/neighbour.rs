//! How long the kernel looks for a neighbour's hardware address. A packet waits in the host
//! meanwhile, and is dropped when nobody has answered by then.

use std::fs;
use std::time::Duration;

/// Questions for a neighbour that nothing is known of, and the pause after each in milliseconds,
/// where the kernel does not say: `MAX_MULTICAST_SOLICIT` and `RETRANS_TIMER` (RFC 4861, 10).
const QUESTIONS: u64 = 3;
const PAUSE: u64 = 1000;

/// The kernel's timers come a little late, and an answer takes a moment.
const SLACK: Duration = Duration::from_millis(200);

/// Longest wait, whatever is set on the interface.
const LONGEST: Duration = Duration::from_secs(10);

/// How long a packet may wait in the host before it leaves by this interface.
pub(super) fn patience(interface: &str) -> Duration {
    // Documentation/networking/ip-sysctl.rst and arp(7).
    let read = |name: &str| {
        let path = format!("/proc/sys/net/ipv6/neigh/{interface}/{name}");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    time(read("mcast_solicit"), read("retrans_time_ms"))
}

fn time(questions: Option<u64>, pause: Option<u64>) -> Duration {
    let questions = questions.unwrap_or(QUESTIONS);
    let asking = questions.saturating_mul(pause.unwrap_or(PAUSE));
    Duration::from_millis(asking)
        .saturating_add(SLACK)
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_waited_for_and_not_for_ever() {
        assert_eq!(time(None, None), Duration::from_millis(3200));
        assert_eq!(time(Some(2), Some(500)), Duration::from_millis(1200));
        assert_eq!(time(Some(u64::MAX), Some(u64::MAX)), LONGEST);
    }
}
