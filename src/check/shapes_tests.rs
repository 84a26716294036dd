//! The rules of docker-ipv6nat are distinguished from those of Engines.

use proptest::prelude::*;

use super::*;

/// What docker-ipv6nat sets beside an Engine with docker-proxy, by its source.
const RECORDED: &str = include_str!("../../tests/kernel/recorded/docker-ipv6nat-0.4/rules.save");
/// The same beside an Engine that has `--userland-proxy=false`.
const HAIRPIN: &str =
    include_str!("../../tests/kernel/recorded/docker-ipv6nat-0.4/rules-hairpin.save");
const ENGINE_28: &str =
    include_str!("../../tests/support/fake_engine/recorded/engine-28.5.2/rules-on.save");
const ENGINE_29: &str =
    include_str!("../../tests/kernel/recorded/engine-29.9-iptables/rules-on.save");

/// Of Engine 20.10.24 with `--experimental --ip6tables`, in its order.
const ENGINE_20: (&str, &str) = (
    "*nat\n:DOCKER - [0:0]\n\
     -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
     -A OUTPUT ! -d ::1/128 -m addrtype --dst-type LOCAL -j DOCKER\n\
     -A POSTROUTING -s fdfd:5898:4917:1::/64 ! -o docker0 -j MASQUERADE\n\
     -A DOCKER -i docker0 -j RETURN\n\
     -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fdfd::2]:80\n",
    "*filter\n:DOCKER - [0:0]\n\
     -A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-ISOLATION-STAGE-1\n\
     -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
     -A FORWARD -o docker0 -j DOCKER\n",
);

/// A table of a listing of several.
fn table<'l>(listing: &'l str, name: &str) -> &'l str {
    let start = listing.find(&format!("*{name}\n")).expect("the table");
    let rest = &listing[start..];
    &rest[..rest.find("COMMIT").expect("its end")]
}

fn find_in(listing: &str) -> Found {
    find(table(listing, "nat"), table(listing, "filter"))
}

#[track_caller]
fn theirs(listing: &str) -> (Vec<String>, Vec<String>) {
    match find_in(listing) {
        Found::Theirs { nat, filter } => (nat, filter),
        other => panic!("{other:?}"),
    }
}

/// The rules of a listing and the chains that a program has made, as removals.
fn all(listing: &str) -> Vec<String> {
    let rules = listing
        .lines()
        .filter_map(|line| Some(format!("-D {}", line.strip_prefix("-A ")?)));
    let chains = listing.lines().filter_map(|line| {
        let chain = line.strip_prefix(':')?.strip_suffix(" - [0:0]")?;
        Some(format!("-X {chain}"))
    });
    rules.chain(chains).collect()
}

#[test]
fn all_that_it_sets_goes_but_the_chain_of_administrators() {
    for listing in [RECORDED, HAIRPIN] {
        let (nat, filter) = theirs(listing);
        for (found, name) in [(nat, "nat"), (filter, "filter")] {
            let mut expected = all(table(listing, name));
            expected.retain(|change| !change.contains("DOCKER-USER"));
            let sorted = |mut changes: Vec<String>| {
                changes.sort();
                changes
            };
            assert_eq!(sorted(found), sorted(expected), "{name}");
        }
    }
}

#[test]
fn rules_of_an_engine_are_refused() {
    for listing in [ENGINE_28, ENGINE_29] {
        let found = find_in(listing);
        assert!(
            matches!(&found, Found::Engine(sign) if sign.contains("DOCKER-")),
            "{found:?}"
        );
    }
    let (nat, filter) = ENGINE_20;
    assert!(matches!(find(nat, filter), Found::Engine(_)));
    assert!(matches!(find("", filter), Found::Engine(_)));
    // Beside docker-ipv6nat, whose mark says nothing then.
    let mark = "-A POSTROUTING -o docker0 -m addrtype --dst-type LOCAL -j MASQUERADE\n";
    assert!(matches!(
        find(&format!("{nat}{mark}"), filter),
        Found::Engine(_)
    ));
}

#[test]
fn where_neither_is_there_is_nothing() {
    assert_eq!(find("", ""), Found::Nothing);
    // So people set it by hand.
    let by_hand = "*nat\n-A POSTROUTING -s fd00::/64 ! -o docker0 -j MASQUERADE\n";
    assert_eq!(
        find(by_hand, "*filter\n-A FORWARD -j DOCKER-USER\n"),
        Found::Nothing
    );
}

