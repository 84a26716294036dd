//! Answers for the tests of the screen.

use std::net::Ipv6Addr;

use super::super::owner::Owner;
use super::super::place::{Hook, Place};
use super::super::published::PortTarget;
use super::super::ruleset::ListedRule;
use super::super::trace::ChainName;
use super::super::verdict::Spot;
use super::super::words::{Language, RuleWords};
use super::*;
use crate::model::text::Untrusted;

fn step(
    (hook, priority): (Hook, i32),
    (family, table, chain): (u8, &str, &str),
    text: Option<&str>,
    decision: Decision,
) -> TraceStep {
    TraceStep {
        place: Some(Place { hook, priority }),
        spot: Spot {
            chain: ChainName {
                family,
                table: table.to_owned(),
                chain: chain.to_owned(),
            },
            handle: text.map(|_| 7),
        },
        decision,
        words: text.map(|text| RuleWords {
            text: text.to_owned(),
            language: Language::Nft,
            position: 1,
            facts: ListedRule::default(),
        }),
        owner: Owner::Unknown,
        tool: None,
    }
}

fn addr(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn target(name: &str, network: &str) -> PortTarget {
    PortTarget {
        addr: addr("fdfd:5898:4917:1::2"),
        port: 80,
        host_addr: None,
        id: "0123456789abcdef".to_owned(),
        name: Untrusted::new(name),
        network: Untrusted::new(network),
        sources: Vec::new(),
    }
}

/// The port is reached.
pub(crate) fn reachable() -> Report {
    let to = (addr("fdfd:5898:4917:1::2"), 80);
    let dnat = "-A DOCKER-NAT66 -i eth0 -p tcp -m tcp --dport 8080 -m comment --comment \
                \"docker-nat66:0123456789abcdef\" -j DNAT --to-destination [fdfd:5898:4917:1::2]:80";
    let accept = "meta l4proto tcp ip6 daddr fdfd:5898:4917:1::/64 ct state new accept";
    Report {
        proto: Proto::Tcp,
        from: addr("2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"),
        sent: (addr("2001:db8:9::1"), 8080),
        device: "eth0".to_owned(),
        publication: Publication {
            targets: vec![PortTarget {
                host_addr: Some(addr("2001:db8:9::1")),
                sources: vec![
                    "2001:db8::/32".parse().expect("a network"),
                    "2001:db8:9:1::/64".parse().expect("a network"),
                    "fdfd:5898:4917:2::/64".parse().expect("a network"),
                ],
                ..target("my-compose-project-web_1", "my-compose-project_default")
            }],
            ..Publication::default()
        },
        steps: vec![
            step(
                (Hook::Prerouting, -100),
                (10, "nat", "DOCKER-NAT66"),
                Some(dnat),
                Decision::Accept,
            ),
            step(
                (Hook::Forward, 0),
                (1, "firewall", "forward"),
                Some(accept),
                Decision::Accept,
            ),
        ],
        stop: None,
        rewritten: Some((0, to)),
        back_steps: vec![step(
            (Hook::Forward, 0),
            (1, "firewall", "forward"),
            Some("ct state established,related accept"),
            Decision::Accept,
        )],
        diagnosis: Diagnosis {
            is_reachable: true,
            code: "reachable",
            sentence: "8080/tcp reaches my-compose-project-web_1 (0123456789ab) at \
                       [fdfd:5898:4917:1::2]:80, and an answer of it leaves the host."
                .to_owned(),
            remedy: None,
        },
        injected_by: "bpf",
        notes: vec![
            "the daemon could not be asked: no daemon listens at /run/docker-nat66/control.sock"
                .to_owned(),
        ],
    }
}

/// A rule drops the packet, and the command that removes it is longer than a line.
pub(crate) fn stopped() -> Report {
    let rule = "-A DOCKER-USER -i eth0 -p tcp -m tcp --dport 80 -m comment --comment \
                \"nobody from outside may see what is in this container\" -j DROP";
    let mut report = reachable();
    report.publication.targets = vec![target("web", "bridge")];
    report.steps[1] = step(
        (Hook::Forward, 0),
        (10, "filter", "DOCKER-USER"),
        Some(rule),
        Decision::Drop,
    );
    report.stop = Some(1);
    report.back_steps.clear();
    report.notes.clear();
    report.diagnosis = Diagnosis::closed(
        "dropped",
        "8080/tcp is dropped by the rule 1 of chain DOCKER-USER of ip6tables' table filter, where a \
         human writes rules."
            .to_owned(),
    )
    .or_do(rule.replacen("-A", "ip6tables -D", 1));
    report
}

/// A policy drops the answer, and what opens it is one quoted word.
pub(crate) fn stopped_on_its_way_back() -> Report {
    let mut report = reachable();
    report.publication.targets = vec![target("web", "bridge")];
    report.publication.closed =
        vec!["port 8080/tcp of container shut (fedcba987654): its network backend is internal, so no packet from outside reaches it".to_owned()];
    report.back_steps = vec![step(
        (Hook::Postrouting, -150),
        (1, "house-firewall", "leaving"),
        None,
        Decision::Drop,
    )];
    report.notes.clear();
    report.diagnosis = Diagnosis::closed(
        "answer-dropped",
        "8080/tcp reaches web (0123456789ab), but its answer is dropped by the policy of chain \
         leaving of table inet house-firewall."
            .to_owned(),
    )
    .or_do("nft 'chain inet house-firewall leaving { policy accept; }'");
    report
}

/// Names that want to clear a terminal, forge a line and turn the reading direction.
pub(crate) fn hostile() -> Report {
    const NAME: &str = "a\u{1b}[2J\nreachable\u{202e}";
    let rule = format!("tcp dport 80 drop comment \"{NAME}\"");
    let at = (Hook::Forward, 0);
    let chain = (1, NAME, NAME);
    let mut report = reachable();
    report.device = NAME.to_owned();
    report.publication.targets = vec![PortTarget {
        id: NAME.to_owned(),
        ..target(NAME, NAME)
    }];
    report.steps = vec![
        step(at, chain, Some(&rule), Decision::Drop),
        step(at, chain, None, Decision::Drop),
    ];
    (report.stop, report.rewritten) = (Some(1), None);
    report.back_steps = report.steps.clone();
    report.diagnosis = Diagnosis::closed("dropped", report.steps[0].chain_words());
    report.notes.clear();
    report
}
