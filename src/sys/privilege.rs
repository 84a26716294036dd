//! The capabilities of the process, and dropping those that a running daemon does not need.
//!
//! Capabilities belong to threads, and a new thread inherits those of its creator. So the daemon drops
//! them while it has one thread. The bounding set is reduced too: otherwise a tool that the daemon
//! starts as root would get every capability back.

use std::io;

use rustix::fs::Mode;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What changing the firewall needs. CAP_NET_RAW is for the legacy variant of ip6tables, which uses
/// a raw socket.
const NEEDED: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);

/// Capabilities are numbered from 0, in 64 bits (capget(2), version 3).
const BITS: u32 = 64;

/// Which of the capabilities in [`NEEDED`] this process has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub net_admin: bool,
    pub net_raw: bool,
}

/// What of [`NEEDED`] this process has.
///
/// # Errors
/// The kernel does not answer.
pub(crate) fn held() -> io::Result<Held> {
    let effective = capabilities(None)?.effective;
    Ok(Held {
        net_admin: effective.contains(CapabilitySet::NET_ADMIN),
        net_raw: effective.contains(CapabilitySet::NET_RAW),
    })
}

/// Whether this process may change the firewall.
///
/// # Errors
/// The kernel does not answer.
pub(crate) fn may_administer_network() -> io::Result<bool> {
    Ok(held()?.net_admin)
}

/// Makes every file that this process creates private, whatever its umask was: sled creates files
/// with the modes that the umask allows.
pub(crate) fn keep_files_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Drops every capability that is not needed, and forbids gaining new ones by executing a program.
/// Call it after everything that needs more is done, and before a second thread starts.
///
/// # Errors
/// The kernel refused; some capabilities may still be held.
pub(crate) fn drop_unneeded() -> io::Result<()> {
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for bit in 0..BITS {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            // For a number above its last capability the kernel answers EINVAL.
            let is_known = capability_is_in_bounding_set(one).unwrap_or(false);
            if is_known && !NEEDED.contains(one) {
                remove_capability_from_bounding_set(one)?;
            }
        }
    }
    // The kernel removes from the ambient set what is not inheritable (capabilities(7)).
    let needed = CapabilitySets {
        effective: held.effective & NEEDED,
        permitted: held.permitted & NEEDED,
        inheritable: held.inheritable & NEEDED,
    };
    // Under our systemd unit there is nothing to drop, and the call is forbidden.
    if needed != held {
        set_capabilities(None, needed)?;
    }
    if !no_new_privs()? {
        set_no_new_privs(true)?;
    }
    Ok(())
}
