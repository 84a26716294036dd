//! What the nft variant of ip6tables does not list again, because the kernel reports who changes it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use docker_nat66::backend::ip6tables::{Ip6tables, Variant, render};
use docker_nat66::backend::{Backend, BackendError, Batch, ErrorKind, ObservedRule};
use docker_nat66::model::rule::{Rule, RuleId};

use crate::real::{Others, tools};
use crate::support::contract::Foreign;
use crate::support::contract::rules::{every_kind, insertion, listed, tcp};
use crate::support::draw::Draw;
use crate::support::namespace;
use crate::support::shell::sh;
use crate::support::torture::{SEED, number};

/// The nft variant lists nothing between two changes as long as the kernel announces no change of others.
#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn what_others_do_between_two_changes_is_seen() {
    namespace::fresh(|| {
        for variant in [Variant::Nft, Variant::Legacy] {
            let (_dir, settings) = tools(variant);
            let mut backend = Ip6tables::detect(settings).expect("usable");
            let mut others = Others(variant);
            let rules = every_kind();
            let ids: BTreeSet<_> = rules.iter().map(|rule| rule.id()).collect();
            let of = |backend: &mut Ip6tables| backend.list_of(&ids).expect("certain");
            // The tools write some addresses in another way.
            let contents = |seen: Vec<ObservedRule>| {
                let mut rules: Vec<_> = seen.into_iter().map(|seen| (seen.id, seen.rule)).collect();
                rules.sort();
                rules
            };
            assert_eq!(backend.list(), Ok(Vec::new()));
            let empty = others.lines();
            for insert in rules.chunks(5) {
                assert_eq!(backend.commit(&insertion(insert)), Ok(()));
                let known = contents(of(&mut backend));
                let listed = contents(backend.list().expect("certain"));
                assert_eq!(known, listed, "{variant}");
            }
            // Removed and inserted as they are known, and not as they are listed.
            for insert in [&rules[..], &[]] {
                let remove = of(&mut backend);
                let insert = insert.to_vec();
                assert_eq!(backend.commit(&Batch { remove, insert }), Ok(()));
            }
            assert_eq!(others.lines(), empty);
            assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
            let one = rules.last().expect("some");
            let copies = |backend: &mut Ip6tables| {
                let seen = of(backend);
                seen.iter().filter(|seen| seen.id == one.id()).count()
            };
            for (line, left) in [(true, 2), (false, 1), (false, 0), (true, 1)] {
                match line {
                    true => others.add(&render::listed(one)),
                    false => others.delete(&render::listed(one)),
                }
                assert_eq!(copies(&mut backend), left, "{variant}");
            }
            // More than the kernel keeps for a listener.
            others.add(&render::listed(one));
            let many: Vec<String> = (0..3_000)
                .map(|n| format!("-A POSTROUTING -o x{n} -j ACCEPT"))
                .collect();
            others.restore("nat", &many.join("\n"));
            assert_eq!(copies(&mut backend), 2, "{variant}");
            let remove = of(&mut backend);
            let batch = Batch {
                remove,
                ..Batch::default()
            };
            assert_eq!(backend.commit(&batch), Ok(()));
            assert_eq!(of(&mut backend), []);
            assert_eq!(listed(&mut backend), []);
        }
    });
}

/// Where the tools have no names of their variant, the plain names may come to mean the other variant.
#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn a_tool_that_becomes_the_other_variant_changes_nothing() {
    namespace::fresh(|| {
        let (dir, settings) = tools(Variant::Nft);
        for name in fs::read_dir(dir.path()).expect("readable").flatten() {
            let is_plain = !["-nft-", "-legacy-"].iter().any(|of| {
                let name = name.file_name();
                name.to_string_lossy().contains(of)
            });
            if !is_plain {
                fs::remove_file(name.path()).expect("removed");
            }
        }
        let mut backend = Ip6tables::detect(settings).expect("usable");
        let change = |backend: &mut Ip6tables, rule: Rule| {
            backend.list_of(&[rule.id()].into())?;
            backend.commit(&insertion(&[rule]))
        };
        assert_eq!(change(&mut backend, tcp(1)), Ok(()));
        for what in ["save", "restore"] {
            let plain = dir.path().join(format!("ip6tables-{what}"));
            fs::remove_file(&plain).expect("removed");
            symlink("/usr/sbin/xtables-legacy-multi", plain).expect("link");
        }
        let refused = change(&mut backend, tcp(2)).map_err(|error| error.kind);
        assert_eq!(refused, Err(ErrorKind::Uncertain));
        let elsewhere = sh("ip6tables-legacy-save");
        assert!(!elsewhere.contains("docker-nat66"), "{elsewhere}");
    });
}