#[test]
fn a_chain_that_somebody_else_uses_stays_with_what_leads_to_it() {
    let nat = table(RECORDED, "nat").to_owned();
    let filter = table(RECORDED, "filter");
    let their = "-A DOCKER -p tcp -m tcp --dport 22 -j RETURN";
    let Found::Theirs { nat: changes, .. } = find(&format!("{nat}{their}\n"), filter) else {
        panic!("not theirs");
    };
    assert!(
        !changes.iter().any(|change| change == "-X DOCKER"),
        "{changes:?}"
    );
    assert!(
        !changes.iter().any(|change| change.ends_with("-j DOCKER")),
        "{changes:?}"
    );
    assert!(
        !changes.iter().any(|change| change.contains("--dport 22")),
        "{changes:?}"
    );
    assert!(
        changes.iter().any(|change| change.contains("-j DNAT")),
        "{changes:?}"
    );
    let into = "-A FORWARD -i eth1 -j DOCKER-ISOLATION-STAGE-2";
    let Found::Theirs {
        filter: changes, ..
    } = find(&nat, &format!("{filter}{into}\n"))
    else {
        panic!("not theirs");
    };
    assert!(
        !changes
            .iter()
            .any(|change| change == "-X DOCKER-ISOLATION-STAGE-2")
    );
    assert!(
        !changes
            .iter()
            .any(|change| change.ends_with("-j DOCKER-ISOLATION-STAGE-2"))
    );
}

#[test]
fn a_line_that_a_terminal_would_not_show_as_it_is_stays() {
    let nat = table(RECORDED, "nat");
    let odd = "-A DOCKER -d 2001:db8::1/128 ! -i docker0 -p tcp -m tcp --dport 1$(id) -j DNAT \
               --to-destination [fd00::2]:80";
    let found = find(&format!("{nat}{odd}\n"), table(RECORDED, "filter"));
    let Found::Theirs { nat, .. } = found else {
        panic!("{found:?}");
    };
    assert!(
        !nat.iter().any(|change| change.contains("$(id)")),
        "{nat:?}"
    );
}

/// Words of which rules are made.
const WORDS: [&str; 24] = [
    "DOCKER",
    "DOCKER-ISOLATION-STAGE-1",
    "DOCKER-ISOLATION-STAGE-2",
    "DOCKER-USER",
    "FORWARD",
    "-i",
    "-o",
    "!",
    "docker0",
    "br0",
    "-j",
    "-g",
    "DROP",
    "ACCEPT",
    "RETURN",
    "-d",
    "-s",
    "fd00::2/128",
    "-p",
    "tcp",
    "-m",
    "\"-j DOCKER\"",
    "\"",
    "\u{1b}[2J",
];

/// A rule of the recorded table, whole or with a word of its own replaced, or one of any words.
fn a_rule(table: &'static str) -> impl Strategy<Value = String> {
    let recorded: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("-A "))
        .collect();
    let count = recorded.len();
    let replaced = (0..count, 0..12_usize, 0..WORDS.len()).prop_map(move |(rule, at, word)| {
        let mut words: Vec<&str> = recorded[rule].split(' ').collect();
        if let Some(place) = words.get_mut(at + 1) {
            *place = WORDS[word];
        }
        words.join(" ")
    });
    let any = prop::collection::vec(0..WORDS.len(), 1..9).prop_map(|words| {
        let words: Vec<&str> = words.into_iter().map(|word| WORDS[word]).collect();
        format!("-A {}", words.join(" "))
    });
    prop_oneof![2 => replaced, 1 => any]
}

proptest! {
    /// What is removed was listed, is plain, and leaves no rule in or to a chain that goes.
    #[test]
    fn whatever_others_have_there_a_removal_can_be_carried_out(
        more in prop::collection::vec(a_rule(table(RECORDED, "filter")), 0..6),
    ) {
        let mut lines: Vec<&str> = table(RECORDED, "filter").lines().collect();
        lines.extend(more.iter().map(String::as_str));
        let found = find(table(RECORDED, "nat"), &lines.join("\n"));
        if let Found::Theirs { filter, .. } = found {
            for change in &filter {
                prop_assert!(!change.contains(['"', '\u{1b}']), "{change}");
                let Some(rule) = change.strip_prefix("-D ") else {
                    continue;
                };
                let line = format!("-A {rule}");
                let at = lines.iter().position(|it| *it == line);
                prop_assert!(at.is_some(), "{change} was not listed");
                lines.remove(at.expect("checked"));
            }
            for chain in filter.iter().filter_map(|change| change.strip_prefix("-X ")) {
                let uses = |line: &&&str| {
                    let Some(rest) = line.strip_prefix("-A ") else {
                        return false;
                    };
                    let leads = [format!("-j {chain}"), format!("-g {chain}")];
                    rest.split(' ').next() == Some(chain)
                        || leads.iter().any(|end| rest.ends_with(end.as_str()))
                };
                prop_assert_eq!(lines.iter().find(uses), None, "{} is still used", chain);
            }
        }
    }
}

#[test]
fn what_leads_to_a_chain_behind_a_comment_keeps_it() {
    let filter = table(RECORDED, "filter");
    for into in [
        "-A FORWARD -m comment --comment \"my own\" -j DOCKER-ISOLATION-STAGE-2",
        "-A FORWARD -m comment --comment \"of two\nlines\" -j DOCKER-ISOLATION-STAGE-2",
    ] {
        let found = find(table(RECORDED, "nat"), &format!("{filter}{into}\n"));
        let Found::Theirs { filter, .. } = found else {
            panic!("{found:?}");
        };
        let removal = "-X DOCKER-ISOLATION-STAGE-2";
        assert!(!filter.iter().any(|change| change == removal), "{into}");
    }
}
