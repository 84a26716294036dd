//! Kernels that lack what the probe's table uses: where a test wants that, the program asks for what no
//! kernel has, and the kernel refuses it.

use docker_nat66::sys::failpoint;

use super::super::flows::scenery::{HOST, PORT};
use super::super::packets::scenery::CLIENT;
use super::{Host, Told};
use crate::support::namespace;
use crate::support::shell::sh;

impl Host {
    /// What it says on a kernel without this.
    fn explain_without(&self, feature: &str, kill_at: Option<&str>) -> Told {
        let mut command = self.command("eth0");
        command.env(failpoint::FAIL_AT, feature);
        command.envs(kill_at.map(|step| (failpoint::AT, step)));
        let args = command.args([&PORT.to_string(), HOST, "--from", CLIENT, "--json"]);
        Told::of(&args.output().expect("it runs"))
    }
}

const TABLES: &str = "nft list tables | grep explain || :";

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn what_an_old_kernel_lacks_is_done_without_and_named() {
    namespace::fresh(|| {
        let host = Host::build();
        assert_eq!(host.explain_port().said["notes"].to_string(), "[]");
        // The way back takes one more.
        let told = host.explain_without("the egress hook", None);
        assert!(told.is_reachable(), "{told:#?}");
        let notes = told.said["notes"].to_string();
        assert!(
            notes.contains("the way back was not tried: this kernel lacks"),
            "{notes}"
        );
        let cases = [
            ("tables with an owner", "Linux 5.12 has them"),
            ("the ingress hook of inet", "Linux 5.10 has it"),
            ("the ingress hook", "is not seen"),
        ];
        for (feature, words) in cases {
            let told = host.explain_without(feature, None);
            assert!(told.is_reachable(), "{feature}: {told:#?}");
            assert!(
                told.said["notes"].to_string().contains(words),
                "{feature}: {told:#?}"
            );
            assert_eq!(sh(TABLES), "", "{feature}");
        }
        // What the hook at ingress sees is seen by its stand-in too, and by nothing without it.
        sh("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
        for (feature, _) in cases {
            let told = host.explain_without(feature, None);
            assert_eq!(told.text("code"), "ipv6-disabled", "{feature}: {told:#?}");
        }
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn a_table_that_the_kernel_does_not_remove_goes_with_the_next_explain() {
    namespace::fresh(|| {
        let host = Host::build();
        let feature = "tables with an owner";
        let of = |step: u32| host.explain_without(feature, Some(&step.to_string()));
        // One that is killed while its table is there.
        let left = (1..).map(of).find_map(|told| {
            assert_eq!(
                told.exit, None,
                "it was never killed with a table: {told:#?}"
            );
            Some(sh(TABLES)).filter(|tables| !tables.is_empty())
        });
        assert!(left.is_some());
        let told = host.explain_without(feature, None);
        assert!(told.is_reachable(), "{told:#?}");
        assert_eq!(sh(TABLES), "");
    });
}
