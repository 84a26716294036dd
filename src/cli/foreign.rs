//! `cleanup --foreign`: lists the rules that another program has left, and removes them when asked
//! twice. Ours stay, and the daemon may run: its rules carry comments, and these have none.

use clap::ValueEnum;
use ipnet::Ipv6Net;

use super::defaults::Defaults;
use super::failure::{Exit, Failure};
use super::output;
use crate::backend::ip6tables::{Ip6tables, ToolSettings, Variant, tokens};
use crate::check::is_of_go;
use crate::config;
use crate::mapper::compute::Choice;

/// `--foreign`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Foreign {
    /// The first docker-nat66, written in Go, and what its documentation says to set by hand: in the
    /// nat table, for the prefixes of --prefix.
    #[value(name = "docker-nat66-go")]
    Go,
}

/// The table in which they are.
const TABLE: &str = "nat";

/// Lists the rules, and with `yes` removes them. Prefixes that are not given come from
/// `/etc/default/docker-nat66`.
pub(super) fn run(whose: Foreign, prefixes: &[String], yes: bool) -> Result<Exit, Failure> {
    let Foreign::Go = whose;
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
    let settings = ToolSettings::default();
    let mut variants: Vec<Ip6tables> = [Ip6tables::nft(&settings), Ip6tables::legacy(&settings)]
        .into_iter()
        .flatten()
        .collect();
    if variants.is_empty() {
        let message = "the tools of ip6tables, which those rules need, are not installed";
        return Err(Failure::new(Exit::Missing, message));
    }
    let mut total = 0;
    for tables in &mut variants {
        let rules = rules(&listing(tables)?, &prefixes);
        if rules.is_empty() {
            continue;
        }
        total += rules.len();
        let tool = match tables.variant() {
            Variant::Nft => "ip6tables-nft",
            Variant::Legacy => "ip6tables-legacy",
        };
        let lines = rules
            .iter()
            .map(|rule| format!("{tool} -t {TABLE} -D {rule}\n"));
        output::print(&lines.collect::<String>())?;
        if yes {
            tables.remove_foreign(TABLE, &rules)?;
            let left = self::rules(&listing(tables)?, &prefixes).len();
            if left > 0 {
                let message =
                    format!("{left} rules are there again: does their program still run?");
                return Err(Failure::new(Exit::Failed, message));
            }
        }
    }
    output::print(&match (total, yes) {
        (0, _) => "there is no such rule\n".to_owned(),
        (_, true) => format!("removed: {total}\n"),
        (_, false) => format!("{total} would be removed, with --yes\n"),
    })?;
    Ok(Exit::Done)
}

/// What the tool prints of the table; nothing where the kernel has none.
fn listing(tables: &mut Ip6tables) -> Result<String, Failure> {
    match tables.variant() {
        Variant::Nft => Ok(tables.listing(TABLE)?),
        Variant::Legacy => {
            let listing = tables.legacy_listing(TABLE)?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&listing).into_owned())
        }
    }
}

/// The rules of theirs, as the tool takes them after `-D`.
fn rules(listing: &str, prefixes: &[Ipv6Net]) -> Vec<String> {
    let lines = listing.lines().filter_map(|line| {
        let rule = line.strip_prefix("-A ")?;
        let (words, _) = tokens::split(line).ok()?;
        // Theirs have no other characters, and only such lines are given to a tool and a terminal.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " _-./:[]".contains(c);
        (is_of_go(&words, prefixes) && rule.chars().all(is_plain)).then(|| rule.to_owned())
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
            rules(listing, &prefixes),
            [
                "PREROUTING -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::2]:80",
                "POSTROUTING -s fd00::/64 -o eth0 -j MASQUERADE",
            ]
        );
    }
}
