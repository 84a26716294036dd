//! Listings: of both variants, of others' rules beside ours, broken ones.

use proptest::prelude::*;

use super::*;
use crate::backend::Verb;
use crate::backend::ip6tables::describe;
use crate::backend::ip6tables::testing::{
    UNPUBLISHED, any_rule, dnat, every_kind, masquerade, rule, saved,
};

const TABLE: Table = Table::Nat;

fn one_of(table: Table, line: &str) -> Option<ObservedRule> {
    let mut rules = listing(saved(table, &[line]).as_bytes(), table)
        .expect("whole")
        .rules;
    assert!(rules.len() <= 1, "{rules:?}");
    rules.pop()
}

fn one(line: &str) -> Option<ObservedRule> {
    one_of(TABLE, line)
}

/// As printed by ip6tables-save 1.8.9, both variants alike, without comment.
#[test]
fn the_normal_form_of_both_variants_is_read() {
    let lines = [
        "filter FORWARD @ -j DOCKER-NAT66",
        "filter INPUT @ -j DOCKER-NAT66-IN",
        "nat OUTPUT ! -s fe80::/10 ! -d ::1/128 -m addrtype --dst-type LOCAL @ \
         -j DOCKER-NAT66-INSIDE",
        "nat PREROUTING -s fdfd::/64 -m addrtype --dst-type LOCAL @ -j DOCKER-NAT66-INSIDE",
        "nat POSTROUTING -s fdfd::/64 ! -d fdfd::/64 -o eth0 -m addrtype ! --src-type LOCAL @ \
         -j SNAT --to-source 2001:db8::1",
        "nat POSTROUTING -s fdfd::/64 ! -d fdfd::/64 -o eth0 -m addrtype ! --src-type LOCAL @ \
         -j MASQUERADE",
        "nat POSTROUTING -s fdfd::/64 -d fdfd::/64 -m conntrack --ctstate DNAT @ -j MASQUERADE",
        "filter DOCKER-NAT66 -s fdfd::/64 -d fdfd:1::/64 -m conntrack --ctstate DNAT @ -j ACCEPT",
        "filter DOCKER-NAT66-IN -i eth0 -p tcp -m tcp --dport 80 -m addrtype --dst-type LOCAL @ \
         -j DROP",
        "filter DOCKER-NAT66-IN -d 2001:db8::1/128 -i eth0 -p tcp -m tcp --dport 80 \
         -m addrtype --dst-type LOCAL @ -j DROP",
        "nat PREROUTING -s 2001:db8:1::/48 -i eth0 -p tcp -m tcp --dport 80 \
         -m addrtype --dst-type LOCAL @ -j DNAT --to-destination [fdfd::2]:8080",
        "nat OUTPUT ! -s fe80::/10 ! -d ::1/128 -p tcp -m tcp --dport 80 \
         -m addrtype --dst-type LOCAL @ -j DNAT --to-destination [fdfd::2]:8080",
        "nat OUTPUT ! -s fe80::/10 -d 2001:db8::1/128 -p tcp -m tcp --dport 80 \
         -m addrtype --dst-type LOCAL @ -j DNAT --to-destination [fdfd::2]:8080",
        "nat PREROUTING -s fdfd::/64 -p tcp -m tcp --dport 80 -m addrtype --dst-type LOCAL @ \
         -j DNAT --to-destination [fdfd::2]:8080",
        "nat DOCKER-NAT66-INSIDE -p tcp -m tcp --dport 80 @ \
         -j DNAT --to-destination [fdfd::2]:8080",
        "nat DOCKER-NAT66-INSIDE -d 2001:db8::1/128 -p tcp -m tcp --dport 80 @ \
         -j DNAT --to-destination [fdfd::2]:8080",
        "nat PREROUTING ! -s fe80::/10 -i eth0 -p tcp -m tcp --dport 80 \
         -m addrtype --dst-type LOCAL @ -j DNAT --to-destination [fdfd::2]:8080",
        "filter DOCKER-NAT66 -s fdfd::/64 -i eth0 @ -j DROP",
        "filter DOCKER-NAT66 -d fdfd::/64 -i eth0 -m conntrack --ctstate RELATED,ESTABLISHED @ \
         -j ACCEPT",
        "filter DOCKER-NAT66 -d fdfd::/64 -i eth0 -m conntrack --ctstate DNAT @ -j ACCEPT",
        "filter DOCKER-NAT66 -s fdfd::/64 -o eth0 -m conntrack --ctstate RELATED,ESTABLISHED @ \
         -j ACCEPT",
        "filter DOCKER-NAT66 -s fdfd::/64 -o eth0 -m conntrack --ctstate NEW @ -j ACCEPT",
        "filter DOCKER-NAT66 -d fdfd::/64 -i eth0 \
         -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT @ -j DROP",
    ];
    let rules = every_kind();
    assert_eq!(rules.len(), lines.len());
    for (rule, line) in rules.iter().zip(lines) {
        let comment = format!("-m comment --comment \"{}\"", rule.id().comment());
        let line = line.replace('@', &comment);
        let (name, text) = line.split_once(' ').expect("a table");
        let table = Table::of(rule);
        assert_eq!(table.as_str(), name, "{line}");
        let line = format!("-A {text}");
        let seen = one_of(table, &line).expect("ours");
        assert_eq!(seen.rule.as_ref(), Some(rule), "{line}");
        assert_eq!(*seen.locator, *format!("{name} {line}"));
        assert_eq!(render::listed(rule), line);
        // The same rule in the other table is another.
        for other in Table::ALL.into_iter().filter(|t| *t != table) {
            assert_eq!(one_of(other, &line).expect("ours").rule, None, "{line}");
        }
    }
}

