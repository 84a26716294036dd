//! What must hold of any bytes that nf_tables answers with.

use std::time::{Duration, Instant};

use super::{Elements, Rules, Table, is_chain, own_set, rule};
use crate::backend::nftables::chains::{Chain, chains};
use crate::backend::nftables::element::Item;
use crate::backend::nftables::encode::{Step, batch};
use crate::backend::nftables::expression::{encode, is_as_told};
use crate::backend::nftables::link::Link;
use crate::backend::nftables::look::{State, look};
use crate::backend::nftables::outcome::Outcome;
use crate::backend::nftables::plan::{Make, adoption, steps};
use crate::backend::nftables::sets::Set;
use crate::backend::nftables::wire::{element, message, table};
use crate::backend::{Batch, ObservedRule};
use crate::docker_nat;
use crate::model::rule::Rule;
use crate::netlink::SocketError;
use crate::netlink::message::{ERROR, Message, Messages, Writer};

/// The port of the socket that asks.
const PORT: u32 = 7;

/// How the table is made.
const MAKE: Make = Make {
    flags: table::OWNED,
    size: 1024,
};

/// The messages in the input are taken one by one for what the kernel prints, together for the
/// answers to a batch, and in their order for all that is answered to whoever looks at the table.
pub(crate) fn judge(bytes: &[u8]) {
    let chains = chains();
    let rules = chains.iter().flat_map(|chain| &chain.rules);
    let rules: Vec<Vec<u8>> = rules.map(|rule| encode(rule)).collect();
    for message in Messages::new(bytes).flatten() {
        judge_message(&message, &chains, &rules);
        docker_nat::nftables::judge::judge(message.payload);
    }
    judge_outcome(bytes);
    let mut kernel = Script {
        messages: Messages::new(bytes),
        answer: Vec::new(),
        seq: 0,
    };
    // Long enough for anything: the script never waits.
    let deadline = Instant::now() + Duration::from_secs(60);
    if let Ok((_, state)) = look(&mut kernel, deadline, "t") {
        judge_state(bytes, &state);
    }
}

fn judge_message(message: &Message<'_>, chains: &[Chain], rules: &[Vec<u8>]) {
    let payload = message.payload;
    let _ = Table::read(payload);
    if let Ok(Some((set, size))) = own_set(payload) {
        let sent = batch(&[Step::Set(set, size)], "t", 1);
        let mut told = Messages::new(&sent.bytes).flatten();
        let told = told.find(|m| m.kind == message::NEW_SET).expect("sent");
        assert_eq!(own_set(told.payload), Ok(Some((set, size))));
    }
    let same = chains.iter().filter(|c| is_chain(c, payload) == Ok(true));
    assert!(same.count() <= 1);
    let Ok(attrs) = super::attributes(payload) else {
        return;
    };
    if let Some(expressions) = attrs.get(&rule::EXPRESSIONS) {
        let same = rules.iter().filter(|rule| is_as_told(rule, expressions));
        assert!(same.count() <= 1);
        let mut read = Rules::default();
        assert!(read.read(payload).is_ok() && !read.are(chains));
    }
    let mut elements = Elements::default();
    if let Some(set) = Set::named(super::text(&attrs, element::LIST_SET))
        && elements.read(payload).is_ok()
    {
        for seen in elements.observed(set) {
            judge_observed(payload, &seen);
        }
    }
}

/// What is believed carries the comment of its content, is found again by its locator, and is the
/// same once it was sent and printed.
fn judge_observed(bytes: &[u8], seen: &ObservedRule) {
    if let Some(item) = Item::located(&seen.locator) {
        assert_eq!(item.locator(), seen.locator);
    }
    let Some(rule) = &seen.rule else {
        return;
    };
    assert_eq!(rule.id(), seen.id);
    let comment = [seen.id.comment().as_bytes(), &[0]].concat();
    assert!(bytes.windows(comment.len()).any(|part| part == comment));
    let item = Item::of(&rule.spec).expect("an element");
    let again = observed(std::slice::from_ref(rule), item.set);
    assert_eq!(again, std::slice::from_ref(seen));
}

/// What a dump shows of elements that were sent so: the messages are the same.
pub(super) fn observed(rules: &[Rule], set: Set) -> Vec<ObservedRule> {
    let items = rules
        .iter()
        .map(|rule| (Item::of(&rule.spec).expect("ours"), rule.id()));
    let sent = batch(&[Step::Insert(items.collect())], "t", 1);
    let mut elements = Elements::default();
    for message in Messages::new(&sent.bytes) {
        let message = message.expect("well-formed");
        if message.kind == message::NEW_ELEMENTS {
            elements.read(message.payload).expect("well-formed");
        }
    }
    elements.observed(set)
}

fn judge_state(bytes: &[u8], state: &State) {
    for (locator, seen) in &state.rules {
        assert_eq!(*locator, seen.locator);
        judge_observed(bytes, seen);
    }
    let removing = |remove| Batch {
        remove,
        insert: Vec::new(),
    };
    if state.table.is_none() {
        assert!(state.observed().is_empty());
        return;
    }
    // All of it goes with the table, and one of it alone.
    let all = steps(state, &removing(state.observed()), MAKE);
    assert_eq!(all, Ok(vec![Step::DropTable]));
    if let Some(seen) = state
        .rules
        .values()
        .next()
        .filter(|_| state.rules.len() > 1)
        && let Some(item) = Item::located(&seen.locator)
    {
        let one = steps(state, &removing(vec![seen.clone()]), MAKE);
        assert_eq!(one, Ok(vec![Step::Remove(vec![item])]));
    }
    let adopted = adoption(state, PORT, MAKE).is_empty();
    assert_eq!(adopted, state.is_owned_by(PORT));
}

/// A batch has succeeded only if its last real message was acknowledged and none of it failed.
fn judge_outcome(bytes: &[u8]) {
    let labels = ["begin", "first", "last", "end"].map(str::to_owned);
    let messages = || Messages::new(bytes).flatten();
    let first = messages().next().map_or(0, |message| message.seq);
    let mut outcome = Outcome::new(first, &labels);
    if outcome.take(bytes).is_err() || outcome.result().is_err() {
        return;
    }
    let place = |m: &Message<'_>| m.seq.wrapping_sub(first) as usize;
    let answers = || messages().filter(|m| m.kind == ERROR && place(m) < labels.len());
    assert!(answers().all(|m| m.code() == Ok(None)));
    assert!(answers().any(|m| place(&m) == 2));
}

/// A kernel that gives these answers, one message at a time, whatever it is asked.
struct Script<'a> {
    messages: Messages<'a>,
    answer: Vec<u8>,
    seq: u32,
}

impl Link for Script<'_> {
    fn port(&self) -> u32 {
        PORT
    }

    fn take_seq(&mut self, count: usize) -> u32 {
        let first = self.seq + 1;
        self.seq += u32::try_from(count).expect("few");
        first
    }

    fn send(&mut self, _: &[u8]) -> Result<(), SocketError> {
        Ok(())
    }

    fn receive(&mut self, _: Instant) -> Result<&[u8], SocketError> {
        let next = self.messages.next().ok_or(SocketError::TimedOut)?;
        let next = next.map_err(SocketError::Malformed)?;
        let mut writer = Writer::default();
        writer.message(next.kind, next.flags, self.seq, |w| w.raw(next.payload));
        self.answer = writer.into_bytes();
        Ok(&self.answer)
    }

    fn pending(&mut self) -> Result<Option<&[u8]>, SocketError> {
        Ok(None)
    }
}
