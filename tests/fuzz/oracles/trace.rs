//! What must hold of any bytes that the kernel reports of a packet's way, and shows of the rules that
//! it has met.

use super::expression::count;
use super::legacy;
use super::packet::Mark;
use super::probe_chains::place_of;
use super::ruleset::{read_chain, read_rule};
use super::trace::Event;
use super::verdict::{Course, Ending, destination, ending, rewriter};
use crate::model::forward::Proto;
use crate::netlink::message::{Message, Messages};
use crate::netlink::nf_tables::message::TRACE;

/// The input is messages, each of which is read as each kind that `explain` reads. The course is that of
/// our table, if its first report is ours.
pub(crate) fn check(bytes: &[u8]) {
    let mut course = Course::default();
    let mut messages = 0;
    for message in Messages::new(bytes).map_while(Result::ok) {
        messages += 1;
        check_listing(message.payload);
        if let Some(event) = check_event(&message) {
            if course.own.is_empty() {
                course.own = event.chain.table.clone();
            }
            if event.chain.table == course.own {
                course.passed.extend(place_of(&event.chain.chain));
            }
            course.events.push(event);
        }
    }
    assert!(course.events.len() <= messages);
    check_course(&course);
}

fn check_event(message: &Message<'_>) -> Option<Event> {
    let event = Event::read(message).ok()??;
    assert_eq!(message.kind, TRACE);
    assert_ne!(event.handle, Some(0), "a policy has none");
    let names = event.chain.table.len() + event.chain.chain.len();
    // A byte that is no text becomes a character of three.
    assert!(names <= 3 * message.payload.len());
    assert_eq!(event.source.is_some(), event.destination.is_some());
    Some(event)
}

fn check_listing(payload: &[u8]) {
    read_chain(payload);
    if let Some(rule) = read_rule(payload, "FORWARD") {
        assert!(rule.expressions.len() * 4 <= payload.len());
    }
    if let Some((chain, _)) = count(payload) {
        assert!(chain.len() <= 3 * payload.len());
    }
    for proto in Proto::ALL {
        let mark = Mark {
            proto,
            label: 0xabcde,
            nonce: 0x0102_0304,
        };
        legacy::read(payload, mark);
    }
}

/// Who ended the way was met on it, and is another than our own table.
fn check_course(course: &Course) {
    let met = |spot: &super::verdict::Spot| {
        let mut events = course.events.iter();
        events.any(|event| event.chain == spot.chain && event.handle == spot.handle)
    };
    match ending(course) {
        Ending::Dropped(spot)
        | Ending::Queued(spot, _)
        | Ending::Stolen(spot)
        | Ending::Odd(spot, _) => assert!(met(&spot) && spot.chain.table != course.own),
        Ending::Vanished(place) => assert!(course.passed.contains(&place)),
        Ending::Host(to) | Ending::Out(to, _) => assert_eq!(to, destination(course)),
        Ending::Unseen | Ending::NotReceived | Ending::Unrouted => {}
    }
    let sent = ("2001:db8::1".parse().expect("an address"), 8080);
    if let Some(spot) = rewriter(course, sent) {
        assert!(met(&spot) && spot.handle.is_some() && spot.chain.table != course.own);
    }
}
