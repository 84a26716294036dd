//! Rules to test with.

use docker_nat66::backend::{Backend, Batch};
use docker_nat66::model::forward::Proto;
use docker_nat66::model::rule::{BackendKind, Dnat, DnatKey, Rule, RuleSpec};

/// A masquerade rule.
pub(crate) fn masquerade(dev: &str, prefix: &str) -> Rule {
    Rule {
        backend: BackendKind::Ip6tables,
        spec: RuleSpec::Masquerade {
            dev: dev.parse().expect("valid"),
            prefix: prefix.parse().expect("valid"),
        },
    }
}

/// A DNAT rule to port 80 of `target`.
pub(crate) fn dnat(proto: Proto, host_addr: Option<&str>, host_port: u16, target: &str) -> Rule {
    Rule {
        backend: BackendKind::Ip6tables,
        spec: RuleSpec::Dnat(Dnat {
            key: DnatKey {
                dev: "eth0".parse().expect("valid"),
                proto,
                host_addr: host_addr.map(|addr| addr.parse().expect("valid")),
                host_port,
            },
            target: target.parse().expect("valid"),
            target_port: 80,
        }),
    }
}

/// A plain DNAT rule for a TCP port.
pub(crate) fn tcp(host_port: u16) -> Rule {
    dnat(Proto::Tcp, None, host_port, "fdfd:5898:4917:1::2")
}

/// A batch that inserts.
pub(crate) fn insertion(rules: &[Rule]) -> Batch {
    Batch {
        insert: rules.to_vec(),
        ..Batch::default()
    }
}

/// What the backend lists, as contents.
pub(crate) fn listed(backend: &mut dyn Backend) -> Vec<Option<Rule>> {
    let seen = backend.list().expect("a certain listing");
    seen.into_iter().map(|seen| seen.rule).collect()
}
