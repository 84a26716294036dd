//! How the port mapper learns what other programs do.

use std::time::Duration;

use ipnet::Ipv6Net;

use crate::model::conditions::ForeignRules;
use crate::model::device::Device;
use crate::netlink::watch::OwnPorts;

/// Finds what drops packets from these interfaces to these prefixes; `None` if that is not known now.
pub(crate) type FindDrops = Box<dyn Fn(&[Device], &[Ipv6Net]) -> Option<ForeignRules> + Send>;

/// How the mapper notices what other programs do to our rules and to our packets.
pub(crate) struct DriftWatch {
    /// How often the rules are listed without a notification.
    pub interval: Duration,
    /// From which netlink ports our own changes come.
    pub own_ports: OwnPorts,
    /// Asked whenever the host's health is checked.
    pub find_drops: FindDrops,
}
