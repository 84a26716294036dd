//! Commands that would mend what was found. Pure.
//!
//! They are printed and never run. Names of others go into them only where a shell takes them as
//! they are.

use std::net::Ipv6Addr;

use super::legacy::Logged;
use super::owner::Owner;
use super::verdict::Endpoint;
use super::way::TraceStep;
use super::words::{Language, family};
use crate::backend::shell::nft_word;
use crate::model::forward::Proto;

/// What opens the way at the rule or policy that ended it.
pub(super) fn of_stop(
    stop: &TraceStep,
    proto: Proto,
    to: Option<Endpoint>,
    from: Ipv6Addr,
) -> Option<String> {
    match (&stop.owner, to) {
        (Owner::Program("ufw"), Some((addr, port))) => Some(format!(
            "ufw route allow proto {proto} to {addr} port {port}"
        )),
        (Owner::Program("fail2ban"), _) => Some(format!("fail2ban-client unban {from}")),
        (Owner::Program("CrowdSec"), _) => Some(format!("cscli decisions delete --ip {from}")),
        (Owner::Ours | Owner::Program(_) | Owner::Process(..), _) => None,
        (Owner::Human | Owner::Unknown | Owner::ProbablyDocker, _) => match stop.spot.handle {
            Some(_) => of_rule(stop),
            None => of_policy(stop),
        },
    }
}

/// What removes a rule; `None` for one of ours, and for one whose names a shell would change.
pub(super) fn of_rule(step: &TraceStep) -> Option<String> {
    if step.owner == Owner::Ours {
        return None;
    }
    let words = step.words.as_ref()?;
    let chain = &step.spot.chain;
    if words.language == Language::Iptables {
        let rule = words
            .text
            .strip_prefix("-A ")
            .filter(|rule| is_plain(rule))?;
        return Some(format!("{} -D {rule}", of_table(step.tool?, &chain.table)));
    }
    let family = family(chain.family)?;
    let (table, chain) = (nft_word(&chain.table)?, nft_word(&chain.chain)?);
    let handle = step.spot.handle?;
    Some(format!(
        "nft delete rule {family} {table} {chain} handle {handle}"
    ))
}

/// The beginning of a command for a table of ip6tables.
fn of_table(tool: &str, table: &str) -> String {
    match table {
        "filter" => tool.to_owned(),
        table => format!("{tool} -t {table}"),
    }
}

/// What removes a rule of a legacy table, as its tool prints it, or opens its policy.
pub(super) fn of_legacy(logged: &Logged, line: Option<&str>) -> Option<String> {
    let Logged { table, chain, .. } = logged;
    let tool = of_table("ip6tables-legacy", table);
    if logged.is_policy() {
        return nft_word(chain).map(|chain| format!("{tool} -P {chain} ACCEPT"));
    }
    let rule = line?.strip_prefix("-A ").filter(|rule| is_plain(rule))?;
    Some(format!("{tool} -D {rule}"))
}

fn of_policy(step: &TraceStep) -> Option<String> {
    let chain = &step.spot.chain;
    let (table, name) = (nft_word(&chain.table)?, nft_word(&chain.chain)?);
    if let Some(tool) = step.tool.filter(|_| step.is_iptables()) {
        return Some(format!("{} -P {name} ACCEPT", of_table(tool, &table)));
    }
    let family = family(chain.family)?;
    Some(format!(
        "nft 'chain {family} {table} {name} {{ policy accept; }}'"
    ))
}

