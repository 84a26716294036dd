//! The source address of outgoing packets.

use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::time::Duration;

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, CLIENT_ETH1, HOST, Lab};
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917::/48"];

const ALPHA: &str = "fdfd:5898:4917:a::/64";

/// The port on which the client listens.
const PORT: u16 = 7000;

/// The host's addresses on eth0, among which the kernel chooses.
const EGRESS: [&str; 3] = ["2001:db8::1", "2001:db8::11", "2001:db8::12"];

/// The source address that the client on eth0 sees of a connection from the container `name`.
fn seen(engine: &Engine<'_>, listener: &TcpListener, name: &str) -> Ipv6Addr {
    seen_at(engine, listener, name, CLIENT)
}

/// The same at one of the client's addresses.
fn seen_at(engine: &Engine<'_>, listener: &TcpListener, name: &str, client: Ipv6Addr) -> Ipv6Addr {
    let (addr, port) = (client.to_string(), PORT.to_string());
    // The first packet may wait a second for neighbour discovery.
    let nc = [
        "busybox",
        "nc",
        "-w",
        "5",
        &addr,
        &port,
        "-e",
        "/bin/busybox",
        "true",
    ];
    engine.docker(&[&["exec", name][..], &nc].concat());
    // The container has connected, so its connection is in the queue.
    let (_, peer) = listener.accept().expect("accept");
    match peer.ip() {
        std::net::IpAddr::V6(addr) => addr,
        other => panic!("{other} is not IPv6"),
    }
}