/// Steps of [`random_changes_of_others_are_all_seen`].
const STEPS: u64 = 80;

/// A rule with its table, as ip6tables-save prints it.
type Line = (&'static str, String);

/// All rules of both tables, and the chains that are not ours.
fn lines() -> Vec<Line> {
    let of = |table: &'static str| {
        let saved = sh(&format!("ip6tables-nft-save -t {table}"));
        let is_one = |line: &&str| line.starts_with("-A ") || line.starts_with(':');
        // Without a chain's counters.
        let line = |line: &str| line.split(" [0:0]").next().map(str::to_owned);
        let lines = saved.lines().filter(is_one).filter_map(line);
        let lines = lines.map(|line| (table, line));
        lines.collect::<Vec<Line>>()
    };
    [of("filter"), of("nat")].concat()
}

fn is_ours((_, line): &Line) -> bool {
    line.contains("--comment \"docker-nat66:") || line.starts_with(":DOCKER-NAT66")
}

/// What others have there.
fn foreign() -> Vec<Line> {
    let mut lines = lines();
    lines.retain(|line| !is_ours(line));
    lines
}

/// A change of another program, as a line of shell; what it adds is named after the step.
fn foreign_change(draw: &mut Draw, step: u64) -> String {
    let rules: Vec<Line> = lines();
    let rules: Vec<&Line> = rules
        .iter()
        .filter(|(_, it)| it.starts_with("-A"))
        .collect();
    let one = |draw: &mut Draw, some: &[&Line]| {
        let at = usize::try_from(draw.below(some.len().max(1) as u64)).expect("small");
        some.get(at)
            .map(|(table, line)| (*table, line[3..].to_owned()))
    };
    let ours: Vec<&Line> = rules.iter().copied().filter(|line| is_ours(line)).collect();
    let in_forward = rules
        .iter()
        .filter(|(_, it)| it.starts_with("-A FORWARD "))
        .count() as u64;
    let place = 1 + draw.below(in_forward + 1);
    let own_chain = ["DOCKER-NAT66", "DOCKER-NAT66-IN"][usize::from(draw.below(2) == 0)];
    let nft = "ip6tables-nft";
    match draw.below(22) {
        0..3 => format!("{nft} -I FORWARD {place} -i x{step} -j ACCEPT"),
        3 => format!("{nft} -t nat -I POSTROUTING -o x{step} -j ACCEPT"),
        4 => format!("{nft} -N DOCKER-USER || true; {nft} -I FORWARD {place} -j DOCKER-USER"),
        5 | 6 => match one(draw, &rules) {
            Some((table, rule)) => format!("{nft} -t {table} -D {rule}"),
            None => "true".to_owned(),
        },
        7 => match one(draw, &ours) {
            Some((table, rule)) => format!("{nft} -t {table} -I {rule}"),
            None => "true".to_owned(),
        },
        8 => match one(draw, &ours) {
            Some((table, rule)) => {
                format!("{nft} -t {table} -A {rule}; {nft} -t {table} -D {rule}")
            }
            None => "true".to_owned(),
        },
        9 => format!("{nft} -R FORWARD {place} -i x{step} -j DROP || true"),
        10 => format!("{nft} -F {own_chain} || true"),
        11 => format!("{nft} -t nat -F"),
        12 => format!("{nft} -F; {nft} -X || true"),
        13 => format!("{nft} -E {own_chain} X{step} || true"),
        14 => format!("{nft} -A {own_chain} -i x{step} -j ACCEPT || true"),
        15 => format!("{nft} -A INPUT -i x{step} -j {own_chain} || true"),
        16 => "ip6tables-nft-save -t nat | ip6tables-nft-restore".to_owned(),
        17 => "printf '*filter\n:FORWARD ACCEPT\nCOMMIT\n' | ip6tables-nft-restore".to_owned(),
        18 => "nft flush ruleset".to_owned(),
        19 => "nft delete table ip6 filter || true".to_owned(),
        20 => {
            "nft -a list table ip6 nat | sed -n 's/.*docker-nat66.*handle /PREROUTING handle /p' |
               head -n 1 | xargs -r nft delete rule ip6 nat || true"
                .to_owned()
        }
        // More than the kernel keeps for the witness, all of it about a table that is not ours, so that
        // it does not announce what comes next.
        _ => "{ echo '*mangle'; seq -f '-A INPUT -i x%g -j ACCEPT' 3000; echo COMMIT; } |
              ip6tables-nft-restore; ip6tables-nft -t nat -F; ip6tables-nft -t mangle -F"
            .to_owned(),
    }
}

