//! The part of the contract that concerns the backend's own chains, and where in a chain of
//! others a rule of ours stands.

use docker_nat66::backend::{Backend, Batch};
use docker_nat66::model::rule::Rule;

use super::rules::{
    contents, forwarded, hairpin_guard, insertion, inside, jump, jump_containers, jump_host,
    jump_in, listed, masquerade, refuse, removal, reply, snat, spoofed, tcp,
};
use super::{Case, Foreign};

pub(crate) const CASES: [(&str, Case); 10] = [
    (
        "one by one",
        chains_come_with_the_first_and_go_with_the_last,
    ),
    ("foreign rules in our chains", a_chain_that_others_use_stays),
    ("a flushed chain", a_flushed_chain_is_listed_and_removed),
    (
        "flushed under a jump",
        a_flushed_chain_that_is_jumped_to_is_filled_again,
    ),
    (
        "a chain made meanwhile",
        a_chain_that_others_make_meanwhile_is_used,
    ),
    ("the jump's place", the_jump_stands_behind_docker_user),
    (
        "source rewrites",
        a_source_of_its_own_comes_before_any_masquerade,
    ),
    (
        "spoofed sources",
        a_spoofed_source_is_dropped_before_anything_is_accepted,
    ),
    ("both tables", a_replacement_of_the_jump_is_one_batch),
    (
        "very many rules",
        more_rules_than_are_removed_at_once_go_and_the_chain_with_them,
    ),
];

const CHAIN: &str = ":DOCKER-NAT66 - [0:0]";
const INSIDE: &str = ":DOCKER-NAT66-INSIDE - [0:0]";
const NONE: [&str; 0] = [];

/// On fresh ground, as every insertion is made.
fn insert(backend: &mut dyn Backend, rules: &[Rule]) {
    backend.list().expect("a certain listing");
    assert_eq!(backend.commit(&insertion(rules)), Ok(()));
}

fn rules_of(lines: &[String], chain: &str) -> Vec<String> {
    let start = format!("-A {chain} ");
    let rules = lines.iter().filter(|line| line.starts_with(&start));
    rules.cloned().collect()
}

/// Each in a batch of its own, out in the same order as in.
fn chains_come_with_the_first_and_go_with_the_last(
    backend: &mut dyn Backend,
    foreign: &mut dyn Foreign,
) {
    let rules = [
        jump_in(),
        reply(),
        inside(80, ""),
        jump(),
        jump_host(),
        refuse(),
        jump_containers("fdfd::/64"),
        spoofed(),
        inside(81, ""),
    ];
    for rule in &rules {
        insert(backend, std::slice::from_ref(rule));
    }
    assert_eq!(listed(backend).len(), rules.len());
    for rule in &rules {
        let remove = removal(backend, |seen| seen == rule);
        assert_eq!(remove.remove.len(), 1);
        assert_eq!(backend.commit(&remove), Ok(()));
    }
    assert_eq!(foreign.lines(), NONE);
}

fn a_chain_that_others_use_stays(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let rules = [jump(), reply(), tcp(80), jump_host(), inside(80, "")];
    for (theirs, chain) in [
        ("-A DOCKER-NAT66 -i eth9 -j ACCEPT", CHAIN),
        ("-A FORWARD -i eth9 -j DOCKER-NAT66", CHAIN),
        ("-A DOCKER-NAT66-INSIDE -i eth9 -j ACCEPT", INSIDE),
        ("-A PREROUTING -i eth9 -j DOCKER-NAT66-INSIDE", INSIDE),
    ] {
        insert(backend, &rules);
        foreign.add(theirs);
        let remove = removal(backend, |_| true);
        assert_eq!(backend.commit(&remove), Ok(()));
        assert_eq!(backend.list(), Ok(Vec::new()));
        assert_eq!(foreign.lines(), [chain, theirs]);
        // The chain that is left serves again.
        insert(backend, &rules);
        let mut expected = rules.clone().map(Some);
        expected.sort();
        assert_eq!(contents(backend), expected);
        foreign.delete(theirs);
        let remove = removal(backend, |_| true);
        assert_eq!(backend.commit(&remove), Ok(()));
        assert_eq!(foreign.lines(), NONE);
    }
}

fn a_flushed_chain_is_listed_and_removed(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let rules = [jump(), reply(), jump_in(), jump_host(), inside(80, "")];
    insert(backend, &rules);
    for line in foreign.lines() {
        if line.starts_with("-A") {
            foreign.delete(&line);
        }
    }
    assert_eq!(foreign.lines().len(), 3);
    let seen = backend.list().expect("certain");
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|chain| chain.rule.is_none()));
    let one = Batch {
        remove: vec![seen[0].clone()],
        ..Batch::default()
    };
    assert_eq!(backend.commit(&one), Ok(()));
    assert_eq!(foreign.lines().len(), 2);
    // Twice is as good as once.
    let both = Batch {
        remove: seen,
        ..Batch::default()
    };
    assert_eq!(backend.commit(&both), Ok(()));
    assert_eq!(foreign.lines(), NONE);
}

fn a_flushed_chain_that_is_jumped_to_is_filled_again(
    backend: &mut dyn Backend,
    foreign: &mut dyn Foreign,
) {
    let (jump, own) = (jump(), reply());
    insert(backend, &[jump.clone(), own.clone()]);
    let lines = foreign.lines();
    foreign.delete(&rules_of(&lines, "DOCKER-NAT66")[0]);
    assert_eq!(listed(backend), [Some(jump)]);
    insert(backend, &[own]);
    assert_eq!(foreign.lines(), lines);
}

