//! The probe's own table: marks the one packet for tracing, counts where it passes, and drops it
//! before it reaches anybody and before connection tracking keeps it.
//!
//! The table belongs to its socket: the kernel removes it when that is closed, after a SIGKILL too.
//! All rules match the packet's own numbers, so that no other packet is touched, and several probes
//! at a time do not meet.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::expression::{self, counter, drop_it};
use super::packet::Mark;
use super::place::{Hook, Place};
use super::probe_chains::{ANSWERS, End, FORGET, Knocked, RESET, chains, place_of};
use crate::backend::nftables::error::Fault;
use crate::backend::nftables::outcome::Outcome;
use crate::netlink::message::{CREATE, INET, IPV6, Malformed, REQUEST, Writer, nfgenmsg};
use crate::netlink::nf_tables::{
    APPEND, BATCH_BEGIN, BATCH_END, SUBSYSTEM, chain, message, object, rule, table,
};
use crate::netlink::request::{self, Channel};
use crate::netlink::socket::Socket;

/// What the names of our tables begin with; the process and a number follow.
pub(crate) const TABLE_PREFIX: &str = "docker_nat66_explain_";

/// The chain that drops it as it leaves the host, in a table of the family netdev.
const AWAY: &str = "away";

/// `NFPROTO_NETDEV`, and `NF_NETDEV_EGRESS` (linux/netfilter.h).
const NETDEV: u8 = 5;
const EGRESS: u32 = 1;

/// After how many seconds: longer than the packet and the answer take.
const FORGET_AFTER: u32 = 2;

/// `CTA_TIMEOUT_TCP_SYN_SENT` and `CTA_TIMEOUT_TCP_SYN_RECV`, and with the same numbers
/// `CTA_TIMEOUT_UDP_UNREPLIED` and `CTA_TIMEOUT_UDP_REPLIED`
/// (linux/netfilter/nfnetlink_cttimeout.h): an entry comes no further here.
const STATES: [u16; 2] = [1, 2];

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
    /// Whether there is one in the family netdev, too.
    has_away: bool,
}

/// What the kernel refused of the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.detail)]
pub(super) struct Refused(pub(super) Fault);

