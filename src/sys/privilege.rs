//! What the process may do, and how it gives up all of it that a running daemon has no use for.
//!
//! Capabilities belong to threads, and a new thread has those of the one that made it: so they are
//! given up while there is only one. A tool that is started later has no more of them than the
//! daemon: as root it would otherwise get all that the bounding set leaves.

use std::io;

use rustix::fs::Mode;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What changing the firewall takes. CAP_NET_RAW is for the legacy variant of ip6tables, which
/// works through a raw socket.
const NEEDED: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);

/// Capabilities are counted from 0, in 64 bits (capget(2), version 3).
const BITS: u32 = 64;

/// Whether this process may change the firewall.
///
/// # Errors
/// The kernel does not tell.
pub fn may_administer_network() -> io::Result<bool> {
    Ok(capabilities(None)?
        .effective
        .contains(CapabilitySet::NET_ADMIN))
}

/// From now on no file that this process makes is for others, whatever umask it was started with:
/// sled makes its own as the umask allows.
pub fn keep_files_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Gives up every capability that is not needed, and the hope of getting new ones by executing a
/// program. To be called once all is opened and loaded that takes more, and before there is a
/// second thread.
///
/// # Errors
/// What the kernel refused; a capability that was not given up is still there.
pub fn give_up_all_else() -> io::Result<()> {
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for bit in 0..BITS {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            // Beyond the last one that the kernel knows it answers EINVAL.
            let is_there = capability_is_in_bounding_set(one).unwrap_or(false);
            if is_there && !NEEDED.contains(one) {
                remove_capability_from_bounding_set(one)?;
            }
        }
    }
    // From the ambient set goes what is not inheritable (capabilities(7)).
    let needed = CapabilitySets {
        effective: held.effective & NEEDED,
        permitted: held.permitted & NEEDED,
        inheritable: held.inheritable & NEEDED,
    };
    // Under the unit there is nothing to give up, and the call is forbidden.
    if needed != held {
        set_capabilities(None, needed)?;
    }
    if !no_new_privs()? {
        set_no_new_privs(true)?;
    }
    Ok(())
}
