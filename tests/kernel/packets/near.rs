//! Published ports at the host's own addresses: asked for by the host and by containers, and by
//! those who may not, with a program like docker-proxy listening on the same port.

use std::collections::BTreeSet;

use docker_nat66::model::forward::{Proto, Sources};
use docker_nat66::model::intent::{Hairpin, Policy};
use docker_nat66::model::rule::{BackendKind, Rule};

use super::super::flows::scenery::{HOST, ONE, PORT, TWO};
use super::scenery::{
    BRIDGE, CLIENT, Firewall, HIDDEN, HOST_TOO, SERVED, STRANGER, asker, build, client, forwards,
    policy, serve,
};
use crate::support::namespace;
use crate::support::shell::sh;

const LOOPBACK: &str = "::1";

/// Lets the bridge send a packet back where it came from, as Docker does where docker-proxy is
/// off. With br_netfilter a packet that DNAT sends back to its own bridge is bridged and not
/// routed, and would go no further.
fn let_the_bridge_send_back() {
    for port in ["veth1", "veth2"] {
        sh(&format!("ip link set {port} type bridge_slave hairpin on"));
    }
}

fn with_hairpin() -> Policy {
    Policy {
        hairpin: Hairpin::On,
        ..policy()
    }
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn the_host_and_the_containers_reach_a_published_port_at_the_hosts_addresses() {
    namespace::fresh(|| {
        build();
        let_the_bridge_send_back();
        Firewall::each(|firewall| {
            firewall.set(&policy(), &forwards(&Sources::Any));
            for (place, from) in [(None, HOST), (Some("one"), ONE), (Some("two"), TWO)] {
                asker(place, from).gets_nothing(HOST, PORT);
            }
            firewall.unset();
            firewall.set(&with_hairpin(), &forwards(&Sources::Any));
            // As the bridge's own address, so that the answer comes back through the host.
            for to in [HOST, HOST_TOO, BRIDGE] {
                asker(None, to).is_answered(to, PORT, "one", to);
                asker(Some("two"), TWO).is_answered(to, PORT, "one", BRIDGE);
                asker(Some("one"), ONE).is_answered(to, PORT, "one", BRIDGE);
            }
            client().is_answered(HOST, PORT, "one", CLIENT);
            // What was not sent to a published port is not rewritten.
            asker(Some("two"), TWO).is_answered(ONE, HIDDEN, "one", TWO);
            asker(None, BRIDGE).is_answered(ONE, HIDDEN, "one", BRIDGE);
        });
    });
}

/// A container on a network of its own.
const THREE: &str = "fdfd:5898:4917:2::2";

fn add_three() {
    sh(&format!(
        "ip netns add three
         ip link add veth3 type veth peer name eth0 netns three
         ip addr add fdfd:5898:4917:2::1/64 dev veth3 nodad
         ip link set veth3 up
         ip -n three link set lo up
         ip -n three addr add {THREE}/64 dev eth0 nodad
         ip -n three link set eth0 up
         ip -n three route add default via fdfd:5898:4917:2::1"
    ));
    serve(Some("three"), "three", HIDDEN);
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn where_forward_drops_containers_reach_each_other_by_published_ports_alone() {
    namespace::fresh(|| {
        build();
        let_the_bridge_send_back();
        add_three();
        let three = asker(Some("three"), THREE);
        let mut policy = with_hairpin();
        let second = "fdfd:5898:4917:2::/64".parse().expect("a prefix");
        policy.prefixes.push(second);
        Firewall::each(|firewall| {
            // How it would be: open without a policy, and closed by one.
            three.is_answered(ONE, HIDDEN, "one", THREE);
            asker(Some("one"), ONE).is_answered(THREE, HIDDEN, "three", ONE);
            firewall.run("-P FORWARD DROP");
            let guard = |rule: &Rule| rule.facts.kind == "hairpin-guard";
            firewall.set_without(&policy, &forwards(&Sources::Any), guard);
            asker(None, HOST).is_answered(HOST, PORT, "one", HOST);
            three.is_ignored(HOST, PORT);
            firewall.unset();

            firewall.set(&policy, &forwards(&Sources::Any));
            let overrules = firewall.kind() == BackendKind::Ip6tables;
            for to in [HOST, HOST_TOO] {
                for (asker, peer) in [
                    (&three, THREE),
                    (&asker(Some("two"), TWO), BRIDGE),
                    (&asker(Some("one"), ONE), BRIDGE),
                    (&client(), CLIENT),
                ] {
                    if overrules {
                        asker.is_answered(to, PORT, "one", peer);
                    } else {
                        // An accept in a table of its own cannot overrule a drop in another.
                        asker.is_ignored(to, PORT);
                    }
                }
            }
            // What was not sent to a published port is the policy's business as before.
            for port in [SERVED, HIDDEN] {
                three.is_ignored(ONE, port);
                three.is_ignored(TWO, port);
                client().is_ignored(ONE, port);
            }
            asker(Some("one"), ONE).is_ignored(THREE, HIDDEN);
        });
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_hairpin_leaves_the_loopback_address_and_other_hosts_alone() {
    namespace::fresh(|| {
        build();
        serve(None, "proxy", PORT);
        serve(Some("client"), "client", PORT);
        Firewall::each(|firewall| {
            firewall.set(&with_hairpin(), &forwards(&Sources::Any));
            asker(None, LOOPBACK).is_answered(LOOPBACK, PORT, "proxy", LOOPBACK);
            asker(None, HOST).is_answered(CLIENT, PORT, "client", HOST);
            asker(Some("two"), TWO).is_answered(CLIENT, PORT, "client", HOST);
            asker(None, HOST).is_answered(HOST, PORT, "one", HOST);
        });
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_binding_to_one_address_is_reached_at_that_address_only() {
    namespace::fresh(|| {
        build();
        let_the_bridge_send_back();
        Firewall::each(|firewall| {
            let mut bound = forwards(&Sources::Any);
            for forward in &mut bound {
                forward.host_addr = Some(HOST_TOO.parse().expect("an address"));
            }
            firewall.set(&with_hairpin(), &bound);
            let askers = [
                (client(), CLIENT),
                (asker(None, HOST_TOO), HOST_TOO),
                (asker(Some("one"), ONE), BRIDGE),
                (asker(Some("two"), TWO), BRIDGE),
            ];
            for (asker, peer) in askers {
                asker.is_answered(HOST_TOO, PORT, "one", peer);
                asker.gets_nothing(HOST, PORT);
            }
        });
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_limited_port_is_for_its_sources_alone_even_with_a_proxy_behind_it() {
    namespace::fresh(|| {
        build();
        serve(None, "proxy", PORT);
        let stranger = asker(Some("client"), STRANGER);
        Firewall::each(|firewall| {
            let nets = [format!("{CLIENT}/128"), "2001:db8:9::/48".to_owned()];
            let nets = nets.iter().map(|net| net.parse().expect("a prefix"));
            let limited = forwards(&Sources::Only(nets.collect::<BTreeSet<_>>()));
            // How it would be.
            let refusal = |rule: &Rule| rule.facts.kind == "refuse";
            firewall.set_without(&policy(), &limited, refusal);
            client().is_answered(HOST, PORT, "one", CLIENT);
            stranger.is_answered(HOST, PORT, "proxy", STRANGER);
            firewall.unset();
            firewall.run("-A INPUT -j ACCEPT");
            firewall.set(&policy(), &limited);
            client().is_answered(HOST, PORT, "one", CLIENT);
            stranger.is_ignored(HOST, PORT);
            stranger.is_ignored(HOST_TOO, PORT);
            // Another port of the host, and its own way to this one.
            assert!(
                stranger
                    .ask(Proto::Tcp, HOST, 9)
                    .is_err_and(|e| { e.kind() == std::io::ErrorKind::ConnectionRefused })
            );
            asker(None, HOST).is_answered(HOST, PORT, "proxy", HOST);
            firewall.unset();
            stranger.is_answered(HOST, PORT, "proxy", STRANGER);
        });
    });
}
