//! Batches: the messages for what is to be done. Pure.

use super::chains::{Chain, chains};
use super::expression;
use super::rule::SetElement;
use super::sets::{Set, datatype, length};
use crate::model::rule::RuleId;
use crate::netlink::message::{ACK, CREATE, NFGENMSG_IPV6, REQUEST, Writer};
use crate::netlink::nf_tables::{
    APPEND, BATCH_BEGIN, BATCH_END, DATA_VALUE, LIST_ELEM, SUBSYSTEM, chain, element, message,
    rule, set, table,
};

/// Elements in one message: the length of their list has 16 bits, and an element takes 160 bytes at
/// the most; and an error brings the whole message back in one datagram, which must fit into the
/// buffer of [`crate::netlink::socket`].
const AT_ONCE: usize = 300;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the table, or take it over, with these flags.
    Table { flags: u32 },
    /// Remove the table and all that is in it.
    DropTable,
    /// Make a set of this size (if it has one).
    Set(Set, u32),
    /// Remove a set that nothing refers to any more.
    DropSet(Set),
    /// Make our chains, or leave them, and fill them with our rules.
    Chains,
    /// Remove all rules from the table.
    FlushRules,
    /// Insert elements.
    Insert(Vec<(SetElement, RuleId)>),
    /// Remove elements.
    Remove(Vec<SetElement>),
}

/// A batch, ready to be sent.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// Its first sequence number, which is that of its begin.
    pub(super) first: u32,
    /// What each message is for, the begin's first and the end's last.
    pub(super) labels: Vec<String>,
}

/// Begin and end of a batch.
const FRAME: usize = 2;

struct Encoder<'a> {
    writer: Writer,
    first: u32,
    labels: Vec<String>,
    table: &'a str,
    /// The message that asks to be acknowledged.
    acknowledged: usize,
}

/// How many messages, and so sequence numbers, the steps take.
pub(super) fn count(steps: &[Step]) -> usize {
    let messages = |elements: usize| elements.div_ceil(AT_ONCE);
    let of = |step: &Step| match step {
        Step::Insert(elements) => elements
            .chunk_by(|(a, _), (b, _)| a.set == b.set)
            .map(|group| messages(group.len()))
            .sum(),
        Step::Remove(elements) => elements
            .chunk_by(|a, b| a.set == b.set)
            .map(|group| messages(group.len()))
            .sum(),
        Step::Chains => chains().iter().map(|chain| 1 + chain.rules.len()).sum(),
        _ => 1,
    };
    steps.iter().map(of).sum::<usize>() + FRAME
}

/// How many elements come or go by these steps.
pub(super) fn elements(steps: &[Step]) -> usize {
    let of = |step: &Step| match step {
        Step::Insert(elements) => elements.len(),
        Step::Remove(elements) => elements.len(),
        _ => 0,
    };
    steps.iter().map(of).sum()
}

/// The batch for steps on a table of this name, from this sequence number on.
pub(super) fn batch(steps: &[Step], table: &str, first: u32) -> Encoded {
    let mut encoder = Encoder {
        writer: Writer::default(),
        first,
        labels: Vec::new(),
        table,
        acknowledged: count(steps) - FRAME,
    };
    encoder.frame(BATCH_BEGIN, "the batch's begin");
    for step in steps {
        encoder.step(step);
    }
    encoder.frame(BATCH_END, "the batch's end");
    Encoded {
        bytes: encoder.writer.into_bytes(),
        first,
        labels: encoder.labels,
    }
}