/// The tools print an address of ::/96 with an IPv4 address at its end.
#[test]
fn an_address_is_the_same_however_it_is_spelled() {
    let forward = dnat("eth0", "tcp", None, 80, "::c0a8:2", 80);
    let line = render::listed(&forward).replace("[::c0a8:2]", "[::192.168.0.2]");
    assert!(line.contains("::192.168.0.2"));
    assert_eq!(one(&line).expect("ours").rule, Some(forward));
    let snat = rule(
        "nat POSTROUTING -o eth0 -s fdfd::/64 -j SNAT --to-source ::c0a8:2 ! -d fdfd::/64 \
         -m addrtype ! --src-type LOCAL",
    );
    let line = render::listed(&snat).replace("::c0a8:2", "::192.168.0.2");
    assert_eq!(one(&line).expect("ours").rule, Some(snat));
}

/// Whatever is asked beside a rule of ours makes it another's, and so does what is missing.
#[test]
fn a_rule_has_the_options_of_its_kind_and_no_others() {
    for rule in every_kind() {
        let line = render::listed(&rule);
        for more in [
            "-i eth9",
            "-o eth9",
            "-p sctp",
            "--dport 9",
            "-m conntrack --ctstate NEW",
        ] {
            let changed = line.replacen(" -m comment", &format!(" {more} -m comment"), 1);
            let content = one_of(Table::of(&rule), &changed).and_then(|seen| seen.altered);
            let is_ours = content.is_some_and(|other| other.facts.key() == rule.facts.key());
            assert!(!is_ours, "{changed}");
        }
    }
    let fewer = [
        (
            "nat",
            "-A PREROUTING -i eth0 -p tcp -m tcp --dport 80 @ -j DNAT --to-destination [fdfd::2]:80",
        ),
        ("nat", "-A POSTROUTING -s fdfd::/64 -o eth0 @ -j MASQUERADE"),
        ("filter", "-A DOCKER-NAT66 -d fdfd::/64 -i eth0 @ -j ACCEPT"),
    ];
    for (table, line) in fewer {
        let table = Table::ALL
            .into_iter()
            .find(|t| t.as_str() == table)
            .expect("a table");
        let comment = "-m comment --comment \"docker-nat66:0123456789abcdef\"";
        let seen = one_of(table, &line.replace('@', comment)).expect("carries our comment");
        assert_eq!(seen.content(), None, "{line}");
    }
}