/// A backend that goes on from what it knows, and one that lists.
struct Pair {
    knowing: Ip6tables,
    listing: Ip6tables,
    rules: Vec<Rule>,
}

impl Pair {
    fn ids(&self) -> BTreeSet<RuleId> {
        self.rules.iter().map(Rule::id).collect()
    }

    fn known(&mut self) -> Vec<ObservedRule> {
        let ids = self.ids();
        self.knowing.list_of(&ids).expect("certain")
    }

    /// What is known is what a listing shows.
    fn agree(&mut self) {
        let ids = self.ids();
        let contents = |seen: Vec<ObservedRule>| {
            // The tools write some addresses in another way: their text is not compared.
            let content =
                |seen: ObservedRule| (seen.id, seen.rule, seen.altered, seen.is_misplaced);
            let mut rules: Vec<_> = seen.into_iter().map(content).collect();
            rules.sort();
            rules
        };
        let known = contents(self.known());
        let mut seen = self.listing.list().expect("certain");
        seen.retain(|seen| ids.contains(&seen.id));
        assert_eq!(known, contents(seen), "{:#?}", lines());
    }

    /// Removes some of our rules, and inserts some that are not there.
    fn change(&mut self, draw: &mut Draw) -> Result<(), BackendError> {
        let (leaving, coming) = (draw.next(), draw.next());
        let chosen = |mask: u64, at: usize| mask & (1 << at) != 0;
        let seen = self.known();
        let rules = self.rules.iter().enumerate();
        let going = rules.clone().filter(|(at, _)| chosen(leaving, *at));
        let going: BTreeSet<RuleId> = going.map(|(_, rule)| rule.id()).collect();
        let there: BTreeSet<RuleId> = seen.iter().map(|seen| seen.id).collect();
        let fits = |rule: &Rule| going.contains(&rule.id()) || !there.contains(&rule.id());
        let insert = rules.filter(|(at, rule)| chosen(coming, *at) && fits(rule));
        let insert = insert.map(|(_, rule)| rule.clone()).collect();
        let remove = seen.into_iter().filter(|seen| going.contains(&seen.id));
        let remove = remove.collect();
        self.knowing.commit(&Batch { remove, insert })
    }
}

/// What is known is right after every step of ours and of others, also of others while ours is made; and
/// ours leave others' rules as they are.
#[test]
#[ignore = "needs ip6tables and root: run by tests/run"]
fn random_changes_of_others_are_all_seen() {
    namespace::fresh(|| {
        let seed = number(SEED, 1);
        eprintln!("seed {seed}");
        let mut draw = Draw(seed);
        let (_dir, settings) = tools(Variant::Nft);
        let detect = || Ip6tables::detect(settings.clone()).expect("usable");
        let (knowing, listing) = (detect(), detect());
        let rules = every_kind();
        let mut pair = Pair {
            knowing,
            listing,
            rules,
        };
        for step in 0..STEPS {
            let before = foreign();
            match draw.below(8) {
                0..4 => {
                    eprintln!("{step}: ours");
                    assert_eq!(pair.change(&mut draw), Ok(()), "{:#?}", lines());
                    assert_eq!(foreign(), before);
                    let seen = pair.known();
                    let misplaced = seen.iter().filter(|seen| seen.is_misplaced);
                    eprintln!("{} rules, {} misplaced", seen.len(), misplaced.count());
                }
                4..7 => {
                    let command = foreign_change(&mut draw, step);
                    eprintln!("{step}: {command}");
                    sh(&command);
                }
                _ => {
                    let command = foreign_change(&mut draw, step);
                    eprintln!("{step}: ours, and {command}");
                    // Either may fail because of the other.
                    let command = format!("{{ {command}; }} || true");
                    let others = thread::spawn(move || sh(&command));
                    eprintln!("{:?}", pair.change(&mut draw));
                    others.join().expect("ends");
                }
            }
            pair.agree();
        }
    });
}
