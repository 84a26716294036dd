//! Other programs change our rules while the daemon runs, and the daemon repairs them.

use serde_json::Value;

use crate::support::lab::daemon::{self, Daemon};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, Lab, PREFIX};
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];
const WEB: &str = "[2001:db8::1]:8080";

fn status(lab: &Lab) -> Value {
    let output = daemon::command(lab, &["status", "--json"]);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_others_delete_flush_or_double_is_put_right_at_once() {
    let lab = Lab::up("drift");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    // Without periodic checks, only the kernel's notification can trigger the repair.
    let mut daemon = Daemon::ready(&lab, &[&ARGS[..], &["--verify-interval", "1h"]].concat());
    let whole = |ours: &mut Vec<String>| ours.sort();
    let mut ours = rules::ours(lab.host());
    whole(&mut ours);
    let one = rules::published(lab.host()).len();
    assert_eq!(one, 1);
    let line = ours
        .iter()
        .find(|l| l.contains("--dport 8080") && l.contains("-i eth0"));
    let line = line.expect("the forward").clone();
    for harm in [
        format!("ip6tables -t nat {}", line.replacen("-A", "-D", 1)),
        "ip6tables -t nat -F".to_owned(),
        "ip6tables -t nat -F; ip6tables -F; ip6tables -X DOCKER-NAT66".to_owned(),
        format!("ip6tables -t nat {line}"),
        "ip6tables -F DOCKER-NAT66".to_owned(),
        "nft delete table ip6 nat".to_owned(),
        "nft flush ruleset".to_owned(),
    ] {
        let repairs = status(&lab)["drift_repairs"].as_u64().expect("a count");
        lab.host().sh(&harm);
        eventually(SOON, &format!("repair after {harm}"), || {
            let mut now = rules::ours(lab.host());
            whole(&mut now);
            same(now, ours.clone())
        });
        eventually(SOON, "a count of repairs", || {
            let now = status(&lab)["drift_repairs"].as_u64();
            if now > Some(repairs) {
                Ok(())
            } else {
                Err(now)
            }
        });
        lab.answers(Tcp, WEB, "web", CLIENT);
    }
    daemon.says("not in the kernel any more");
    assert_eq!(status(&lab)["state"], "running");
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn our_own_changes_and_those_of_other_tables_start_no_comparison() {
    let lab = Lab::up("drift_own");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--verify-interval", "1h"]].concat());
    let resyncs = || status(&lab)["resyncs"].as_u64().expect("a count");
    // When it is ready, the daemon compares once more, for changes from before it listened. That is
    // not part of this test.
    let web = rules::published(lab.host())[0].clone();
    engine.settles("the start", std::slice::from_ref(&web));
    let before = resyncs();
    // Docker's own IPv4 rules change at the same time.
    engine.run("two", &["-p", "8081:80"], &["tcp:80"]);
    lab.answers(Tcp, "[2001:db8::1]:8081", "two", CLIENT);
    engine.remove("two");
    lab.host()
        .sh("nft add table ip6 other; nft add table inet filter; nft delete table ip6 other");
    engine.settles("all of it", &[web]);
    assert_eq!(resyncs(), before);
    // A change in a table that holds our rules does cause a comparison.
    lab.host()
        .sh("ip6tables -t nat -A PREROUTING -i eth9 -j ACCEPT");
    eventually(SOON, "a comparison", || {
        if resyncs() > before {
            Ok(())
        } else {
            Err(resyncs())
        }
    });
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn who_undoes_repairs_without_end_gets_repairs_without_haste() {
    let lab = Lab::up("drift_quarrel");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    // The kernel refuses the change, and still the table's owner has to list its table.
    lab.host().sh("for n in $(seq 300); do
             ip6tables -t nat -F
             nft delete table ip6 docker_nat66 2>/dev/null || :
         done");
    eventually(SOON, "the rule", || {
        same(rules::published(lab.host()).len(), 1)
    });
    lab.answers(Tcp, WEB, "web", CLIENT);
    assert_eq!(status(&lab)["state"], "running");
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn the_legacy_variant_is_compared_time_and_again() {
    let lab = Lab::up("drift_legacy");
    lab.use_legacy_ip6tables();
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--verify-interval", "1s"]].concat());
    lab.answers(Tcp, WEB, "web", CLIENT);
    lab.host().sh("ip6tables-legacy -t nat -F");
    eventually(SOON, "repair", || {
        let listing = lab.host().run(&["ip6tables-legacy", "-t", "nat", "-S"]);
        if listing.contains("--dport 8080") {
            Ok(())
        } else {
            Err(listing)
        }
    });
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
}