impl Encoder<'_> {
    fn frame(&mut self, kind: u16, label: &str) {
        let seq = self.next_seq();
        self.labels.push(label.to_owned());
        let [high, low] = SUBSYSTEM.to_be_bytes();
        self.writer
            .message(kind, REQUEST, seq, |w| w.raw(&[0, 0, high, low]));
    }

    fn next_seq(&self) -> u32 {
        // As many as were taken, by far fewer than 2³².
        self.first.wrapping_add(self.labels.len() as u32)
    }

    fn message(&mut self, kind: u16, flags: u16, label: String, fill: impl FnOnce(&mut Writer)) {
        let seq = self.next_seq();
        let ack = match self.labels.len() == self.acknowledged {
            true => ACK,
            false => 0,
        };
        self.labels.push(label);
        self.writer
            .message(kind, REQUEST | flags | ack, seq, |writer| {
                writer.raw(&NFGENMSG_IPV6);
                fill(writer);
            });
    }

    fn step(&mut self, step: &Step) {
        let name = self.table.to_owned();
        match step {
            Step::Table { flags } => {
                let label = format!("table {name}");
                self.message(message::NEW_TABLE, CREATE, label, |w| {
                    w.text(table::NAME, &name);
                    w.number(table::FLAGS, *flags);
                });
            }
            Step::DropTable => {
                let label = format!("removal of table {name}");
                self.message(message::DEL_TABLE, 0, label, |w| w.text(table::NAME, &name));
            }
            Step::Set(set, size) => self.set(*set, *size),
            Step::DropSet(set) => {
                let label = format!("removal of set {}", set.name());
                self.message(message::DEL_SET, 0, label, |w| {
                    w.text(set::TABLE, &name);
                    w.text(set::NAME, set.name());
                });
            }
            Step::Chains => chains().iter().for_each(|chain| self.chain(chain)),
            Step::FlushRules => {
                let label = "removal of the rules".to_owned();
                self.message(message::DEL_RULE, 0, label, |w| w.text(rule::TABLE, &name));
            }
            Step::Insert(elements) => {
                for group in elements.chunk_by(|(a, _), (b, _)| a.set == b.set) {
                    for some in group.chunks(AT_ONCE) {
                        self.insert(some);
                    }
                }
            }
            Step::Remove(elements) => {
                for group in elements.chunk_by(|a, b| a.set == b.set) {
                    for some in group.chunks(AT_ONCE) {
                        self.remove(some);
                    }
                }
            }
        }
    }

    fn set(&mut self, set: Set, size: u32) {
        let name = self.table.to_owned();
        // Unique within the batch, which is all it is for.
        let id = self.labels.len() as u32;
        let fields = |w: &mut Writer| {
            w.nested(set::DESC_CONCAT, |w| {
                for field in set.key() {
                    w.nested(LIST_ELEM, |w| {
                        w.number(set::FIELD_LEN, field.length() as u32)
                    });
                }
            });
        };
        let label = format!("set {}", set.name());
        self.message(message::NEW_SET, CREATE, label, |w| {
            w.text(set::TABLE, &name);
            w.text(set::NAME, set.name());
            w.number(set::FLAGS, set.flags());
            w.number(set::KEY_TYPE, datatype(set.key()));
            w.number(set::KEY_LEN, length(set.key()) as u32);
            if !set.data().is_empty() {
                w.number(set::DATA_TYPE, datatype(set.data()));
                w.number(set::DATA_LEN, length(set.data()) as u32);
            }
            w.number(set::ID, id);
            w.nested(set::DESC, |w| {
                if set.is_per_port() {
                    w.number(set::DESC_SIZE, size);
                }
                if set.is_interval() && set.key().len() > 1 {
                    fields(w);
                }
            });
            w.attr(set::USERDATA, &set.userdata());
            if set.is_per_port() {
                w.nested(set::EXPR, |w| {
                    w.text(1, "counter");
                    w.nested(2, |_| {});
                });
            }
        });
    }

    fn chain(&mut self, chain: &Chain) {
        let name = self.table.to_owned();
        let label = format!("chain {}", chain.name);
        self.message(message::NEW_CHAIN, CREATE, label, |w| {
            w.text(chain::TABLE, &name);
            w.text(chain::NAME, chain.name);
            w.nested(chain::HOOK, |w| {
                w.number(chain::HOOK_NUMBER, chain.hook);
                w.attr(chain::HOOK_PRIORITY, &chain.priority.to_be_bytes());
            });
            w.number(chain::POLICY, chain::ACCEPT);
            w.text(chain::TYPE, chain.kind);
        });
        for (n, expressions) in chain.rules.iter().enumerate() {
            let label = format!("rule {} of chain {}", n + 1, chain.name);
            self.message(message::NEW_RULE, CREATE | APPEND, label, |w| {
                w.text(rule::TABLE, &name);
                w.text(rule::CHAIN, chain.name);
                w.nested(rule::EXPRESSIONS, |w| {
                    w.raw(&expression::encode(expressions));
                });
            });
        }
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        label: String,
        set: Set,
        fill: impl FnOnce(&mut Writer),
    ) {
        let name = self.table.to_owned();
        self.message(kind, flags, label, |w| {
            w.text(element::LIST_TABLE, &name);
            w.text(element::LIST_SET, set.name());
            w.nested(element::LIST_ELEMENTS, fill);
        });
    }

    fn insert(&mut self, some: &[(SetElement, RuleId)]) {
        let Some((SetElement { set, .. }, _)) = some.first() else {
            return;
        };
        let label = format!("insertion of {} into {}", some.len(), set.name());
        self.elements(message::NEW_ELEMENTS, CREATE, label, *set, |w| {
            for (one, id) in some {
                write_element(w, one, Some(&comment(*id)));
            }
        });
    }

    fn remove(&mut self, some: &[SetElement]) {
        let Some(SetElement { set, .. }) = some.first() else {
            return;
        };
        let label = format!("removal of {} from {}", some.len(), set.name());
        self.elements(message::DEL_ELEMENTS, 0, label, *set, |w| {
            for one in some {
                write_element(w, one, None);
            }
        });
    }
}

/// `NFTA_SET_ELEM_USERDATA`: a TLV of type 0 (`NFTNL_UDATA_SET_ELEM_COMMENT`) with a NUL at
/// its end, which counts; without it nft 1.0.6 crashes when it lists.
fn comment(id: RuleId) -> Vec<u8> {
    let text = id.comment();
    // 29 bytes of text.
    let length = text.len() as u8 + 1;
    [&[0, length], text.as_bytes(), &[0]].concat()
}

/// One element, or the two that make a range; insertions have a comment and bring their data.
fn write_element(writer: &mut Writer, one: &SetElement, comment: Option<&[u8]>) {
    writer.nested(LIST_ELEM, |w| {
        w.nested(element::KEY, |w| w.attr(DATA_VALUE, &one.key));
        if one.set.is_interval() && !one.set.has_two_elements_each() {
            w.nested(element::KEY_END, |w| w.attr(DATA_VALUE, &one.last));
        }
        if let Some(comment) = comment {
            if !one.data.is_empty() {
                w.nested(element::DATA, |w| w.attr(DATA_VALUE, &one.data));
            }
            w.attr(element::USERDATA, comment);
        }
    });
    if one.set.has_two_elements_each()
        && let Some(behind) = successor(&one.last)
    {
        writer.nested(LIST_ELEM, |w| {
            w.number(element::FLAGS, element::INTERVAL_END);
            w.nested(element::KEY, |w| w.attr(DATA_VALUE, &behind));
        });
    }
}

/// The key behind this one; `None` behind the last there is.
fn successor(key: &[u8]) -> Option<Vec<u8>> {
    let key = u128::from_be_bytes(key.try_into().ok()?);
    Some(key.checked_add(1)?.to_be_bytes().into())
}