#[test]
fn a_lookalike_is_not_ours() {
    let id = "docker-nat66:0123456789abcdef";
    for line in [
        format!("-A PREROUTING -m comment --comment \"x {id}\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"{id} \" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"\\\"{id}\\\"\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"-m comment --comment {id}\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"\\\" -m comment --comment \\\"{id}\" -j X"),
        format!("-A PREROUTING -m comment --comment x -m comment --comment \"{id}\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"{id}\" -m comment --comment \"{id}\""),
        format!("-A PREROUTING -j LOG --log-prefix \"{id}\""),
        format!("-A PREROUTING -m comment --comment \"x\n-A PREROUTING --comment {id}\ny\""),
        format!("-A PREROUTING -m comment --comment \"{id}\" -j LOG --log-prefix \"a\nb\""),
        "-A PREROUTING -m comment --comment \"docker-nat66:0123456789ABCDEF\"".to_owned(),
        "-A PREROUTING -m comment --comment docker-nat66".to_owned(),
        "-A PREROUTING -m comment --comment".to_owned(),
    ] {
        assert_eq!(one(&line), None, "{line}");
    }
}

#[test]
fn content_that_is_not_what_the_comment_names_is_not_believed() {
    let rule = dnat("eth0", "tcp", None, 80, "fdfd::2", 80);
    let line = render::listed(&rule);
    for (from, to) in [
        ("--dport 80", "--dport 81"),
        ("-i eth0", "! -i eth0"),
        ("! -s fe80::/10 ", ""),
        ("! -s fe80::/10", "-s fe80::/10"),
        ("! -s fe80::/10", "! -s fe80::/9"),
        ("! -s fe80::/10", "! -s fe80::/10 -s fdfd::/64"),
        ("-i eth0", "-i eth0 -i eth0"),
        ("[fdfd::2]:80", "[fdfd::2]:80 --random"),
        ("[fdfd::2]:80", "[fdfd::2-fdfd::3]:80"),
        ("-m tcp", "-m udp"),
        ("--dst-type LOCAL", "--dst-type LOCAL --limit-iface-in"),
        ("-A PREROUTING", "-A OUTPUT"),
        ("-j DNAT", "-m mark --mark 0x1 -j DNAT"),
    ] {
        let changed = line.replace(from, to);
        assert_ne!(changed, line);
        let seen = one(&changed).expect("carries our comment");
        assert_eq!((seen.id, seen.rule), (rule.id(), None), "{changed}");
    }
}

#[test]
fn a_changed_filter_rule_is_not_believed() {
    let rule = rule(UNPUBLISHED);
    let line = render::listed(&rule);
    for (from, to) in [
        ("! --ctstate", "--ctstate"),
        ("! --ctstate", "--ctstate NEW ! --ctstate"),
        ("ESTABLISHED,DNAT", "ESTABLISHED,DNAT,NEW"),
        ("RELATED,ESTABLISHED,DNAT", "DNAT"),
        ("-j DROP", "-j ACCEPT"),
        ("-j DROP", "-j RETURN"),
        ("-j DROP", "-j DROP -s fdfd::/64"),
        ("-d fdfd::/64", "! -d fdfd::/64"),
        ("-d fdfd::/64", "-d fdfd::/63"),
        ("-d fdfd::/64 ", ""),
        ("-i eth0", "-o eth0"),
        ("-i eth0", "-i eth0 -o eth0"),
        ("DOCKER-NAT66 ", "DOCKER-NAT66-IN "),
        ("DOCKER-NAT66 ", "FORWARD "),
        ("DOCKER-NAT66 ", "FOO "),
    ] {
        let changed = line.replace(from, to);
        assert_ne!(changed, line);
        let seen = one_of(Table::Filter, &changed).expect("carries our comment");
        assert_eq!((seen.id, seen.rule), (rule.id(), None), "{changed}");
    }
    let reordered = line.replace("RELATED,ESTABLISHED,DNAT", "DNAT,ESTABLISHED,RELATED");
    let seen = one_of(Table::Filter, &reordered).expect("ours");
    assert_eq!(seen.rule, Some(rule));
}

