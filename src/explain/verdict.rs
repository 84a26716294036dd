//! Decides from what was seen of the packet where its way ended. Pure.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::place::{self, Place};
use super::trace::{ChainName, Decision, Event};

/// What was seen of one packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Course {
    /// The name of our own table.
    pub(super) own: String,
    /// The reports about it, in their order.
    pub(super) events: Vec<Event>,
    /// The places that counted it.
    pub(super) passed: BTreeSet<Place>,
    /// Whether the host has answered it, with an error or a reset.
    pub(super) answered: bool,
    /// Whether a chain of ours stood at ingress.
    pub(super) is_wire_watched: bool,
}

/// A rule, or the end of a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) chain: ChainName,
    /// `None` for the chain's policy.
    pub(crate) handle: Option<u64>,
}

/// An address and a port.
pub(crate) type Endpoint = (Ipv6Addr, u16);

/// Where the way ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A rule or a policy dropped it.
    Dropped(Spot),
    /// A program has it, by this queue, and did not give it back in time.
    Queued(Spot, u16),
    /// A rule handed it to a part of the kernel that takes it out of the way (`synproxy`, `fwd`).
    Stolen(Spot),
    /// A rule ended its way with a verdict that is not known here.
    Odd(Spot, u32),
    /// Nothing at all was seen of it.
    Unseen,
    /// It was seen on the wire, and not before routing.
    NotReceived,
    /// It vanished behind this place, and no rule of nf_tables says so.
    Vanished(Place),
    /// It came as far as routing, and no further.
    Unrouted,
    /// It came to the host itself.
    Host(Option<Endpoint>),
    /// It leaves by the interface of this number.
    Out(Option<Endpoint>, Option<u32>),
}

/// Where it ended.
pub(crate) fn ending(course: &Course) -> Ending {
    let last = course.events.last();
    if course.passed.contains(&place::LAST_IN) {
        return Ending::Host(destination(course));
    }
    if course.passed.contains(&place::LAST_OUT) {
        let out = course.events.iter().rev().find_map(|event| event.out);
        return Ending::Out(destination(course), out);
    }
    if let Some(event) = last.filter(|event| event.chain.table != course.own) {
        let spot = || Spot {
            chain: event.chain.clone(),
            handle: event.handle,
        };
        match event.decision {
            Decision::Drop => return Ending::Dropped(spot()),
            Decision::Queue(number) => return Ending::Queued(spot(), number),
            Decision::Stolen => return Ending::Stolen(spot()),
            Decision::Other(code) => return Ending::Odd(spot(), code),
            Decision::Continue | Decision::To(_) | Decision::Return | Decision::Accept => {}
        }
    }
    match course.passed.last() {
        None if course.is_wire_watched => Ending::Unseen,
        None => Ending::NotReceived,
        Some(&place::WIRE) => Ending::NotReceived,
        Some(&place::BEFORE_ROUTING) => Ending::Unrouted,
        Some(place) => Ending::Vanished(*place),
    }
}

/// The packet's destination where it was seen last.
pub(crate) fn destination(course: &Course) -> Option<Endpoint> {
    let mut events = course.events.iter().rev();
    events.find_map(|event| event.destination)
}

/// The rule that rewrote the destination `sent` to another; `None` if none did, or none of
/// nf_tables.
pub(crate) fn rewriter(course: &Course, sent: Endpoint) -> Option<Spot> {
    let is_changed = |event: &Event| event.destination.is_some_and(|to| to != sent);
    let changed = course.events.iter().position(is_changed)?;
    // The kernel rewrites once the chains of one hook's NAT have been asked, and asks no more of
    // them once one has answered: the last rule before the change is the one.
    let before = course.events[..changed].iter().rev();
    let mut foreign = before.filter(|event| event.chain.table != course.own);
    foreign
        .next()
        .filter(|event| event.decision == Decision::Accept && event.handle.is_some())
        .map(|event| Spot {
            chain: event.chain.clone(),
            handle: event.handle,
        })
}

#[cfg(test)]
mod tests {
    use super::super::place::{BRACKETS, Hook};
    use super::super::trace::samples::event;
    use super::*;

