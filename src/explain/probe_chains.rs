//! The chains of the probe's own table: which rules stand where, and how they are named. Pure.

use super::expression::{self, counter, drop_it, set_trace};
use super::packet::Mark;
use super::place::{self, BRACKETS, Hook, Place};

/// The chain that drops what the host would answer.
pub(super) const ANSWERS: &str = "answers";

/// The chain that counts the reset with which the host's kernel ends a knock, where it leaves.
pub(super) const RESET: &str = "reset";

/// The object that makes connection tracking forget the packet soon, and where it is given to the
/// connection: behind connection tracking.
pub(super) const FORGET: &str = "forget";
const TRACKED: Place = Place {
    hook: Hook::Prerouting,
    priority: -199,
};

/// Where the packet is dropped that goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End<'e> {
    /// Before connection tracking keeps it.
    Inside,
    /// Behind all of that, and behind the search for the neighbour: where it leaves by this
    /// interface.
    Away(&'e str),
    /// Nowhere: it goes on to the container, and what the container answers is dropped behind
    /// connection tracking, with a reset for an answer that opens the connection.
    Knock,
}

/// What the container answered to a knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Knocked {
    /// Somebody listens: a SYN-ACK.
    Open,
    /// Nobody does, or a rule there says so: a RST.
    Refused,
    /// An error of ICMPv6.
    Error,
}

impl Knocked {
    pub(super) const ALL: [Self; 3] = [Self::Open, Self::Refused, Self::Error];

    /// The name of the chain that counts it.
    pub(super) fn chain(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}

/// A chain: its name, its place, and its rules' expressions.
pub(super) type ChainToMake = (String, Place, Vec<Vec<u8>>);

/// The name of the chain at a place.
pub(super) fn name_of(place: Place) -> String {
    match BRACKETS.iter().position(|bracket| *bracket == place) {
        Some(at) => format!("{}_{at}", place.hook),
        None => match place {
            place::WIRE => "wire",
            place::FIRST => "first",
            place::LAST_IN => "last_in",
            _ => "last_out",
        }
        .to_owned(),
    }
}

/// The place at which one of our chains stands.
pub(super) fn place_of(chain: &str) -> Option<Place> {
    let own = [place::WIRE, place::FIRST, place::LAST_IN, place::LAST_OUT];
    let mut all = own.iter().chain(&BRACKETS);
    all.find(|place| name_of(**place) == chain).copied()
}

/// All of them, with their rules.
pub(super) fn chains(mark: Mark, end: End<'_>) -> Vec<ChainToMake> {
    let is_ours = || expression::is_packet(mark);
    let with = |mut expressions: Vec<u8>, more: &[Vec<u8>]| {
        expressions.extend(more.concat());
        expressions
    };
    let traced = || with(is_ours(), &[counter(), set_trace()]);
    let mut all = vec![
        (name_of(place::WIRE), place::WIRE, vec![traced()]),
        (name_of(place::FIRST), place::FIRST, vec![traced()]),
    ];
    for bracket in BRACKETS {
        let more = match bracket == TRACKED && end != End::Inside {
            true => vec![counter(), expression::set_timeout(FORGET)],
            false => vec![counter()],
        };
        all.push((name_of(bracket), bracket, vec![with(is_ours(), &more)]));
    }
    for last in [place::LAST_IN, place::LAST_OUT] {
        let goes_on = last == place::LAST_OUT && end != End::Inside;
        let rules = vec![match goes_on {
            true => with(is_ours(), &[counter()]),
            false => with(is_ours(), &[counter(), drop_it()]),
        }];
        all.push((name_of(last), last, rules));
    }
    let output = Place {
        hook: Hook::Output,
        priority: i32::MIN,
    };
    let kept_back = expression::are_answers(mark)
        .into_iter()
        .map(|expressions| with(expressions, &[counter(), drop_it()]));
    all.push((ANSWERS.to_owned(), output, kept_back.collect()));
    if end == End::Knock {
        for answer in Knocked::ALL {
            let is_it = match answer {
                Knocked::Open => expression::is_synack(mark),
                Knocked::Refused => expression::is_reset(mark),
                Knocked::Error => expression::is_error(mark),
            };
            let verdict = match answer {
                Knocked::Open => expression::refuse_it(),
                Knocked::Refused | Knocked::Error => drop_it(),
            };
            let rule = with(is_it, &[counter(), verdict]);
            all.push((answer.chain().to_owned(), TRACKED, vec![rule]));
        }
        let reset = with(expression::is_refusal(mark), &[counter()]);
        all.push((RESET.to_owned(), place::LAST_OUT, vec![reset]));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_chain_of_ours_is_found_again_by_its_name() {
        let mark = Mark {
            proto: crate::model::forward::Proto::Tcp,
            label: 1,
            nonce: 1,
        };
        let all = chains(mark, End::Inside);
        assert_eq!(all.len(), 2 + BRACKETS.len() + 2 + 1);
        let names: BTreeSet<_> = all.iter().map(|(name, ..)| name.clone()).collect();
        assert_eq!(names.len(), all.len());
        for (name, place, _) in &all {
            let expected = (name != ANSWERS).then_some(*place);
            assert_eq!(place_of(name), expected, "{name}");
        }
        assert_eq!(place_of("forward"), None);
        // What a knock adds counts other packets.
        let more = chains(mark, End::Knock);
        let more = &more[all.len()..];
        assert_eq!(more.len(), Knocked::ALL.len() + 1);
        assert!(more.iter().all(|(name, ..)| place_of(name).is_none()));
    }
}
