//! Whether the kernel can do what our table needs.
//!
//! One batch makes a whole table of another name, removes it, and removes it once more, which
//! fails: so the kernel tries everything and takes all of it back.

use rustix::io::Errno;

use super::error::Fault;
use super::exec::Session;
use super::plan::{self, TableOptions};
use super::render::{self, Step};
use crate::backend::ErrorKind;

/// The name of a table that no program uses.
const PROBE: &str = "docker_nat66_probe";

/// What the kernel may lack if it refuses.
const NEEDED: &str = "; the kernel needs nftables with IPv6 NAT, masquerade, connection tracking, \
    address types and intervals of concatenations (modules nf_tables, nft_chain_nat, nft_nat, \
    nft_masq, nft_ct, nft_fib_ipv6; Linux 5.6)";

/// Tries to make a table with these options, and returns the flags that the kernel knows: none
/// where it refuses ownership.
pub(super) fn probe(session: &mut Session, options: TableOptions) -> Result<u32, Fault> {
    session.call()?.generation().map_err(explained)?;
    match attempt(session, options)? {
        None => Ok(options.flags),
        // Never OWNER alone: a crash would take the table with it.
        Some(_) if options.flags != 0 => {
            let flags = 0;
            probe(session, TableOptions { flags, ..options })
        }
        Some((label, errno)) => Err(explained(Fault::at(errno, &label))),
    }
}

/// At which message the kernel refuses the table, and why; `None` where it does not.
fn attempt(session: &mut Session, options: TableOptions) -> Result<Option<(String, Errno)>, Fault> {
    let mut steps = plan::probe(options);
    steps.extend([Step::DropTable, Step::DropTable]);
    // The batch's end stands behind what is to fail.
    let last = render::count(&steps) - 2;
    session.attempt(&steps, PROBE, |outcome| match outcome.failure() {
        Some((place, _, Errno::NOENT)) if place == last => Ok(None),
        Some((_, label, errno)) => Ok(Some((label.to_owned(), errno))),
        None => Err(Fault::uncertain(
            "a batch that cannot succeed was acknowledged",
        )),
    })?
}

/// What is missing, where something is.
fn explained(fault: Fault) -> Fault {
    match fault.kind {
        ErrorKind::Denied => Fault {
            detail: fault.detail + "; run as root or with CAP_NET_ADMIN",
            ..fault
        },
        // Unknown subsystems, expressions and flags are refused in all of these ways.
        ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::Failed => Fault {
            kind: ErrorKind::Unsupported,
            detail: fault.detail + NEEDED,
        },
        _ => fault,
    }
}
