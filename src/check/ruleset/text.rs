//! Rules as ip6tables-save prints them: those of the legacy variant's tables. Pure.

use ipnet::Ipv6Net;

use super::{BaseChain, Home, Hook, Match, Place, Rule, Ruleset, Verdict, host, state, status};
use crate::backend::ip6tables::tokens::{self, Word};

/// The rules in a listing of one table.
pub(in crate::check) fn read(table: &str, listing: &str) -> Ruleset {
    let mut found = Ruleset::default();
    let place = |chain: &str| Place {
        home: Home::Legacy,
        table: table.to_owned(),
        chain: chain.to_owned(),
    };
    for line in listing.lines() {
        if let Some(chain) = line.strip_prefix(':') {
            let mut fields = chain.split(' ');
            if let (Some(name), Some(policy @ ("ACCEPT" | "DROP"))) = (fields.next(), fields.next())
            {
                found.chains.push(BaseChain {
                    place: place(name),
                    hook: hook(table, name),
                    drops: policy == "DROP",
                });
            }
        } else if line.starts_with("-A ")
            && let Ok((words, _)) = tokens::split(line)
            && let Some(chain) = words.get(1)
        {
            found.rules.push(rule(place(&chain.text), &words[2..]));
        }
    }
    found
}

fn hook(table: &str, chain: &str) -> Hook {
    match (table, chain) {
        ("filter" | "mangle" | "security", "FORWARD") => Hook::Forward,
        ("raw" | "mangle" | "nat", "PREROUTING") => Hook::Prerouting,
        _ => Hook::Other,
    }
}

fn rule(place: Place, words: &[Word]) -> Rule {
    let mut matches = Vec::new();
    let mut verdict = Verdict::None;
    let mut words = words.iter().peekable();
    let mut not = false;
    let mut is_rpfilter = false;
    while let Some(word) = words.next() {
        let option = match word.quoted {
            true => "",
            false => word.text.as_str(),
        };
        if option == "!" {
            not = true;
            continue;
        }
        // Most options have one value, flags have none.
        let has_value = words
            .peek()
            .is_some_and(|next| next.quoted || !is_option(&next.text));
        let value = match has_value {
            true => words.next().map_or("", |word| word.text.as_str()),
            false => "",
        };
        match option {
            "-i" => matches.push(Match::From(not, vec![value.to_owned()])),
            "-o" => matches.push(Match::By(not, vec![value.to_owned()])),
            "-p" => matches.push(proto(value).map_or(Match::Other, |p| Match::Proto(not, vec![p]))),
            "-d" => matches.push(net(value).map_or(Match::Other, |net| Match::To(not, vec![net]))),
            "--ctstate" | "--state" => matches.push(states(not, value)),
            "-j" => verdict = target(value),
            "-g" => verdict = Verdict::Goto(value.to_owned()),
            "-m" if value == "rpfilter" => is_rpfilter = true,
            // What these say stands in options of their own.
            "-m" if matches!(value, "comment" | "conntrack" | "state" | "tcp" | "udp") => {}
            "--comment" | "--log-prefix" | "--reject-with" => {}
            "--invert" if is_rpfilter => matches.push(Match::NoRouteBack),
            _ => matches.push(Match::Other),
        }
        not = false;
    }
    Rule {
        place,
        handle: 0,
        matches,
        verdict,
    }
}

fn is_option(word: &str) -> bool {
    word == "!" || word.starts_with('-')
}

fn target(name: &str) -> Verdict {
    match name {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        "NFQUEUE" => Verdict::Unknown,
        // The targets of netfilter's own that let a packet go on.
        "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS" | "CT" | "NOTRACK" | "TRACE" | "SET"
        | "TOS" | "DSCP" | "HL" | "CONNSECMARK" | "SECMARK" | "AUDIT" | "TEE" | "DNAT" | "SNAT"
        | "MASQUERADE" | "REDIRECT" | "CHECKSUM" | "CLASSIFY" | "" => Verdict::None,
        chain => Verdict::Jump(chain.to_owned()),
    }
}