    /// A course through our table `own`, as far as this place.
    fn as_far_as(hook: Hook, priority: i32, events: Vec<Event>) -> Course {
        let end = Place { hook, priority };
        let all = [place::WIRE, place::FIRST].into_iter().chain(BRACKETS);
        Course {
            own: "own".into(),
            passed: all.filter(|place| *place <= end).collect(),
            events,
            answered: false,
            is_wire_watched: true,
        }
    }

    fn spot(chain: &str, handle: u64) -> Spot {
        let event = event("fw", chain, handle, Decision::Drop);
        Spot {
            chain: event.chain,
            handle: event.handle,
        }
    }

    #[test]
    fn the_last_report_of_another_table_names_who_ended_the_way() {
        let cases = [
            (Decision::Drop, Ending::Dropped(spot("c", 3))),
            (Decision::Queue(5), Ending::Queued(spot("c", 3), 5)),
            (Decision::Stolen, Ending::Stolen(spot("c", 3))),
            (Decision::Other(9), Ending::Odd(spot("c", 3), 9)),
            // It passed there, and nobody says what became of it.
            (
                Decision::Accept,
                Ending::Vanished(Place {
                    hook: Hook::Forward,
                    priority: -149,
                }),
            ),
        ];
        for (decision, expected) in cases {
            let events = vec![
                event("own", "first", 1, Decision::Continue),
                event("fw", "c", 3, decision),
            ];
            let mut course = as_far_as(Hook::Forward, -149, events);
            course.passed.retain(|place| place.hook != Hook::Input);
            assert_eq!(ending(&course), expected);
        }
        let policy = vec![event("fw", "c", 0, Decision::Drop)];
        let course = as_far_as(Hook::Forward, i32::MIN, policy);
        assert_eq!(ending(&course), Ending::Dropped(spot("c", 0)));
    }

    #[test]
    fn without_a_report_the_counters_say_between_which_places_it_vanished() {
        let at = |hook, priority| ending(&as_far_as(hook, priority, Vec::new()));
        let mut unseen = Course {
            is_wire_watched: true,
            ..Course::default()
        };
        assert_eq!(ending(&unseen), Ending::Unseen);
        unseen.is_wire_watched = false;
        assert_eq!(ending(&unseen), Ending::NotReceived);
        assert_eq!(at(Hook::Ingress, i32::MIN), Ending::NotReceived);
        assert_eq!(
            at(Hook::Prerouting, i32::MIN),
            Ending::Vanished(place::FIRST)
        );
        assert_eq!(at(Hook::Prerouting, i32::MAX - 1), Ending::Unrouted);
        let before_filter = Place {
            hook: Hook::Input,
            priority: -149,
        };
        assert_eq!(at(Hook::Input, -149), Ending::Vanished(before_filter));
    }

    #[test]
    fn a_packet_that_we_dropped_ourselves_had_arrived() {
        let to = ("fd00::2".parse().unwrap(), 80);
        let mut last = event("own", "last_out", 9, Decision::Drop);
        (last.destination, last.out) = (Some(to), Some(4));
        let mut course = as_far_as(Hook::Postrouting, 101, vec![last]);
        course.passed.insert(place::LAST_OUT);
        assert_eq!(ending(&course), Ending::Out(Some(to), Some(4)));
        course.passed.remove(&place::LAST_OUT);
        course.passed.insert(place::LAST_IN);
        assert_eq!(ending(&course), Ending::Host(Some(to)));
    }

    #[test]
    fn the_rule_before_the_change_is_the_one_that_rewrote() {
        let (sent, to) = (
            ("2001:db8::1".parse().unwrap(), 8080),
            ("fd00::2".parse().unwrap(), 80),
        );
        let seen = |chain, destination| Event {
            destination: Some(destination),
            ..event("own", chain, 1, Decision::Continue)
        };
        let events = vec![
            seen("first", sent),
            event("nat", "PREROUTING", 2, Decision::To("DOCKER".into())),
            event("nat", "DOCKER", 3, Decision::Accept),
            seen("prerouting_3", to),
            event("fw", "c", 4, Decision::Accept),
        ];
        let mut course = as_far_as(Hook::Forward, 1, events);
        let found = rewriter(&course, sent).expect("one");
        assert_eq!(
            (found.chain.chain.as_str(), found.handle),
            ("DOCKER", Some(3))
        );
        assert_eq!(rewriter(&course, to), None);
        // A legacy table did it.
        course.events.remove(2);
        assert_eq!(rewriter(&course, sent), None);
    }
}
