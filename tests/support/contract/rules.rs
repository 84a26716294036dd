//! Rules to test with.

use docker_nat66::backend::{Backend, Batch, compile};
use docker_nat66::model::rule::{BackendKind, Rule};

/// The rule of ip6tables with this text.
pub(crate) fn rule(text: &str) -> Rule {
    let rule = compile::rule(BackendKind::Ip6tables, text);
    rule.unwrap_or_else(|| panic!("no rule of ours: {text:?}"))
}

/// The jump to the chain of the guards.
pub(crate) fn jump() -> Rule {
    rule("filter FORWARD -j DOCKER-NAT66")
}

/// The jump to the chain that refuses.
pub(crate) fn jump_in() -> Rule {
    rule("filter INPUT -j DOCKER-NAT66-IN")
}

/// The jump of what the host sends to the chain for the host and the containers.
pub(crate) fn jump_host() -> Rule {
    rule("nat OUTPUT ! -s fe80::/10 -j DOCKER-NAT66-INSIDE ! -d ::1 -m addrtype --dst-type LOCAL")
}

/// The same of what containers of this prefix send.
pub(crate) fn jump_containers(prefix: &str) -> Rule {
    rule(&format!(
        "nat PREROUTING -s {prefix} -j DOCKER-NAT66-INSIDE -m addrtype --dst-type LOCAL"
    ))
}

/// A DNAT rule for the host and the containers.
pub(crate) fn inside(host_port: u16, at: &str) -> Rule {
    rule(&format!(
        "nat DOCKER-NAT66-INSIDE -p tcp --dport {host_port} -j DNAT --to-destination [fdfd::2]:80{at}"
    ))
}

/// Drops spoofed sources on eth0.
pub(crate) fn spoofed() -> Rule {
    rule("filter DOCKER-NAT66 -i eth0 -s fdfd:5898:4917:1::/64 -j DROP")
}

/// Accepts what was forwarded on eth0.
pub(crate) fn forwarded() -> Rule {
    rule(
        "filter DOCKER-NAT66 -i eth0 -d fdfd:5898:4917:1::/64 -m conntrack --ctstate DNAT -j ACCEPT",
    )
}