/// Whether a shell takes a rule as ip6tables prints it, which puts a comment into double quotes.
fn is_plain(text: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || " -_.,:/@%+=!\"".contains(c);
    text.chars().all(is_fine) && text.matches('"').count().is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::super::ruleset::ListedRule;
    use super::super::trace::{ChainName, Decision};
    use super::super::verdict::Spot;
    use super::super::words::RuleWords;
    use super::*;

    fn step(table: &str, chain: &str, text: &str, language: Language, owner: Owner) -> TraceStep {
        TraceStep {
            place: None,
            spot: Spot {
                chain: ChainName {
                    family: if language == Language::Nft { 1 } else { 10 },
                    table: table.into(),
                    chain: chain.into(),
                },
                handle: Some(7),
            },
            decision: Decision::Drop,
            words: Some(RuleWords {
                text: text.into(),
                language,
                position: 1,
                facts: ListedRule::default(),
            }),
            owner,
            tool: Some("ip6tables"),
        }
    }

    #[test]
    fn a_rule_of_nobody_is_removed_as_its_tool_does_it() {
        let of = |table, chain, text, language| {
            of_rule(&step(table, chain, text, language, Owner::Unknown))
        };
        let nft = of("myfw", "fw", "tcp dport 80 drop", Language::Nft);
        assert_eq!(
            nft.as_deref(),
            Some("nft delete rule inet myfw fw handle 7")
        );
        let line = "-A FORWARD -p tcp -m comment --comment \"my own\" -j DROP";
        let iptables = of("filter", "FORWARD", line, Language::Iptables);
        let expected = "ip6tables -D FORWARD -p tcp -m comment --comment \"my own\" -j DROP";
        assert_eq!(iptables.as_deref(), Some(expected));
        let raw = of(
            "raw",
            "PREROUTING",
            "-A PREROUTING -j DROP",
            Language::Iptables,
        );
        assert_eq!(
            raw.as_deref(),
            Some("ip6tables -t raw -D PREROUTING -j DROP")
        );
    }

    #[test]
    fn what_a_shell_would_change_is_no_command() {
        for text in [
            "-A X --comment $(reboot)",
            "-A X --comment \"`x`\"",
            "-A X; reboot",
        ] {
            let step = step("filter", "X", text, Language::Iptables, Owner::Unknown);
            assert_eq!(of_rule(&step), None, "{text}");
        }
        for name in ["a;b", "a b", "a\"b", "-f", "7"] {
            for (table, chain) in [(name, "c"), ("t", name)] {
                let mut named = step(table, chain, "drop", Language::Nft, Owner::Unknown);
                assert_eq!(of_rule(&named), None, "{table} {chain}");
                (named.words, named.spot.handle) = (None, None);
                assert_eq!(of_policy(&named), None, "{table} {chain}");
            }
        }
    }

    #[test]
    fn the_tool_is_called_as_it_is_called_here() {
        let line = "-A FORWARD -j DROP";
        let mut step = step(
            "filter",
            "FORWARD",
            line,
            Language::Iptables,
            Owner::Unknown,
        );
        let commands = |step: &TraceStep| {
            let mut policy = step.clone();
            (policy.words, policy.spot.handle) = (None, None);
            (of_rule(step), of_policy(&policy))
        };
        step.tool = Some("ip6tables-nft");
        let expected = [
            "ip6tables-nft -D FORWARD -j DROP",
            "ip6tables-nft -P FORWARD ACCEPT",
        ];
        let [rule, policy] = expected.map(|command| Some(command.to_owned()));
        assert_eq!(commands(&step), (rule, policy));
        // Nothing is installed that could be called.
        step.tool = None;
        let by_nft = "nft 'chain ip6 filter FORWARD { policy accept; }'";
        assert_eq!(commands(&step), (None, Some(by_nft.to_owned())));
    }

    #[test]
    fn a_program_is_asked_in_its_own_words_and_our_rules_are_left() {
        let to = Some(("fd00::2".parse().unwrap(), 80));
        let from = "2001:db8::9".parse().unwrap();
        let of = |owner| {
            let step = step("filter", "c", "-A c -j DROP", Language::Iptables, owner);
            of_stop(&step, Proto::Tcp, to, from)
        };
        let ufw = of(Owner::Program("ufw"));
        assert_eq!(
            ufw.as_deref(),
            Some("ufw route allow proto tcp to fd00::2 port 80")
        );
        assert_eq!(of(Owner::Ours), None);
        assert_eq!(of(Owner::Program("Calico")), None);
        let mut policy = step(
            "filter",
            "FORWARD",
            "",
            Language::Own,
            Owner::ProbablyDocker,
        );
        (policy.words, policy.spot.handle) = (None, None);
        let opened = of_stop(&policy, Proto::Tcp, to, from);
        assert_eq!(opened.as_deref(), Some("ip6tables -P FORWARD ACCEPT"));
    }
}
