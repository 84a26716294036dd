//! What a chain does with a new connection to a published port. Pure.
//!
//! Each condition holds, fails, or may hold: what a listing does not say of the packet (its source,
//! its port, a limit) may hold. A drop counts only where nothing that certainly decides comes first.

use std::collections::BTreeMap;

use super::{BaseChain, Match, Packet, Place, Rule, Ruleset, Verdict, state, status};

/// How deep jumps are followed; the kernel allows 16 (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;

/// `NFPROTO_IPV6` (linux/netfilter.h).
const IPV6: u8 = 10;

/// The protocols that can be published: tcp, udp and sctp (IANA).
const PUBLISHED: [u8; 3] = [6, 17, 132];

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    Never,
    Perhaps,
    Always,
}

/// A drop of every new connection to a published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct Dropped {
    /// The base chain.
    pub(in crate::check) base: Place,
    /// The chain with the rule; the base chain for its policy.
    pub(in crate::check) at: Place,
    /// The rule's handle; `None`: the policy drops.
    pub(in crate::check) handle: Option<u64>,
    /// Whether rules before it may accept some of these packets.
    pub(in crate::check) unless_accepted: bool,
}

/// How a chain ends for the packet.
#[derive(Debug, Clone)]
enum Ending {
    /// It is accepted, or what becomes of it is not known.
    Accepted,
    /// This rule drops it.
    Dropped(Place, u64),
    /// The chain decides nothing.
    Falls,
}

/// What is known of a chain.
#[derive(Debug, Clone)]
struct Followed {
    ending: Ending,
    /// Whether a rule in it, or behind it, may accept the packet before that.
    may_accept: bool,
}

/// What `base` drops; `None` if it may let the packet through.
pub(in crate::check) fn drops(
    rules: &Ruleset,
    base: &BaseChain,
    packet: &Packet,
) -> Option<Dropped> {
    let mut walk = Walk {
        rules,
        packet,
        known: BTreeMap::new(),
    };
    let Followed { ending, may_accept } = walk.follow(&base.place, DEPTH);
    let (at, handle) = match ending {
        Ending::Dropped(at, handle) => (at, Some(handle)),
        Ending::Falls if base.drops => (base.place.clone(), None),
        Ending::Accepted | Ending::Falls => return None,
    };
    Some(Dropped {
        base: base.place.clone(),
        at,
        handle,
        unless_accepted: may_accept,
    })
}

/// Follows each chain once, however many rules lead there: the work is bounded by the rules.
struct Walk<'r> {
    rules: &'r Ruleset,
    packet: &'r Packet,
    known: BTreeMap<Place, Followed>,
}

impl Walk<'_> {
    fn follow(&mut self, place: &Place, depth: usize) -> Followed {
        if let Some(known) = self.known.get(place) {
            return known.clone();
        }
        // Of a chain that leads to itself, which the kernel refuses, nothing is known.
        let unknown = Followed {
            ending: Ending::Accepted,
            may_accept: false,
        };
        if depth == 0 {
            return unknown;
        }
        self.known.insert(place.clone(), unknown);
        let followed = self.follow_rules(place, depth);
        self.known.insert(place.clone(), followed.clone());
        followed
    }

    fn follow_rules(&mut self, place: &Place, depth: usize) -> Followed {
        let mut may_accept = false;
        let rules = self.rules;
        for rule in rules.of(place) {
            let holds = holds(rule, self.packet);
            if holds == Holds::Never {
                continue;
            }
            let certain = holds == Holds::Always;
            let ending = match &rule.verdict {
                Verdict::Accept if certain => Ending::Accepted,
                Verdict::Drop if certain => Ending::Dropped(place.clone(), rule.handle),
                Verdict::Return if certain => Ending::Falls,
                // A packet that returns escapes what follows in this chain.
                Verdict::Accept | Verdict::Return | Verdict::Unknown => {
                    may_accept = true;
                    continue;
                }
                Verdict::None | Verdict::Drop => continue,
                Verdict::Jump(chain) | Verdict::Goto(chain) => {
                    let next = Place {
                        chain: chain.clone(),
                        ..place.clone()
                    };
                    let lead = self.follow(&next, depth - 1);
                    may_accept |= lead.may_accept;
                    match lead.ending {
                        // A packet may not have been sent there.
                        ending if !certain => {
                            let goes = matches!(rule.verdict, Verdict::Goto(_));
                            may_accept |= match ending {
                                Ending::Accepted => true,
                                Ending::Falls => goes,
                                Ending::Dropped(..) => false,
                            };
                            continue;
                        }
                        Ending::Falls if matches!(rule.verdict, Verdict::Jump(_)) => continue,
                        ending => ending,
                    }
                }
            };
            return Followed { ending, may_accept };
        }
        Followed {
            ending: Ending::Falls,
            may_accept,
        }
    }
}

