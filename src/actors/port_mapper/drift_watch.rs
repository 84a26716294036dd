//! How the port mapper learns what other programs do.

use std::time::Duration;

use crate::netlink::watch::OwnPorts;

/// How many comparisons within [`VERIFY_WINDOW`] start at once when rules change; later ones wait. A
/// repair takes two, because its cause may come in several pieces. A program that undoes our repairs
/// this often will not stop because we repair faster, and one that changes its own rules this often
/// must not make us start processes all the time.
pub(super) const MOST_VERIFIED: u32 = 40;

/// The period in which comparisons are counted.
pub(super) const VERIFY_WINDOW: Duration = Duration::from_secs(1);

/// How long the next comparison waits after [`MOST_VERIFIED`] of them.
pub(super) const VERIFY_PAUSE: Duration = Duration::from_millis(250);

/// How the mapper notices what other programs do to our rules.
pub(crate) struct DriftWatch {
    /// How often the rules are listed without a notification.
    pub interval: Duration,
    /// From which netlink ports our own changes come.
    pub own_ports: OwnPorts,
}
