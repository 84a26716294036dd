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

use super::expression::{self, counter, drop_it, set_trace};
use super::packet::Mark;
use super::place::{self, BRACKETS, Hook, Place};
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

/// The chain that drops what the host would answer.
const ANSWERS: &str = "answers";

/// The chain that drops it as it leaves the host, in a table of the family netdev.
const AWAY: &str = "away";

/// `NFPROTO_NETDEV`, and `NF_NETDEV_EGRESS` (linux/netfilter.h).
const NETDEV: u8 = 5;
const EGRESS: u32 = 1;

/// The object that makes connection tracking forget the packet soon, and where it is given to the
/// connection: behind connection tracking.
const FORGET: &str = "forget";
const TRACKED: Place = Place {
    hook: Hook::Prerouting,
    priority: -199,
};

/// After how many seconds: longer than the packet and the answer take.
const FORGET_AFTER: u32 = 2;

/// `CTA_TIMEOUT_TCP_SYN_SENT` and `CTA_TIMEOUT_TCP_SYN_RECV`, and with the same numbers
/// `CTA_TIMEOUT_UDP_UNREPLIED` and `CTA_TIMEOUT_UDP_REPLIED`
/// (linux/netfilter/nfnetlink_cttimeout.h): an entry comes no further here.
const STATES: [u16; 2] = [1, 2];

/// Where the packet is dropped that goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End<'e> {
    /// Before connection tracking keeps it.
    Inside,
    /// Behind all of that, and behind the search for the neighbour: where it leaves by this
    /// interface.
    Away(&'e str),
}

/// A chain: its name, its place, and its rules' expressions.
type ChainToMake = (String, Place, Vec<Vec<u8>>);

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
            has_away: end != End::Inside,
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
        let mut passed = BTreeSet::new();
        let mut answered = false;
        let name = self.name.clone();
        let which = |w: &mut Writer| {
            w.raw(&nfgenmsg(INET));
            w.text(rule::TABLE, &name);
        };
        let mut each = |payload: &[u8]| -> Result<(), Malformed> {
            if let Some((chain, packets @ 1..)) = expression::count(payload) {
                answered |= chain == ANSWERS;
                passed.extend(place_of(&chain));
                let _ = packets;
            }
            Ok(())
        };
        request::dump(
            &mut self.socket,
            deadline,
            message::GET_RULE,
            &which,
            &mut each,
        )?;
        Ok((passed, answered))
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

/// The name of the chain at a place.
fn name_of(place: Place) -> String {
    match BRACKETS.iter().position(|bracket| *bracket == place) {
        Some(at) => format!("{}_{at}", place.hook),
        None => match place {
            place::WIRE => "wire",
            place::FIRST => "first",
            place::LAST_IN => "last_in",
            _ => "last_out",
        }
        .to_owned(),
    }
}

/// The place at which one of our chains stands.
pub(super) fn place_of(chain: &str) -> Option<Place> {
    let own = [place::WIRE, place::FIRST, place::LAST_IN, place::LAST_OUT];
    let mut all = own.iter().chain(&BRACKETS);
    all.find(|place| name_of(**place) == chain).copied()
}

fn chains(mark: Mark, end: End<'_>) -> Vec<ChainToMake> {
    let is_ours = || expression::is_packet(mark);
    let with = |mut expressions: Vec<u8>, more: &[Vec<u8>]| {
        expressions.extend(more.concat());
        expressions
    };
    let traced = || with(is_ours(), &[counter(), set_trace()]);
    let mut all = vec![
        (name_of(place::WIRE), place::WIRE, vec![traced()]),
        (name_of(place::FIRST), place::FIRST, vec![traced()]),
    ];
    for bracket in BRACKETS {
        let more = match bracket == TRACKED && end != End::Inside {
            true => vec![counter(), expression::set_timeout(FORGET)],
            false => vec![counter()],
        };
        all.push((name_of(bracket), bracket, vec![with(is_ours(), &more)]));
    }
    for last in [place::LAST_IN, place::LAST_OUT] {
        let goes_on = last == place::LAST_OUT && end != End::Inside;
        let rules = vec![match goes_on {
            true => with(is_ours(), &[counter()]),
            false => with(is_ours(), &[counter(), drop_it()]),
        }];
        all.push((name_of(last), last, rules));
    }
    let output = Place {
        hook: Hook::Output,
        priority: i32::MIN,
    };
    let kept_back = expression::are_answers(mark)
        .into_iter()
        .map(|expressions| with(expressions, &[counter(), drop_it()]));
    all.push((ANSWERS.to_owned(), output, kept_back.collect()));
    all
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
            batch.add_timeout(name, mark);
            batch.add_away(name, mark, device);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_of_ours_is_found_again_by_its_name() {
        let mark = Mark {
            proto: crate::model::forward::Proto::Tcp,
            label: 1,
            nonce: 1,
        };
        let all = chains(mark, End::Inside);
        assert_eq!(all.len(), 2 + BRACKETS.len() + 2 + 1);
        let names: BTreeSet<_> = all.iter().map(|(name, ..)| name.clone()).collect();
        assert_eq!(names.len(), all.len());
        for (name, place, _) in &all {
            let expected = (name != ANSWERS).then_some(*place);
            assert_eq!(place_of(name), expected, "{name}");
        }
        assert_eq!(place_of("forward"), None);
    }
}