/// The number of a protocol (IANA); `None` for one that is not known here.
fn proto(name: &str) -> Option<u8> {
    match name {
        "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        "ipv6-icmp" | "icmpv6" => Some(58),
        number => number.parse().ok(),
    }
}

fn net(text: &str) -> Option<Ipv6Net> {
    text.parse().ok().or_else(|| text.parse().ok().map(host))
}

fn states(not: bool, list: &str) -> Match {
    let (mut bits, mut rewritten) = (0, 0);
    for name in list.split(',') {
        match name {
            "INVALID" => bits |= state::INVALID,
            "ESTABLISHED" => bits |= state::ESTABLISHED,
            "RELATED" => bits |= state::RELATED,
            "NEW" => bits |= state::NEW,
            "UNTRACKED" => bits |= state::UNTRACKED,
            "SNAT" => rewritten |= status::SNAT,
            "DNAT" => rewritten |= status::DNAT,
            _ => return Match::Other,
        }
    }
    conntrack(not, bits, rewritten)
}

/// The match of ip6tables that knows states and what was rewritten in one list, any of which may
/// hold.
pub(super) fn conntrack(not: bool, bits: u32, rewritten: u32) -> Match {
    match (bits, rewritten) {
        (bits, 0) => Match::State(not, bits),
        // What is looked for is new and rewritten.
        (bits, _) if bits & state::NEW != 0 => Match::State(not, bits),
        (_, rewritten) => Match::Status(not, rewritten),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matches and the verdict of one rule.
    fn read_one(line: &str) -> (Vec<Match>, Verdict) {
        let found = read("filter", &format!("-A FORWARD {line}\n"));
        let rule = found.rules.into_iter().next().expect("a rule");
        (rule.matches, rule.verdict)
    }

    #[test]
    fn a_rule_is_read_as_it_is_printed() {
        let jump = |to: &str| Verdict::Jump(to.to_owned());
        let names = |name: &str| vec![name.to_owned()];
        let drop = Verdict::Drop;
        let cases = [
            ("-j DROP", vec![], drop.clone()),
            (
                "-i eth0 -j ufw6-in",
                vec![Match::From(false, names("eth0"))],
                jump("ufw6-in"),
            ),
            (
                "! -o eth+ -j REJECT --reject-with icmp6-port-unreachable",
                vec![Match::By(true, names("eth+"))],
                drop.clone(),
            ),
            (
                "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                vec![Match::State(false, 6)],
                Verdict::Accept,
            ),
            (
                "-m conntrack --ctstate DNAT -j ACCEPT",
                vec![Match::Status(false, status::DNAT)],
                Verdict::Accept,
            ),
            (
                "-p ipv6-icmp -m icmp6 --icmpv6-type 1 -j ACCEPT",
                vec![Match::Proto(false, vec![58]), Match::Other, Match::Other],
                Verdict::Accept,
            ),
            (
                "-m comment --comment \"! -j ACCEPT\" -j DROP",
                vec![],
                drop.clone(),
            ),
            (
                "-m limit --limit 3/min -j LOG --log-prefix \"[UFW BLOCK] \"",
                vec![Match::Other, Match::Other],
                Verdict::None,
            ),
            (
                "-m rpfilter --invert -j DROP",
                vec![Match::NoRouteBack],
                drop,
            ),
            ("-g END", vec![], Verdict::Goto("END".to_owned())),
        ];
        for (line, matches, verdict) in cases {
            assert_eq!(read_one(line), (matches, verdict), "{line}");
        }
    }

    #[test]
    fn the_policy_of_a_chain_that_the_kernel_calls_is_read() {
        let found = read(
            "filter",
            ":FORWARD DROP [3:180]\n:mine - [0:0]\n:INPUT ACCEPT [0:0]\n",
        );
        let chains: Vec<_> = found
            .chains
            .iter()
            .map(|chain| (chain.place.chain.as_str(), chain.hook, chain.drops))
            .collect();
        let expected = [
            ("FORWARD", Hook::Forward, true),
            ("INPUT", Hook::Other, false),
        ];
        assert_eq!(chains, expected);
    }
}
