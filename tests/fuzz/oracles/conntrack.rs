//! What must hold of any bytes that the kernel answers with about flows, neighbours and sockets.

use std::collections::BTreeSet;

use super::entry::{self, CTA_ID, CTA_TUPLE_ORIG, CTA_ZONE, Entry, Tuple};
use super::{neighbours, sockets};
use crate::netlink::kernel_script::KernelScript;
use crate::netlink::message::{Attrs, DONE, Messages, Writer};

/// The input is what the kernel answers to a dump.
pub(crate) fn check(bytes: &[u8]) {
    check_entries(bytes);
    check_neighbours(bytes);
    check_sockets(bytes);
}

fn check_entries(bytes: &[u8]) {
    let mut entries = 0;
    let mut kernel = KernelScript::new(bytes);
    let _ = entry::list(&mut kernel, KernelScript::deadline(), &mut |entry| {
        entries += 1;
        check_deletion(entry);
    });
    assert!(entries <= Messages::new(bytes).count());
}

/// A deletion names the entry that was read, and always by its tuple: without one the kernel
/// would empty its whole table.
fn check_deletion(entry: &Entry<'_>) {
    let mut writer = Writer::default();
    entry::delete(&mut writer, 1, &entry.locator());
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

/// Not more is deleted than was listed. Without an end the listing is none, so it gets one.
fn check_neighbours(bytes: &[u8]) {
    let mut kernel = with_an_end(bytes);
    let found = neighbours::unresolved(&mut kernel, KernelScript::deadline());
    let mut writer = Writer::default();
    for entry in found.iter().flatten() {
        neighbours::delete(&mut writer, 1, entry);
    }
    assert!(writer.bytes().len() <= bytes.len().next_multiple_of(4));
}

/// A connection takes at least 40 bytes.
fn check_sockets(bytes: &[u8]) {
    let all: BTreeSet<u16> = (0..=u16::MAX).collect();
    let found = sockets::list(&mut with_an_end(bytes), &all, KernelScript::deadline());
    assert!(found.unwrap_or_default().len() * 40 <= bytes.len());
}

fn with_an_end(bytes: &[u8]) -> KernelScript {
    let mut kernel = KernelScript::new(bytes);
    kernel.answer(DONE, 0, |_| {});
    kernel
}
