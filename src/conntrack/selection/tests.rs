//! Which flows a purge means.

use proptest::prelude::*;

use super::super::entry::invented;
use super::*;

const HOST: &str = "2001:db8::1";
const HOST_TOO: &str = "2001:db8::11";
const CLIENT: &str = "2001:db8::2";
const OLD: &str = "fdfd::2";
const NEW: &str = "fdfd::3";
const ELSEWHERE: &str = "2001:db8:ff::1";

fn addr(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn flow(host_addr: Option<&str>, target: &str) -> Flow {
    Flow {
        proto: Proto::Tcp,
        host_addr: host_addr.map(addr),
        host_port: 8080,
        target: (addr(target), 80),
    }
}

fn local() -> BTreeSet<Ipv6Addr> {
    [HOST, HOST_TOO, "::1"].map(addr).into()
}

/// An entry from `source` to `destination`, answered by port 80 of a container or, without one,
/// by the destination itself.
fn entry(source: &str, destination: &str, container: Option<&str>) -> Entry<'static> {
    let destination = (addr(destination), 8080);
    let answerer = container.map_or(destination, |c| (addr(c), 80));
    invented(Proto::Tcp, addr(source), destination, answerer)
}

#[track_caller]
fn assert_meant(purges: &[Purge], entry: &Entry<'_>, meant: bool) {
    let local = local();
    let is = Selection::new(purges, &local).means(entry);
    assert_eq!(is, meant, "{purges:?}\n{entry:?}");
}

#[test]
fn a_removal_means_exactly_its_own_dnat() {
    let purge = [Purge::Removed(flow(None, OLD))];
    assert_meant(&purge, &entry(CLIENT, HOST, Some(OLD)), true);
    // An address that the host had when the flow began.
    assert_meant(&purge, &entry(CLIENT, ELSEWHERE, Some(OLD)), true);
    assert_meant(&purge, &entry(CLIENT, HOST, Some(NEW)), false);
    assert_meant(&purge, &entry(CLIENT, HOST, None), false);
    // Somebody speaks to the container without us.
    assert_meant(&purge, &entry(CLIENT, OLD, None), false);
    let mut other = entry(CLIENT, HOST, Some(OLD));
    other.answerer.1 = 81;
    assert_meant(&purge, &other, false);
    let mut other = entry(CLIENT, HOST, Some(OLD));
    other.destination.1 = 8081;
    assert_meant(&purge, &other, false);
    let mut other = entry(CLIENT, HOST, Some(OLD));
    other.proto = Proto::Udp;
    assert_meant(&purge, &other, false);
}

#[test]
fn an_installation_means_what_goes_past_it() {
    let purge = [Purge::Installed(flow(None, NEW))];
    // By docker-proxy, and by the rule of a predecessor.
    assert_meant(&purge, &entry(CLIENT, HOST, None), true);
    assert_meant(&purge, &entry(CLIENT, HOST, Some(OLD)), true);
    assert_meant(&purge, &entry(CLIENT, HOST, Some(NEW)), false);
}

#[test]
fn an_installation_means_the_answers_that_docker_proxy_gave_meanwhile() {
    let udp = |host_addr| {
        let proto = Proto::Udp;
        Purge::Installed(Flow {
            proto,
            ..flow(host_addr, NEW)
        })
    };
    let answer = |source, destination| {
        let to = (addr(destination), 50_000);
        let mut entry = invented(Proto::Udp, addr(source), to, to);
        entry.source_port = 8080;
        entry
    };
    let any = [udp(None)];
    assert_meant(&any, &answer(HOST, CLIENT), true);
    assert_meant(&[udp(Some(HOST))], &answer(HOST, CLIENT), true);
    assert_meant(&[udp(Some(HOST_TOO))], &answer(HOST, CLIENT), false);
    // Forwarded, to the host itself, translated, from another port, and over TCP.
    assert_meant(&any, &answer(ELSEWHERE, CLIENT), false);
    assert_meant(&any, &answer(HOST, HOST_TOO), false);
    let mut other = answer(HOST, CLIENT);
    other.answerer = (addr(OLD), 80);
    assert_meant(&any, &other, false);
    let mut other = answer(HOST, CLIENT);
    other.source_port = 8081;
    assert_meant(&any, &other, false);
    let mut other = answer(HOST, CLIENT);
    other.proto = Proto::Tcp;
    assert_meant(&[Purge::Installed(flow(None, NEW))], &other, false);
    let removed = Purge::Removed(Flow {
        proto: Proto::Udp,
        ..flow(None, NEW)
    });
    assert_meant(&[removed], &answer(HOST, CLIENT), false);
}

