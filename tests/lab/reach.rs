//! `--hairpin`: the host and containers reach published ports at the host's addresses, with and
//! without docker-proxy.

use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::release;
use crate::support::lab::rules;
use crate::support::lab::space::Place;
use crate::support::lab::talk::Proto::{self, Tcp, Udp};
use crate::support::lab::talk::{Answer, ask};
use crate::support::lab::{CLIENT, HOST, Lab};
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];

/// The host's address on the containers' bridge.
const BRIDGE: Ipv6Addr = Ipv6Addr::new(0xfdfd, 0x5898, 0x4917, 1, 0, 0, 0, 1);

/// The Engine's option that turns docker-proxy off, so that only the kernel serves published ports.
const WITHOUT_PROXY: &str = "--userland-proxy=false";

/// The clients that request a port of the container `one` at the host's address.
const ASKERS: [&str; 3] = ["the host", "two", "one"];

/// Whether ip6tables sees bridged packets, where the kernel has br_netfilter.
const BRIDGED: &str = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";

/// The answer that a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    /// The container's answer, through the rules in the kernel.
    Direct,
    /// The container's answer, through docker-proxy.
    Relayed,
    Nothing,
}

/// Starts the containers: `one` publishes a port for each protocol, `two` nothing.
fn populate(engine: &Engine<'_>) {
    let ports = ["-p", "8080:80", "-p", "8053:53/udp"];
    engine.run("one", &ports, &["tcp:80", "udp:53"]);
    engine.run("two", &[], &["tcp:80"]);
}

fn asks(
    lab: &Lab,
    engine: &Engine<'_>,
    who: &str,
    proto: Proto,
    to: &str,
) -> Result<Answer, String> {
    match who {
        "the host" => ask(lab.host(), proto, to),
        name => engine.ask_inside(name, proto, to),
    }
}

/// The pids of all docker-proxies. The host has a process namespace of its own, so only the lab's
/// processes are seen.
const PROXIES: &str = "cd /proc && grep -lsz '^docker-proxy' [0-9]*/cmdline | cut -d/ -f1";

/// Lets docker-proxy continue.
fn continue_proxies(lab: &Lab) {
    lab.host().sh(&format!(
        "for pid in $({PROXIES}); do kill -CONT $pid; done"
    ));
}

