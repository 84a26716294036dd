//! Sends a frame into the ingress of an interface, as if it had come from the wire: by a BPF test
//! run, or where that may not be, by a tap.

mod bpf;
mod tap;

use std::fs::File;

use rustix::io::Errno;

use super::error::ExplainError;
use super::packet::Packet;
use super::way::shown;
use crate::netlink::interface::Link;
use crate::sys::causes::chain;
use crate::sys::failpoint;

/// A packet that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// By what: `bpf` or `tap`.
    pub(super) by: &'static str,
    /// With what BPF was refused, where a tap took its place.
    pub(super) refused: Option<Errno>,
    /// The tap, which vanishes when this is closed.
    _tap: Option<File>,
}

/// What is to be said where BPF was refused and a tap serves (bpf(2), kernel/bpf/syscall.c).
pub(super) fn note(errno: Errno) -> String {
    let what = match errno {
        Errno::PERM | Errno::ACCESS => {
            "it takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, and a security module may refuse it \
             besides"
        }
        Errno::NOSYS => "this kernel has no bpf(2)",
        _ => "a test run into an interface takes Linux 4.12",
    };
    format!("sent by a tap, because BPF is refused ({errno}): {what}")
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
                refused: None,
                _tap: None,
            });
        }
        Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::INVAL)) => errno,
        Err(errno) => {
            return Err(ExplainError::Injection {
                device: shown(&link.name),
                errno,
            });
        }
    };
    match tap::inject(link.index, |own| packet.frame(own)) {
        Ok(tap) => Ok(Sent {
            by: "tap",
            refused: Some(refused),
            _tap: Some(tap),
        }),
        Err(error) => Err(ExplainError::NoInjection {
            bpf: refused,
            tap: chain(&error),
        }),
    }
}
