//! The documented example, and the old forms of the command line, which must keep working.

use rustix::process::Signal;

use crate::support::backend::in_use;
use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::{self, Foreign, Published};
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, HOST, Lab, PREFIX};
use crate::support::wait::{SOON, eventually, same};

/// The documented way to start the daemon.
const AS_DOCUMENTED: [&str; 4] = ["-dev", "eth0", "-prefix", "fdfd:5898:4917:1::/64"];

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn the_documented_example_works_from_first_rule_to_last() {
    let lab = Lab::up("story");
    let engine = Engine::up(&lab, &[]);
    let foreign = Foreign::plant(lab.host());
    let mut daemon = Daemon::ready(&lab, &AS_DOCUMENTED);
    daemon.says(&in_use().set_postrouting(PREFIX));

    engine.run("redis", &["-p", "6379"], &["tcp:6379"]);
    let shown = engine.docker(&["port", "redis", "6379"]);
    let port = shown.rsplit(':').next().expect("ADDRESS:PORT").to_owned();
    forwarded(&lab, &mut daemon, &engine, &port);
    engine.remove("redis");
    gone(&lab, &mut daemon, &port);

    engine.run("redis", &["-p", "2356:6379"], &["tcp:6379"]);
    forwarded(&lab, &mut daemon, &engine, "2356");

    daemon.leaves();
    assert_eq!(Foreign::seen(lab.host()), foreign);
}

/// Checks that the rule is in the log and in the kernel, and that packets follow it.
#[track_caller]
fn forwarded(lab: &Lab, daemon: &mut Daemon<'_>, engine: &Engine<'_>, port: &str) {
    let addr = engine.address("redis").to_string();
    let to = format!("[{addr}]:6379");
    daemon.says_all(&in_use().add_portfwd(port, &addr, 6379));
    let rule = Published::new(format!("eth0 tcp * {port}"), to);
    assert_eq!(rules::published(lab.host()), [rule]);
    lab.answers(Tcp, &format!("[{HOST}]:{port}"), "redis", CLIENT);
}

#[track_caller]
fn gone(lab: &Lab, daemon: &mut Daemon<'_>, port: &str) {
    daemon.says_all(&in_use().del_portfwd(port));
    eventually(SOON, "the rule to go", || {
        same(rules::published(lab.host()), vec![])
    });
    lab.is_closed(Tcp, &format!("[{HOST}]:{port}"));
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn every_documented_form_of_the_command_line_sets_the_same_rule_and_removes_it() {
    let forms: [(&str, &[&str]); 6] = [
        ("as documented", &AS_DOCUMENTED),
        ("with =", &["-dev=eth0", "-prefix=fdfd:5898:4917:1::/64"]),
        (
            "two dashes",
            &["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"],
        ),
        (
            "run",
            &["run", "--dev=eth0", "--prefix=fdfd:5898:4917:1::/64"],
        ),
        (
            "host bits",
            &["-dev", "eth0", "-prefix", "fdfd:5898:4917:1::7/64"],
        ),
        (
            "one colon short",
            &["-dev=eth0", "-prefix=fdfd:5898:4917:1:/64"],
        ),
    ];
    let lab = Lab::up("story_forms");
    let _engine = Engine::up(&lab, &[]);
    let before = rules::as_before(lab.host());
    for (index, (form, args)) in forms.into_iter().enumerate() {
        println!("{form}: {args:?}");
        let mut daemon = Daemon::ready(&lab, args);
        daemon.says(&in_use().set_postrouting(PREFIX));
        if form == "one colon short" {
            daemon.says("fdfd:5898:4917:1:/64");
        }
        let masquerades = rules::masquerades(lab.host());
        assert_eq!(masquerades, [format!("eth0 {PREFIX}")]);
        if index % 2 == 0 {
            daemon.leaves();
        } else {
            daemon.signal(Signal::INT);
            let status = daemon.ended();
            assert!(status.success(), "{form}: {status}");
        }
        assert_eq!(rules::as_before(lab.host()), before, "{form}");
    }
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn containers_that_run_already_are_published_at_start() {
    let lab = Lab::up("story_running");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("one", &["-p", "8081:80"], &["tcp:80"]);
    engine.run("two", &["-p", "8082:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &AS_DOCUMENTED);
    lab.answers(Tcp, &format!("[{HOST}]:8081"), "one", CLIENT);
    lab.answers(Tcp, &format!("[{HOST}]:8082"), "two", CLIENT);
    daemon.leaves();
    // Without docker-proxy, only the daemon's rule can have served the port.
    lab.is_closed(Tcp, &format!("[{HOST}]:8081"));
    lab.is_closed(Tcp, &format!("[{HOST}]:8082"));
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn the_legacy_variant_of_the_tool_serves_as_well() {
    let lab = Lab::up("story_legacy");
    let host = lab.host();
    lab.use_legacy_ip6tables();
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(host);
    let daemon = Daemon::ready(&lab, &AS_DOCUMENTED);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    daemon.sigkill();
    let daemon = Daemon::ready(&lab, &AS_DOCUMENTED);
    assert_eq!(rules::published(host).len(), 1);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    daemon.leaves();
    assert_eq!(rules::as_before(host), before);
}
