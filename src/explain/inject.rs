//! Sends a frame into the ingress of an interface, as if it had come from the wire: by a BPF test
//! run, or where that may not be, by a tap.

mod bpf;
mod tap;

use std::fs::File;

use rustix::io::Errno;

use super::error::ExplainError;
use super::packet::Packet;
use crate::netlink::interface::Link;
use crate::sys::causes::chain;
use crate::sys::failpoint;

/// A packet that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// By what: `bpf` or `tap`.
    pub(super) by: &'static str,
    /// The tap, which vanishes when this is closed.
    _tap: Option<File>,
}

/// Sends the packet. Hold what this returns until the packet has passed.
///
/// # Errors
/// A capability is missing, or the interface does not take the packet.
pub(super) fn send(link: &Link, packet: &Packet) -> Result<Sent, ExplainError> {
    let frame = packet.frame(link.mac.unwrap_or_default());
    failpoint::crash("before a packet is sent");
    let refused = match bpf::inject(link.index, &frame) {
        Ok(()) => {
            return Ok(Sent {
                by: "bpf",
                _tap: None,
            });
        }
        Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::INVAL)) => errno,
        Err(errno) => {
            return Err(ExplainError::Injection {
                device: link.name.clone(),
                errno,
            });
        }
    };
    match tap::inject(link.index, |own| packet.frame(own)) {
        Ok(tap) => Ok(Sent {
            by: "tap",
            _tap: Some(tap),
        }),
        Err(error) => Err(ExplainError::NoInjection {
            bpf: refused,
            tap: chain(&error),
        }),
    }
}
