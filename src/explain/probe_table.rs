//! The probe's own table: marks the one packet for tracing, counts where it passes, and drops it
//! before it reaches anybody and before connection tracking keeps it.
//!
//! The table belongs to its socket: the kernel removes it when that is closed, after a SIGKILL too. A
//! kernel that cannot do that leaves it, and the next probe removes it.
//! All rules match the packet's own numbers, so that no other packet is touched, and several probes
//! at a time do not meet.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::expression;
use super::means::{Feature, Ingress, Means};
use super::packet::Mark;
use super::place::Place;
use super::probe_batch::{NETDEV, ProbeBatch};
use super::probe_chains::{ANSWERS, End, Knocked, RESET, place_of};
use crate::backend::ErrorKind;
use crate::backend::nftables::error::Fault;
use crate::backend::nftables::outcome::Outcome;
use crate::netlink::NetlinkError;
use crate::netlink::message::{INET, Malformed, NFGENMSG_IPV6, Writer, find, nfgenmsg, text};
use crate::netlink::nf_tables::{message, rule, table};
use crate::netlink::request::{self, Channel};
use crate::netlink::shown::number;
use crate::netlink::socket::Socket;

/// What the names of our tables begin with; the process and a number follow.
pub(crate) const TABLE_PREFIX: &str = "docker_nat66_explain_";

/// Sockets that have no table any more. To close one takes the kernel some 15 ms; at the end of the
/// process it closes all at once, and by then the answer is printed.
static SPARE: Mutex<Vec<Socket>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<Socket>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The table in the kernel, as long as this value lives.
#[derive(Debug)]
pub(super) struct ProbeTable {
    socket: Socket,
    pub(super) name: String,
    pub(super) means: Means,
    /// Whether there is one in the family netdev, too.
    is_in_netdev: bool,
}

/// What the kernel refused of a batch.
struct Refused {
    fault: Fault,
    /// The feature that it lacks, where the table can do without.
    feature: Option<Feature>,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            feature: None,
        }
    }
}

impl From<NetlinkError> for Refused {
    fn from(error: NetlinkError) -> Self {
        Fault::from(error).into()
    }
}