fn holds(rule: &Rule, packet: &Packet) -> Holds {
    let each = rule.matches.iter().map(|it| holds_for(it, packet));
    each.min().unwrap_or(Holds::Always)
}

fn holds_for(condition: &Match, packet: &Packet) -> Holds {
    match condition {
        Match::From(not, names) => {
            let named = |device: &String| names.iter().any(|name| fits(name, device));
            some(packet.from.iter().map(named), *not)
        }
        // The bridge by which it leaves is not known, but it is no egress interface.
        Match::By(not, names) => {
            let egress = |name: &String| packet.from.iter().any(|device| fits(name, device));
            match names.iter().all(egress) && !packet.from.is_empty() {
                true => negate(Holds::Never, *not),
                false => Holds::Perhaps,
            }
        }
        Match::State(not, bits) => bit(*bits, state::NEW, *not),
        Match::Status(not, bits) => bit(*bits, status::DNAT, *not),
        Match::Proto(not, protos) => {
            some(PUBLISHED.iter().map(|proto| protos.contains(proto)), *not)
        }
        Match::Family(not, family) => bit(u32::from(*family == IPV6), 1, *not),
        Match::To(not, nets) => {
            let inside = packet
                .to
                .iter()
                .map(|to| nets.iter().any(|net| net.contains(to)));
            let touches = |to| nets.iter().any(|net: &ipnet::Ipv6Net| to_contains(to, net));
            match some(inside, *not) {
                Holds::Never if !not && packet.to.iter().any(touches) => Holds::Perhaps,
                Holds::Always if *not && packet.to.iter().any(touches) => Holds::Perhaps,
                holds => holds,
            }
        }
        Match::NoRouteBack | Match::Other => Holds::Perhaps,
    }
}

fn to_contains(to: &ipnet::Ipv6Net, net: &ipnet::Ipv6Net) -> bool {
    to.contains(net)
}

/// Whether an interface has this name, or one that begins like it.
fn fits(name: &str, device: &str) -> bool {
    match name.strip_suffix('+') {
        Some(start) => device.starts_with(start),
        None => name == device,
    }
}

/// For a packet that may be each of several.
fn some(each: impl Iterator<Item = bool>, not: bool) -> Holds {
    let (mut yes, mut no) = (false, false);
    for holds in each {
        match holds {
            true => yes = true,
            false => no = true,
        }
    }
    let holds = match (yes, no) {
        (true, false) => Holds::Always,
        (false, true) => Holds::Never,
        _ => Holds::Perhaps,
    };
    negate(holds, not)
}

fn bit(bits: u32, ours: u32, not: bool) -> Holds {
    some(std::iter::once(bits & ours != 0), not)
}