#[test]
fn an_installation_leaves_the_connections_that_docker_proxy_serves() {
    let purge = [Purge::Installed(flow(None, NEW))];
    let accepted = |container| {
        let mut entry = entry(CLIENT, HOST, container);
        entry.accepted = true;
        entry
    };
    assert_meant(&purge, &accepted(None), false);
    // The container that had the port before does not matter any more.
    assert_meant(&purge, &accepted(Some(OLD)), true);
    let purge = [Purge::Removed(flow(None, OLD))];
    assert_meant(&purge, &accepted(Some(OLD)), true);
}

#[test]
fn an_installation_leaves_flows_that_no_rule_of_ours_could_have_met() {
    let purge = [Purge::Installed(flow(None, NEW))];
    // What a container or the host itself sends out to the same port.
    assert_meant(&purge, &entry(OLD, ELSEWHERE, None), false);
    assert_meant(&purge, &entry(HOST, ELSEWHERE, None), false);
    // Somebody else's redirection of it.
    assert_meant(&purge, &entry(OLD, ELSEWHERE, Some(HOST)), false);
    // What the host sends to itself.
    assert_meant(&purge, &entry("::1", "::1", None), false);
    assert_meant(&purge, &entry(HOST, HOST_TOO, None), false);
}

#[test]
fn a_binding_to_one_address_leaves_the_others_alone() {
    let installed = [Purge::Installed(flow(Some(HOST), NEW))];
    assert_meant(&installed, &entry(CLIENT, HOST, None), true);
    assert_meant(&installed, &entry(CLIENT, HOST_TOO, None), false);
    let removed = [Purge::Removed(flow(Some(HOST), OLD))];
    assert_meant(&removed, &entry(CLIENT, HOST, Some(OLD)), true);
    assert_meant(&removed, &entry(CLIENT, HOST_TOO, Some(OLD)), false);
}

#[test]
fn what_carries_a_dnat_of_the_same_call_stays() {
    let one = Purge::Installed(flow(Some(HOST), OLD));
    let any = Purge::Installed(flow(None, NEW));
    for purges in [[one.clone(), any.clone()], [any, one]] {
        assert_meant(&purges, &entry(CLIENT, HOST, Some(OLD)), false);
        assert_meant(&purges, &entry(CLIENT, HOST_TOO, Some(OLD)), true);
        assert_meant(&purges, &entry(CLIENT, HOST_TOO, Some(NEW)), false);
    }
}

#[test]
fn a_forward_that_passes_to_another_container_with_the_same_address_loses_its_flows() {
    let removed = Purge::Removed(flow(None, OLD));
    let installed = Purge::Installed(flow(None, OLD));
    for purges in [[removed.clone(), installed.clone()], [installed, removed]] {
        assert_meant(&purges, &entry(CLIENT, HOST, Some(OLD)), true);
    }
}

fn any_address() -> impl Strategy<Value = Ipv6Addr> {
    prop::sample::select(vec![HOST, HOST_TOO, CLIENT, OLD, NEW, ELSEWHERE]).prop_map(addr)
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let proto = prop::sample::select(Proto::ALL.to_vec());
    (
        proto,
        prop::option::of(any_address()),
        80_u16..83,
        any_address(),
    )
        .prop_map(|(proto, host_addr, host_port, target)| Flow {
            proto,
            host_addr,
            host_port,
            target: (target, 80),
        })
}

proptest! {
    /// What is hashed by port is what a comparison of everything with everything finds.
    #[test]
    fn no_entry_is_meant_that_no_single_purge_means(
        purges in prop::collection::vec(
            prop_oneof![any_flow().prop_map(Purge::Removed), any_flow().prop_map(Purge::Installed)],
            0..8,
        ),
        proto in prop::sample::select(Proto::ALL.to_vec()),
        (source, to, by) in (any_address(), any_address(), any_address()),
        port in 80_u16..83,
    ) {
        let entry = invented(proto, source, (to, port), (by, 80));
        let local = local();
        let alone = |purge: &Purge| {
            Selection::new(std::slice::from_ref(purge), &local).means(&entry)
        };
        let together = Selection::new(&purges, &local).means(&entry);
        let removed = purges.iter().any(|p| matches!(p, Purge::Removed(_)) && alone(p));
        prop_assert!(!removed || together);
        prop_assert!(!together || purges.iter().any(alone));
    }
}
