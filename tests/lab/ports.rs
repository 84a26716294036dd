//! Which of Docker's published ports the daemon opens: one row for each kind of binding.

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::{self, Published};
use crate::support::lab::talk::Proto::{Tcp, Udp};
use crate::support::lab::{CLIENT, CLIENT_ETH1, HOST, HOST_ETH1, Lab, PREFIX, sctp};
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];

/// A kind of binding.
struct Row {
    name: &'static str,
    docker: &'static [&'static str],
    /// `PROTO HOST-ADDRESS HOST-PORT CONTAINER-PORT`, `*` for any address.
    opens: &'static [&'static str],
}

const ROWS: [Row; 17] = [
    Row {
        name: "tcp",
        docker: &["-p", "8080:80"],
        opens: &["tcp * 8080 80"],
    },
    Row {
        name: "udp",
        docker: &["-p", "8053:53/udp"],
        opens: &["udp * 8053 53"],
    },
    Row {
        name: "sctp",
        docker: &["-p", "9132:132/sctp"],
        opens: &["sctp * 9132 132"],
    },
    Row {
        name: "one port, two protocols",
        docker: &["-p", "8053:53/udp", "-p", "8053:53/tcp"],
        opens: &["tcp * 8053 53", "udp * 8053 53"],
    },
    Row {
        name: "range",
        docker: &["-p", "7000-7002:80-82"],
        opens: &["tcp * 7000 80", "tcp * 7001 81", "tcp * 7002 82"],
    },
    Row {
        name: "several ports, one of them twice",
        docker: &["-p", "8080:80", "-p", "8081:80", "-p", "8443:443"],
        opens: &["tcp * 8080 80", "tcp * 8081 80", "tcp * 8443 443"],
    },
    Row {
        name: "0.0.0.0 and ::",
        docker: &["-p", "0.0.0.0:8080:80", "-p", "[::]:8080:80"],
        opens: &["tcp * 8080 80"],
    },
    Row {
        name: "::",
        docker: &["-p", "[::]:8080:80"],
        opens: &["tcp * 8080 80"],
    },
    Row {
        name: "a specific IPv6 address",
        docker: &["-p", "[2001:db8::11]:8080:80"],
        opens: &["tcp 2001:db8::11 8080 80"],
    },
    Row {
        name: "two addresses, two ports of the container",
        docker: &[
            "-p",
            "[2001:db8::11]:8080:80",
            "-p",
            "[2001:db8::12]:8080:81",
        ],
        opens: &["tcp 2001:db8::11 8080 80", "tcp 2001:db8::12 8080 81"],
    },
    Row {
        name: "127.0.0.1",
        docker: &["-p", "127.0.0.1:8080:80"],
        opens: &[],
    },
    Row {
        name: "an IPv4 address",
        docker: &["-p", "192.0.2.1:8080:80"],
        opens: &[],
    },
    Row {
        name: "0.0.0.0 by name",
        docker: &["-p", "0.0.0.0:8080:80"],
        opens: &[],
    },
    Row {
        name: "::1",
        docker: &["-p", "[::1]:8080:80"],
        opens: &[],
    },
    Row {
        name: "exposed only",
        docker: &["--expose", "80"],
        opens: &[],
    },
    Row {
        name: "host network",
        docker: &["--network=host", "-p", "8080:80"],
        opens: &[],
    },
    Row {
        name: "no network",
        docker: &["--network=none", "-p", "8080:80"],
        opens: &[],
    },
];

/// Every forward that a row may lead to.
const SERVE: [&str; 6] = ["tcp:80", "tcp:81", "tcp:82", "tcp:443", "udp:53", "tcp:53"];

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn every_kind_of_binding_opens_what_docker_means_and_no_more() {
    let lab = Lab::up("ports");
    let engine = Engine::up(&lab, &[]);
    let daemon = Daemon::ready(&lab, &ARGS);
    for row in ROWS {
        println!("{}: {:?}", row.name, row.docker);
        engine.run("row", row.docker, &SERVE);
        // Events come in order: when this container has its rule, the row's container would have
        // its own.
        engine.run("after", &["-p", "9999:80"], &["tcp:80"]);
        let addr = engine.docker(&[
            "inspect",
            "-f",
            "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}",
            "row",
        ]);
        let mut expected: Vec<Published> =
            row.opens.iter().map(|text| opened(text, &addr)).collect();
        let after = format!("[{}]:80", engine.address("after"));
        expected.push(Published::new("eth0 tcp * 9999", after));
        expected.sort();
        eventually(SOON, row.name, || {
            same(rules::published(lab.host()), expected.clone())
        });
        for text in row.opens {
            packets_pass(&lab, &engine, text);
        }
        // Every address that the row does not publish is closed.
        if !row.opens.iter().any(|text| text.contains(" * ")) {
            for to in [HOST, "fdfd:5898:4917:1::1"] {
                lab.is_closed(Tcp, &format!("[{to}]:8080"));
            }
        }
        engine.remove("row");
        engine.remove("after");
        eventually(SOON, &format!("{} to be closed", row.name), || {
            same(rules::published(lab.host()), vec![])
        });
    }
    daemon.leaves();
}

