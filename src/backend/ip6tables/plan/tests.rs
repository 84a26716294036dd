//! Plans: chains that come and go, and the places of rules.

use super::*;
use crate::backend::ObservedRule;
use crate::backend::ip6tables::parse;
use crate::backend::ip6tables::testing::{
    REPLY, SPOOFED, dnat, every_kind, jump, masquerade, rule, saved,
};

/// A jump to DOCKER-USER, as Docker inserts it.
const YIELD: &str = "-A FORWARD -j DOCKER-USER";
const REJECT: &str = "-A FORWARD -j REJECT --reject-with icmp6-port-unreachable";
const CHAIN: &str = ":DOCKER-NAT66 - [0:0]";

/// What a listing of the filter table with these lines shows.
fn seen(lines: &[String]) -> parse::Listing {
    seen_in(Table::Filter, lines)
}

fn seen_in(table: Table, lines: &[String]) -> parse::Listing {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    parse::listing(saved(table, &lines).as_bytes(), table).expect("whole")
}

fn lines(own: &[&str], rules: &[Rule]) -> Vec<String> {
    let foreign = own.iter().map(|line| (*line).to_owned());
    foreign.chain(rules.iter().map(render::listed)).collect()
}

/// The input for a batch that removes `remove` and inserts `insert`, comments cut off.
fn input(lines: &[String], remove: &[Rule], insert: &[Rule]) -> Vec<String> {
    let observed = |rule: &Rule| {
        let locator = render::rule_locator(Table::of(rule), &render::listed(rule));
        ObservedRule::new(rule.id(), Some(rule.clone()), locator)
    };
    let batch = Batch {
        remove: remove.iter().map(observed).collect(),
        insert: insert.to_vec(),
    };
    input_of(lines, &batch)
}

fn input_of(lines: &[String], batch: &Batch) -> Vec<String> {
    let plan = Plan::new(batch, &seen(lines).chain_state).expect("our locators");
    let short = |line: &str| {
        let cut = line.find(" -m comment").unwrap_or(line.len());
        line[..cut].to_owned()
    };
    plan.input().lines().map(short).collect()
}

#[test]
fn a_replacement_is_removed_first_in_one_section() {
    let old = dnat("eth0", "tcp", None, 80, "fdfd::2", 80);
    let new = dnat("eth0", "tcp", None, 80, "fdfd::3", 80);
    let input = input(&[], &[old], &[new]);
    assert_eq!(input[0], "*nat");
    assert!(input[1].starts_with("-D PREROUTING ! -s fe80::/10 -i eth0 -p tcp "));
    assert!(input[2].starts_with("-A PREROUTING -i eth0 -p tcp "));
    assert_eq!(input[3..], ["COMMIT"]);
}

#[test]
fn the_filter_goes_in_first_and_out_last() {
    let rules = [masquerade("eth0", "fdfd::/64"), jump()];
    let tables = |input: Vec<String>| -> Vec<String> {
        let tables = input.into_iter().filter(|line| line.starts_with('*'));
        tables.collect()
    };
    assert_eq!(tables(input(&[], &[], &rules)), ["*filter", "*nat"]);
    let there = lines(&[CHAIN], &rules[1..]);
    assert_eq!(tables(input(&there, &rules, &[])), ["*nat", "*filter"]);
}

#[test]
fn a_chain_is_made_where_it_is_missing_and_only_there() {
    let rules = [jump(), rule(REPLY)];
    let made = input(&[], &[], &rules);
    assert_eq!(made[..2], ["*filter", "-N DOCKER-NAT66"]);
    assert_eq!(made.len(), 5);
    let there = input(&lines(&[CHAIN], &[]), &[], &rules);
    assert!(there[1].starts_with("-I FORWARD -j "), "{there:?}");
    let jump = [rule("filter INPUT -j DOCKER-NAT66-IN")];
    assert_eq!(input(&[], &[], &jump)[1], "-N DOCKER-NAT66-IN");
}

#[test]
fn a_chain_goes_with_the_last_of_its_rules_and_jumps() {
    let (jump, one, two) = (jump(), rule(REPLY), rule(SPOOFED));
    let there = lines(&[CHAIN], &[jump.clone(), one.clone(), two.clone()]);
    let all = [jump.clone(), one.clone(), two.clone()];
    assert_eq!(input(&there, &all, &[])[4], "-X DOCKER-NAT66");
    for part in [&all[..2], &all[1..]] {
        let input = input(&there, part, &[]);
        assert!(!input.concat().contains("-X"), "{input:?}");
    }
    // A copy that stays keeps the chain.
    let twice = lines(&[CHAIN], &[jump.clone(), jump.clone()]);
    let gone = input(&twice, std::slice::from_ref(&jump), &[]);
    assert!(!gone.concat().contains("-X"), "{gone:?}");
    let twice = input(&twice, &[jump.clone(), jump], &[]);
    assert!(twice.concat().contains("-X"), "{twice:?}");
}

#[test]
fn a_chain_with_foreign_rules_or_jumps_stays() {
    let (jump, own) = (jump(), rule(REPLY));
    for foreign in [
        "-A DOCKER-NAT66 -j ACCEPT",
        "-A FOO -p tcp -g DOCKER-NAT66",
        "-A FORWARD -m comment --comment \"-j X\" -j DOCKER-NAT66",
        "-A DOCKER-NAT66 -m comment --comment \"a\n-A X\" -j ACCEPT",
    ] {
        let there = lines(&[CHAIN, foreign], &[jump.clone(), own.clone()]);
        let input = input(&there, &[jump.clone(), own.clone()], &[]);
        assert!(!input.concat().contains("-X"), "{foreign}: {input:?}");
    }
    for unrelated in [
        "-A FOO -j DOCKER-NAT66-IN",
        "-A FOO -m comment --comment \"-j DOCKER-NAT66\" -j ACCEPT",
    ] {
        let there = lines(&[CHAIN, unrelated], std::slice::from_ref(&jump));
        let input = input(&there, std::slice::from_ref(&jump), &[]);
        assert!(input.concat().contains("-X"), "{unrelated}: {input:?}");
    }
}

