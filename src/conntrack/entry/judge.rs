//! What must hold of any bytes that ctnetlink answers with.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::{CTA_ID, CTA_TUPLE_ORIG, CTA_ZONE, Entry, Tuple, delete};
use crate::conntrack::answer::{Acks, Dump, Progress};
use crate::conntrack::{neighbours, sockets};
use crate::netlink::message::{Attrs, DONE, ERROR, Messages, Writer};

/// How many deletions the input is taken for the answers to.
const DELETIONS: usize = 3;

/// The input is a datagram, which answers what its first message answers.
pub(crate) fn judge(bytes: &[u8]) {
    let first = Messages::new(bytes).flatten().next();
    let seq = first.map_or(0, |message| message.seq);
    judge_dump(bytes, seq);
    judge_deletions(bytes, seq);
    neighbours::judge(bytes);
    sockets::judge(bytes);
}

fn judge_dump(bytes: &[u8], seq: u32) {
    let mut entries = 0;
    let progress = Dump::new(seq).take(bytes, &mut |entry| {
        entries += 1;
        judge_deletion_of(entry);
    });
    let messages = || Messages::new(bytes).flatten();
    assert!(entries <= messages().count());
    let ends = messages().any(|m| m.seq == seq && matches!(m.kind, DONE | ERROR));
    assert!(ends || progress != Ok(Progress::Done));
}

/// A deletion names the entry that was read, and always by its tuple: without one the kernel
/// would empty its whole table.
fn judge_deletion_of(entry: &Entry<'_>) {
    let mut writer = Writer::default();
    delete(&mut writer, 1, &entry.locator());
    let requests: Result<Vec<_>, _> = Messages::new(writer.bytes()).collect();
    let requests = requests.expect("well-formed");
    let [request] = requests[..] else {
        panic!("{} requests", requests.len());
    };
    let attrs: Result<Vec<_>, _> = Attrs::new(&request.payload[4..]).collect();
    let attrs = attrs.expect("well-formed");
    let (tuple, zone) = match attrs[..] {
        [(CTA_TUPLE_ORIG, tuple), (CTA_ID, id)] if id == entry.id => (tuple, None),
        [(CTA_TUPLE_ORIG, tuple), (CTA_ZONE, zone), (CTA_ID, id)] if id == entry.id => {
            (tuple, Some(zone))
        }
        _ => panic!("{attrs:?}"),
    };
    assert_eq!(zone, entry.zone);
    let tuple = Tuple::read(tuple).expect("as read").expect("as read");
    assert_eq!(tuple.proto, entry.proto);
    assert_eq!(tuple.source.0, entry.source);
    assert_eq!(tuple.destination, entry.destination);
}

/// Each deletion counts once, by its first answer.
fn judge_deletions(bytes: &[u8], first: u32) {
    let mut deletions = Acks::new(first, DELETIONS);
    let Ok(progress) = deletions.take(bytes) else {
        return;
    };
    let mut answers = BTreeMap::new();
    for message in Messages::new(bytes).flatten() {
        let place = message.seq.wrapping_sub(first) as usize;
        if message.kind == ERROR && place < DELETIONS && !answers.contains_key(&place) {
            answers.insert(place, message.code().expect("it was taken"));
        }
    }
    let codes = || answers.values().flatten();
    assert_eq!(deletions.done, answers.len() - codes().count());
    let is_so_already =
        |errno: &Errno| matches!(*errno, Errno::NOENT | Errno::NODEV | Errno::EXIST);
    let refused = codes().filter(|errno| !is_so_already(errno)).count();
    assert_eq!(deletions.refused.map_or(0, |(count, _)| count), refused);
    assert_eq!(progress == Progress::Done, answers.len() == DELETIONS);
}
