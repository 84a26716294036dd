//! The nftables backend against the kernel.

mod growth;
mod listing;
mod noise;
pub(crate) mod others;
mod ownership;
pub(crate) mod rules;
mod switching;
mod unheard;

use docker_nat66::backend::nftables::{Nftables, TableSettings};

use self::others::{Others, ruleset};
use crate::support::contract::contract;
use crate::support::namespace;

/// A backend whose table others can change, or cannot.
pub(crate) fn backend(owned: bool) -> Nftables {
    let settings = TableSettings {
        owned,
        ..TableSettings::default()
    };
    Nftables::detect(settings).expect("usable")
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn an_owned_table_keeps_the_contract() {
    namespace::fresh(|| {
        let mut backend = backend(true);
        assert!(backend.is_owning());
        contract(&mut backend, &mut Others { edits: false }, &[]);
    });
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn a_table_that_others_can_change_keeps_the_contract() {
    namespace::fresh(|| contract(&mut backend(false), &mut Others { edits: true }, &[]));
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn the_probe_leaves_nothing_behind() {
    namespace::fresh(|| {
        backend(true);
        assert_eq!(ruleset(), "");
    });
}
