//! Rules to test with.

use docker_nat66::backend::compile;
use docker_nat66::model::rule::{BackendKind, Rule};

/// The rule of nftables with this text.
pub(crate) fn rule(text: &str) -> Rule {
    let rule = compile::rule(BackendKind::Nftables, text);
    rule.unwrap_or_else(|| panic!("no rule of ours: {text:?}"))
}

pub(crate) fn prefix(net: &str) -> Rule {
    rule(&format!("prefixes {{ {net} }}"))
}

pub(crate) fn guarded(net: &str) -> Rule {
    rule(&format!("guarded {{ {net} }}"))
}

pub(crate) fn source(net: &str, source: &str) -> Rule {
    rule(&format!("sources {{ {net} : {source} }}"))
}

/// A forward of a TCP port to port 80 of a container.
pub(crate) fn tcp(host_port: u16) -> Rule {
    tcp_to(host_port, "fdfd:5898:4917:1::2")
}

/// The same to port 80 of this one.
pub(crate) fn tcp_to(host_port: u16, target: &str) -> Rule {
    rule(&format!("forwards {{ tcp . {host_port} : {target} . 80 }}"))
}

/// One of every kind, with whatever may be encoded in a way of its own; no two contradict each
/// other.
pub(crate) fn every_kind() -> Vec<Rule> {
    let texts = [
        "egress { \"eth0\" }",
        "egress { \"enp0s31f6.100@x\" }",
        "prefixes { fdfd:5898:4917:1::/64 }",
        // Next to the former.
        "prefixes { fdfd:5898:4917:2::/63 }",
        // To the last address there is.
        "prefixes { fe00::/7 }",
        "prefixes { ::1.2.3.4 }",
        "guarded { fdfd:5898:4917:1::/64 }",
        "sources { fdfd:5898:4917:1::/64 : 2001:db8::1 }",
        "sources { fdfd:5898:4917:2:: : ::1.2.3.4 }",
        "hairpin { fdfd:5898:4917:1::/64 . fdfd:5898:4917:1::/64 }",
        "hairpin { fdfd::1 . fdfd::1 }",
        "refused { tcp . 80 }",
        "refused_host { 2001:db8::1 . tcp . 80 }",
        "forwards { tcp . 80 : fdfd::2 . 80 }",
        "forwards { tcp . 65535 : fdfd::2 . 80 }",
        "forwards { udp . 53 : fdfd::2 . 80 }",
        "forwards { sctp . 9 : fdfd::2 . 80 }",
        "forwards_host { 2001:db8::1 . tcp . 80 : fdfd::2 . 80 }",
        "forwards_host { ::ffff:1.2.3.4 . tcp . 81 : fdfd::2 . 80 }",
        "forwards_from { 2001:db8::/32 . tcp . 80 : fdfd::2 . 80 }",
        "forwards_from { ::1.2.3.4 . tcp . 80 : fdfd::2 . 80 }",
        "forwards_from_host { 2001:db8::/31 . 2001:db8::1 . tcp . 80 : fdfd::2 . 80 }",
        "forwards_from_host { ::/0 . 2001:db8::2 . tcp . 80 : fdfd::2 . 80 }",
        "forwards_inside { tcp . 80 : fdfd::2 . 80 }",
        "forwards_inside_host { 2001:db8::1 . tcp . 80 : fdfd::2 . 80 }",
    ];
    texts.map(rule).into()
}
