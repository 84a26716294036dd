//! What becomes of packets: the rules as the mapper wants them, in the kernel, between a client,
//! a host and two containers.

mod firewalls;
mod near;
pub(crate) mod scenery;

use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use docker_nat66::model::forward::{Proto, Sources};
use docker_nat66::model::intent::Unpublished;
use docker_nat66::model::rule::{BackendKind, Rule};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use self::scenery::{
    BEYOND, BRIDGE, CLIENT, Firewall, HIDDEN, HOST_TOO, SERVED, SPOOFED, asker, build, client,
    forwards, policy,
};
use super::flows::scenery::{HOST, ONE, PORT, TWO, inside};
use crate::support::namespace;
use crate::support::shell::sh;

/// FORWARD chains of others: nothing, Docker's policy, what ufw makes, what firewalld makes, and
/// Docker's chain for users in front of the latter. All but the first close it.
const FORWARD_CHAINS: [&[&str]; 5] = [
    &[],
    &["-P FORWARD DROP"],
    &[
        "-P FORWARD DROP",
        "-N ufw6-before-forward",
        "-A ufw6-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A ufw6-before-forward -p icmpv6 --icmpv6-type echo-request -j ACCEPT",
        "-N ufw6-reject-forward",
        "-A ufw6-reject-forward -j REJECT",
        "-A FORWARD -j ufw6-before-forward",
        "-A FORWARD -j ufw6-reject-forward",
    ],
    &[
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -i lo -j ACCEPT",
        "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
        "-A FORWARD -j REJECT --reject-with icmp6-adm-prohibited",
    ],
    &[
        "-N DOCKER-USER",
        "-A DOCKER-USER -j RETURN",
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -j REJECT --reject-with icmp6-adm-prohibited",
    ],
];

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_published_port_is_reached_and_an_unpublished_one_is_not_whatever_else_filters() {
    namespace::fresh(|| {
        build();
        Firewall::each(|firewall| {
            let overrules = firewall.kind() == BackendKind::Ip6tables;
            // In the first nothing is to be overruled.
            for lines in FORWARD_CHAINS
                .into_iter()
                .take(if overrules { 5 } else { 1 })
            {
                for line in lines {
                    firewall.run(line);
                }
                let before = firewall.run("-S");
                firewall.set(&policy(), &forwards(&Sources::Any));
                client().is_answered(HOST, PORT, "one", CLIENT);
                client().is_answered(HOST_TOO, PORT, "one", CLIENT);
                for port in [SERVED, HIDDEN] {
                    client().is_ignored(ONE, port);
                    client().is_ignored(TWO, port);
                }
                sh(&format!(
                    "! ip netns exec client busybox ping -6 -q -c 1 -W 1 {ONE}"
                ));
                firewall.unset();
                assert_eq!(firewall.run("-S"), before);
                firewall.clear();
            }
        });
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn unpublished_ports_are_reached_where_that_is_accepted_or_nothing_is_set() {
    namespace::fresh(|| {
        build();
        Firewall::each(|firewall| {
            client().is_answered(ONE, HIDDEN, "one", CLIENT);
            let mut open = policy();
            open.unpublished = Unpublished::Accept;
            firewall.set(&open, &[]);
            client().is_answered(ONE, HIDDEN, "one", CLIENT);
            sh(&format!(
                "ip netns exec client busybox ping -6 -q -c 1 -W 5 {ONE}"
            ));
        });
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn another_programs_dnat_into_the_prefix_passes() {
    namespace::fresh(|| {
        build();
        Firewall::each(|firewall| {
            firewall.close_forward();
            for proto in ["tcp", "udp"] {
                firewall.run(&format!(
                    "-t nat -A PREROUTING -i eth0 -p {proto} --dport 99 -j DNAT \
                     --to-destination [{TWO}]:{HIDDEN}"
                ));
            }
            firewall.set(&policy(), &[]);
            client().is_answered(HOST, 99, "two", CLIENT);
        });
    });
}

/// A list of states after the `!` means "none of these": what conntrack calls invalid, and what
/// a rule exempts from tracking, is dropped too.
#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn invalid_and_untracked_packets_for_containers_are_dropped() {
    namespace::fresh(|| {
        build();
        Firewall::each(|firewall| {
            firewall.run("-t raw -A PREROUTING -p udp --dport 81 -j CT --notrack");
            firewall.run("-A FORWARD -d fdfd:5898:4917:1::/64 -j ACCEPT");
            let udp = |to| client().ask(Proto::Udp, to, HIDDEN).map_err(|e| e.kind());
            // So that neighbours are known.
            client().is_answered(TWO, SERVED, "two", CLIENT);
            assert!(udp(TWO).is_ok());
            firewall.set(&policy(), &forwards(&Sources::Any));
            assert_eq!(udp(TWO), Err(io::ErrorKind::WouldBlock));
            // A checksum of 0 makes a TCP segment invalid. Port 7 to 80, SYN, no options.
            firewall.run("-t mangle -I PREROUTING -m conntrack --ctstate INVALID");
            let dropped = || {
                let (listing, is_rule) = match firewall.kind() {
                    BackendKind::Ip6tables => (firewall.run("-S DOCKER-NAT66 -v"), "! --ctstate"),
                    BackendKind::Nftables => {
                        (sh("nft list chain ip6 docker_nat66 forward"), "@guarded")
                    }
                };
                let rule = listing.lines().find(|l| l.contains(is_rule));
                rule.expect("it is there").to_owned()
            };
            let before = dropped();
            inside("client", || {
                let to: SocketAddr = format!("[{TWO}]:0").parse().expect("an address");
                let mut syn = [0_u8; 20];
                (syn[1], syn[3], syn[12], syn[13]) = (7, 80, 0x50, 2);
                let socket = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::TCP));
                let sent = sendto(socket.expect("may"), &syn, SendFlags::empty(), &to);
                assert_eq!(sent, Ok(syn.len()));
            });
            let seen = firewall.run("-t mangle -S PREROUTING -v");
            let invalid = seen.lines().find(|l| l.contains("INVALID")).expect("it");
            assert!(invalid.contains("-c 1 "), "not invalid: {seen}");
            assert_ne!(dropped(), before);
        });
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn errors_that_belong_to_a_flow_pass_both_ways() {
    namespace::fresh(|| {
        build();
        Firewall::each(|firewall| {
            // Out: the container serves no such port. The policy lets nothing else through.
            firewall.close_forward();
            let mut nobody = forwards(&Sources::Any);
            for forward in &mut nobody {
                forward.container_port = 9;
            }
            firewall.set(&policy(), &nobody);
            let refused = Err(io::ErrorKind::ConnectionRefused);
            for proto in [Proto::Tcp, Proto::Udp] {
                let outcome = client().ask(proto, HOST, PORT).map_err(|e| e.kind());
                assert_eq!(outcome, refused, "{proto}");
            }
            // In: the client serves no such port.
            firewall.run("-P FORWARD ACCEPT");
            let one = asker(Some("one"), ONE);
            for proto in [Proto::Tcp, Proto::Udp] {
                let outcome = one.ask(proto, CLIENT, 9).map_err(|e| e.kind());
                assert_eq!(outcome, refused, "{proto}");
            }
        });
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn what_containers_send_out_gets_the_hosts_source_and_nothing_else_does() {
    namespace::fresh(|| {
        build();
        Firewall::each(|firewall| {
            firewall.set(&policy(), &[]);
            asker(Some("one"), ONE).is_answered(CLIENT, SERVED, "client", HOST);
            // The host itself, by an address inside the prefix.
            asker(None, BRIDGE).is_answered(CLIENT, SERVED, "client", BRIDGE);
            firewall.unset();
            let mut own = policy();
            let prefix = own.prefixes[0];
            own.snat = vec![(prefix, HOST_TOO.parse().expect("an address"))];
            firewall.set(&own, &[]);
            asker(Some("one"), ONE).is_answered(CLIENT, SERVED, "client", HOST_TOO);
            asker(None, BRIDGE).is_answered(CLIENT, SERVED, "client", BRIDGE);
        });
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_spoofed_container_is_not_masqueraded_back_out() {
    namespace::fresh(|| {
        build();
        // What the client sends as a container goes to the host, even to the client itself.
        sh(&format!(
            "ip -n client -6 route add default via {HOST} table 100
             ip -n client -6 rule add pref 10 from {SPOOFED} lookup 100
             ip -n client -6 rule add pref 20 lookup local
             ip -n client -6 rule del pref 0"
        ));
        let heard = || {
            inside("client", || {
                let bind = |addr: &str, port| {
                    let addr: Ipv6Addr = addr.parse().expect("an address");
                    UdpSocket::bind((addr, port)).expect("a free port")
                };
                let listener = bind(BEYOND, 7);
                let timeout = Some(Duration::from_millis(500));
                listener.set_read_timeout(timeout).expect("set");
                let to = listener.local_addr().expect("bound");
                bind(SPOOFED, 0).send_to(b"x", to).expect("sent");
                let (_, peer) = listener.recv_from(&mut [0; 8])?;
                io::Result::Ok(peer.ip().to_string())
            })
        };
        Firewall::each(|firewall| {
            // How it would be, where that can be left out.
            let spoofed = |rule: &Rule| rule.facts.purpose == "spoofed";
            firewall.set_without(&policy(), &[], spoofed);
            // The first packets may get lost while neighbours are found.
            let peer = (0..10).find_map(|_| heard().ok());
            let expected = match firewall.kind() {
                BackendKind::Ip6tables => Some(HOST),
                // Its chains are the same whatever is in them.
                BackendKind::Nftables => None,
            };
            assert_eq!(peer.as_deref(), expected);
            firewall.unset();
            firewall.set(&policy(), &[]);
            heard().expect_err("dropped");
        });
    });
}
