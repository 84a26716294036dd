//! Another tool that rewrites the tables all the time, at the moments when the daemon does, too.

use std::time::{Duration, Instant};

use super::rewriter::{Commits, Means, Pace, Rewriter};
use super::tool::{Trial, trial_of};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::namespace;
use crate::support::together::{case, together};
use crate::support::torture::in_full;
use crate::support::wait::until;

/// How often the containers change meanwhile.
const CHANGE_EVERY: Duration = Duration::from_millis(150);

/// Rules of theirs in a chain of theirs, one more and one less.
const ITS_CHAIN: &[&str] = &[
    "*nat\n:THEIRS - [0:0]\n-A THEIRS -i lo -j ACCEPT\nCOMMIT\n",
    "*nat\n:THEIRS - [0:0]\nCOMMIT\n",
];

/// Another table of nf_tables; and now and then, for a refusal takes the kernel longer than a
/// commit, an attempt at ours.
const ITS_TABLE: &[&str] = &[
    "delete table ip6 docker_nat66\nadd chain ip6 theirs c; add rule ip6 theirs c accept\n",
    "flush chain ip6 theirs c\n",
    "add rule ip6 theirs c drop\n",
    "flush chain ip6 theirs c\n",
    "add rule ip6 theirs c drop\n",
    "flush chain ip6 theirs c\n",
    "add rule ip6 theirs c drop\n",
    "delete table ip6 theirs; add table ip6 theirs\n",
];

/// A rule that makes ip6tables-nft-save call the whole table incompatible, with exit code 0.
const NATIVE_RULE: &[&str] = &[
    "add chain ip6 nat NATIVE; add rule ip6 nat NATIVE ct state new accept\n",
    "flush chain ip6 nat NATIVE; delete chain ip6 nat NATIVE\n",
];

/// The ids of the rules in the journal that are there whatever runs, sorted.
fn statics(daemon: &Daemon<'_>) -> Vec<String> {
    let mut rows = daemon.rows().expect("a dump");
    rows.retain(|row| row.host_port.is_none());
    let mut ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
    ids.sort();
    ids
}

/// The containers change while it is done.
fn quarrel(trial: &mut Trial<'_>, commits: Commits) -> Pace {
    let rewriter = Rewriter::start(commits);
    let before = statics(&trial.daemon);
    let changes = if in_full() { 40 } else { 7 };
    for _ in 0..changes {
        trial.change();
        let changed = Instant::now();
        until("the next change", || {
            // Nobody has ever taken them away.
            assert_eq!(statics(&trial.daemon), before);
            changed.elapsed() > CHANGE_EVERY
        });
    }
    let pace = rewriter.ends();
    trial.takes_in_all();
    pace
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn who_rewrites_the_tables_all_the_time_keeps_his_rules_and_we_ours() {
    use Backend::{Ip6tables, Nftables};
    use Commits::{InTurn, WholeTables};
    use Means::{Nft, Restore, RestoreBesideLock};
    let cases = [
        (
            "a chain",
            "nft",
            Ip6tables,
            InTurn(Restore("nft"), ITS_CHAIN),
        ),
        (
            "whole tables",
            "nft",
            Ip6tables,
            WholeTables(Restore("nft")),
        ),
        (
            "a table of its own",
            "nft",
            Ip6tables,
            InTurn(Nft, ITS_TABLE),
        ),
        ("native rules", "nft", Ip6tables, InTurn(Nft, NATIVE_RULE)),
        (
            "a chain",
            "legacy",
            Ip6tables,
            InTurn(Restore("legacy"), ITS_CHAIN),
        ),
        (
            "whole tables",
            "legacy",
            Ip6tables,
            WholeTables(Restore("legacy")),
        ),
        (
            "whole tables, without the lock,",
            "legacy",
            Ip6tables,
            WholeTables(RestoreBesideLock),
        ),
        (
            "a table of its own",
            "nft",
            Nftables,
            InTurn(Nft, ITS_TABLE),
        ),
        ("whole tables", "nft", Nftables, WholeTables(Restore("nft"))),
    ];
    let cases = cases.map(|(who, variant, backend, commits)| {
        case(who, move || {
            let fault = format!("{who} rewriting all the time, {variant}, {backend:?}");
            trial_of(variant, backend, &fault, |trial| {
                let rounds = if in_full() { 3 } else { 1 };
                let mut pace = Pace::default();
                for _ in 0..rounds {
                    pace.add(&quarrel(trial, commits));
                    trial.recovers();
                }
                let (added, degraded) = (trial.said("add portfwd"), trial.said("degraded: "));
                eprintln!("{fault}: {pace:?}; {added} forwards added, degraded {degraded} times");
                trial.happened_at(pace.rate());
            });
        })
    });
    namespace::fresh(|| {
        // One at a time, to keep up the pace.
        for case in cases {
            together(vec![case]);
        }
    });
}
