//! Who writes chains and tables of such names, for those programs that are known by them. Pure.

/// The chain of our own that FORWARD jumps to; the names of the others begin like it.
pub(crate) const OWN_FORWARD: &str = "DOCKER-NAT66";

/// Where an administrator writes rules that Docker leaves alone.
pub(crate) const DOCKER_USER: &str = "DOCKER-USER";

/// Who writes rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// docker-nat66 itself.
    Ours,
    /// A human: the chain is kept for one.
    Human,
    /// A program, by its name.
    Program(&'static str),
}

/// What our own tables and comments begin with.
const OURS: [&str; 2] = ["docker-nat66", "docker_nat66"];

/// What names of chains begin with, and whose they are.
const CHAINS: [(&str, &str); 14] = [
    ("ufw6-", "ufw"),
    ("ufw-", "ufw"),
    ("DOCKER", "Docker"),
    ("KUBE-", "Kubernetes"),
    ("f2b-", "fail2ban"),
    ("crowdsec", "CrowdSec"),
    ("CROWDSEC", "CrowdSec"),
    ("cali-", "Calico"),
    ("LIBVIRT_", "libvirt"),
    ("NETAVARK", "Podman"),
    ("CNI-", "a CNI plugin"),
    ("ts-", "Tailscale"),
    ("CILIUM_", "Cilium"),
    ("FLANNEL-", "flannel"),
];

/// What names of tables begin with, and whose they are.
const TABLES: [(&str, &str); 8] = [
    ("firewalld", "firewalld"),
    ("docker-bridges", "Docker"),
    ("kube-proxy", "kube-proxy"),
    ("f2b-", "fail2ban"),
    ("crowdsec", "CrowdSec"),
    ("netavark", "Podman"),
    ("libvirt_", "libvirt"),
    ("fw4", "OpenWrt's firewall (fw4)"),
];

/// Who has written the rules of this chain; `None` where no name says so.
pub(crate) fn author(table: &str, chain: &str) -> Option<Author> {
    if is_ours(table) || chain.starts_with(OWN_FORWARD) {
        return Some(Author::Ours);
    }
    if chain == DOCKER_USER {
        return Some(Author::Human);
    }
    let find = |names: &[(&str, &'static str)], name: &str| {
        let mut names = names.iter();
        names
            .find(|(begin, _)| name.starts_with(begin))
            .map(|(_, whose)| Author::Program(whose))
    };
    find(&CHAINS, chain).or_else(|| find(&TABLES, table))
}

/// Whether a table's name or a comment is one of ours.
pub(crate) fn is_ours(name: &str) -> bool {
    OURS.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_says_more_than_its_table() {
        let cases = [
            (("filter", "DOCKER-USER"), Some(Author::Human)),
            (
                ("filter", "DOCKER-FORWARD"),
                Some(Author::Program("Docker")),
            ),
            (("firewalld", "ufw6-x"), Some(Author::Program("ufw"))),
            (("firewalld", "x"), Some(Author::Program("firewalld"))),
            (("docker_nat66", "forward"), Some(Author::Ours)),
            (("filter", "DOCKER-NAT66"), Some(Author::Ours)),
            (("filter", "FORWARD"), None),
        ];
        for ((table, chain), expected) in cases {
            assert_eq!(author(table, chain), expected, "{chain} of {table}");
        }
    }
}
