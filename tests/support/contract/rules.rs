//! Rules to test with.

use docker_nat66::backend::{Backend, Batch};
use docker_nat66::model::forward::Proto;
use docker_nat66::model::rule::{
    BackendKind, Dnat, DnatKey, Guard, Hook, HostPort, Rule, RuleSpec, Via,
};

fn rule(spec: RuleSpec) -> Rule {
    Rule {
        backend: BackendKind::Ip6tables,
        spec,
    }
}

/// A jump to a chain of ours.
pub(crate) fn jump(hook: Hook) -> Rule {
    rule(RuleSpec::Jump(hook))
}

/// A filter rule on eth0.
pub(crate) fn guard(guard: Guard) -> Rule {
    rule(RuleSpec::Guard {
        dev: "eth0".parse().expect("valid"),
        prefix: "fdfd:5898:4917:1::/64".parse().expect("valid"),
        guard,
    })
}

/// A refusal of TCP port 80 on eth0.
pub(crate) fn refuse(host_addr: Option<&str>) -> Rule {
    rule(RuleSpec::Refuse(HostPort {
        dev: "eth0".parse().expect("valid"),
        proto: Proto::Tcp,
        host_addr: host_addr.map(|addr| addr.parse().expect("valid")),
        host_port: 80,
    }))
}

/// A masquerade rule.
pub(crate) fn masquerade(dev: &str, prefix: &str) -> Rule {
    rule(RuleSpec::Masquerade {
        dev: dev.parse().expect("valid"),
        prefix: prefix.parse().expect("valid"),
    })
}

/// A rule that gives a subnet a source of its own on eth0.
pub(crate) fn snat(prefix: &str, source: &str) -> Rule {
    rule(RuleSpec::Snat {
        dev: "eth0".parse().expect("valid"),
        prefix: prefix.parse().expect("valid"),
        source: source.parse().expect("valid"),
    })
}

/// A masquerade rule for what goes back into the prefix.
pub(crate) fn hairpin(prefix: &str) -> Rule {
    rule(RuleSpec::HairpinMasquerade {
        prefix: prefix.parse().expect("valid"),
    })
}

/// A filter rule for what containers send each other by way of a published port.
pub(crate) fn hairpin_guard(from: &str, to: &str) -> Rule {
    rule(RuleSpec::HairpinGuard {
        from: from.parse().expect("valid"),
        to: to.parse().expect("valid"),
    })
}

/// A DNAT rule on eth0 to port 80 of `target`.
pub(crate) fn dnat(proto: Proto, host_addr: Option<&str>, host_port: u16, target: &str) -> Rule {
    via(Via::Egress("eth0".parse().expect("valid")), |dnat| {
        dnat.key.proto = proto;
        dnat.key.host_addr = host_addr.map(|addr| addr.parse().expect("valid"));
        dnat.key.host_port = host_port;
        dnat.target = target.parse().expect("valid");
    })
}

/// A plain DNAT rule for a TCP port.
pub(crate) fn tcp(host_port: u16) -> Rule {
    dnat(Proto::Tcp, None, host_port, "fdfd:5898:4917:1::2")
}

/// A DNAT rule for what comes from there, changed from a plain one for TCP port 80.
pub(crate) fn via(via: Via, change: impl FnOnce(&mut Dnat)) -> Rule {
    let mut dnat = Dnat {
        key: DnatKey {
            via,
            proto: Proto::Tcp,
            host_addr: None,
            host_port: 80,
            source: None,
        },
        target: "fdfd:5898:4917:1::2".parse().expect("valid"),
        target_port: 80,
        spares_link_local: false,
    };
    change(&mut dnat);
    rule(RuleSpec::Dnat(dnat))
}

/// A DNAT rule on eth0 for some sources only.
pub(crate) fn limited(source: &str) -> Rule {
    via(Via::Egress("eth0".parse().expect("valid")), |dnat| {
        dnat.key.source = Some(source.parse().expect("valid"));
    })
}

/// One of every kind, with whatever may be printed in a way of its own.
pub(crate) fn every_kind() -> Vec<Rule> {
    let from = |prefix: &str| Via::Containers(prefix.parse().expect("valid"));
    let at = |addr: &'static str| {
        move |dnat: &mut Dnat| dnat.key.host_addr = Some(addr.parse().expect("valid"))
    };
    let mut rules = vec![
        jump(Hook::Forward),
        jump(Hook::Input),
        dnat(Proto::Tcp, None, 1, "fdfd::2"),
        dnat(Proto::Udp, None, 1, "fdfd::2"),
        dnat(Proto::Sctp, None, 65535, "::5"),
        dnat(Proto::Tcp, Some("2001:db8::1"), 8080, "fdfd::2"),
        dnat(Proto::Udp, Some("::ffff:1.2.3.4"), 53, "::1.2.3.4"),
        limited("2001:db8::/32"),
        limited("::1.2.3.4/128"),
        limited("::/0"),
        tcp(80),
        via(Via::Host, |_| {}),
        via(Via::Host, at("2001:db8::1")),
        via(from("fdfd::/64"), |_| {}),
        via(from("fdfd::/64"), at("2001:db8::1")),
        masquerade("eth0", "fdfd:5898:4917:1::/64"),
        masquerade("enp0s31f6.100@x", "fdfd::1/128"),
        masquerade("eth0", "fc00::/7"),
        snat("fdfd:5898:4917:1::/64", "2001:db8::1"),
        snat("fdfd::/64", "::1.2.3.4"),
        hairpin("fdfd:5898:4917:1::/64"),
        hairpin("fdfd::1/128"),
        hairpin_guard("fdfd:5898:4917:1::/64", "fdfd:5898:4917:1::/64"),
        hairpin_guard("fdfd::1/128", "fdfd::2/128"),
        refuse(None),
        refuse(Some("2001:db8::1")),
    ];
    rules.extend(Guard::ALL.map(guard));
    rules
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
