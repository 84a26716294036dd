//! From docker-ipv6nat and from Docker's own IPv6 NAT to this one, as the README says.

use crate::steady::while_connecting;
use crate::support::PROGRAM;
use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::release;
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

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn rules_of_an_engine_stay_while_its_nat_is_on_and_its_drops_go_once_it_is_off() {
    let lab = Lab::up("migration_native");
    let host = lab.host();
    let is_28 = release::in_use().major() >= 28;
    let proxy = "--userland-proxy=false";
    let mut engine = Engine::up(&lab, &[release::in_use().native(), &[proxy]].concat());
    engine.run("web", &["--restart=always", "-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    let cleanup = |foreign: &str| {
        let output = host.output(&[PROGRAM, "cleanup", "--foreign", foreign, "--yes"]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code(), said)
    };
    let nothing = (Some(0), "there is no such rule\n".to_owned());
    let before = rules::as_before(host);
    let (code, said) = cleanup("docker-ipv6nat");
    assert!(
        code == Some(1) && said.contains("nothing is removed"),
        "{said}"
    );
    // Engines before 28 have no such drops.
    let (code, said) = cleanup("docker");
    if is_28 {
        assert!(code == Some(1) && said.contains("NAT is on"), "{said}");
    } else {
        assert_eq!((code, said), nothing);
    }
    assert_eq!(rules::as_before(host), before);

    engine.restart_with(&[proxy]);
    let nftables = [&ARGS[..], &["--backend", "nftables"]].concat();
    let daemon = Daemon::ready(&lab, &nftables);
    let (code, said) = cleanup("docker");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said.contains("-D DOCKER ! -i docker0 -o docker0 -j DROP"),
        is_28,
        "{said}"
    );
    assert_eq!(cleanup("docker"), nothing);
    host.run(&["ip6tables", "-P", "FORWARD", "ACCEPT"]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
}
