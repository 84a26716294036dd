//! The nftables backend against the kernel.

mod growth;
mod listing;
pub(crate) mod others;
mod ownership;
pub(crate) mod rules;
mod switching;

use docker_nat66::backend::nftables::{Nftables, Settings};

use self::others::{Others, ruleset};
use super::contract::contract;
use super::namespace;

/// A backend whose table others can change, or cannot.
pub(crate) fn backend(owned: bool) -> Nftables {
    let settings = Settings {
        owned,
        ..Settings::default()
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
