//! What must hold of any bytes that nf_tables answers with.

use super::chains::{Chain, chains};
use super::exec::Call;
use super::expression::{encode, is_as_sent};
use super::list::{TableState, list};
use super::outcome::Outcome;
use super::parse::{Elements, Rules, TableHeader, attributes, is_chain, own_set, text};
use super::plan::{TableOptions, adoption, steps};
use super::render::{Step, batch};
use super::rule::SetElement;
use super::sets::Set;
use crate::backend::{Batch, ObservedRule};
use crate::docker_nat;
use crate::model::rule::Rule;
use crate::netlink::kernel_script::{KernelScript, PORT};
use crate::netlink::message::{ERROR, Message, Messages};
use crate::netlink::nf_tables::{element, message, rule, table};

/// How the table is made.
const OPTIONS: TableOptions = TableOptions {
    flags: table::OWNED,
    size: 1024,
};

/// The messages in the input are taken one by one for what the kernel prints, together for the
/// answers to a batch, and in their order for all answers to a listing of the table.
pub(crate) fn check(bytes: &[u8]) {
    let chains = chains();
    let rules = chains.iter().flat_map(|chain| &chain.rules);
    let rules: Vec<Vec<u8>> = rules.map(|rule| encode(rule)).collect();
    for message in Messages::new(bytes).flatten() {
        check_message(&message, &chains, &rules);
        docker_nat::nftables::oracle::check(message.payload);
    }
    check_outcome(bytes);
    let mut kernel = KernelScript::new(bytes);
    let mut call = Call::new(&mut kernel, KernelScript::deadline());
    if let Ok((_, state)) = list(&mut call, "t") {
        check_state(bytes, &state);
    }
}

fn check_message(message: &Message<'_>, chains: &[Chain], rules: &[Vec<u8>]) {
    let payload = message.payload;
    let _ = TableHeader::read(payload);
    if let Ok(Some((set, size))) = own_set(payload) {
        let sent = batch(&[Step::Set(set, size)], "t", 1);
        let mut printed = Messages::new(&sent.bytes).flatten();
        let printed = printed.find(|m| m.kind == message::NEW_SET).expect("sent");
        assert_eq!(own_set(printed.payload), Ok(Some((set, size))));
    }
    let same = chains.iter().filter(|c| is_chain(c, payload) == Ok(true));
    assert!(same.count() <= 1);
    let Ok(attrs) = attributes(payload) else {
        return;
    };
    if let Some(expressions) = attrs.get(&rule::EXPRESSIONS) {
        let same = rules.iter().filter(|rule| is_as_sent(rule, expressions));
        assert!(same.count() <= 1);
        let mut read = Rules::default();
        assert!(read.read(payload).is_ok() && !read.are(chains));
    }
    let mut elements = Elements::default();
    if let Some(set) = Set::named(text(&attrs, element::LIST_SET))
        && elements.read(payload).is_ok()
    {
        for seen in elements.observed(set) {
            check_observed(payload, &seen);
        }
    }
}

/// What is believed carries the comment of its content, is found again by its locator, and is the
/// same once it was sent and printed.
fn check_observed(bytes: &[u8], seen: &ObservedRule) {
    if let Some(element) = SetElement::located(&seen.locator) {
        assert_eq!(*element.locator(), *seen.locator);
    }
    let Some(rule) = &seen.rule else {
        return;
    };
    assert_eq!(rule.id(), seen.id);
    let comment = [seen.id.comment().as_bytes(), &[0]].concat();
    assert!(bytes.windows(comment.len()).any(|part| part == comment));
    let element = SetElement::read(&rule.text).expect("an element");
    let again = observed(std::slice::from_ref(rule), element.set);
    assert_eq!(again, std::slice::from_ref(seen));
}

/// What a dump shows of elements that were sent so: the messages are the same.
pub(super) fn observed(rules: &[Rule], set: Set) -> Vec<ObservedRule> {
    let elements = rules
        .iter()
        .map(|rule| (SetElement::read(&rule.text).expect("ours"), rule.id()));
    let sent = batch(&[Step::Insert(elements.collect())], "t", 1);
    let mut elements = Elements::default();
    for message in Messages::new(&sent.bytes) {
        let message = message.expect("well-formed");
        if message.kind == message::NEW_ELEMENTS {
            elements.read(message.payload).expect("well-formed");
        }
    }
    elements.observed(set)
}

fn check_state(bytes: &[u8], state: &TableState) {
    for seen in state.rules.all() {
        assert!(state.rules.contains(&seen.locator));
        check_observed(bytes, seen);
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
    let all = steps(state, &removing(state.observed()), OPTIONS);
    assert_eq!(all, Ok(vec![Step::DropTable]));
    if let Some(seen) = state.rules.all().next().filter(|_| state.rules.len() > 1)
        && let Some(element) = SetElement::located(&seen.locator)
    {
        let one = steps(state, &removing(vec![seen.clone()]), OPTIONS);
        assert_eq!(one, Ok(vec![Step::Remove(vec![element])]));
    }
    let adopted = adoption(state, PORT, OPTIONS).is_empty();
    assert_eq!(adopted, state.is_owned_by(PORT));
}

/// A batch has succeeded only if its last real message was acknowledged and none of it failed.
fn check_outcome(bytes: &[u8]) {
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