impl ProbeTable {
    /// Makes the table for the packet with this mark, arriving at `device`, without what the kernel is
    /// too old for.
    pub(super) fn make(
        mark: Mark,
        device: &str,
        end: End<'_>,
        deadline: Instant,
    ) -> Result<Self, Fault> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TABLE_PREFIX}{}_{count}", std::process::id());
        let socket = match spare().pop() {
            Some(socket) => socket,
            None => Socket::netfilter()?,
        };
        let mut made = Self {
            socket,
            name,
            means: Means::ALL,
            is_in_netdev: false,
        };
        loop {
            let means = made.means;
            made.is_in_netdev = matches!(end, End::Away(_)) || means.ingress == Ingress::Netdev;
            let batch = ProbeBatch::of(&made.name, mark, device, end, means);
            let Err(refused) = made.try_commit(batch, deadline) else {
                return Ok(made);
            };
            match refused.feature {
                Some(feature) if means.without(feature) != means => {
                    made.means = means.without(feature);
                    if feature == Feature::Owner {
                        made.remove_left(deadline)?;
                    }
                }
                _ => return Err(refused.fault),
            }
        }
    }

    fn commit(&mut self, batch: ProbeBatch, deadline: Instant) -> Result<(), Fault> {
        self.try_commit(batch, deadline)
            .map_err(|refused| refused.fault)
    }

    fn try_commit(&mut self, batch: ProbeBatch, deadline: Instant) -> Result<(), Refused> {
        let first = self.socket.take_seq(batch.labels.len());
        let bytes = batch.encode(first);
        let mut outcome = Outcome::new(first, &batch.labels);
        self.socket.send(&bytes)?;
        while !outcome.is_decided() {
            outcome.take(self.socket.receive(deadline)?)?;
        }
        while let Some(datagram) = self.socket.pending()? {
            outcome.take(datagram)?;
        }
        let missing = outcome
            .failure()
            .filter(|(_, _, errno)| Feature::is_missing(*errno));
        let feature = missing.and_then(|(place, ..)| batch.features.get(&place).copied());
        let result = outcome.result();
        result.map_err(|fault| Refused { fault, feature })
    }

    /// Removes the tables that others have left which were killed, where the kernel does not.
    fn remove_left(&mut self, deadline: Instant) -> Result<(), Fault> {
        let mut left = Vec::new();
        let which = |w: &mut Writer| w.raw(&nfgenmsg(0));
        let mut each = |payload: &[u8]| -> Result<(), Malformed> {
            left.extend(left_table(payload));
            Ok(())
        };
        let kind = message::GET_TABLE;
        request::dump(&mut self.socket, deadline, kind, &which, &mut each)?;
        for (family, name) in left {
            let mut batch = ProbeBatch::default();
            let label = "removal of a table that was left";
            let remove = |w: &mut Writer| w.text(table::NAME, &name);
            batch.add(family, message::DEL_TABLE, 0, label, remove);
            match self.try_commit(batch, deadline) {
                // Another one was first.
                Err(refused) if refused.fault.kind == ErrorKind::NotFound => {}
                ended => ended.map_err(|refused| refused.fault)?,
            }
        }
        Ok(())
    }

    /// The places that have counted the packet, and whether an answer of the host was kept back.
    pub(super) fn counted(&mut self, deadline: Instant) -> Result<(BTreeSet<Place>, bool), Fault> {
        let chains = self.counting(deadline)?;
        let passed = chains.iter().filter_map(|chain| place_of(chain));
        Ok((passed.collect(), chains.contains(ANSWERS)))
    }

    /// What the container has answered to a knock, and whether the reset has left the host.
    pub(super) fn knocked(&mut self, deadline: Instant) -> Result<(Option<Knocked>, bool), Fault> {
        let chains = self.counting(deadline)?;
        let mut answers = Knocked::ALL.into_iter();
        let answer = answers.find(|answer| chains.contains(answer.chain()));
        Ok((answer, chains.contains(RESET)))
    }

    /// The chains that have counted something.
    fn counting(&mut self, deadline: Instant) -> Result<BTreeSet<String>, Fault> {
        let mut chains = BTreeSet::new();
        let mut each = |payload: &[u8]| -> Result<(), Malformed> {
            let count = expression::count(payload).filter(|(_, packets)| *packets > 0);
            chains.extend(count.map(|(chain, _)| chain));
            Ok(())
        };
        let families = [INET, NETDEV];
        for family in &families[..1 + usize::from(self.is_in_netdev)] {
            let which = |w: &mut Writer| {
                w.raw(&nfgenmsg(*family));
                w.text(rule::TABLE, &self.name);
            };
            let (socket, kind) = (&mut self.socket, message::GET_RULE);
            request::dump(socket, deadline, kind, &which, &mut each)?;
        }
        Ok(chains)
    }

    /// Removes the table now.
    pub(super) fn remove(mut self, deadline: Instant) -> Result<(), Fault> {
        let mut batch = ProbeBatch::default();
        let name = self.name.clone();
        let remove = |w: &mut Writer| w.text(table::NAME, &name);
        batch.add(INET, message::DEL_TABLE, 0, "removal of the table", remove);
        if self.is_in_netdev {
            batch.add(
                NETDEV,
                message::DEL_TABLE,
                0,
                "removal of the table",
                remove,
            );
        }
        self.commit(batch, deadline)?;
        spare().push(self.socket);
        Ok(())
    }
}

/// A table of a probe whose process has ended, from the payload that shows it.
fn left_table(payload: &[u8]) -> Option<(u8, String)> {
    let family = *payload.first()?;
    let attributes = payload.get(NFGENMSG_IPV6.len()..)?;
    let name = String::from_utf8_lossy(text(find(attributes, table::NAME)?)).into_owned();
    let flags = find(attributes, table::FLAGS).and_then(number).unwrap_or(0);
    let (pid, _) = name.strip_prefix(TABLE_PREFIX)?.split_once('_')?;
    let pid: u32 = pid.parse().ok()?;
    let is_left = flags & table::OWNER_FLAG == 0 && !Path::new(&format!("/proc/{pid}")).exists();
    is_left.then_some((family, name))
}
