//! From docker-ipv6nat to this one, as the README says: no connection fails on the way.

use crate::steady::while_connecting;
use crate::support::PROGRAM;
use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, Lab, PREFIX};

/// What docker-ipv6nat 0.4 sets, for the container that is started here among others.
const RECORDED: &str = include_str!("../kernel/recorded/docker-ipv6nat-0.4/rules-hairpin.save");
/// That container's address there.
const THERE: &str = "fdfd:5898:4917:1:0:242:ac11:2";

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];
const WEB: &str = "[2001:db8::1]:8080";

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn from_docker_ipv6nat_without_a_closed_port() {
    let lab = Lab::up("migration");
    let host = lab.host();
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let here = engine.address("web").to_string();
    let loaded = RECORDED.replace(THERE, &here);
    host.sh(&format!("ip6tables-restore --noflush <<'E'\n{loaded}\nE"));
    lab.answers(Tcp, WEB, "web", CLIENT);
    let mut line = lab.connect(WEB);
    let cleanup = |more: &[&str]| {
        let command = [PROGRAM, "cleanup", "--foreign", "docker-ipv6nat"];
        host.run(&[&command, more].concat())
    };
    let force = [&ARGS[..], &["--native", "force"]].concat();
    let daemon = while_connecting(&lab, WEB, "web", || {
        let daemon = Daemon::ready(&lab, &force);
        let listed = cleanup(&[]);
        assert!(listed.contains("-j DNAT --to-destination"), "{listed}");
        let removed = cleanup(&["--yes"]);
        assert!(removed.contains("removed: "), "{removed}");
        assert_eq!(cleanup(&[]), "there is no such rule\n");
        // A restart, as the supervisor does it: the rules stay.
        daemon.sigkill();
        Daemon::ready(&lab, &ARGS)
    });
    assert_eq!(line.echo("moved").as_deref(), Ok("moved"));
    daemon.leaves();
    // The chain of administrators, with which docker-ipv6nat began, is theirs.
    let left = format!("{:?}", rules::telling(rules::as_before(host)));
    assert!(
        !left.replace("DOCKER-USER", "").contains("DOCKER"),
        "{left}"
    );
    assert!(left.contains("-A FORWARD -j DOCKER-USER"), "{left}");
    lab.is_closed(Tcp, WEB);
}
