//! The rules of the first docker-nat66, which was written in Go.

use ipnet::Ipv6Net;

use super::super::defaults::Defaults;
use super::super::failure::{Exit, Failure};
use super::tables::{self, listing};
use crate::backend::ip6tables::tokens;
use crate::check::is_of_go;
use crate::config;
use crate::mapper::compute::Choice;

/// The table in which they are.
const TABLE: &str = "nat";

/// Lists the rules, and with `yes` removes them. Prefixes that are not given come from
/// `/etc/default/docker-nat66`.
pub(super) fn run(prefixes: &[String], yes: bool) -> Result<Exit, Failure> {
    let given = Defaults::read()?.list("PREFIX", prefixes);
    let prefixes = match config::prefixes(&given)?.0 {
        Choice::Fixed(prefixes) if !prefixes.is_empty() => prefixes,
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                "the rules are known by their prefix: give the one that docker-nat66 was started \
                 with, as in --prefix fdfd:5898:4917:1::/64",
            ));
        }
    };
    let mut total = 0;
    for tables in &mut tables::variants()? {
        let removals = removals(&listing(tables, TABLE)?, &prefixes);
        if removals.is_empty() {
            continue;
        }
        total += removals.len();
        tables::print(tables.variant(), TABLE, &removals)?;
        if yes {
            tables.change_foreign(TABLE, &removals)?;
            let left = self::removals(&listing(tables, TABLE)?, &prefixes).len();
            if left > 0 {
                return Err(tables::again(left));
            }
        }
    }
    tables::conclude(total, yes)
}

/// The removals of their rules, as the tool takes them.
fn removals(listing: &str, prefixes: &[Ipv6Net]) -> Vec<String> {
    let lines = listing.lines().filter_map(|line| {
        let rule = line.strip_prefix("-A ")?;
        let (words, _) = tokens::split(line).ok()?;
        // Theirs have no other characters, and only such lines are given to a tool and a terminal.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " _-./:[]".contains(c);
        (is_of_go(&words, prefixes) && rule.chars().all(is_plain)).then(|| format!("-D {rule}"))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_that_the_first_docker_nat66_writes_are_taken() {
        let listing = "*nat\n:POSTROUTING ACCEPT [0:0]\n\
            -A PREROUTING -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::2]:80\n\
            -A PREROUTING -i eth0 -p tcp -m tcp --dport 80 -m comment --comment docker-nat66:00 \
            -j DNAT --to-destination [fd00::2]:80\n\
            -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
            -A POSTROUTING -s fd00::/64 ! -o docker0 -j MASQUERADE\n\
            -A POSTROUTING -s fd00::/64 -o eth0 -j MASQUERADE\n\
            -A POSTROUTING -s fd00::/64 -o e;th0 -j MASQUERADE\n\
            -A POSTROUTING -s fd01::/64 -o eth0 -j MASQUERADE\nCOMMIT\n";
        let prefixes = ["fd00::/64".parse().expect("a prefix")];
        assert_eq!(
            removals(listing, &prefixes),
            [
                "-D PREROUTING -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::2]:80",
                "-D POSTROUTING -s fd00::/64 -o eth0 -j MASQUERADE",
            ]
        );
    }
}
