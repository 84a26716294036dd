//! The rules of docker-ipv6nat and of Engines, told apart.

use super::*;

/// What docker-ipv6nat sets beside an Engine with docker-proxy, by its source.
const RECORDED: &str = include_str!("../../../tests/kernel/recorded/docker-ipv6nat-0.4/rules.save");
/// The same beside an Engine that has `--userland-proxy=false`.
const HAIRPIN: &str =
    include_str!("../../../tests/kernel/recorded/docker-ipv6nat-0.4/rules-hairpin.save");
const ENGINE_28: &str =
    include_str!("../../../tests/support/fake_engine/recorded/engine-28.5.2/rules-on.save");
const ENGINE_29: &str =
    include_str!("../../../tests/kernel/recorded/engine-29.9-iptables/rules-on.save");

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
