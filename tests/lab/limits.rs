//! Packets that must not get through: unpublished ports, other firewalls, and the label of sources.

use std::net::Ipv6Addr;

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::{self, Foreign};
use crate::support::lab::talk::Proto::{self, Tcp, Udp};
use crate::support::lab::talk::{Answer, ask, ask_here};
use crate::support::lab::{CLIENT, HOST, Lab, PREFIX};
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];

/// The client's second address, which no label names.
const STRANGER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);

/// Sends one request from [`STRANGER`].
fn stranger(lab: &Lab, proto: Proto, to: &str) -> Result<Answer, String> {
    lab.client().enter(|| ask_here(proto, to, STRANGER))
}

/// Gives the client the stranger's address, and routes to the containers' own addresses. The
/// client's default source stays its first address on eth0.
fn let_the_client_try(lab: &Lab) {
    lab.client().sh(&format!(
        "ip addr add {STRANGER}/64 dev eth0 nodad preferred_lft 0
         ip -6 route add {PREFIX} via {HOST} src {CLIENT}"
    ));
}

/// `web` publishes one of its two ports for each protocol.
fn populate(engine: &Engine<'_>) {
    let ports = ["-p", "8080:80", "-p", "8053:53/udp"];
    engine.run("web", &ports, &["tcp:80", "tcp:81", "udp:53", "udp:54"]);
}

/// Whether the container answers the client at its own address; all its ports must agree.
#[track_caller]
fn routed_to_the_container_it_is(lab: &Lab, engine: &Engine<'_>, open: bool) {
    let addr = engine.address("web");
    for (proto, port) in [(Tcp, 80), (Tcp, 81), (Udp, 53), (Udp, 54)] {
        let direct = format!("[{addr}]:{port}");
        if open {
            lab.answers(proto, &direct, "web", CLIENT);
        } else {
            lab.is_closed(proto, &direct);
        }
    }
}

