//! What must hold of any bytes that come over netlink.

use super::links;
use super::message::{Attrs, Message, Messages, Writer};
use super::watch::{NFTABLES, OwnPorts, PORTS, Watched};

/// Length of a message's header, and of an attribute's, in bytes.
const HEADERS: (usize, usize) = (16, 4);

pub(crate) fn judge(bytes: &[u8]) {
    let read: Vec<_> = Messages::new(bytes).collect();
    // Nothing is read twice, and reading ends with what is malformed.
    let lengths = read.iter().flatten().map(|m| HEADERS.0 + m.payload.len());
    assert!(lengths.sum::<usize>() <= bytes.len());
    assert!(read.iter().rev().skip(1).all(Result::is_ok));
    for message in read.iter().flatten() {
        judge_message(message);
    }
    judge_news(bytes);
    // Each message tells of one interface at the most.
    assert!(links::news(bytes).count() <= read.len());
}

fn judge_message(message: &Message<'_>) {
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
    judge_attributes(message.payload);
    if let Some(behind_family) = message.payload.get(4..) {
        judge_attributes(behind_family);
    }
}

fn judge_attributes(bytes: &[u8]) {
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

/// Our own changes are no news. What is malformed may tell of any.
fn judge_news(bytes: &[u8]) {
    let is_malformed = Messages::new(bytes).any(|message| message.is_err());
    let messages = || Messages::new(bytes).flatten();
    let is_news = |own: &OwnPorts| Watched::Rules.is_news(bytes, own);
    let is_of_rules = messages().any(|message| message.kind >> 8 == NFTABLES);
    assert!(!is_news(&OwnPorts::default()) || is_of_rules || is_malformed);
    let own = OwnPorts::default();
    messages().for_each(|message| own.add(message.port));
    if messages().count() <= PORTS {
        assert_eq!(is_news(&own), is_malformed);
    }
}