/// The client reaches each open port, and the container sees the client.
fn packets_pass(lab: &Lab, engine: &Engine<'_>, text: &str) {
    let words: Vec<&str> = text.split(' ').collect();
    let [proto, addr, port, inside] = words[..] else {
        panic!("{text:?}")
    };
    let addr = if addr == "*" { HOST } else { addr };
    let to = format!("[{addr}]:{port}");
    match proto {
        "tcp" => lab.answers(Tcp, &to, "row", CLIENT),
        "udp" => lab.answers(Udp, &to, "row", CLIENT),
        _ => {
            let arrived = sctp::arrives(lab, engine, "row", port.parse().expect("a port"));
            assert_eq!(arrived, (CLIENT.into(), inside.parse().expect("a port")));
        }
    }
}

fn opened(text: &str, addr: &str) -> Published {
    let (from, port) = text.rsplit_once(' ').expect("a container port");
    Published::new(format!("eth0 {from}"), format!("[{addr}]:{port}"))
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn packets_reach_tcp_and_udp_and_only_the_address_that_is_published() {
    let lab = Lab::up("ports_packets");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let ports = [
        "-p",
        "8080:80",
        "-p",
        "8053:53/udp",
        "-p",
        "[2001:db8::11]:8081:80",
    ];
    engine.run("web", &ports, &["tcp:80", "udp:53"]);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    lab.answers(Tcp, "[2001:db8::12]:8080", "web", CLIENT);
    lab.answers(Udp, &format!("[{HOST}]:8053"), "web", CLIENT);
    lab.answers(Tcp, "[2001:db8::11]:8081", "web", CLIENT);
    lab.is_closed(Tcp, &format!("[{HOST}]:8081"));
    lab.is_closed(Tcp, &format!("[{HOST_ETH1}]:8080"));
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn random_host_ports_are_published_as_docker_chose_them() {
    let lab = Lab::up("ports_random");
    let engine = Engine::up(&lab, &[]);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run(
        "all",
        &["-P", "--expose=80", "--expose=53/udp"],
        &["tcp:80", "udp:53"],
    );
    let tcp = format!("[{HOST}]:{}", host_port(&engine, "all", "80/tcp"));
    let udp = format!("[{HOST}]:{}", host_port(&engine, "all", "53/udp"));
    lab.answers(Tcp, &tcp, "all", CLIENT);
    lab.answers(Udp, &udp, "all", CLIENT);
    engine.run("any", &["-p", "80"], &["tcp:80"]);
    let any = format!("[{HOST}]:{}", host_port(&engine, "any", "80/tcp"));
    lab.answers(Tcp, &any, "any", CLIENT);
    daemon.leaves();
}

fn host_port(engine: &Engine<'_>, name: &str, port: &str) -> String {
    let shown = engine.docker(&["port", name, port]);
    shown.rsplit(':').next().expect("ADDRESS:PORT").to_owned()
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn an_engine_that_binds_to_loopback_by_default_opens_nothing() {
    let lab = Lab::up("ports_loopback");
    let engine = Engine::up(&lab, &["--ip=127.0.0.1"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    engine.run("after", &["-p", "[::]:9999:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:9999"), "after", CLIENT);
    assert_eq!(rules::published(lab.host()).len(), 1);
    lab.is_closed(Tcp, &format!("[{HOST}]:8080"));
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn several_devices_and_prefixes_are_all_served() {
    let lab = Lab::up("ports_several");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    let second = "fdfd:5898:4917:2::/64";
    engine.docker(&["network", "create", "--ipv6", "--subnet", second, "second"]);
    let devices = ["--dev", "eth0", "--dev", "eth1"];
    let prefixes = ["--prefix", PREFIX, "--prefix", second];
    let daemon = Daemon::ready(&lab, &[devices, prefixes].concat());
    let pairs = ["eth0", "eth1"]
        .into_iter()
        .flat_map(|dev| [format!("{dev} {PREFIX}"), format!("{dev} {second}")]);
    let expected: Vec<String> = pairs.collect();
    assert_eq!(rules::masquerades(lab.host()), expected);

    engine.run("one", &["-p", "8081:80"], &["tcp:80"]);
    engine.run(
        "two",
        &["-p", "8082:80", "--network", "second"],
        &["tcp:80"],
    );
    for (port, name) in [(8081, "one"), (8082, "two")] {
        lab.answers(Tcp, &format!("[{HOST}]:{port}"), name, CLIENT);
        lab.answers(Tcp, &format!("[{HOST_ETH1}]:{port}"), name, CLIENT_ETH1);
    }
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}