#[test]
fn a_listing_that_is_not_whole_is_uncertain() {
    let whole = saved(TABLE, &[&render::listed(&masquerade("eth0", "fdfd::/64"))]);
    assert!(listing(whole.as_bytes(), TABLE).is_ok());
    // Every proper prefix, cut at any byte.
    for end in 0..whole.len() {
        if let Ok(seen) = listing(&whole.as_bytes()[..end], TABLE) {
            panic!("believed after {end} bytes: {seen:?}");
        }
    }
}

#[test]
fn a_table_that_the_tool_cannot_read_is_unknown_not_empty() {
    let text = "# Table `nat' is incompatible, use 'nft' tool.\n";
    let refused = Uncertain::Line {
        number: 1,
        text: text.trim_end().to_owned(),
    };
    assert_eq!(listing(text.as_bytes(), TABLE), Err(refused));
}

#[test]
fn native_base_chains_beside_the_tools_own_do_not_hide_ours() {
    let ours = render::listed(&masquerade("eth0", "fdfd::/64"));
    let text = format!(
        "{}\n{}",
        unlisted_base_chains(TABLE),
        saved(TABLE, &[&ours])
    );
    let seen = listing(text.as_bytes(), TABLE).expect("whole");
    assert_eq!(seen.rules.len(), 1);
    let text = format!(
        "{}\n{}",
        unlisted_base_chains(Table::Filter),
        saved(TABLE, &[&ours])
    );
    assert!(listing(text.as_bytes(), TABLE).is_err());
}

#[test]
fn unknown_lines_and_tables_are_uncertain() {
    let whole = saved(TABLE, &["-A PREROUTING -j ACCEPT"]);
    for (from, to) in [
        ("-A PREROUTING", "[1:2] -A PREROUTING"),
        ("-A PREROUTING", "-I PREROUTING"),
        ("*nat", "*filter"),
        ("*nat", "*nat\n*nat"),
        ("COMMIT", "COMMIT\n*nat\nCOMMIT"),
        ("COMMIT", "# Table `nat' is incompatible\nCOMMIT"),
        ("# Generated by", "# Made by"),
        ("-j ACCEPT", "-m comment --comment \"x"),
    ] {
        let changed = whole.replace(from, to);
        assert_ne!(changed, whole);
        assert!(listing(changed.as_bytes(), TABLE).is_err(), "{changed}");
    }
}

#[test]
fn foreign_bytes_and_warnings_do_no_harm() {
    let ours = dnat("eth0", "tcp", None, 80, "fdfd::2", 80);
    let mut bytes =
        b"# Warning: ip6tables-legacy tables present, use ip6tables-legacy-save to see them\n"
            .to_vec();
    bytes.extend(
        saved(
            TABLE,
            &[
                "-A INPUT -m comment --comment \"@\"",
                &render::listed(&ours),
            ],
        )
        .bytes()
        .map(|b| if b == b'@' { 0xff } else { b }),
    );
    let seen = listing(&bytes, TABLE).expect("whole");
    assert_eq!(seen.rules.len(), 1);
    assert_eq!(seen.rules[0].rule, Some(ours));
    assert_eq!(seen.generator, "ip6tables-nft-save v1.8.9 (nf_tables)");
}

proptest! {
    #[test]
    fn whatever_stands_in_a_foreign_comment_no_rule_becomes_ours(
        before in "[ -~\n]{0,60}", after in "[ -~\n]{1,60}",
    ) {
        let comment = format!("{before}docker-nat66:0123456789abcdef{after}");
        let escaped: String = comment
            .chars()
            .flat_map(|c| match c {
                '"' | '\'' | '\\' => vec!['\\', c],
                _ => vec![c],
            })
            .collect();
        let line = format!("-A PREROUTING -m comment --comment \"{escaped}\" -j ACCEPT");
        prop_assert_eq!(one(&line), None);
    }

    #[test]
    fn a_rule_survives_rendering_and_listing(rule in any_rule()) {
        let table = Table::of(&rule);
        let seen = one_of(table, &render::listed(&rule)).expect("ours");
        prop_assert_eq!(seen.id, rule.id());
        prop_assert_eq!(seen.rule, Some(rule.clone()));
        prop_assert!(describe::command(Verb::Add, &rule, 1).ends_with(&rule.id().comment()));
    }
}
