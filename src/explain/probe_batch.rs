//! The messages that make the probe's own table, or remove it. Pure.

use std::collections::BTreeMap;

use super::expression::{self, counter, drop_it};
use super::means::{Feature, Ingress, Means};
use super::packet::Mark;
use super::place::{self, Hook};
use super::probe_chains::{End, FORGET, chains, name_of};
use crate::netlink::message::{ACK, CREATE, INET, IPV6, REQUEST, Writer, nfgenmsg};
use crate::netlink::nf_tables::{
    APPEND, BATCH_BEGIN, BATCH_END, SUBSYSTEM, chain, message, object, rule, table,
};
use crate::sys::failpoint;

/// The chain that drops it as it leaves the host, in a table of the family netdev.
const AWAY: &str = "away";

/// `NFPROTO_NETDEV`, and its hooks `NF_NETDEV_INGRESS` and `NF_NETDEV_EGRESS` (linux/netfilter.h).
pub(super) const NETDEV: u8 = 5;
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;

/// What no kernel has: a flag of tables and the number of a hook, for a test in which the kernel
/// refuses those that it has.
const NO_FLAG: u32 = 1 << 31;
const NO_HOOK: u32 = 31;

/// After how many seconds: longer than the packet and the answer take.
const FORGET_AFTER: u32 = 2;

/// `CTA_TIMEOUT_TCP_SYN_SENT` and `CTA_TIMEOUT_TCP_SYN_RECV`, and with the same numbers
/// `CTA_TIMEOUT_UDP_UNREPLIED` and `CTA_TIMEOUT_UDP_REPLIED`
/// (linux/netfilter/nfnetlink_cttimeout.h): an entry comes no further here.
const STATES: [u16; 2] = [1, 2];

/// `CTA_TIMEOUT_TCP_CLOSE`. The kernel closes a connection's entry when it refuses a packet of it with
/// a reset (net/netfilter/nf_conntrack_proto_tcp.c, `nf_conntrack_tcp_set_closing`), so that the entry
/// ends at that moment. Kernels before 6.3 may not do so.
const CLOSED: u16 = 8;

/// Messages to be committed at once, with what each is for.
#[derive(Default)]
pub(super) struct ProbeBatch {
    /// Family, type, flags and attributes.
    messages: Vec<(u8, u16, u16, Vec<u8>)>,
    /// One for each message, and for the begin and the end.
    pub(super) labels: Vec<String>,
    /// By the place of a label: the feature that this message needs.
    pub(super) features: BTreeMap<usize, Feature>,
}

impl ProbeBatch {
    pub(super) fn of(name: &str, mark: Mark, device: &str, end: End<'_>, means: Means) -> Self {
        let mut batch = Self::default();
        let flag = match failpoint::lacks("tables with an owner") {
            true => NO_FLAG,
            false => table::OWNER_FLAG,
        };
        let new_table = |w: &mut Writer| {
            w.text(table::NAME, name);
            if means.is_owned {
                w.number(table::FLAGS, flag);
            }
        };
        let (kind, label) = (message::NEW_TABLE, "a table");
        batch.needs(Feature::Owner);
        batch.add(INET, kind, CREATE, label, new_table);
        if matches!(end, End::Away(_)) || means.ingress == Ingress::Netdev {
            batch.needs(Feature::Owner);
            batch.add(NETDEV, kind, CREATE, label, new_table);
        }
        if let End::Away(device) = end {
            let rule = [expression::is_packet_of_netdev(mark), counter(), drop_it()];
            let hook = match failpoint::lacks("the egress hook") {
                true => NO_HOOK,
                false => EGRESS,
            };
            batch.add_netdev(name, AWAY, (hook, device), &rule.concat());
        }
        if means.ingress == Ingress::Netdev {
            let rule = [
                expression::is_packet_of_netdev(mark),
                counter(),
                expression::set_trace(),
            ];
            let hook = match failpoint::lacks("the ingress hook") {
                true => NO_HOOK,
                false => INGRESS,
            };
            batch.needs(Feature::NetdevIngress);
            batch.add_netdev(name, &name_of(place::WIRE), (hook, device), &rule.concat());
        }
        if end != End::Inside {
            batch.add_timeout(name, mark, end);
        }
        let is_without_ingress = ["the ingress hook", "the ingress hook of inet"]
            .into_iter()
            .any(failpoint::lacks);
        for (chain_name, place, rules) in chains(mark, end) {
            let is_at_ingress = place.hook == Hook::Ingress;
            if is_at_ingress && means.ingress != Ingress::Inet {
                continue;
            }
            if is_at_ingress {
                batch.needs(Feature::InetIngress);
            }
            let hook = match is_at_ingress && is_without_ingress {
                true => NO_HOOK,
                false => place.hook.number(),
            };
            let label = format!("a chain at {} {}", place.hook, place.priority);
            batch.add(INET, message::NEW_CHAIN, CREATE, &label, |w| {
                w.text(chain::TABLE, name);
                w.text(chain::NAME, &chain_name);
                w.nested(chain::HOOK, |w| {
                    w.number(chain::HOOK_NUMBER, hook);
                    w.attr(chain::HOOK_PRIORITY, &place.priority.to_be_bytes());
                    if is_at_ingress {
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
    fn add_timeout(&mut self, name: &str, mark: Mark, end: End<'_>) {
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
                    if end == End::Knock {
                        w.number(CLOSED, 0);
                    }
                });
            });
        });
    }

    /// A chain in the table of the family netdev, with one rule.
    fn add_netdev(&mut self, name: &str, chain_name: &str, at: (u32, &str), rule: &[u8]) {
        let (hook, device) = at;
        let label = format!("a chain of family netdev on {device}");
        self.add(NETDEV, message::NEW_CHAIN, CREATE, &label, |w| {
            w.text(chain::TABLE, name);
            w.text(chain::NAME, chain_name);
            w.nested(chain::HOOK, |w| {
                w.number(chain::HOOK_NUMBER, hook);
                w.attr(chain::HOOK_PRIORITY, &i32::MIN.to_be_bytes());
                w.text(chain::HOOK_DEVICE, device);
            });
            w.number(chain::POLICY, chain::ACCEPT);
            w.text(chain::TYPE, "filter");
        });
        self.add(NETDEV, message::NEW_RULE, CREATE | APPEND, &label, |w| {
            w.text(rule::TABLE, name);
            w.text(rule::CHAIN, chain_name);
            w.nested(rule::EXPRESSIONS, |w| w.raw(rule));
        });
    }

    /// The next message needs this.
    fn needs(&mut self, feature: Feature) {
        self.features.insert(1 + self.messages.len(), feature);
    }

    pub(super) fn add(
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
    pub(super) fn encode(&self, first: u32) -> Vec<u8> {
        let mut writer = Writer::default();
        let mut seqs = (0..).map(|n| first.wrapping_add(n));
        let mut seq = || seqs.next().unwrap_or(first);
        let [high, low] = SUBSYSTEM.to_be_bytes();
        let frame = |w: &mut Writer| w.raw(&[0, 0, high, low]);
        writer.message(BATCH_BEGIN, REQUEST, seq(), frame);
        let last = self.messages.len().saturating_sub(1);
        for (at, (family, kind, flags, attributes)) in self.messages.iter().enumerate() {
            let ack = match at == last {
                true => ACK,
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
