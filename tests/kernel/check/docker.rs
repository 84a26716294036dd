//! What a fake Engine says: it is away, it refuses, its rules were left behind.

use super::{Checked, Line};
use crate::support::fake_engine::{FakeContainer, FakeEngine, Fault, Route};
use crate::support::namespace;
use crate::support::shell::sh;

const PREFIX: &[&str] = &["--prefix", "fdfd:5898:4917:1::/64"];

/// The lines of one id while this Engine answers.
#[track_caller]
fn lines(host: &Checked, engine: &FakeEngine, id: &str) -> Vec<Line> {
    let url = format!("unix://{}", engine.socket().display());
    let args = [PREFIX, &["--docker-host", &url]].concat();
    let mut lines = host.lines(&[], &args);
    lines.retain(|line| line.id == id);
    assert!(!lines.is_empty(), "no line {id}");
    lines
}

#[track_caller]
fn is_ok(host: &Checked, engine: &FakeEngine, id: &str) {
    let lines = lines(host, engine, id);
    assert!(lines.iter().all(|line| line.result == "ok"), "{lines:#?}");
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn an_engine_that_is_away_and_paths_that_it_refuses_are_named() {
    namespace::fresh(|| {
        let host = Checked::new();
        let engine = FakeEngine::start();
        engine.put(FakeContainer::new(1, "web").publish(8080, 80));
        for id in ["docker", "docker-proxy-socket", "docker-ipv6"] {
            is_ok(&host, &engine, id);
        }
        for (route, path) in [
            (Route::Version, "/version"),
            (Route::Events, "/events"),
            (Route::List, "/containers"),
            (Route::Networks, "/networks"),
            (Route::Ping, "/_ping"),
        ] {
            engine.fault(route, Fault::Status(403), usize::MAX);
            let bad = lines(&host, &engine, "docker-proxy-socket");
            assert_eq!(bad[0].result, "fail", "{bad:?}");
            assert!(
                bad[0].found.starts_with(&format!("{path} refused: ")),
                "{bad:?}"
            );
            let remedy = bad[0].remedy.as_deref().expect("a remedy");
            assert!(
                remedy.starts_with("permit GET of /version, /events"),
                "{remedy}"
            );
            let skipped = lines(&host, &engine, "docker-ipv6");
            assert_eq!(skipped[0].result, "skip", "{skipped:?}");
            // The proxy permits it.
            engine.heal();
            is_ok(&host, &engine, "docker-proxy-socket");
        }
        engine.stop();
        let bad = lines(&host, &engine, "docker");
        assert_eq!(bad[0].result, "fail", "{bad:?}");
        let remedy = bad[0].remedy.as_deref().expect("a remedy");
        assert_eq!(remedy, "systemctl start docker");
        // It reads the command, and starts nothing, as in a chroot; what it does not know it refuses.
        sh(&format!("SYSTEMD_OFFLINE=1 {remedy}"));
        sh("! SYSTEMD_OFFLINE=1 systemctl begin docker");
        engine.start_again();
        is_ok(&host, &engine, "docker");
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn where_dockers_bridge_is_missing_it_says_where_to_run_and_is_well_there() {
    namespace::fresh(|| {
        let host = Checked::new();
        sh(
            "ip netns add dockers && ip -n dockers link add docker0 type bridge
            ip -n dockers addr add fdfd:5898:4917:1::1/64 dev docker0 nodad",
        );
        let engine = FakeEngine::start();
        is_ok(&host, &engine, "netns");
        engine.put(FakeContainer::new(1, "web").publish(8080, 80));
        let bad = lines(&host, &engine, "netns");
        let [line] = &bad[..] else { panic!("{bad:#?}") };
        assert_eq!(line.result, "fail", "{line:?}");
        assert!(
            line.found.contains("is not in this network namespace"),
            "{line:?}"
        );
        let remedy = line.remedy.as_deref().expect("a remedy");
        eprintln!("fail netns: {}\n  do {remedy}", line.found);
        let where_to = "run docker-nat66 where Docker runs: its container with --network host; for \
                        rootless Docker, in the namespace of rootlesskit";
        assert_eq!(remedy, where_to);
        // That is where Docker's bridge is.
        let url = format!("unix://{}", engine.socket().display());
        let args = [PREFIX, &["--docker-host", &url]].concat();
        let mut there = host.lines(&["ip", "netns", "exec", "dockers"], &args);
        there.retain(|line| line.id == "netns");
        assert!(
            !there.is_empty() && there.iter().all(|line| line.result == "ok"),
            "{there:#?}"
        );
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn what_an_engine_left_behind_drops_until_its_remedy_has_run() {
    namespace::fresh(|| {
        let host = Checked::new();
        sh(
            "ip link add docker0 type bridge && ip addr add fdfd:5898:4917:1::1/64 dev docker0 nodad",
        );
        let engine = FakeEngine::start();
        engine.put(FakeContainer::new(1, "web").publish(8080, 80));
        let url = format!("unix://{}", engine.socket().display());
        let args = [PREFIX, &["--backend", "nftables", "--docker-host", &url]].concat();
        sh(
            "ip6tables -N DOCKER && ip6tables -A FORWARD -o docker0 -j DOCKER
            ip6tables -A DOCKER ! -i docker0 -o docker0 -j DROP
            ip6tables -t nat -N DOCKER
            ip6tables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
            ip6tables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 9 -j DNAT \
              --to-destination [fdfd:5898:4917:1::99]:80",
        );
        for (id, result) in [("forward-drop", "fail"), ("leftovers", "warn")] {
            let bad = host.bad(id, &args);
            let [line] = &bad[..] else { panic!("{bad:#?}") };
            assert_eq!(line.result, result, "{line:?}");
            let remedy = line.remedy.as_deref().expect("a remedy");
            eprintln!("{result} {id}: {}\n  do {remedy}", line.found);
            sh(remedy);
            host.is_ok(id, &args);
        }
        host.is_ok("docker-native", &args);
    });
}