#[test]
fn the_jump_stands_at_the_top_but_behind_docker_user() {
    let jump = jump();
    let place = |own: &[&str], remove: &[Rule]| {
        let there = lines(own, remove);
        let mut input = input(&there, remove, std::slice::from_ref(&jump));
        input.retain(|line| line.starts_with("-I"));
        input.remove(0)
    };
    assert_eq!(place(&[], &[]), "-I FORWARD -j DOCKER-NAT66");
    assert_eq!(place(&[REJECT], &[]), "-I FORWARD -j DOCKER-NAT66");
    assert_eq!(place(&[YIELD, REJECT], &[]), "-I FORWARD 2 -j DOCKER-NAT66");
    assert_eq!(
        place(&["-A FORWARD -i lo -j ACCEPT", YIELD], &[]),
        "-I FORWARD 3 -j DOCKER-NAT66"
    );
    assert_eq!(
        place(&["-A INPUT -j DOCKER-USER", "-A FORWARD -j FOO"], &[]),
        "-I FORWARD -j DOCKER-NAT66"
    );
    // What goes in the same batch does not count.
    let gone = lines(&[CHAIN], std::slice::from_ref(&jump));
    let there = [gone[0].as_str(), gone[1].as_str(), YIELD];
    assert_eq!(place(&there, &[]), "-I FORWARD 3 -j DOCKER-NAT66");
    let there: Vec<String> = there.map(str::to_owned).into();
    let moved = input(
        &there,
        std::slice::from_ref(&jump),
        std::slice::from_ref(&jump),
    );
    assert_eq!(moved[2], "-I FORWARD 2 -j DOCKER-NAT66");
}

#[test]
fn a_flushed_chain_is_surplus_and_goes() {
    let there = lines(&[CHAIN, ":DOCKER-NAT66-IN - [0:0]"], &[]);
    let idle = seen(&there).rules;
    assert_eq!(idle.len(), 2);
    assert!(idle.iter().all(|chain| chain.rule.is_none()));
    let remove = |insert: &[Rule]| Batch {
        remove: idle.clone(),
        insert: insert.to_vec(),
    };
    assert_eq!(
        input_of(&there, &remove(&[])),
        ["*filter", "-X DOCKER-NAT66", "-X DOCKER-NAT66-IN", "COMMIT"]
    );
    // Not the one that is needed again in the same batch, nor one that is in use by now.
    let input = input_of(&there, &remove(&[jump()]));
    assert_eq!(input[2..], ["-X DOCKER-NAT66-IN", "COMMIT"]);
    let used = lines(&[CHAIN, "-A DOCKER-NAT66 -j ACCEPT"], &[]);
    assert_eq!(input_of(&used, &remove(&[])), [""; 0]);
    for used in [
        vec!["-A FOO -j DOCKER-NAT66".to_owned(), CHAIN.to_owned()],
        lines(&[CHAIN], &[jump()]),
        Vec::new(),
    ] {
        let rules = seen(&used).rules;
        assert!(rules.iter().all(|r| r.rule.is_some()), "{rules:?}");
    }
}

#[test]
fn only_what_touches_the_filter_table_or_our_chain_needs_a_listing() {
    for rule in every_kind() {
        let is_filter = Table::of(&rule) == Table::Filter || render::concerns(&rule, OWN_INSIDE);
        let locator = render::rule_locator(Table::of(&rule), &render::listed(&rule));
        let remove = Batch {
            remove: vec![ObservedRule::new(rule.id(), None, locator)],
            insert: Vec::new(),
        };
        let insert = Batch {
            insert: vec![rule],
            ..Batch::default()
        };
        assert_eq!(Plan::needs_no_chain_state(&insert), !is_filter);
        assert_eq!(Plan::needs_no_chain_state(&remove), !is_filter);
    }
}

/// The nat table's chain, too, comes with the first of its rules and goes with the last, also where they
/// go in parts.
#[test]
fn the_chain_of_the_nat_table_goes_with_the_last_part() {
    let rules = [
        rule("nat PREROUTING -s fdfd::/64 -j DOCKER-NAT66-INSIDE -m addrtype --dst-type LOCAL"),
        rule("nat DOCKER-NAT66-INSIDE -p tcp --dport 80 -j DNAT --to-destination [fdfd::2]:80"),
    ];
    let made = input(&[], &[], &rules);
    assert_eq!(made[..2], ["*nat", "-N DOCKER-NAT66-INSIDE"]);
    let there = lines(&[":DOCKER-NAT66-INSIDE - [0:0]"], &rules);
    let mut listing = seen_in(Table::Nat, &there);
    let mut parts = listing.rules.into_iter().map(|seen| {
        let batch = Batch {
            remove: vec![seen],
            ..Batch::default()
        };
        let plan = Plan::new(&batch, &listing.chain_state).expect("our locators");
        listing.chain_state.follow(&plan);
        plan.input().contains("-X DOCKER-NAT66-INSIDE\nCOMMIT")
    });
    assert_eq!(parts.next(), Some(false));
    assert_eq!(parts.next(), Some(true));
}
