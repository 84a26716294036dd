//! `--prefix auto` and `--dev auto`: the daemon follows Docker's networks and the host's routes.

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, CLIENT_ETH1, HOST, HOST_ETH1, Lab, PREFIX};
use crate::support::wait::{SOON, eventually, same};

const ALPHA: &str = "fdfd:5898:4917:a::/64";

/// Waits until there is one masquerade for each of these `DEV PREFIX`, and no other.
#[track_caller]
fn masquerades(lab: &Lab, what: &str, expected: &[&str]) {
    eventually(SOON, what, || {
        let mut found = rules::masquerades(lab.host());
        // The hairpin masquerades, for requests from containers, name no interface.
        found.retain(|rule| rule.starts_with("eth"));
        let expected: Vec<String> = expected.iter().map(|&rule| rule.to_owned()).collect();
        same(found, expected)
    });
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn prefix_auto_follows_networks_as_they_come_and_go() {
    let lab = Lab::up("auto_prefix");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    let daemon = Daemon::ready(&lab, &["--dev", "eth0", "--prefix", "auto"]);
    let default = format!("eth0 {PREFIX}");
    let alpha = format!("eth0 {ALPHA}");
    masquerades(&lab, "the default bridge", &[&default]);
    engine.run("one", &["-p", "8081:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:8081"), "one", CLIENT);

    engine.network("alpha", ALPHA, &[]);
    masquerades(&lab, "alpha", &[&default, &alpha]);
    let options = ["--network=alpha", "-p", "8082:80"];
    engine.run("two", &options, &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:8082"), "two", CLIENT);
    engine.remove("two");
    engine.docker(&["network", "rm", "alpha"]);
    masquerades(&lab, "alpha's end", &[&default]);
    lab.answers(Tcp, &format!("[{HOST}]:8081"), "one", CLIENT);

    // Another network takes the name and the subnet, and Docker would not masquerade it.
    for not in [
        "--internal",
        "--opt=com.docker.network.bridge.enable_ip_masquerade=false",
        "--opt=com.docker.network.bridge.gateway_mode_ipv6=routed",
    ] {
        engine.network("alpha", ALPHA, &[not]);
        engine.run("two", &options, &["tcp:80"]);
        // Its event follows the network's; once its rule is there, the daemon has handled both.
        engine.network("fence", "fdfd:5898:4917:f::/64", &[]);
        masquerades(&lab, not, &[&default, "eth0 fdfd:5898:4917:f::/64"]);
        lab.is_closed(Tcp, &format!("[{HOST}]:8082"));
        engine.remove("two");
        engine.docker(&["network", "rm", "alpha", "fence"]);
        masquerades(&lab, "the default bridge alone", &[&default]);
    }
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn dev_auto_follows_the_default_route_from_interface_to_interface() {
    let lab = Lab::up("auto_dev");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let mut daemon = Daemon::start(&lab, &["--dev", "auto", "--prefix", PREFIX]);
    let eth0 = format!("eth0 {PREFIX}");
    let eth1 = format!("eth1 {PREFIX}");
    let (to0, to1) = (format!("[{HOST}]:8080"), format!("[{HOST_ETH1}]:8080"));
    let route = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        lab.host()
            .run(&[&["ip", "-6", "route"][..], &words].concat());
    };
    daemon.says("ready");
    masquerades(&lab, "no route, no rule", &[]);
    lab.is_closed(Tcp, &to0);

    route("add default via 2001:db8::2 dev eth0 metric 100");
    masquerades(&lab, "eth0", &[&eth0]);
    lab.answers(Tcp, &to0, "web", CLIENT);
    lab.is_closed(Tcp, &to1);

    route("add default via 2001:db8:1::2 dev eth1 metric 200");
    masquerades(&lab, "both", &[&eth0, &eth1]);
    lab.answers(Tcp, &to1, "web", CLIENT_ETH1);
    let mut line = lab.connect(&to1);

    route("del default via 2001:db8::2 dev eth0");
    masquerades(&lab, "eth1", &[&eth1]);
    lab.answers(Tcp, &to1, "web", CLIENT_ETH1);
    lab.is_closed(Tcp, &to0);
    assert_eq!(line.echo("uncut"), Ok("uncut".to_owned()));

    // A route that comes and goes cuts no connection.
    route("del default via 2001:db8:1::2 dev eth1");
    route("add 2001:db8:ffff::/48 via 2001:db8::2 dev eth0");
    engine.run("late", &["-p", "8081:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST_ETH1}]:8081"), "late", CLIENT_ETH1);
    lab.answers(Tcp, &to1, "web", CLIENT_ETH1);
    masquerades(&lab, "eth1 still", &[&eth1]);
    route("add default via 2001:db8::2 dev eth0");
    masquerades(&lab, "eth0 again", &[&eth0]);
    lab.answers(Tcp, &to0, "web", CLIENT);
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_auto_found_out_outlives_a_crash_and_what_has_gone_meanwhile_goes() {
    let lab = Lab::up("auto_crash");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    let host = lab.host();
    host.sh("ip -6 route add default via 2001:db8::2 dev eth0 metric 100
        ip -6 route add default via 2001:db8:1::2 dev eth1 metric 200");
    engine.network("alpha", ALPHA, &[]);
    engine.run("one", &["-p", "8081:80"], &["tcp:80"]);
    engine.run("two", &["--network=alpha", "-p", "8082:80"], &["tcp:80"]);
    let to = format!("[{HOST}]:8081");
    let args = ["--dev", "auto", "--prefix", "auto"];
    let daemon = Daemon::ready(&lab, &args);
    let of = |dev, prefix| format!("{dev} {prefix}");
    let (e0, e0a) = (of("eth0", PREFIX), of("eth0", ALPHA));
    let (e1, e1a) = (of("eth1", PREFIX), of("eth1", ALPHA));
    masquerades(&lab, "two by two", &[&e0, &e0a, &e1, &e1a]);
    lab.answers(Tcp, &format!("[{HOST}]:8082"), "two", CLIENT);
    lab.answers(Tcp, &to, "one", CLIENT);
    let mut line = lab.connect(&to);

    // Nothing has changed, so the daemon changes no rule.
    let rules = rules::ours(host);
    daemon.sigkill();
    let mut daemon = Daemon::ready(&lab, &args);
    assert_eq!(rules::ours(host), rules);
    for words in ["NAT66 add", "NAT66 del", "NAT66 set", "NAT66 unset"] {
        let log = daemon.log();
        assert!(!log.contains(words), "{log}");
    }
    assert_eq!(line.echo("uncut"), Ok("uncut".to_owned()));

    daemon.sigkill();
    engine.remove("two");
    engine.docker(&["network", "rm", "alpha"]);
    host.run(&["ip", "-6", "route", "del", "default", "dev", "eth1"]);
    daemon = Daemon::ready(&lab, &args);
    masquerades(&lab, "one is left", &[&e0]);
    assert_eq!(line.echo("uncut"), Ok("uncut".to_owned()));
    let all = rules::ours(host).join("\n");
    assert!(!all.contains("eth1") && !all.contains("4917:a:"), "{all}");

    // The interface disappears, and its route with it.
    host.sh("ip -6 route add default via 2001:db8:1::2 dev eth1 metric 200");
    masquerades(&lab, "both interfaces", &[&e0, &e1]);
    host.sh("ip link del eth1");
    masquerades(&lab, "eth1 has gone", &[&e0]);
    assert_eq!(line.echo("uncut"), Ok("uncut".to_owned()));
    daemon.leaves();
    assert_eq!(rules::as_before(host), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn without_a_default_route_what_an_earlier_run_left_goes_when_its_grace_is_over() {
    let lab = Lab::up("auto_grace");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    let host = lab.host();
    host.sh("ip -6 route add default via 2001:db8::2 dev eth0");
    let args = ["--dev", "auto", "--prefix", PREFIX, "--stale-grace", "2s"];
    let daemon = Daemon::ready(&lab, &args);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let to = format!("[{HOST}]:8080");
    lab.answers(Tcp, &to, "web", CLIENT);
    daemon.sigkill();
    let addr = engine.address("web");
    engine.remove("web");
    engine.run("heir", &[], &["tcp:80"]);
    assert_eq!(engine.address("heir"), addr, "the address was reused");
    host.sh("ip -6 route del default");
    let daemon = Daemon::ready(&lab, &args);
    lab.is_closed(Tcp, &to);
    eventually(SOON, "the forward to go", || {
        same(rules::published(host), vec![])
    });
    // A route that comes later opens the ports that are published by then.
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    host.sh("ip -6 route add default via 2001:db8::2 dev eth0");
    lab.answers(Tcp, &to, "web", CLIENT);
    daemon.leaves();
    assert_eq!(rules::as_before(host), before);
}
