//! What must hold of any bytes that come over netlink.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::links;
use super::message::{Attrs, ERROR, Message, Messages, Writer};
use super::nf_tables::SUBSYSTEM;
use super::request::{Acks, Answer, SO_ALREADY, answers};
use super::watch::{OwnPorts, PORTS, Watched};

/// Length of a message's header, and of an attribute's, in bytes.
const HEADERS: (usize, usize) = (16, 4);

pub(crate) fn check(bytes: &[u8]) {
    let read: Vec<_> = Messages::new(bytes).collect();
    // Nothing is read twice, and reading ends with what is malformed.
    let lengths = read.iter().flatten().map(|m| HEADERS.0 + m.payload.len());
    assert!(lengths.sum::<usize>() <= bytes.len());
    assert!(read.iter().rev().skip(1).all(Result::is_ok));
    for message in read.iter().flatten() {
        check_message(message);
    }
    let first = read.iter().flatten().next();
    check_answers(bytes, first.map_or(0, |message| message.seq));
    check_news(bytes);
    // Each message is about one interface at most.
    assert!(links::news(bytes).count() <= read.len());
}

fn check_message(message: &Message<'_>) {
    if let Ok(Some(errno)) = message.code() {
        assert!((1..=4095).contains(&errno.raw_os_error()));
    }
    let mut writer = Writer::default();
    writer.message(message.kind, message.flags, message.seq, |writer| {
        writer.raw(message.payload);
    });
    let again: Vec<_> = Messages::new(writer.bytes()).collect();
    assert_eq!(
        again,
        [Ok(Message {
            port: 0,
            ..*message
        })]
    );
    check_attributes(message.payload);
    if let Some(behind_family) = message.payload.get(4..) {
        check_attributes(behind_family);
    }
}

fn check_attributes(bytes: &[u8]) {
    let read: Vec<_> = Attrs::new(bytes).collect();
    let lengths = read
        .iter()
        .flatten()
        .map(|(_, value)| HEADERS.1 + value.len());
    assert!(lengths.sum::<usize>() <= bytes.len());
    assert!(read.iter().rev().skip(1).all(Result::is_ok));
    let mut writer = Writer::default();
    for (kind, value) in read.iter().flatten() {
        writer.attr(*kind, value);
    }
    let again: Vec<_> = Attrs::new(writer.bytes()).collect();
    assert!(again.iter().eq(read.iter().filter(|attr| attr.is_ok())));
}

/// How many requests the input is taken for the answers to.
const REQUESTS: usize = 3;

/// Only what answers these requests is handed out, and each counts once, by its first answer.
fn check_answers(bytes: &[u8], first: u32) {
    let read: Vec<_> = answers(bytes, first, REQUESTS).collect();
    assert!(read.iter().flatten().all(|one| one.place < REQUESTS));
    let acks = |place| {
        let of_place = read.iter().flatten().filter(move |one| one.place == place);
        of_place.filter(|one| matches!(one.answer, Answer::Ack(_)))
    };
    let mut taken = Acks::new(first, REQUESTS);
    if taken.take(bytes).is_err() {
        return;
    }
    let mut codes = BTreeMap::new();
    for message in Messages::new(bytes).flatten() {
        let place = message.seq.wrapping_sub(first) as usize;
        if message.kind == ERROR && place < REQUESTS {
            let code = message.code().expect("it was taken");
            codes.entry(place).or_insert(code);
        }
    }
    let count = |is: fn(&Option<Errno>) -> bool| codes.values().filter(|code| is(code)).count();
    assert_eq!(taken.done, count(Option::is_none));
    let refused = count(|code| code.is_some_and(|errno| !SO_ALREADY.contains(&errno)));
    assert_eq!(taken.refused.map_or(0, |(count, _)| count), refused);
    assert_eq!(taken.are_all_here(), codes.len() == REQUESTS);
    assert!((0..REQUESTS).all(|place| (acks(place).count() > 0) == codes.contains_key(&place)));
}

/// Our own changes are no news. A malformed one may be about any.
fn check_news(bytes: &[u8]) {
    let is_malformed = Messages::new(bytes).any(|message| message.is_err());
    let messages = || Messages::new(bytes).flatten();
    let is_news = |own: &OwnPorts| Watched::Rules.is_news(bytes, own);
    let is_of_rules = messages().any(|message| message.kind >> 8 == SUBSYSTEM);
    assert!(!is_news(&OwnPorts::default()) || is_of_rules || is_malformed);
    let own = OwnPorts::default();
    messages().for_each(|message| own.add(message.port));
    if messages().count() <= PORTS {
        assert_eq!(is_news(&own), is_malformed);
    }
}
