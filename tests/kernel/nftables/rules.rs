//! Rules of the nftables backend to test with.

use docker_nat66::model::element::Element;
use docker_nat66::model::forward::Proto;
use docker_nat66::model::rule::{BackendKind, Dnat, DnatKey, Rule, RuleSpec, Via};

pub(crate) fn rule(spec: RuleSpec) -> Rule {
    Rule {
        backend: BackendKind::Nftables,
        spec,
    }
}

fn element(element: Element) -> Rule {
    rule(RuleSpec::Element(element))
}

pub(crate) fn egress(dev: &str) -> Rule {
    element(Element::Egress(dev.parse().expect("valid")))
}

pub(crate) fn prefix(net: &str) -> Rule {
    element(Element::Prefix(net.parse().expect("valid")))
}

pub(crate) fn guarded(net: &str) -> Rule {
    element(Element::Guarded(net.parse().expect("valid")))
}

pub(crate) fn source(net: &str, source: &str) -> Rule {
    element(Element::Source {
        prefix: net.parse().expect("valid"),
        source: source.parse().expect("valid"),
    })
}

pub(crate) fn refused(host_addr: Option<&str>) -> Rule {
    element(Element::Refused {
        proto: Proto::Tcp,
        host_addr: host_addr.map(|addr| addr.parse().expect("valid")),
        host_port: 80,
    })
}

pub(crate) fn hairpin(net: &str) -> Rule {
    rule(RuleSpec::HairpinMasquerade {
        prefix: net.parse().expect("valid"),
    })
}

/// A forward of a port to port 80 of a container, changed from a plain one of TCP.
pub(crate) fn dnat(via: Via, host_port: u16, change: impl FnOnce(&mut Dnat)) -> Rule {
    let mut dnat = Dnat {
        key: DnatKey {
            via,
            proto: Proto::Tcp,
            host_addr: None,
            host_port,
            source: None,
        },
        target: "fdfd:5898:4917:1::2".parse().expect("valid"),
        target_port: 80,
        spares_link_local: false,
    };
    change(&mut dnat);
    rule(RuleSpec::Dnat(dnat))
}

pub(crate) fn tcp(host_port: u16) -> Rule {
    dnat(Via::Outside, host_port, |_| {})
}

pub(crate) fn limited(source: &str, host_addr: Option<&str>) -> Rule {
    dnat(Via::Outside, 80, |dnat| {
        dnat.key.source = Some(source.parse().expect("valid"));
        dnat.key.host_addr = host_addr.map(|addr| addr.parse().expect("valid"));
    })
}

/// One of every kind, with whatever may be encoded in a way of its own; no two contradict each
/// other.
pub(crate) fn every_kind() -> Vec<Rule> {
    let at = |addr: &'static str| {
        move |dnat: &mut Dnat| dnat.key.host_addr = Some(addr.parse().expect("valid"))
    };
    let proto = |proto| move |dnat: &mut Dnat| dnat.key.proto = proto;
    vec![
        egress("eth0"),
        egress("enp0s31f6.100@x"),
        prefix("fdfd:5898:4917:1::/64"),
        // Next to the former.
        prefix("fdfd:5898:4917:2::/63"),
        // To the last address there is.
        prefix("fe00::/7"),
        prefix("::1.2.3.4/128"),
        guarded("fdfd:5898:4917:1::/64"),
        source("fdfd:5898:4917:1::/64", "2001:db8::1"),
        source("fdfd:5898:4917:2::/128", "::1.2.3.4"),
        hairpin("fdfd:5898:4917:1::/64"),
        hairpin("fdfd::1/128"),
        refused(None),
        refused(Some("2001:db8::1")),
        tcp(80),
        tcp(65_535),
        dnat(Via::Outside, 53, proto(Proto::Udp)),
        dnat(Via::Outside, 9, proto(Proto::Sctp)),
        dnat(Via::Outside, 80, at("2001:db8::1")),
        dnat(Via::Outside, 81, at("::ffff:1.2.3.4")),
        limited("2001:db8::/32", None),
        limited("::1.2.3.4/128", None),
        limited("2001:db8::/31", Some("2001:db8::1")),
        limited("::/0", Some("2001:db8::2")),
        dnat(Via::Inside, 80, |_| {}),
        dnat(Via::Inside, 80, at("2001:db8::1")),
    ]
}
