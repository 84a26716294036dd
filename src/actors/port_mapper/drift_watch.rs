//! How the port mapper learns what other programs do.

use std::time::Duration;

use crate::netlink::watch::OwnPorts;

/// How the mapper notices what other programs do to our rules.
pub(crate) struct DriftWatch {
    /// How often the rules are listed without a notification.
    pub interval: Duration,
    /// From which netlink ports our own changes come.
    pub own_ports: OwnPorts,
}
