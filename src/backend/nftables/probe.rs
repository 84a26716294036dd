//! Whether the kernel can do what our table needs.
//!
//! A whole table of another name is made and removed, and removed once more, which fails: so
//! the kernel has tried everything and takes all of it back.

use rustix::io::Errno;

use super::encode::Step;
use super::fault::Fault;
use super::plan;
use super::{ErrorKind, Nftables};

/// A table that nobody has.
const PROBE: &str = "docker_nat66_probe";

/// What a kernel that refuses may lack.
const NEEDED: &str = "; the kernel needs nftables with IPv6 NAT, masquerade, connection tracking, \
    address types and intervals of concatenations (modules nf_tables, nft_chain_nat, nft_nat, \
    nft_masq, nft_ct, nft_fib_ipv6; Linux 5.6)";

/// What came of one attempt.
enum Tried {
    Works,
    /// At which message, and why.
    Refused(String, Errno),
}

impl Nftables {
    /// Tries it, first with ownership where that is wanted.
    pub(super) fn probe(&mut self) -> Result<(), Fault> {
        self.generation().map_err(explained)?;
        if let Tried::Refused(label, errno) = self.attempt()? {
            let (label, errno) = match self.flags {
                0 => (label, errno),
                _ => {
                    // Never OWNER alone: a crash would take the table with it.
                    self.flags = 0;
                    match self.attempt()? {
                        Tried::Works => return Ok(()),
                        Tried::Refused(label, errno) => (label, errno),
                    }
                }
            };
            return Err(explained(Fault::at(errno, &label)));
        }
        Ok(())
    }

    fn attempt(&mut self) -> Result<Tried, Fault> {
        let mut steps = plan::probe(self.make());
        steps.extend([Step::DropTable, Step::DropTable]);
        // The batch's end stands behind what is to fail.
        let last = super::encode::count(&steps) - 2;
        self.carry_out(&steps, PROBE, |outcome| match outcome.failure() {
            Some((place, _, Errno::NOENT)) if place == last => Ok(Tried::Works),
            Some((_, label, errno)) => Ok(Tried::Refused(label.to_owned(), errno)),
            None => Err(Fault::uncertain(
                "a batch that cannot succeed was acknowledged",
            )),
        })?
    }
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