fn negate(holds: Holds, not: bool) -> Holds {
    match (holds, not) {
        (Holds::Always, true) => Holds::Never,
        (Holds::Never, true) => Holds::Always,
        (holds, _) => holds,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Home, Hook};
    use super::*;

    fn place(chain: &str) -> Place {
        Place {
            home: Home::Legacy,
            table: "filter".to_owned(),
            chain: chain.to_owned(),
        }
    }

    fn rule(chain: &str, matches: &[Match], verdict: Verdict) -> Rule {
        Rule {
            place: place(chain),
            handle: 7,
            matches: matches.to_vec(),
            verdict,
        }
    }

    fn packet() -> Packet {
        Packet {
            from: vec!["eth0".to_owned()],
            to: vec!["fd00::/64".parse().expect("a network")],
        }
    }

    /// What becomes of the packet: the chain that drops it, and whether that is certain.
    fn dropped(policy_drops: bool, rules: &[Rule]) -> Option<(String, bool)> {
        let base = BaseChain {
            place: place("FORWARD"),
            hook: Hook::Forward,
            drops: policy_drops,
        };
        let rules = Ruleset {
            chains: vec![base.clone()],
            rules: rules.to_vec(),
        };
        let dropped = drops(&rules, &base, &packet())?;
        Some((dropped.at.chain, !dropped.unless_accepted))
    }

    fn at(chain: &str, certain: bool) -> Option<(String, bool)> {
        Some((chain.to_owned(), certain))
    }

    #[test]
    fn a_drop_counts_where_nothing_before_it_decides() {
        let names = |name: &str| vec![name.to_owned()];
        let net = |text: &str| vec![text.parse().expect("a network")];
        let drop = rule("FORWARD", &[], Verdict::Drop);
        // A condition of an accept that stands before the drop, and what is left of the drop.
        let cases = [
            (vec![], None),
            (vec![Match::Other], at("FORWARD", false)),
            (
                vec![Match::State(false, state::ESTABLISHED)],
                at("FORWARD", true),
            ),
            (vec![Match::State(false, state::NEW)], None),
            (vec![Match::State(true, state::INVALID)], None),
            (vec![Match::Status(false, status::DNAT)], None),
            (
                vec![Match::Status(false, status::SNAT)],
                at("FORWARD", true),
            ),
            (vec![Match::Proto(false, vec![58])], at("FORWARD", true)),
            (vec![Match::Proto(false, vec![6])], at("FORWARD", false)),
            (vec![Match::From(false, names("lo"))], at("FORWARD", true)),
            (vec![Match::From(false, names("eth+"))], None),
            (vec![Match::From(true, names("eth0"))], at("FORWARD", true)),
            (vec![Match::By(false, names("eth0"))], at("FORWARD", true)),
            (vec![Match::By(false, names("br0"))], at("FORWARD", false)),
            (vec![Match::Family(false, 2)], at("FORWARD", true)),
            (vec![Match::To(false, net("fd00::/48"))], None),
            (
                vec![Match::To(false, net("fd00::5/128"))],
                at("FORWARD", false),
            ),
            (
                vec![Match::To(false, net("fd01::/64"))],
                at("FORWARD", true),
            ),
            (vec![Match::To(true, net("fd01::/64"))], None),
            (
                vec![
                    Match::From(false, names("eth0")),
                    Match::Proto(false, vec![58]),
                ],
                at("FORWARD", true),
            ),
        ];
        for (conditions, expected) in cases {
            let accept = rule("FORWARD", &conditions, Verdict::Accept);
            let found = dropped(false, &[accept, drop.clone()]);
            assert_eq!(found, expected, "{conditions:?}");
        }
    }

    /// Each of these chains leads to the next by many rules: every way takes longer than there is
    /// time.
    #[test]
    fn many_ways_to_a_chain_are_one() {
        let name = |at: usize| match at {
            0 => "FORWARD".to_owned(),
            at => format!("c{at}"),
        };
        let jump = |at: usize| {
            let lead = Verdict::Jump(name(at + 1));
            vec![rule(&name(at), &[Match::Other], lead); 20]
        };
        let rules: Vec<Rule> = (0..DEPTH - 1).flat_map(jump).collect();
        assert_eq!(dropped(true, &rules), at("FORWARD", true));
    }

    #[test]
    fn chains_are_followed_as_the_kernel_follows_them() {
        let jump = |to: &str| rule("FORWARD", &[], Verdict::Jump(to.to_owned()));
        let goto = |to: &str| rule("FORWARD", &[], Verdict::Goto(to.to_owned()));
        let some = |to: &str| rule("FORWARD", &[Match::Other], Verdict::Jump(to.to_owned()));
        let drop = |chain: &str| rule(chain, &[], Verdict::Drop);
        let accept = |chain: &str| rule(chain, &[], Verdict::Accept);
        let back = |chain: &str| rule(chain, &[], Verdict::Return);
        let cases = [
            (vec![], true, at("FORWARD", true)),
            (vec![], false, None),
            (vec![jump("a"), drop("a")], false, at("a", true)),
            (vec![jump("a"), accept("a")], true, None),
            (vec![jump("a"), back("a"), drop("a")], false, None),
            (vec![jump("a"), back("a")], true, at("FORWARD", true)),
            (vec![goto("a"), drop("FORWARD")], false, None),
            (vec![some("a"), drop("a")], false, None),
            (vec![some("a"), accept("a")], true, at("FORWARD", false)),
            (
                vec![rule("FORWARD", &[], Verdict::Unknown)],
                true,
                at("FORWARD", false),
            ),
            (
                vec![rule("FORWARD", &[Match::Other], Verdict::Drop)],
                false,
                None,
            ),
            // A circle, which the kernel refuses.
            (vec![jump("FORWARD")], true, None),
        ];
        for (rules, policy, expected) in cases {
            assert_eq!(dropped(policy, &rules), expected, "{rules:?}");
        }
    }
}
