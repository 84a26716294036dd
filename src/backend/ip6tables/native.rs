//! Docker's own IPv6 NAT in a listing of the nat table.
//!
//! Pure. Lines that are not understood are passed over: they are another program's.

use super::words::{self, Word};
use crate::backend::native::DOCKER;
use crate::model::native::{Native, Target};

/// Adds what ip6tables-save shows of it.
pub(super) fn add(listing: &[u8], native: &mut Native) {
    let listing = String::from_utf8_lossy(listing);
    let rules = listing.lines().filter(|line| line.starts_with("-A "));
    for (words, _) in rules.filter_map(|rule| words::split(rule).ok()) {
        match value(&words, "-A") {
            Some("PREROUTING") => native.jump |= value(&words, "-j") == Some(DOCKER),
            Some(DOCKER) => {
                native
                    .targets
                    .extend(value(&words, "--to-destination").and_then(target));
            }
            _ => {}
        }
    }
}

fn value<'a>(words: &'a [Word], option: &str) -> Option<&'a str> {
    let at = words.iter().position(|w| !w.quoted && w.text == option)?;
    words.get(at + 1).map(|w| w.text.as_str())
}

/// `[ADDRESS]:PORT`.
fn target(text: &str) -> Option<Target> {
    let socket: std::net::SocketAddrV6 = text.parse().ok()?;
    Some((*socket.ip(), socket.port()))
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
        let mut native = Native::default();
        add(SAVED.as_bytes(), &mut native);
        let addr = "fdfd:5898:4917:1:0:242:ac11:2".parse().unwrap();
        assert!(native.jump && !native.table);
        assert_eq!(native.targets, [(addr, 80)].into());
    }

    #[test]
    fn rules_of_others_are_not_dockers() {
        let mut native = Native::default();
        let text = "-A PREROUTING -m comment --comment \"-j DOCKER\" -j ACCEPT\n\
            -A PREROUTING -j DOCKER-NAT66\n-A PREROUTING -j DNAT --to-destination [fdfd::2]:80\n\
            -A DOCKER -j DNAT --to-destination nonsense\n-A DOCKER -m comment --comment \"\n";
        add(text.as_bytes(), &mut native);
        assert_eq!(native, Native::default());
    }
}