fn a_chain_that_others_make_meanwhile_is_used(
    backend: &mut dyn Backend,
    foreign: &mut dyn Foreign,
) {
    assert_eq!(backend.list(), Ok(Vec::new()));
    foreign.add(CHAIN);
    let own = insertion(&[reply()]);
    // At most the first try, on old ground, fails, and then it changes nothing.
    if backend.commit(&own).is_err() {
        assert_eq!(foreign.lines(), [CHAIN]);
        assert_eq!(backend.list().expect("certain").len(), 1);
        assert_eq!(backend.commit(&own), Ok(()));
    }
    assert_eq!(listed(backend), [Some(reply())]);
}

fn the_jump_stands_behind_docker_user(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let user = "-A FORWARD -j DOCKER-USER";
    let reject = "-A FORWARD -j REJECT --reject-with icmp6-adm-prohibited";
    foreign.add(":DOCKER-USER - [0:0]");
    let both = [jump(), jump_in()];
    for (theirs, place) in [
        (vec![reject], 0),
        (vec![user, reject], 1),
        (vec!["-A FORWARD -i lo -j ACCEPT", user, reject], 2),
    ] {
        foreign.add("-A INPUT -i lo -j ACCEPT");
        for line in &theirs {
            foreign.add(line);
        }
        insert(backend, &both);
        let lines = foreign.lines();
        let forward = rules_of(&lines, "FORWARD");
        assert_eq!(forward.len(), theirs.len() + 1);
        assert!(forward[place].ends_with("-j DOCKER-NAT66"), "{forward:?}");
        let input = rules_of(&lines, "INPUT");
        assert!(input[0].ends_with("-j DOCKER-NAT66-IN"), "{input:?}");
        let remove = removal(backend, |_| true);
        assert_eq!(backend.commit(&remove), Ok(()));
        assert_eq!(rules_of(&foreign.lines(), "FORWARD"), theirs);
        for line in foreign.lines().iter().filter(|l| l.starts_with("-A")) {
            foreign.delete(line);
        }
    }
}

fn a_source_of_its_own_comes_before_any_masquerade(
    backend: &mut dyn Backend,
    foreign: &mut dyn Foreign,
) {
    foreign.add("-A POSTROUTING -o eth9 -j MASQUERADE");
    let first = [masquerade("eth0", "fdfd::/64")];
    let then = [
        snat("fdfd::/80", "2001:db8::1"),
        snat("fdfd:1::/64", "2001:db8::2"),
    ];
    insert(backend, &first);
    insert(backend, &then);
    let places: Vec<bool> = listed(backend)
        .iter()
        .flatten()
        .map(|rule| rule.facts.kind == "snat")
        .collect();
    assert_eq!(places, [true, true, false]);
    let lines = rules_of(&foreign.lines(), "POSTROUTING");
    assert!(lines[2].contains("eth9"), "{lines:?}");
}

/// Also where it is put back after the others.
fn a_spoofed_source_is_dropped_before_anything_is_accepted(
    backend: &mut dyn Backend,
    foreign: &mut dyn Foreign,
) {
    let prefix = "fdfd:5898:4917:1::/64";
    let accepting = [forwarded(), hairpin_guard(prefix, prefix)];
    insert(backend, &accepting);
    insert(backend, &[spoofed()]);
    let lines = rules_of(&foreign.lines(), "DOCKER-NAT66");
    assert_eq!(lines.len(), 3);
    assert!(lines[0].ends_with("-j DROP"), "{lines:?}");
}

/// The old jump does not count when the new one's place is found.
fn a_replacement_of_the_jump_is_one_batch(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    foreign.add(":DOCKER-USER - [0:0]");
    let all = [jump(), tcp(80)];
    insert(backend, &all);
    foreign.add("-A FORWARD -j DOCKER-USER");
    let mut batch = removal(backend, |_| true);
    batch.insert = all.to_vec();
    assert_eq!(backend.commit(&batch), Ok(()));
    let forward = rules_of(&foreign.lines(), "FORWARD");
    assert_eq!(forward.len(), 2);
    assert!(forward[1].ends_with("-j DOCKER-NAT66"), "{forward:?}");
    assert_eq!(listed(backend).len(), 2);
}

/// What goes out in parts leaves no less behind than what goes in one.
fn more_rules_than_are_removed_at_once_go_and_the_chain_with_them(
    backend: &mut dyn Backend,
    foreign: &mut dyn Foreign,
) {
    let before = foreign.lines();
    foreign.add("-A PREROUTING -i eth9 -j ACCEPT");
    let ports = (1..=6000).map(tcp);
    let inside = (1..=6000).map(|port| inside(port, ""));
    let statics = [jump(), reply(), jump_host()];
    let rules: Vec<Rule> = statics.into_iter().chain(inside).chain(ports).collect();
    insert(backend, &rules);
    let all = removal(backend, |_| true);
    assert_eq!(all.remove.len(), rules.len());
    assert_eq!(backend.commit(&all), Ok(()));
    assert_eq!(contents(backend), Vec::<Option<Rule>>::new());
    assert_eq!(foreign.lines().len(), before.len() + 1);
    foreign.delete("-A PREROUTING -i eth9 -j ACCEPT");
    assert_eq!(foreign.lines(), before);
}