fn listen(lab: &Lab) -> TcpListener {
    let any = (Ipv6Addr::UNSPECIFIED, PORT);
    let listener = lab.client().enter(|| TcpListener::bind(any).expect("bind"));
    listener.set_nonblocking(true).expect("set");
    listener
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn containers_go_out_with_the_host_s_address_and_nothing_else_is_rewritten() {
    let lab = Lab::up("outgoing");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.network("alpha", ALPHA, &[]);
    // With these routes the client could answer even without the daemon.
    lab.client().run(&[
        "ip",
        "-6",
        "route",
        "add",
        "fdfd:5898:4917::/48",
        "via",
        HOST,
    ]);
    let listener = listen(&lab);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("one", &[], &["tcp:80"]);
    engine.run("two", &["--network=alpha"], &["tcp:80"]);
    for name in ["one", "two"] {
        let source = seen(&engine, &listener, name).to_string();
        assert!(EGRESS.contains(&&*source), "{name}: {source}");
    }
    let (one, two) = (engine.address("one"), engine.address_on("two", "alpha"));

    // eth1 is no egress interface.
    assert_eq!(seen_at(&engine, &listener, "one", CLIENT_ETH1), one);

    // From one network to another inside the prefix.
    for (name, peer, from, to) in [("one", "two", one, two), ("two", "one", two, one)] {
        let script = format!("busybox nc -w 1 {to} 80 </dev/null");
        let heard = engine.docker(&["exec", name, "sh", "-c", &script]);
        assert_eq!(heard, format!("{peer} {from}"));
    }

    // The host's own connections, also from its address inside the prefix.
    let any = (Ipv6Addr::UNSPECIFIED, PORT);
    let client = lab.client().enter(|| UdpSocket::bind(any).expect("bind"));
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    for own in [
        "2001:db8::1",
        "2001:db8::11",
        "fdfd:5898:4917:1::1",
        "fdfd:5898:4917:a::1",
    ] {
        let own: Ipv6Addr = own.parse().unwrap();
        let socket = lab
            .host()
            .enter(|| UdpSocket::bind((own, 0)).expect("bind"));
        socket.send_to(b"own", (CLIENT, PORT)).expect("send");
        let (_, from) = client.recv_from(&mut [0; 8]).expect("a datagram");
        assert_eq!(from.ip(), own);
    }
    daemon.leaves();
    // Without the daemon, the source is not rewritten: the daemon did it.
    assert_eq!(seen(&engine, &listener, "one"), one);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_network_s_own_source_address_is_what_the_world_sees_of_it() {
    let lab = Lab::up("outgoing_snat");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let before = rules::as_before(lab.host());
    let option = "com.docker.network.host_ipv6";
    engine.network("alpha", ALPHA, &["-o", &format!("{option}=2001:db8::12")]);
    let field = format!("{{{{index .Options {option:?}}}}}");
    let shown = engine.docker(&["network", "inspect", "-f", &field, "alpha"]);
    assert_eq!(
        shown, "2001:db8::12",
        "the Engine passes the option through"
    );
    let listener = listen(&lab);
    engine.run("one", &[], &["tcp:80"]);
    engine.run("two", &["--network=alpha"], &["tcp:80"]);
    for prefix in ["fdfd:5898:4917::/48", "auto"] {
        let daemon = Daemon::ready(&lab, &["--dev", "eth0", "--prefix", prefix]);
        let own: Ipv6Addr = "2001:db8::12".parse().unwrap();
        assert_eq!(seen(&engine, &listener, "two"), own);
        let other = seen(&engine, &listener, "one").to_string();
        assert!(EGRESS.contains(&&*other), "{other}");

        // The next daemon finds the rules as they were.
        daemon.sigkill();
        let mut daemon = Daemon::ready(&lab, &["--dev", "eth0", "--prefix", prefix]);
        assert_eq!(seen(&engine, &listener, "two"), own);
        daemon.says("an earlier run left records");
        let log = daemon.log();
        assert!(!log.contains("NAT66 unset"), "{log}");

        // A network that comes and goes while the daemon runs.
        let bravo = "fdfd:5898:4917:c::/64";
        engine.network("bravo", bravo, &["-o", &format!("{option}=2001:db8::11")]);
        engine.run("three", &["--network=bravo"], &["tcp:80"]);
        eventually(SOON, "the second network's own source", || {
            let own: Ipv6Addr = "2001:db8::11".parse().unwrap();
            same(seen(&engine, &listener, "three"), own)
        });
        engine.remove("three");
        engine.docker(&["network", "rm", "bravo"]);
        eventually(SOON, "its rule to go", || {
            let ours = rules::ours(lab.host());
            let left: Vec<&String> = ours.iter().filter(|r| r.contains("::11")).collect();
            same(left.len(), 0)
        });
        daemon.leaves();
        assert_eq!(rules::as_before(lab.host()), before);
    }
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn containers_go_out_where_forward_drops_unless_that_is_left_to_the_firewall() {
    let lab = Lab::up("outgoing_drop");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let listener = listen(&lab);
    engine.run("one", &[], &["tcp:80"]);
    lab.host().run(&["ip6tables", "-P", "FORWARD", "DROP"]);
    let before = rules::as_before(lab.host());
    let to = format!("[{CLIENT}]:{PORT}");
    let is_refused = |when: &str| {
        let answer = engine.ask_inside("one", Tcp, &to);
        assert!(answer.is_err(), "{when}: {answer:?}");
        let waiting = listener.accept();
        assert!(waiting.is_err(), "{when}: {waiting:?}");
    };
    is_refused("without a daemon");
    let daemon = Daemon::ready(&lab, &ARGS);
    let source = seen(&engine, &listener, "one").to_string();
    assert!(EGRESS.contains(&&*source), "{source}");
    // The user's own option has priority.
    lab.host().sh(
        "ip6tables -N DOCKER-USER; ip6tables -A DOCKER-USER -o eth0 -j DROP; \
         ip6tables -I FORWARD -j DOCKER-USER",
    );
    is_refused("by DOCKER-USER");
    lab.host().sh(
        "ip6tables -D FORWARD -j DOCKER-USER; ip6tables -F DOCKER-USER; ip6tables -X DOCKER-USER",
    );
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
    let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--outgoing", "leave"]].concat());
    is_refused("--outgoing leave");
    daemon.leaves();
}