impl ProbeTable {
    /// Makes the table for the packet with this mark, arriving at `device`.
    pub(super) fn make(
        mark: Mark,
        device: &str,
        end: End<'_>,
        deadline: Instant,
    ) -> Result<Self, Refused> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TABLE_PREFIX}{}_{count}", std::process::id());
        let socket = match spare().pop() {
            Some(socket) => socket,
            None => Socket::netfilter().map_err(|e| Refused(e.into()))?,
        };
        let mut made = Self {
            socket,
            name,
            has_away: matches!(end, End::Away(_)),
        };
        let batch = Batch::of(&made.name, mark, device, end);
        made.commit(batch, deadline).map_err(Refused)?;
        Ok(made)
    }

    fn commit(&mut self, batch: Batch, deadline: Instant) -> Result<(), Fault> {
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
        outcome.result()
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
        let name = self.name.clone();
        let which = |w: &mut Writer| {
            w.raw(&nfgenmsg(INET));
            w.text(rule::TABLE, &name);
        };
        let mut each = |payload: &[u8]| -> Result<(), Malformed> {
            let count = expression::count(payload).filter(|(_, packets)| *packets > 0);
            chains.extend(count.map(|(chain, _)| chain));
            Ok(())
        };
        request::dump(
            &mut self.socket,
            deadline,
            message::GET_RULE,
            &which,
            &mut each,
        )?;
        Ok(chains)
    }

    /// Removes the table now.
    pub(super) fn remove(mut self, deadline: Instant) -> Result<(), Fault> {
        let mut batch = Batch::default();
        let name = self.name.clone();
        let remove = |w: &mut Writer| w.text(table::NAME, &name);
        batch.add(INET, message::DEL_TABLE, 0, "removal of the table", remove);
        if self.has_away {
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

/// Messages to be committed at once, with what each is for.
#[derive(Default)]
struct Batch {
    /// Family, type, flags and attributes.
    messages: Vec<(u8, u16, u16, Vec<u8>)>,
    /// One for each message, and for the begin and the end.
    labels: Vec<String>,
}

impl Batch {
    fn of(name: &str, mark: Mark, device: &str, end: End<'_>) -> Self {
        let mut batch = Self::default();
        let owned = |w: &mut Writer| {
            w.text(table::NAME, name);
            w.number(table::FLAGS, table::OWNER_FLAG);
        };
        let (kind, label) = (message::NEW_TABLE, "a table with an owner");
        batch.add(INET, kind, CREATE, label, owned);
        if let End::Away(device) = end {
            batch.add(NETDEV, kind, CREATE, label, owned);
            batch.add_away(name, mark, device);
        }
        if end != End::Inside {
            batch.add_timeout(name, mark);
        }
        for (chain_name, place, rules) in chains(mark, end) {
            let label = format!("a chain at {} {}", place.hook, place.priority);
            batch.add(INET, message::NEW_CHAIN, CREATE, &label, |w| {
                w.text(chain::TABLE, name);
                w.text(chain::NAME, &chain_name);
                w.nested(chain::HOOK, |w| {
                    w.number(chain::HOOK_NUMBER, place.hook.number());
                    w.attr(chain::HOOK_PRIORITY, &place.priority.to_be_bytes());
                    if place.hook == Hook::Ingress {
                        w.text(chain::HOOK_DEVICE, device);
                    }
                });
                w.number(chain::POLICY, chain::ACCEPT);
                w.text(chain::TYPE, "filter");
            });
            for expressions in rules {
                let label = format!("a rule at {} {}", place.hook, place.priority);
                batch.add(INET, message::NEW_RULE, CREATE | APPEND, &label, |w| {
                    w.text(rule::TABLE, name);
                    w.text(rule::CHAIN, &chain_name);
                    w.nested(rule::EXPRESSIONS, |w| w.raw(&expressions));
                });
            }
        }
        batch
    }

    /// The object that lets the packet's entry end soon, whatever becomes of this process.
    fn add_timeout(&mut self, name: &str, mark: Mark) {
        let label = "a timeout for connection tracking";
        self.add(INET, message::NEW_OBJECT, CREATE, label, |w| {
            w.text(object::TABLE, name);
            w.text(object::NAME, FORGET);
            w.number(object::TYPE, object::CT_TIMEOUT);
            w.nested(object::DATA, |w| {
                w.attr(object::TIMEOUT_FAMILY, &u16::from(IPV6).to_be_bytes());
                w.attr(object::TIMEOUT_PROTO, &[mark.proto.number()]);
                w.nested(object::TIMEOUT_DATA, |w| {
                    for state in STATES {
                        w.number(state, FORGET_AFTER);
                    }
                });
            });
        });
    }

    /// The chain that drops the packet where it leaves by `device`.
    fn add_away(&mut self, name: &str, mark: Mark, device: &str) {
        let label = format!("a chain at egress of {device}");
        self.add(NETDEV, message::NEW_CHAIN, CREATE, &label, |w| {
            w.text(chain::TABLE, name);
            w.text(chain::NAME, AWAY);
            w.nested(chain::HOOK, |w| {
                w.number(chain::HOOK_NUMBER, EGRESS);
                w.attr(chain::HOOK_PRIORITY, &i32::MIN.to_be_bytes());
                w.text(chain::HOOK_DEVICE, device);
            });
            w.number(chain::POLICY, chain::ACCEPT);
            w.text(chain::TYPE, "filter");
        });
        let expressions = [expression::is_leaving_packet(mark), counter(), drop_it()].concat();
        self.add(NETDEV, message::NEW_RULE, CREATE | APPEND, &label, |w| {
            w.text(rule::TABLE, name);
            w.text(rule::CHAIN, AWAY);
            w.nested(rule::EXPRESSIONS, |w| w.raw(&expressions));
        });
    }

    fn add(
        &mut self,
        family: u8,
        kind: u16,
        flags: u16,
        label: &str,
        fill: impl FnOnce(&mut Writer),
    ) {
        if self.labels.is_empty() {
            self.labels = vec!["the batch's begin".to_owned(), "the batch's end".to_owned()];
        }
        let mut writer = Writer::default();
        fill(&mut writer);
        self.messages
            .push((family, kind, flags, writer.into_bytes()));
        self.labels.insert(self.labels.len() - 1, label.to_owned());
    }

    /// The datagram; the last message asks to be acknowledged.
    fn encode(&self, first: u32) -> Vec<u8> {
        let mut writer = Writer::default();
        let mut seqs = (0..).map(|n| first.wrapping_add(n));
        let mut seq = || seqs.next().unwrap_or(first);
        let [high, low] = SUBSYSTEM.to_be_bytes();
        let frame = |w: &mut Writer| w.raw(&[0, 0, high, low]);
        writer.message(BATCH_BEGIN, REQUEST, seq(), frame);
        let last = self.messages.len().saturating_sub(1);
        for (at, (family, kind, flags, attributes)) in self.messages.iter().enumerate() {
            let ack = match at == last {
                true => crate::netlink::message::ACK,
                false => 0,
            };
            writer.message(*kind, REQUEST | flags | ack, seq(), |w| {
                w.raw(&nfgenmsg(*family));
                w.raw(attributes);
            });
        }
        writer.message(BATCH_END, REQUEST, seq(), frame);
        writer.into_bytes()
    }
}