#[track_caller]
fn published_ports_answer(lab: &Lab) {
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    lab.answers(Udp, &format!("[{HOST}]:8053"), "web", CLIENT);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_client_with_a_route_reaches_published_ports_only_unless_told_otherwise() {
    let lab = Lab::up("limits_route");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let_the_client_try(&lab);
    populate(&engine);
    routed_to_the_container_it_is(&lab, &engine, true);
    let rows: [(&[&str], bool); 3] = [
        (&[], false),
        (&["--unpublished", "drop"], false),
        (&["--unpublished", "accept"], true),
    ];
    for (args, open) in rows {
        println!("{args:?}");
        let daemon = Daemon::ready(&lab, &[&ARGS[..], args].concat());
        published_ports_answer(&lab);
        routed_to_the_container_it_is(&lab, &engine, open);
        // Our rules filter no packets between containers, and none from the host.
        let hidden = format!("[{}]:81", engine.address("web"));
        let answer = ask(lab.host(), Tcp, &hidden).map(|a| a.name);
        assert_eq!(answer.as_deref(), Ok("web"));
        daemon.leaves();
    }
    routed_to_the_container_it_is(&lab, &engine, true);
}

/// A firewall that drops every forwarded packet.
struct Firewall {
    name: &'static str,
    rules: &'static str,
}

const FIREWALLS: [Firewall; 4] = [
    Firewall {
        name: "policy",
        rules: ":FORWARD DROP [0:0]",
    },
    Firewall {
        name: "like ufw",
        rules: ":FORWARD DROP [0:0]
:ufw6-before-forward - [0:0]
:ufw6-user-forward - [0:0]
:ufw6-reject-forward - [0:0]
-A FORWARD -j ufw6-before-forward
-A FORWARD -j ufw6-reject-forward
-A ufw6-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw6-before-forward -p ipv6-icmp -m icmp6 --icmpv6-type 1 -j ACCEPT
-A ufw6-before-forward -j ufw6-user-forward
-A ufw6-reject-forward -j REJECT --reject-with icmp6-port-unreachable",
    },
    Firewall {
        name: "like firewalld",
        rules: ":FORWARD ACCEPT [0:0]
:FORWARD_IN_ZONES - [0:0]
:FWDI_public - [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m mark --mark 0x7 -j ACCEPT
-A FORWARD -i lo -j ACCEPT
-A FORWARD -j FORWARD_IN_ZONES
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -j REJECT --reject-with icmp6-adm-prohibited
-A FORWARD_IN_ZONES -g FWDI_public
-A FWDI_public -p ipv6-icmp -j ACCEPT",
    },
    Firewall {
        name: "like firewalld, with an Engine that filters",
        rules: ":FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j REJECT --reject-with icmp6-adm-prohibited
-A DOCKER-USER -j RETURN",
    },
];

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn published_ports_answer_and_others_stay_closed_behind_a_firewall_that_closes_forward() {
    let lab = Lab::up("limits_firewall");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let_the_client_try(&lab);
    populate(&engine);
    let host = lab.host();
    for firewall in FIREWALLS {
        println!("{}", firewall.name);
        let rules = firewall.rules;
        host.sh(&format!(
            "ip6tables-restore <<'RULES'\n*filter\n{rules}\nCOMMIT\nRULES"
        ));
        let before = rules::as_before(host);
        routed_to_the_container_it_is(&lab, &engine, false);
        let daemon = Daemon::ready(&lab, &ARGS);
        published_ports_answer(&lab);
        routed_to_the_container_it_is(&lab, &engine, false);
        daemon.leaves();
        assert_eq!(rules::as_before(host), before, "{}", firewall.name);
    }
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_docker_user_drops_stays_dropped() {
    let lab = Lab::up("limits_user");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let host = lab.host();
    let_the_client_try(&lab);
    populate(&engine);
    host.sh(&format!(
        "ip6tables -N DOCKER-USER
         ip6tables -A FORWARD -s 2001:db8:ffff::/48 -j DROP
         ip6tables -A FORWARD -j DOCKER-USER
         ip6tables -A FORWARD -j REJECT
         ip6tables -A DOCKER-USER -s {STRANGER} -j DROP"
    ));
    let before = rules::as_before(host);
    let daemon = Daemon::ready(&lab, &ARGS);
    let jumps = host.run(&["ip6tables", "-S", "FORWARD"]);
    let at = |chain: &str| jumps.lines().position(|line| line.contains(chain));
    let ours = at("-j DOCKER-NAT66").expect("a jump of ours");
    assert_eq!(at("-j DOCKER-USER").map(|at| at + 1), Some(ours), "{jumps}");
    published_ports_answer(&lab);
    for (proto, port) in [(Tcp, 8080), (Udp, 8053)] {
        let answer = stranger(&lab, proto, &format!("[{HOST}]:{port}"));
        assert!(answer.is_err(), "{answer:?}");
    }
    daemon.leaves();
    assert_eq!(rules::as_before(host), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn docker_user_comes_first_though_its_jump_comes_behind_ours_while_the_daemon_runs() {
    let lab = Lab::up("limits_user_later");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let host = lab.host();
    let_the_client_try(&lab);
    populate(&engine);
    let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--verify-interval", "1h"]].concat());
    published_ports_answer(&lab);
    host.sh(&format!(
        "ip6tables -N DOCKER-USER; ip6tables -A DOCKER-USER -s {STRANGER} -j DROP"
    ));
    let to = format!("[{HOST}]:8080");
    // Appends the jump behind every other rule, and then a second jump behind that.
    for _ in 0..2 {
        host.sh("ip6tables -A FORWARD -j DOCKER-USER");
        eventually(SOON, "the order to be put right", || {
            let jumps = host.run(&["ip6tables", "-S", "FORWARD"]);
            let last = |chain: &str| {
                let lines: Vec<&str> = jumps.lines().collect();
                lines.iter().rposition(|line| line.contains(chain))
            };
            let ours = last("-j DOCKER-NAT66");
            match ours.is_none() || ours > last("-j DOCKER-USER") {
                true => Ok(()),
                false => Err(jumps),
            }
        });
        let answer = stranger(&lab, Tcp, &to);
        assert!(answer.is_err(), "{answer:?}");
        published_ports_answer(&lab);
    }
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_port_limited_to_one_source_is_closed_to_others_by_docker_proxy_too() {
    let lab = Lab::up("limits_allow");
    let engine = Engine::up(&lab, &["--userland-proxy=true"]);
    let_the_client_try(&lab);
    let ports = ["-p", "8080:80", "-p", "8053:53/udp"];
    let addresses = [(Tcp, 8080), (Udp, 8053)]
        .into_iter()
        .flat_map(|(proto, port)| [HOST, "2001:db8::12"].map(|a| (proto, format!("[{a}]:{port}"))));
    let addresses: Vec<(Proto, String)> = addresses.collect();
    let foreign = Foreign::plant(lab.host());
    let daemon = Daemon::ready(&lab, &ARGS);

    let label = ["--label", "docker-nat66.allow=2001:db8::2/128"];
    let serve = ["tcp:80", "udp:53"];
    engine.run("limited", &[&ports[..], &label].concat(), &serve);
    for (proto, to) in &addresses {
        lab.answers(*proto, to, "limited", CLIENT);
        for _ in 0..3 {
            let answer = stranger(&lab, *proto, to);
            assert!(answer.is_err(), "{proto:?} {to}: {answer:?}");
        }
    }
    assert_eq!(Foreign::theirs(lab.host()), foreign);

    // The limit belongs to the container, and goes with it.
    engine.remove("limited");
    engine.run("open", &ports, &serve);
    for (proto, to) in &addresses {
        lab.answers(*proto, to, "open", CLIENT);
        let expected = Answer {
            name: "open".to_owned(),
            peer: STRANGER.into(),
        };
        eventually(SOON, "an answer to the stranger", || {
            same(stranger(&lab, *proto, to), Ok(expected.clone()))
        });
    }
    daemon.leaves();
    assert_eq!(Foreign::seen(lab.host()), foreign);
}
