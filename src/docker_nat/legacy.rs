//! Reads Docker's own IPv6 NAT from the tables of ip6tables' legacy variant, as ip6tables-save
//! prints them.
//!
//! Pure. Skips lines that Docker does not write: they belong to other programs.

use std::collections::BTreeSet;
use std::net::SocketAddrV6;

use ipnet::Ipv6Net;

use super::observation::{DOCKER, DockerNat, LeftBehind};
use crate::backend::ip6tables::tokens::{self, Word};
use crate::model::published::HostForward;

/// The command that removes the rules that an Engine left behind there.
const TOOL: &str = "ip6tables-legacy";

/// Adds the DNAT rules in a listing of the nat table.
pub(crate) fn add(listing: &[u8], seen: &mut DockerNat) {
    for words in rules(&String::from_utf8_lossy(listing)) {
        match value(&words, "-A") {
            Some("PREROUTING") => seen.chains |= value(&words, "-j") == Some(DOCKER),
            Some(DOCKER) => seen.forwards.extend(forward(&words)),
            _ => {}
        }
    }
    if !seen.chains {
        seen.forwards.clear();
    }
}

/// The drops in the chain `DOCKER` of a listing of the filter table, if packets reach that chain.
pub(crate) fn left_behind(listing: &[u8]) -> BTreeSet<LeftBehind> {
    let rules = rules(&String::from_utf8_lossy(listing));
    let mut reached = BTreeSet::from(["FORWARD"]);
    loop {
        let from = |chain: &&str| reached.contains(chain);
        let jumps = rules
            .iter()
            .filter(|rule| value(rule, "-A").as_ref().is_some_and(from));
        let more: BTreeSet<&str> = jumps.filter_map(|rule| value(rule, "-j")).collect();
        if more.is_subset(&reached) {
            break;
        }
        reached.extend(more);
    }
    if !reached.contains(DOCKER) {
        return BTreeSet::new();
    }
    let bridge = |rule: &Vec<Word>| {
        let texts: Vec<&str> = rule.iter().map(|word| word.text.as_str()).collect();
        match texts.as_slice() {
            ["-A", DOCKER, "!", "-i", inside, "-o", outside, "-j", "DROP"] if inside == outside => {
                Some(LeftBehind::drop_of(outside, TOOL))
            }
            _ => None,
        }
    };
    rules.iter().filter_map(bridge).collect()
}

fn rules(listing: &str) -> Vec<Vec<Word>> {
    let rules = listing.lines().filter(|line| line.starts_with("-A "));
    let words = rules.filter_map(|rule| tokens::split(rule).ok());
    words.map(|(words, _)| words).collect()
}

fn value<'a>(words: &'a [Word], option: &str) -> Option<&'a str> {
    let at = words.iter().position(|w| !w.quoted && w.text == option)?;
    words.get(at + 1).map(|w| w.text.as_str())
}

/// The DNAT of one port: `-p PROTO -d ADDRESS/128 --dport PORT --to-destination [ADDRESS]:PORT`.
fn forward(words: &[Word]) -> Option<HostForward> {
    let socket: SocketAddrV6 = value(words, "--to-destination")?.parse().ok()?;
    let host_addr = match value(words, "-d") {
        None => None,
        Some(net) => {
            let net: Ipv6Net = net.parse().ok()?;
            Some(net.addr()).filter(|_| net.prefix_len() == 128)
        }
    };
    Some(HostForward {
        proto: value(words, "-p")?.parse().ok()?,
        host_addr,
        host_port: value(words, "--dport")?.parse().ok()?,
        target: (*socket.ip(), socket.port()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed for Engine 20.10.24 with `--experimental --ip6tables=true`.
    const SAVED: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n\
        -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
        -A POSTROUTING -s fdfd:5898:4917:1::/64 ! -o docker0 -j MASQUERADE\n\
        -A DOCKER -i docker0 -j RETURN\n\
        -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT \
        --to-destination [fdfd:5898:4917:1:0:242:ac11:2]:80\nCOMMIT\n";

    #[test]
    fn dockers_chain_is_known_by_its_jump_and_its_targets() {
        let mut seen = DockerNat::default();
        add(SAVED.as_bytes(), &mut seen);
        let addr = "fdfd:5898:4917:1:0:242:ac11:2".parse().unwrap();
        let forward = HostForward {
            proto: crate::model::forward::Proto::Tcp,
            host_addr: None,
            host_port: 8080,
            target: (addr, 80),
        };
        assert!(seen.chains);
        assert_eq!(seen.forwards, [forward].into());
    }

    #[test]
    fn rules_of_others_are_not_dockers() {
        let mut seen = DockerNat::default();
        let text = "-A PREROUTING -m comment --comment \"-j DOCKER\" -j ACCEPT\n\
            -A PREROUTING -j DOCKER-NAT66\n-A PREROUTING -j DNAT --to-destination [fdfd::2]:80\n\
            -A DOCKER -p tcp -m tcp --dport 1 -j DNAT --to-destination nonsense\n-A DOCKER -m comment --comment \"\n";
        add(text.as_bytes(), &mut seen);
        assert_eq!(seen, DockerNat::default());
    }
}
