//! On which of its networks clients reach a container.

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::Published;
use crate::support::lab::talk::Proto::{Tcp, Udp};
use crate::support::lab::{CLIENT, HOST, Lab};
use crate::support::wait::{SOON, eventually};

/// The prefix of the default bridge and of every network that these tests create.
const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917::/48"];

const ALPHA: &str = "fdfd:5898:4917:a::/64";
const ZULU: &str = "fdfd:5898:4917:b::/64";
const OUTSIDE: &str = "fd00:77::/64";

/// The forward from port 8080 of the host to the container's port 80 on `network`.
fn on(engine: &Engine<'_>, name: &str, network: &str) -> Published {
    let addr = engine.address_on(name, network);
    Published::new("eth0 tcp * 8080", format!("[{addr}]:80"))
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_user_defined_network_with_ipv6_is_served() {
    let lab = Lab::up("networks_user");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.network("alpha", ALPHA, &[]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let ports = ["--network=alpha", "-p", "8080:80", "-p", "8053:53/udp"];
    engine.run("web", &ports, &["tcp:80", "udp:53"]);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    lab.answers(Udp, &format!("[{HOST}]:8053"), "web", CLIENT);
    engine.remove("web");
    lab.is_closed(Tcp, &format!("[{HOST}]:8080"));
    lab.is_closed(Udp, &format!("[{HOST}]:8053"));
    engine.settles("nothing to be left", &[]);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn of_several_networks_the_one_that_is_docker_s_gateway_is_used_and_followed() {
    let lab = Lab::up("networks_several");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.network("alpha", ALPHA, &[]);
    engine.network("zulu", ZULU, &[]);
    engine.network("aaa-outside", OUTSIDE, &[]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let gateway = |prefix: &str| {
        let route = engine.docker(&["exec", "web", "busybox", "ip", "-6", "route"]);
        let default = route.lines().find(|line| line.starts_with("default"));
        let default = default.unwrap_or_else(|| panic!("no default route: {route}"));
        let via = prefix.trim_end_matches("::/64");
        assert!(default.contains(&format!("via {via}::1 ")), "{route}");
    };
    let to = format!("[{HOST}]:8080");

    engine.run("web", &["--network=zulu", "-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, &to, "web", CLIENT);
    engine.settles("zulu", &[on(&engine, "web", "zulu")]);

    engine.docker(&["network", "connect", "alpha", "web"]);
    gateway(ALPHA);
    engine.settles("alpha, first by name", &[on(&engine, "web", "alpha")]);
    lab.answers(Tcp, &to, "web", CLIENT);

    // Docker's gateway is now on a network in no prefix, so the next network in its order counts.
    engine.docker(&["network", "connect", "aaa-outside", "web"]);
    gateway(OUTSIDE);
    engine.settles("alpha still", &[on(&engine, "web", "alpha")]);
    engine.docker(&["network", "disconnect", "aaa-outside", "web"]);

    engine.docker(&["network", "disconnect", "alpha", "web"]);
    gateway(ZULU);
    engine.settles("zulu again", &[on(&engine, "web", "zulu")]);
    lab.answers(Tcp, &to, "web", CLIENT);

    engine.docker(&["network", "disconnect", "zulu", "web"]);
    engine.settles("nothing without a network", &[]);
    lab.is_closed(Tcp, &to);
    engine.docker(&["network", "connect", "zulu", "web"]);
    lab.answers(Tcp, &to, "web", CLIENT);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_network_without_ipv6_an_internal_and_a_foreign_one_open_nothing() {
    let lab = Lab::up("networks_closed");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.docker(&["network", "create", "plain"]);
    engine.network("inside", ALPHA, &["--internal"]);
    engine.network("outside", OUTSIDE, &[]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    for network in ["plain", "inside", "outside"] {
        let network = format!("--network={network}");
        engine.run("web", &[&network, "-p", "8080:80"], &["tcp:80"]);
        engine.settles(&network, &[]);
        lab.is_closed(Tcp, &to);
        engine.remove("web");
    }
    // With an internal and an open network, clients reach the container on the open one.
    engine.run("web", &["--network=inside", "-p", "8080:80"], &["tcp:80"]);
    engine.docker(&["network", "connect", "bridge", "web"]);
    engine.settles("the bridge", &[on(&engine, "web", "bridge")]);
    lab.answers(Tcp, &to, "web", CLIENT);
    engine.docker(&["network", "disconnect", "bridge", "web"]);
    engine.settles("internal only", &[]);
    lab.is_closed(Tcp, &to);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_network_with_ipv6_that_is_connected_later_opens_what_one_without_did_not() {
    let lab = Lab::up("networks_later");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.docker(&["network", "create", "plain"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    engine.run("web", &["--network=plain", "-p", "8080:80"], &["tcp:80"]);
    engine.settles("IPv4 only", &[]);
    // Docker creates this network while the daemon runs.
    engine.network("alpha", ALPHA, &[]);
    engine.docker(&["network", "connect", "alpha", "web"]);
    lab.answers(Tcp, &to, "web", CLIENT);
    engine.settles("alpha", &[on(&engine, "web", "alpha")]);
    engine.docker(&["network", "disconnect", "-f", "alpha", "web"]);
    engine.settles("IPv4 only again", &[]);
    lab.is_closed(Tcp, &to);
    // The container has not ended, and Docker soon says so.
    eventually(SOON, "the history to say why the port was closed", || {
        let history = daemon.command(&["dump", "--history", "--json"]).stdout;
        let history = String::from_utf8_lossy(&history).into_owned();
        match history.contains(r#""reason":"left-network""#) {
            true => Ok(()),
            false => Err(history),
        }
    });
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn containers_without_a_network_of_their_own_open_nothing_and_close_nothing() {
    let lab = Lab::up("networks_borrowed");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    engine.run("web", &["-p", "8080:80", "--expose=81"], &["tcp:80"]);
    let web = on(&engine, "web", "bridge");
    let rest = ["run", "-d", "--name", "guest", "--stop-signal=KILL"];
    for network in ["container:web", "host", "none"] {
        let network = format!("--network={network}");
        // With another container's network, Docker accepts neither a hostname nor a port.
        let what: &[&str] = &[&network, "--label=p=q", "lab", "tcp:81"];
        engine.docker(&[&rest, what].concat());
        engine.settles(&network, std::slice::from_ref(&web));
        lab.is_closed(Tcp, &format!("[{HOST}]:8081"));
        engine.remove("guest");
        engine.settles("the guest's end", std::slice::from_ref(&web));
        lab.answers(Tcp, &to, "web", CLIENT);
    }
    for network in ["--network=host", "--network=none"] {
        engine.remove("web");
        engine.run("web", &[network, "-p", "8080:80"], &["tcp:80"]);
        engine.settles(network, &[]);
        lab.is_closed(Tcp, &to);
    }
    daemon.leaves();
}