/// Accepts the containers' answers on eth0.
pub(crate) fn reply() -> Rule {
    rule(
        "filter DOCKER-NAT66 -o eth0 -s fdfd:5898:4917:1::/64 \
         -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )
}

/// A refusal of TCP port 80 on eth0.
pub(crate) fn refuse() -> Rule {
    rule("filter DOCKER-NAT66-IN -i eth0 -p tcp --dport 80 -m addrtype --dst-type LOCAL -j DROP")
}

/// A masquerade rule.
pub(crate) fn masquerade(dev: &str, prefix: &str) -> Rule {
    rule(&format!(
        "nat POSTROUTING -o {dev} -s {prefix} -j MASQUERADE ! -d {prefix} \
         -m addrtype ! --src-type LOCAL"
    ))
}

/// A rule that gives a subnet a source of its own on eth0.
pub(crate) fn snat(prefix: &str, source: &str) -> Rule {
    rule(&format!(
        "nat POSTROUTING -o eth0 -s {prefix} -j SNAT --to-source {source} ! -d {prefix} \
         -m addrtype ! --src-type LOCAL"
    ))
}

/// A masquerade rule for what goes back into the prefix.
fn hairpin(prefix: &str) -> Rule {
    rule(&format!(
        "nat POSTROUTING -s {prefix} -j MASQUERADE -d {prefix} -m conntrack --ctstate DNAT"
    ))
}

/// A filter rule for what containers send each other by way of a published port.
pub(crate) fn hairpin_guard(from: &str, to: &str) -> Rule {
    rule(&format!(
        "filter DOCKER-NAT66 -s {from} -d {to} -m conntrack --ctstate DNAT -j ACCEPT"
    ))
}

/// A DNAT rule of this chain for what comes this way, to port 80 of a container; `more` stands behind
/// the target.
fn dnat(way: &str, port: &str, target: &str, more: &str) -> Rule {
    rule(&format!(
        "nat {way} {port} -j DNAT --to-destination [{target}]:80 {more}-m addrtype --dst-type LOCAL"
    ))
}

/// A plain DNAT rule on eth0 for a TCP port.
pub(crate) fn tcp(host_port: u16) -> Rule {
    tcp_to(host_port, "fdfd:5898:4917:1::2")
}

/// The same to this target.
pub(crate) fn tcp_to(host_port: u16, target: &str) -> Rule {
    let port = format!("-p tcp --dport {host_port}");
    dnat("PREROUTING -i eth0", &port, target, "")
}

/// One of every kind, with whatever may be printed in a way of its own.
pub(crate) fn every_kind() -> Vec<Rule> {
    let outside = |port, target, more| dnat("PREROUTING -i eth0", port, target, more);
    let limited = |source| {
        let more = format!("-s {source} ");
        dnat("PREROUTING -i eth0", "-p tcp --dport 80", "fdfd::3", &more)
    };
    let host = |more| dnat("OUTPUT", "-p tcp --dport 80", "fdfd::2", more);
    let container = |more| {
        let way = "PREROUTING -s fdfd::/64";
        dnat(way, "-p tcp --dport 80", "fdfd::2", more)
    };
    vec![
        jump(),
        jump_in(),
        jump_host(),
        jump_containers("fdfd:5898:4917:1::/64"),
        jump_containers("fdfd::1"),
        inside(80, ""),
        inside(80, " -d 2001:db8::1"),
        outside("-p tcp --dport 1", "fdfd::2", ""),
        outside("-p udp --dport 1", "fdfd::2", ""),
        outside("-p sctp --dport 65535", "::5", ""),
        outside("-p tcp --dport 8080", "fdfd::2", "-d 2001:db8::1 "),
        outside(
            "-p tcp --dport 8080",
            "fdfd::2",
            "! -s fe80::/10 -d 2001:db8::1 ",
        ),
        outside("-p udp --dport 53", "::1.2.3.4", "-d ::ffff:1.2.3.4 "),
        limited("2001:db8::/32"),
        limited("::1.2.3.4"),
        tcp(80),
        outside("-p tcp --dport 81", "fdfd::2", "! -s fe80::/10 "),
        host("! -s fe80::/10 ! -d ::1 "),
        host("! -d ::1 "),
        host("! -s fe80::/10 -d 2001:db8::1 "),
        container(""),
        container("-d 2001:db8::1 "),
        masquerade("eth0", "fdfd:5898:4917:1::/64"),
        masquerade("enp0s31f6.100@x", "fdfd::1"),
        masquerade("eth0", "fc00::/7"),
        snat("fdfd:5898:4917:1::/64", "2001:db8::1"),
        snat("fdfd::/64", "::1.2.3.4"),
        hairpin("fdfd:5898:4917:1::/64"),
        hairpin("fdfd::1"),
        hairpin_guard("fdfd:5898:4917:1::/64", "fdfd:5898:4917:1::/64"),
        hairpin_guard("fdfd::1", "fdfd::2"),
        refuse(),
        rule(
            "filter DOCKER-NAT66-IN -i eth0 -p tcp --dport 80 -d 2001:db8::1 \
             -m addrtype --dst-type LOCAL -j DROP",
        ),
        spoofed(),
        rule(
            "filter DOCKER-NAT66 -i eth0 -d fdfd:5898:4917:1::/64 \
             -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ),
        forwarded(),
        reply(),
        rule(
            "filter DOCKER-NAT66 -o eth0 -s fdfd:5898:4917:1::/64 \
             -m conntrack --ctstate NEW -j ACCEPT",
        ),
        rule(
            "filter DOCKER-NAT66 -i eth0 -d fdfd:5898:4917:1::/64 \
             -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        ),
    ]
}

/// A batch that inserts.
pub(crate) fn insertion(rules: &[Rule]) -> Batch {
    Batch {
        insert: rules.to_vec(),
        ..Batch::default()
    }
}

/// A batch that removes what the backend lists, as far as it is chosen.
pub(crate) fn removal(backend: &mut dyn Backend, chosen: impl Fn(&Rule) -> bool) -> Batch {
    let mut remove = backend.list().expect("a certain listing");
    remove.retain(|seen| seen.rule.as_ref().is_none_or(&chosen));
    Batch {
        remove,
        ..Batch::default()
    }
}

/// What the backend lists, as contents.
pub(crate) fn listed(backend: &mut dyn Backend) -> Vec<Option<Rule>> {
    let seen = backend.list().expect("a certain listing");
    seen.into_iter().map(|seen| seen.rule).collect()
}

/// The same without order, for rules in several chains.
pub(crate) fn contents(backend: &mut dyn Backend) -> Vec<Option<Rule>> {
    let mut rules = listed(backend);
    rules.sort();
    rules
}
