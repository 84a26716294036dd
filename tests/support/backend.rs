//! The backend that the daemon uses, and how the two differ as seen from outside.
//!
//! Every test of the lab runs once for each backend: `tests/run` starts this program anew for each,
//! and says which tests are about one of them alone. What the kernel then shows is read from both
//! places, wherever the daemon should have put it ([`crate::support::lab::rules`]).

use std::sync::OnceLock;

use serde_json::{Value, json};

/// What holds the daemon's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Rules in the tables of ip6tables.
    Ip6tables,
    /// Elements of a table of the daemon's own.
    Nftables,
}

/// The backend that the daemon gets from a test that does not name one.
pub(crate) fn in_use() -> Backend {
    static IN_USE: OnceLock<Backend> = OnceLock::new();
    *IN_USE.get_or_init(|| match std::env::var("DOCKER_NAT66_LAB_BACKEND") {
        Ok(name) if name == "nftables" => Backend::Nftables,
        Ok(name) if name != "ip6tables" => panic!("no such backend: {name:?}"),
        _ => Backend::Ip6tables,
    })
}

impl Backend {
    /// As `--backend` takes it, and `dump` shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ip6tables => "ip6tables",
            Self::Nftables => "nftables",
        }
    }

    /// How many rules follow from the daemon's options alone, for one interface and one prefix:
    /// the jump, six guards and the masquerade; or the interface, the prefix, and the prefix
    /// again as one whose unpublished ports are closed.
    pub(crate) fn statics(self) -> usize {
        match self {
            Self::Ip6tables => 8,
            Self::Nftables => 3,
        }
    }

    /// The interface of a forward in `dump`: an element is for all of them.
    pub(crate) fn dev_of_forward(self, dev: &str) -> Value {
        match self {
            Self::Ip6tables => json!(dev),
            Self::Nftables => Value::Null,
        }
    }

    /// What the log says of the rule that lets containers out through eth0.
    pub(crate) fn set_postrouting(self, prefix: &str) -> String {
        let command = match self {
            Self::Ip6tables => {
                format!("/sbin/ip6tables -t nat -A POSTROUTING -o eth0 -s {prefix} -j MASQUERADE")
            }
            Self::Nftables => {
                format!("nft add element ip6 docker_nat66 prefixes {{ {prefix} comment \"")
            }
        };
        format!("NAT66 set postrouting: {command}")
    }

    /// What the log says of a new forward from eth0, beginning and end.
    pub(crate) fn add_portfwd(self, port: &str, addr: &str, inside: u16) -> [String; 2] {
        let (command, target) = match self {
            Self::Ip6tables => (
                format!(
                    "/sbin/ip6tables -t nat -A PREROUTING -i eth0 -p tcp --dport {port} -j DNAT "
                ),
                format!("--dport {port} -j DNAT --to-destination [{addr}]:{inside}"),
            ),
            Self::Nftables => (
                format!("nft add element ip6 docker_nat66 forwards {{ tcp . {port} comment \""),
                format!("\" : {addr} . {inside} }}"),
            ),
        };
        [format!("NAT66 add portfwd: {command}"), target]
    }

    /// What the log says of a forward that goes, beginning and end.
    pub(crate) fn del_portfwd(self, port: &str) -> [String; 2] {
        let (command, key) = match self {
            Self::Ip6tables => ("/sbin/ip6tables -t nat ", format!("--dport {port} -j DNAT")),
            Self::Nftables => (
                "nft delete element ip6 docker_nat66 forwards ",
                format!("{{ tcp . {port} }}"),
            ),
        };
        [format!("NAT66 del portfwd: {command}"), key]
    }

    /// What the operator must run where another firewall, or an Engine that filters, has set the policy
    /// of ip6tables' FORWARD to DROP: a table of the daemon's own cannot overrule that.
    pub(crate) fn open_forward(self) -> &'static str {
        match self {
            Self::Ip6tables => "true",
            Self::Nftables => "ip6tables -P FORWARD ACCEPT",
        }
    }

    /// Lists the daemon's forwards together with those of an Engine that uses ip6tables. nft
    /// leaves out the comments of that tool's rules.
    pub(crate) fn beside_docker(self) -> &'static [&'static str] {
        match self {
            Self::Ip6tables => &["ip6tables-save", "-t", "nat"],
            Self::Nftables => &["nft", "list", "ruleset", "ip6"],
        }
    }

    /// A shell command that removes the daemon's forwards behind its back.
    pub(crate) fn wipe(self) -> &'static str {
        match self {
            Self::Ip6tables => "ip6tables -t nat -F",
            Self::Nftables => "nft delete table ip6 docker_nat66",
        }
    }
}
