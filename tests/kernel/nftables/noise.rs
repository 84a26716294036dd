//! Others who change tables of their own without a pause.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

use docker_nat66::backend::Backend;

use super::backend;
use super::others::nft;
use super::rules::tcp;
use crate::support::contract::rules::{insertion, listed, removal};
use crate::support::namespace;
use crate::support::shell::sh;

/// One nft that adds a table and deletes it, without end.
struct Noise {
    child: Child,
    feeder: Option<JoinHandle<()>>,
}

impl Noise {
    fn begin() -> Self {
        let mut command = Command::new("nft");
        command.arg("-i").stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("nft is installed");
        let stdin = child.stdin.take().expect("a pipe");
        let feeder = Some(thread::spawn(move || feed(stdin)));
        while nft("list table ip6 noise").is_err() {}
        Self { child, feeder }
    }
}

/// Until nobody reads it any more.
fn feed(mut stdin: ChildStdin) {
    let word = b"add table ip6 noise\nadd chain ip6 noise c\ndelete chain ip6 noise c\n";
    while stdin.write_all(word).is_ok() {}
}

impl Drop for Noise {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.feeder.take().map(JoinHandle::join);
    }
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn who_changes_other_tables_all_the_time_does_not_keep_us_from_changing_ours() {
    namespace::fresh(|| {
        let many: Vec<_> = (1..=2_000).map(tcp).collect();
        for owned in [true, false] {
            let mut first = backend(owned);
            assert_eq!(first.commit(&insertion(&many)), Ok(()));
            let noise = Noise::begin();
            for port in 20_000..20_005 {
                assert_eq!(first.commit(&insertion(&[tcp(port)])), Ok(()));
                assert_eq!(listed(&mut first).len(), many.len() + 1);
                let last = removal(&mut first, |rule| *rule == tcp(port));
                assert_eq!(first.commit(&last), Ok(()));
            }
            // Nor from taking over what a predecessor left.
            drop(first);
            let mut second = backend(owned);
            assert_eq!(listed(&mut second).len(), many.len());
            assert_eq!(nft("flush chain ip6 docker_nat66 input").is_err(), owned);
            drop(noise);
            assert_eq!(listed(&mut second).len(), many.len());
            let all = removal(&mut second, |_| true);
            assert_eq!(second.commit(&all), Ok(()));
            sh("nft flush ruleset");
        }
    });
}
