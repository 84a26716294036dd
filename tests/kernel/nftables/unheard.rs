//! Large batches, of which the kernel announces nothing to the watch of rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use docker_nat66::backend::Backend;
use docker_nat66::model::rule::Rule;
use docker_nat66::netlink::watch::{Watched, watch};

use super::backend;
use super::rules::tcp;
use crate::support::contract::rules::{insertion, removal};
use crate::support::namespace;
use crate::support::shell::sh;
use crate::support::wait::until;

/// Waits until the news of a change has come, of which there had been `before`.
fn hears(news: &AtomicUsize, before: usize) {
    until("the watch of rules to hear of a change", || {
        news.load(Ordering::SeqCst) > before
    });
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn the_watch_hears_of_no_large_batch_and_of_whatever_others_do_meanwhile() {
    namespace::fresh(|| {
        let mut backend = backend(true);
        let news = Arc::new(AtomicUsize::new(0));
        let counted = news.clone();
        let changed = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let ended = |error| panic!("no longer watched: {error}");
        watch(Watched::Rules, backend.own_ports(), changed, ended).expect("it can be watched");
        let many: Vec<Rule> = (1..=20_000).map(tcp).collect();
        let mut round = || {
            assert_eq!(backend.commit(&insertion(&many)), Ok(()));
            let all = removal(&mut backend, |_| true);
            assert_eq!(backend.commit(&all), Ok(()));
        };
        round();
        // It hears what is announced after that, and nothing before.
        assert_eq!(news.load(Ordering::SeqCst), 0);
        sh("nft add table ip6 nat");
        hears(&news, 0);

        thread::scope(|scope| {
            let others = scope.spawn(|| {
                for number in 0..60 {
                    let before = news.load(Ordering::SeqCst);
                    sh(&format!("nft add chain ip6 nat c{number}"));
                    hears(&news, before);
                }
            });
            while !others.is_finished() {
                round();
            }
        });
    });
}
