//! Rules as the documentation writes them: commands, and the lines of the log. Pure.

use super::render::{insertion, place, text};
use super::rule::Table;
use crate::backend::{Verb, kinds};
use crate::model::rule::Rule;

/// The command as the documentation writes it, whatever path the tool was found at: operators
/// compare and paste these lines.
const DOCUMENTED_TOOL: &str = "/sbin/ip6tables";

/// The command that sets or unsets a rule: the documented text, then our matches. `jump` is
/// the place in FORWARD of the jump to our chain, counted from 1.
pub(in crate::backend) fn command(verb: Verb, rule: &Rule, jump: usize) -> String {
    let table = Table::of(rule).as_str();
    let what = match verb {
        Verb::Del => format!("-D {}", text(rule)),
        Verb::Add => insertion(rule, place(rule, jump)),
    };
    format!("{DOCUMENTED_TOOL} -t {table} {what}")
}

/// The documented log line: `NAT66 set postrouting: COMMAND` and its kin. `jump` as for
/// [`command`].
pub(in crate::backend) fn describe(verb: Verb, rule: &Rule, jump: usize) -> String {
    let words = kinds::words(verb, &rule.facts);
    format!("NAT66 {words}: {}", command(verb, rule, jump))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ip6tables::rule::rule;
    use crate::backend::ip6tables::testing::{EVERY_KIND, dnat, every_kind, masquerade};

    #[test]
    fn the_documented_text_is_a_literal_prefix() {
        let masquerade = masquerade("eth0", "fdfd:5898:4917:1::/64");
        let id = masquerade.id();
        assert_eq!(
            describe(Verb::Add, &masquerade, 1),
            format!(
                "NAT66 set postrouting: /sbin/ip6tables -t nat -A POSTROUTING -o eth0 \
                 -s fdfd:5898:4917:1::/64 -j MASQUERADE ! -d fdfd:5898:4917:1::/64 \
                 -m addrtype ! --src-type LOCAL -m comment --comment docker-nat66:{id}"
            )
        );
        assert!(describe(Verb::Del, &masquerade, 1).starts_with(
            "NAT66 unset postrouting: /sbin/ip6tables -t nat -D POSTROUTING -o eth0 "
        ));
        let dnat = dnat("eth0", "tcp", None, 2356, "fdfd:5898:4917:1::2", 6379);
        let id = dnat.id();
        assert_eq!(
            describe(Verb::Add, &dnat, 1),
            format!(
                "NAT66 add portfwd: /sbin/ip6tables -t nat -A PREROUTING -i eth0 -p tcp \
                 --dport 2356 -j DNAT --to-destination [fdfd:5898:4917:1::2]:6379 \
                 ! -s fe80::/10 -m addrtype --dst-type LOCAL -m comment --comment docker-nat66:{id}"
            )
        );
        assert!(
            describe(Verb::Del, &dnat, 1)
                .starts_with("NAT66 del portfwd: /sbin/ip6tables -t nat -D PREROUTING -i eth0 ")
        );
    }

    #[test]
    fn a_host_address_stands_after_the_documented_text() {
        let rule = dnat("eth0", "udp", Some("2001:db8::1"), 53, "fdfd::2", 5353);
        assert!(command(Verb::Add, &rule, 1).starts_with(
            "/sbin/ip6tables -t nat -A PREROUTING -i eth0 -p udp --dport 53 -j DNAT \
             --to-destination [fdfd::2]:5353 ! -s fe80::/10 -d 2001:db8::1 -m addrtype --dst-type LOCAL "
        ));
    }

    #[test]
    fn every_kind_has_its_command() {
        for text in EVERY_KIND {
            let rule = rule(text).expect("a rule of this backend");
            assert_eq!(&*rule.text, text);
            let (table, text) = text.split_once(' ').expect("a table");
            let (how, text) = match place(&rule, 3) {
                None => ("-A", text.to_owned()),
                Some(1) => ("-I", text.to_owned()),
                Some(_) => ("-I", text.replacen("FORWARD", "FORWARD 3", 1)),
            };
            let comment = format!("-m comment --comment {}", rule.id().comment());
            assert_eq!(
                command(Verb::Add, &rule, 3),
                format!("/sbin/ip6tables -t {table} {how} {text} {comment}")
            );
        }
    }

    #[test]
    fn the_words_of_the_log_say_what_a_rule_is_for() {
        let words = |verb, rule| {
            let line = describe(verb, rule, 1);
            let words = line.split_once(": /sbin/").expect("a command").0;
            words.trim_start_matches("NAT66 ").to_owned()
        };
        let all: Vec<(String, String)> = every_kind()
            .iter()
            .map(|rule| (words(Verb::Add, rule), words(Verb::Del, rule)))
            .collect();
        for (set, unset, rules) in [
            ("set postrouting", "unset postrouting", 3),
            ("add portfwd", "del portfwd", 7),
            ("set forward", "unset forward", 8),
            ("set hairpin", "unset hairpin", 2),
            ("add refuse", "del refuse", 3),
        ] {
            let these = all.iter().filter(|(s, u)| s == set && u == unset);
            assert_eq!(these.count(), rules, "{set}");
        }
    }
}
