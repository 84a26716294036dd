//! Daemons killed at any moment of their work, with the real tools.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use docker_nat66::backend::ip6tables::{Ip6tables, ToolLock, Variant};
use docker_nat66::backend::{Backend, Batch};

use crate::real::{tools, tools_in};
use crate::support::again::again;
use crate::support::contract::rules::{insertion, tcp};
use crate::support::namespace;
use crate::support::process::tools_but_of;
use crate::support::wait::until;

/// Set in the process that is to be killed: its state directory.
const VICTIM: &str = "DOCKER_NAT66_TEST_VICTIM";

/// Rules per batch.
const BATCH: u16 = 50;

/// Daemons killed per variant.
const ROUNDS: u64 = 40;

fn remove_all(backend: &mut dyn Backend) {
    let remove = Batch {
        remove: backend.list().expect("certain"),
        ..Batch::default()
    };
    assert_eq!(backend.commit(&remove), Ok(()));
}

/// Inserts and removes until killed.
fn be_the_victim(dir: &Path, variant: Variant) -> ! {
    let lock = ToolLock::acquire(dir, Duration::ZERO).expect("free");
    // Killed, it removes nothing: all it writes lies where the one who kills it cleans up.
    let tools = dir.join("tools");
    fs::create_dir(&tools).expect("made");
    let mut settings = tools_in(&tools, variant);
    settings.inherit = vec![lock.descriptor()];
    let mut backend = Ip6tables::detect(settings).expect("usable");
    let rules: Vec<_> = (1..=BATCH).map(tcp).collect();
    fs::write(dir.join("ready"), "").expect("written");
    loop {
        assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
        remove_all(&mut backend);
    }
}

fn survive_kills(test: &impl Fn(), variant: Variant) {
    if let Some(dir) = env::var_os(VICTIM) {
        be_the_victim(Path::new(&dir), variant);
    }
    let (_tools, settings) = tools(variant);
    let mut backend = Ip6tables::detect(settings).expect("usable");
    for round in 0..ROUNDS {
        let state = tempfile::tempdir().expect("temp dir");
        let mut victim = again(test)
            .env(VICTIM, state.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        until("a working daemon", || state.path().join("ready").exists());
        // Spread over a cycle of insertion and removal, about 20 ms.
        thread::sleep(Duration::from_micros(round * 7919 % 20_000));
        victim.kill().expect("killed");
        ToolLock::acquire(state.path(), Duration::from_secs(5)).expect("free");
        assert_eq!(tools_but_of(None), Vec::<String>::new(), "round {round}");
        let left = backend.list().expect("certain").len();
        assert!(left == 0 || left == usize::from(BATCH), "{left} rules");
        victim.wait().expect("reaped");
        remove_all(&mut backend);
    }
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn no_nft_tool_outlives_its_killed_daemon_past_the_lock() {
    namespace::fresh(|| {
        let test = no_nft_tool_outlives_its_killed_daemon_past_the_lock;
        survive_kills(&test, Variant::Nft);
    });
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn no_legacy_tool_outlives_its_killed_daemon_past_the_lock() {
    namespace::fresh(|| {
        let test = no_legacy_tool_outlives_its_killed_daemon_past_the_lock;
        survive_kills(&test, Variant::Legacy);
    });
}
