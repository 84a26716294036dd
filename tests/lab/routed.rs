//! Ports that Docker only routes, and publishes at no address of the host.

use rustix::process::Signal;

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::release;
use crate::support::lab::rules::Published;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, HOST, Lab};

const PREFIX: &str = "fdfd:5898:4917::/48";

/// Docker puts the container's IPv6 gateway on the first network by name.
const ROUTED: (&str, &str) = ("alpha", "fdfd:5898:4917:a::/64");
const NAT: (&str, &str) = ("zulu", "fdfd:5898:4917:b::/64");

/// Engines before 27 know no routed networks. They publish the port as on any network, and the
/// network that does NAT serves it.
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_port_is_closed_while_docker_only_routes_it() {
    let lab = Lab::up("routed");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let routed = "--opt=com.docker.network.bridge.gateway_mode_ipv6=routed";
    engine.network(ROUTED.0, ROUTED.1, &[routed]);
    engine.network(NAT.0, NAT.1, &[]);
    let args = ["--dev", "eth0", "--prefix", PREFIX, "--log-level", "debug"];
    let mut daemon = Daemon::ready(&lab, &args);
    let to = format!("[{HOST}]:40001");
    let network = format!("--network={}", NAT.0);
    engine.run("web", &[&network, "-p", "40001:80"], &["tcp:80"]);
    let target = format!("[{}]:80", engine.address_on("web", NAT.0));
    let open = [Published::new("eth0 tcp * 40001", target)];
    engine.settles("NAT", &open);
    lab.answers(Tcp, &to, "web", CLIENT);

    engine.docker(&["network", "connect", ROUTED.0, "web"]);
    if release::in_use().major() < 27 {
        engine.settles("a mode that it does not know", &open);
        lab.answers(Tcp, &to, "web", CLIENT);
        return daemon.leaves();
    }
    engine.settles("routed", &[]);
    daemon.says("routed: over IPv6 the container is reached at its own addresses");
    lab.is_closed(Tcp, &to);
    // The port stays closed after another list, and with another daemon.
    daemon.signal(Signal::HUP);
    lab.is_closed(Tcp, &to);
    engine.settles("routed, listed again", &[]);
    daemon.leaves();
    let daemon = Daemon::ready(&lab, &args);
    engine.settles("routed, for another daemon", &[]);
    lab.is_closed(Tcp, &to);

    engine.docker(&["network", "disconnect", ROUTED.0, "web"]);
    engine.settles("NAT again", &open);
    lab.answers(Tcp, &to, "web", CLIENT);
    daemon.leaves();
}
