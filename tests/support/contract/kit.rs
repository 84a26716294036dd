//! What the backends of rules in tables are tested with.

use docker_nat66::backend::Verb;

use super::Kit;
use super::rules::{every_kind, tcp, tcp_to};

/// For both variants of ip6tables, and the fake.
pub(crate) fn ip6tables() -> Kit {
    Kit {
        tcp,
        elsewhere: |port| tcp_to(port, "fdfd::3"),
        every_kind,
        lookalikes,
        altered,
        stranger: "-A PREROUTING -i eth9 -j ACCEPT",
        command: |verb| match verb {
            Verb::Add => "/sbin/ip6tables -t nat -A ",
            Verb::Del => "/sbin/ip6tables -t nat -D ",
        },
        copies: true,
        edits: true,
    }
}

fn lookalikes(id: &str) -> Vec<String> {
    vec![
        "-A PREROUTING -i eth0 -p tcp -m tcp --dport 1 -m addrtype --dst-type LOCAL -j DNAT --to-destination [fdfd::2]:80".to_owned(),
        format!("-A PREROUTING -m comment --comment \"x {id}\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"{id} \" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"\\\"{id}\\\" \\\\ it\\'s\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"\\\" -m comment --comment \\\"{id}\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment x -m comment --comment \"{id}\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"{}\" -j ACCEPT", id.to_uppercase()),
        "-A OUTPUT -m comment --comment \"docker-nat66:\" -j ACCEPT".to_owned(),
        "-A OUTPUT -m comment --comment docker-nat66 -j ACCEPT".to_owned(),
        "-A POSTROUTING -s fdfd::/64 -o eth0 -j MASQUERADE".to_owned(),
        "-A FORWARD -i eth0 -j DROP".to_owned(),
        format!("-A INPUT -m comment --comment \"{id} x\" -j ACCEPT"),
    ]
}

fn altered(id: &str) -> Vec<String> {
    vec![
        format!(
            "-A PREROUTING -i eth0 -p tcp -m tcp --dport 2 -m addrtype --dst-type LOCAL \
             -m comment --comment \"{id}\" -j DNAT --to-destination [fdfd::9]:80"
        ),
        format!(
            "-A OUTPUT -d 2001:db8::/32 ! -o eth0 -p udp -m udp --sport 1:9 \
             -m comment --comment \"{id}\" -j ACCEPT"
        ),
    ]
}