/// Stops docker-proxy: it keeps its sockets and does not answer. `kill` returns before the threads
/// of a busy machine stand still, so this waits for each of them.
fn stop_proxies(lab: &Lab) {
    lab.host().sh(&format!(
        "for pid in $({PROXIES}); do kill -STOP $pid; done"
    ));
    let running = format!(
        "for pid in $({PROXIES}); do
             grep -hs '^State:' /proc/$pid/task/*/status
         done | grep -vc 'T (stopped)' || :"
    );
    eventually(SOON, "docker-proxy stopped", || {
        same(lab.host().sh(&running).trim().to_owned(), "0".to_owned())
    });
}

/// The answer that `who` gets: stopping docker-proxy shows whether it takes part.
fn gets(lab: &Lab, engine: &Engine<'_>, who: &str, proto: Proto, to: &str) -> Gets {
    stop_proxies(lab);
    let alone = asks(lab, engine, who, proto, to);
    continue_proxies(lab);
    if let Ok(answer) = alone {
        // The container sees the requested address if the host asks, and the bridge's if a
        // container asks.
        let peer = match who {
            "the host" => HOST.parse().expect("an address"),
            _ => BRIDGE,
        };
        assert_eq!(
            (answer.name.as_str(), answer.peer),
            ("one", peer.into()),
            "{who}"
        );
        return Gets::Direct;
    }
    match asks(lab, engine, who, proto, to) {
        Ok(answer) => {
            assert_eq!(answer.name, "one", "{who}");
            Gets::Relayed
        }
        Err(_) => Gets::Nothing,
    }
}

#[track_caller]
fn every_mode(name: &str, proxy: &str, rows: [(&str, Gets); 3]) {
    let lab = Lab::up(name);
    let engine = Engine::up(&lab, &[proxy]);
    populate(&engine);
    set_bridged(&lab, proxy == WITHOUT_PROXY);
    let before = rules::as_before(lab.host());
    for (hairpin, expected) in rows {
        println!("--hairpin {hairpin}");
        let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--hairpin", hairpin]].concat());
        for (proto, port) in [(Tcp, 8080), (Udp, 8053)] {
            let to = format!("[{HOST}]:{port}");
            lab.answers(proto, &to, "one", CLIENT);
            for who in ASKERS {
                let what = format!("what {who} gets on {proto:?}, --hairpin {hairpin}");
                let look = |to: &str, expected| {
                    eventually(SOON, &what, || {
                        same(gets(&lab, &engine, who, proto, to), expected)
                    });
                };
                let answers_as_asked = release::in_use().major() >= 28;
                if (expected, proto) == (Gets::Relayed, Udp)
                    && who != "the host"
                    && !answers_as_asked
                {
                    // docker-proxy answers from the bridge's address, whichever was requested;
                    // from Engine 28 on it answers from the requested one.
                    look(&to, Gets::Nothing);
                    look(&format!("[{BRIDGE}]:{port}"), expected);
                } else {
                    look(&to, expected);
                }
            }
        }
        daemon.leaves();
        assert_eq!(rules::as_before(lab.host()), before);
    }
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn without_docker_proxy_hairpin_auto_serves_the_host_and_containers_as_on_does() {
    let rows = [
        ("off", Gets::Nothing),
        ("auto", Gets::Direct),
        ("on", Gets::Direct),
    ];
    every_mode("reach_bare", WITHOUT_PROXY, rows);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn with_docker_proxy_hairpin_auto_leaves_the_host_and_containers_to_it() {
    let rows = [
        ("off", Gets::Relayed),
        ("auto", Gets::Relayed),
        ("on", Gets::Direct),
    ];
    every_mode("reach_proxy", "--userland-proxy=true", rows);
}

/// As with Docker in LXC: the host sees docker-proxy processes that serve another Engine.
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_docker_proxy_of_another_network_namespace_serves_nobody_here() {
    let lab = Lab::up("reach_elsewhere");
    let engine = Engine::up(&lab, &[WITHOUT_PROXY]);
    populate(&engine);
    let elsewhere = "unshare --net bash -c \"exec -a docker-proxy sh -c 'sleep 600; :' sh \
                     -proto tcp -host-ip :: -host-port 8080\" >/dev/null 2>&1 &";
    lab.host().sh(elsewhere);
    let seen = "grep -lsz '^docker-proxy' /proc/[0-9]*/cmdline";
    eventually(SOON, "the other docker-proxy", || {
        let count = lab.host().sh(&format!("{seen} | wc -l"));
        same(count.trim().to_owned(), "1".to_owned())
    });
    let daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    for who in ["the host", "two"] {
        eventually(SOON, who, || {
            same(gets(&lab, &engine, who, Tcp, &to), Gets::Direct)
        });
    }
    assert!(!daemon.log().contains("no process of Docker is visible"));
    daemon.leaves();
}

/// As in a container without `--pid=host`.
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn where_no_process_of_dockers_is_seen_who_listens_counts() {
    let lab = Lab::up("reach_unseen");
    let engine = Engine::up(&lab, &["--userland-proxy=true"]);
    populate(&engine);
    let apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut daemon = Daemon::start_by(&lab, &apart, &ARGS);
    daemon.says("no process of Docker is visible from here");
    let to = format!("[{HOST}]:8080");
    lab.answers(Tcp, &to, "one", CLIENT);
    for who in ["the host", "two"] {
        eventually(SOON, who, || {
            same(gets(&lab, &engine, who, Tcp, &to), Gets::Relayed)
        });
    }
    daemon.sigkill();
    Daemon::ready(&lab, &ARGS).leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn with_docker_proxy_a_forced_hairpin_to_the_same_container_needs_bridges_unfiltered() {
    let lab = Lab::up("reach_bridged");
    let engine = Engine::up(&lab, &["--userland-proxy=true"]);
    populate(&engine);
    let to = format!("[{HOST}]:8080");
    let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--hairpin", "on"]].concat());
    let is = |who, expected| {
        eventually(SOON, who, || {
            same(gets(&lab, &engine, who, Tcp, &to), expected)
        });
    };
    for (filtered, expected) in [(true, Gets::Nothing), (false, Gets::Direct)] {
        if !set_bridged(&lab, filtered) && filtered {
            continue;
        }
        // DNAT sends the packet back through the port of the bridge by which it came, and only an
        // Engine without docker-proxy allows that (hairpin mode).
        is("one", expected);
        is("two", Gets::Direct);
    }
    daemon.leaves();
}

/// Sets whether ip6tables sees bridged packets; false if the kernel has no such setting.
fn set_bridged(lab: &Lab, filtered: bool) -> bool {
    let flag = u8::from(filtered);
    let set = format!("[ ! -e {BRIDGED} ] || {{ echo {flag} >{BRIDGED}; echo yes; }}");
    lab.host().sh(&set).trim() == "yes"
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn where_forward_drops_containers_reach_each_other_by_published_ports_alone() {
    let lab = Lab::up("reach_drop");
    let engine = Engine::up(&lab, &[WITHOUT_PROXY]);
    populate(&engine);
    let second = "fdfd:5898:4917:2::/64";
    engine.network("second", second, &[]);
    engine.run("three", &["--network=second"], &["tcp:80"]);
    lab.host().run(&["ip6tables", "-P", "FORWARD", "DROP"]);
    let before = rules::as_before(lab.host());
    let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--prefix", second]].concat());
    let own = format!("[{}]:80", engine.address("one"));
    let peers = [
        ("one", BRIDGE),
        ("two", BRIDGE),
        // The answer always comes back through the host.
        ("three", engine.address_on("three", "second")),
    ];
    for (proto, port) in [(Tcp, 8080), (Udp, 8053)] {
        let to = format!("[{HOST}]:{port}");
        lab.answers(proto, &to, "one", CLIENT);
        for (who, peer) in peers {
            let expected = Answer {
                name: "one".to_owned(),
                peer: peer.into(),
            };
            eventually(SOON, &format!("{who} to be answered on {proto:?}"), || {
                same(
                    engine.ask_inside(who, proto, &to).ok(),
                    Some(expected.clone()),
                )
            });
        }
    }
    let answer = engine.ask_inside("three", Tcp, &own);
    assert!(answer.is_err(), "{answer:?}");
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_hairpin_found_by_auto_outlasts_kill_and_restart_without_a_gap() {
    let lab = Lab::up("reach_kill");
    let engine = Engine::up(&lab, &[WITHOUT_PROXY]);
    populate(&engine);
    let to = format!("[{HOST}]:8080");
    let daemon = Daemon::ready(&lab, &ARGS);
    eventually(SOON, "the host's own way", || {
        same(gets(&lab, &engine, "the host", Tcp, &to), Gets::Direct)
    });
    let before = rules::as_before(lab.host());

    let done = AtomicBool::new(false);
    let (answers, daemon) = std::thread::scope(|scope| {
        let prober = scope.spawn(|| {
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                answers.push(ask(lab.host(), Tcp, &to).map(|a| a.name));
            }
            answers
        });
        daemon.sigkill();
        let daemon = Daemon::ready(&lab, &ARGS);
        // A later scan for docker-proxy would remove the hairpin rules now.
        lab.answers(Tcp, &to, "one", CLIENT);
        let status = daemon.command(&["status"]);
        assert!(status.status.success(), "{status:?}");
        done.store(true, Ordering::Relaxed);
        (prober.join().expect("the prober"), daemon)
    });
    assert!(answers.len() > 1);
    let missed = answers.iter().filter(|a| a.as_deref() != Ok("one"));
    assert_eq!(missed.count(), 0, "{answers:?}");
    assert_eq!(rules::as_before(lab.host()), before);
    let log = daemon.log();
    let changes: Vec<&str> = log.lines().filter(|l| l.contains("NAT66 ")).collect();
    assert!(changes.is_empty(), "{changes:#?}");
    daemon.leaves();
}

/// The host's link-local address on eth0.
fn link_local(lab: &Lab) -> Ipv6Addr {
    let shown = lab.host().run(&[
        "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link",
    ]);
    let addr = shown
        .split([' ', '/'])
        .find(|word| word.starts_with("fe80:"));
    addr.expect("an address").parse().expect("an address")
}

/// The index of an interface there.
fn number_of(place: Place<'_>, dev: &str) -> String {
    let shown = place.run(&["ip", "-o", "link", "show", "dev", dev]);
    let number = shown.split(':').next().unwrap_or_default();
    number.to_owned()
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn link_local_clients_which_cannot_be_forwarded_are_left_to_docker_proxy() {
    let lab = Lab::up("reach_link_local");
    let engine = Engine::up(&lab, &[]);
    populate(&engine);
    let addr = link_local(&lab);
    let asks = [("the client", lab.client()), ("the host", lab.host())];
    let all_answered = |hairpin: &str| {
        for (who, place) in asks {
            for (proto, port) in [(Tcp, 8080), (Udp, 8053)] {
                let to = format!("[{addr}%{}]:{port}", number_of(place, "eth0"));
                let what = format!("docker-proxy to answer {who} on {proto:?} {to}, {hairpin}");
                let answer = eventually(SOON, &what, || ask(place, proto, &to));
                assert_eq!(answer.name, "one");
            }
        }
    };
    all_answered("no daemon");
    for hairpin in ["auto", "on"] {
        let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--hairpin", hairpin]].concat());
        lab.answers(Tcp, &format!("[{HOST}]:8080"), "one", CLIENT);
        lab.answers(Udp, &format!("[{HOST}]:8053"), "one", CLIENT);
        all_answered(hairpin);
        daemon.leaves();
    }
}
