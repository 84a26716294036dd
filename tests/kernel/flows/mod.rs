//! Stale flows, with real packets through real rules, and with entries of every kind.

pub(crate) mod scenery;
mod table;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use docker_nat66::conntrack::{FlowError, Flows as _, Purge};
use docker_nat66::model::forward::Proto;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use self::scenery::{
    ANSWER, ONE, PORT, TWO, Tcp, Udp, build, conntrack, flow, rule, rules,
    serve_tcp_in_a_container, serve_tcp_on_the_host, serve_udp_in_containers,
    serve_udp_on_the_host,
};
use crate::support::namespace;
use crate::support::shell::sh;

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_connection_outlives_its_rule_until_it_is_purged() {
    namespace::fresh(|| {
        build();
        serve_tcp_in_a_container();
        serve_udp_in_containers();
        rules(&[rule(Proto::Tcp, ONE), rule(Proto::Udp, ONE)]);
        let (mut tcp, udp) = (Tcp::begin(), Udp::begin());
        tcp.ask().expect("an answer");
        assert_eq!(udp.ask().expect("an answer"), "one");
        rules(&[]);
        tcp.ask().expect("the rule is gone, the flow is not");
        assert_eq!(udp.ask().expect("the rule is gone, the flow is not"), "one");
        let purges = [Proto::Tcp, Proto::Udp].map(|proto| Purge::Removed(flow(proto, ONE)));
        assert_eq!(conntrack().purge(&purges), Ok(2));
        tcp.ask().expect_err("no way to the container");
        udp.ask().expect_err("no way to the container");
        assert_eq!(conntrack().purge(&purges), Ok(0));
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_connection_to_docker_proxy_goes_on_and_the_next_one_reaches_the_container() {
    namespace::fresh(|| {
        build();
        serve_tcp_in_a_container();
        serve_tcp_on_the_host();
        rules(&[]);
        let mut old = Tcp::begin();
        old.ask().expect("an answer");
        rules(&[rule(Proto::Tcp, ONE)]);
        old.ask().expect("the flow is older than the rule");
        let mut new = Tcp::begin();
        new.ask().expect("an answer");
        let installed = [Purge::Installed(flow(Proto::Tcp, ONE))];
        assert_eq!(conntrack().purge(&installed), Ok(0));
        old.ask().expect("the server that accepted it serves it");
        new.ask().expect("it has our DNAT");
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_connection_that_nothing_has_tracked_goes_on_once_it_is_kept() {
    namespace::fresh(|| {
        let mut old = untracked();
        assert_eq!(conntrack().keep(&BTreeSet::from([PORT + 1])), Ok(0));
        assert_eq!(conntrack().keep(&BTreeSet::from([PORT])), Ok(1));
        assert_eq!(conntrack().keep(&BTreeSet::from([PORT])), Ok(0));
        rules(&[rule(Proto::Tcp, ONE)]);
        let installed = [Purge::Installed(flow(Proto::Tcp, ONE))];
        assert_eq!(conntrack().purge(&installed), Ok(0));
        old.ask().expect("the server that accepted it serves it");
        Tcp::begin().ask().expect("an answer");
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_connection_that_nothing_has_tracked_is_broken_by_a_rule() {
    namespace::fresh(|| {
        let mut old = untracked();
        rules(&[rule(Proto::Tcp, ONE)]);
        old.ask().expect_err("a container that knows nothing of it");
    });
}

/// A connection to docker-proxy in a namespace without any rules.
fn untracked() -> Tcp {
    build();
    serve_tcp_in_a_container();
    serve_tcp_on_the_host();
    let mut old = Tcp::begin();
    old.ask().expect("an answer");
    old
}

/// Asks without a pause, the client's socket being the same all the time, until `name` answers.
#[track_caller]
fn comes_to(udp: &Udp, name: &str) {
    let begin = Instant::now();
    loop {
        // A datagram that met no rule and no socket is answered with an error.
        match udp.ask_for(Duration::from_millis(50)) {
            Ok(answer) if answer == name => break,
            answer => assert!(begin.elapsed() < Duration::from_secs(1), "{answer:?}"),
        }
    }
    for _ in 0..50 {
        assert_eq!(udp.ask().expect("an answer"), name);
    }
}

/// Answers still come from `name`, whatever the rules say.
#[track_caller]
fn sticks_to(udp: &Udp, name: &str) {
    for _ in 0..50 {
        assert_eq!(udp.ask().expect("an answer"), name);
    }
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_udp_client_that_never_stops_comes_to_the_new_container() {
    namespace::fresh(|| {
        build();
        serve_udp_in_containers();
        rules(&[rule(Proto::Udp, ONE)]);
        let udp = Udp::begin();
        assert_eq!(udp.ask().expect("an answer"), "one");
        // The port moves at once, then with a pause in which it leads nowhere.
        rules(&[rule(Proto::Udp, TWO)]);
        sticks_to(&udp, "one");
        let (one, two) = (flow(Proto::Udp, ONE), flow(Proto::Udp, TWO));
        let mut conntrack = conntrack();
        let purges = [Purge::Removed(one.clone()), Purge::Installed(two.clone())];
        assert_eq!(conntrack.purge(&purges), Ok(1));
        comes_to(&udp, "two");
        rules(&[]);
        assert_eq!(conntrack.purge(&[Purge::Removed(two)]), Ok(1));
        udp.ask().expect_err("it leads nowhere");
        rules(&[rule(Proto::Udp, ONE)]);
        assert_eq!(conntrack.purge(&[Purge::Installed(one)]), Ok(1));
        comes_to(&udp, "one");
    });
}

/// A host that gets the address after it was asked for receives what waited for it.
#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn what_waits_for_a_container_that_has_gone_is_not_given_to_the_next() {
    namespace::fresh(|| {
        build();
        serve_udp_in_containers();
        let gone = "fdfd:5898:4917:1::9";
        let waiting = || {
            rules(&[rule(Proto::Udp, gone)]);
            let udp = Udp::begin();
            let short = Duration::from_millis(1);
            udp.ask_for(short).expect_err("nobody is there");
            let neighbours = sh("ip -6 neigh show nud incomplete");
            assert!(neighbours.contains(gone), "{neighbours}");
            rules(&[]);
            udp
        };
        let comes = || drop(sh(&format!("ip -n two addr add {gone}/64 dev eth0 nodad")));
        let goes = || {
            drop(sh(&format!(
                "ip -n two addr delete {gone}/64 dev eth0; ip neigh flush dev br0"
            )))
        };
        let udp = waiting();
        comes();
        assert_eq!(udp.hear(ANSWER).expect("an answer"), "two");
        goes();
        let udp = waiting();
        let purges = [Purge::Removed(flow(Proto::Udp, gone))];
        // Both flows go.
        let mut conntrack = conntrack();
        assert_eq!(conntrack.purge(&purges), Ok(2));
        let gone_too = [gone.parse().expect("an address")].into();
        assert_eq!(conntrack.release(&gone_too), Ok(()));
        assert_eq!(sh("ip -6 neigh show nud incomplete"), "");
        comes();
        udp.hear(ANSWER).expect_err("it was let go of");
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_udp_client_of_docker_proxy_comes_to_the_container() {
    namespace::fresh(|| {
        build();
        serve_udp_in_containers();
        serve_udp_on_the_host();
        rules(&[]);
        let udp = Udp::begin();
        assert_eq!(udp.ask().expect("an answer"), "proxy");
        rules(&[rule(Proto::Udp, ONE)]);
        sticks_to(&udp, "proxy");
        let installed = [Purge::Installed(flow(Proto::Udp, ONE))];
        assert_eq!(conntrack().purge(&installed), Ok(1));
        comes_to(&udp, "one");
        // A second time (after a restart, say) there is nothing to do.
        assert_eq!(conntrack().purge(&installed), Ok(0));
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn missing_privilege_is_told_as_such() {
    namespace::fresh(|| {
        let mut sets = capabilities(None).expect("capabilities");
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).expect("one less");
        let purged = conntrack().purge(&[Purge::Removed(flow(Proto::Tcp, ONE))]);
        assert!(matches!(purged, Err(FlowError::Denied(_))), "{purged:?}");
    });
}
