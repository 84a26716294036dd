//! Names that others have chosen, as `check` shows them, and a prefix to suggest. Pure.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use sha2::{Digest, Sha256};

use super::ruleset::{Home, Place};
use crate::backend::authors::{Author, author};
use crate::backend::shell::nft_word;
use crate::netlink::message::{INET, IPV6};

/// How many characters of a name are shown; Docker and nf_tables allow long ones.
const SHOWN: usize = 64;

/// A name, cut if it is long.
pub(super) fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

/// A table, as the command line of nft names it; `None` where no command can.
pub(super) fn table(place: &Place) -> Option<String> {
    let family = match place.home {
        Home::Nft(INET) => "inet",
        Home::Nft(IPV6) => "ip6",
        Home::Nft(_) | Home::Legacy => return None,
    };
    nft_word(&place.table).map(|table| format!("{family} {table}"))
}

/// A chain and its table, for people.
pub(super) fn place(place: &Place) -> String {
    let (chain, table) = (shown(&place.chain), shown(&place.table));
    match place.home {
        Home::Nft(INET) => format!("chain {chain} of table inet {table}"),
        Home::Nft(_) => format!("chain {chain} of table ip6 {table}"),
        Home::Legacy => format!("chain {chain} of table {table} of ip6tables-legacy"),
    }
}

/// Who has written a rule in this chain, as far as its name or its table's says.
pub(super) fn owner(place: &Place) -> &'static str {
    match author(&place.table, &place.chain) {
        Some(Author::Program(name)) => name,
        Some(Author::Ours) => "docker-nat66",
        Some(Author::Human) => "a human",
        None => "a human, or a program that leaves no name",
    }
}

/// A unique local network for containers (RFC 4193), the same for the same host and name.
pub(super) fn own_network(host: &str, name: &str) -> Ipv6Net {
    let bytes = |of: &str| <[u8; 32]>::from(Sha256::digest(format!("docker-nat66 {of}")));
    let (global, subnet) = (bytes(host), bytes(name));
    let mut addr = [0; 16];
    addr[0] = 0xfd;
    addr[1..6].copy_from_slice(&global[..5]);
    addr[6..8].copy_from_slice(&subnet[..2]);
    Ipv6Net::new_assert(Ipv6Addr::from(addr), 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(shown(&"x".repeat(64)), "x".repeat(64));
        assert_eq!(shown(&"x".repeat(65)), format!("{}…", "x".repeat(64)));
    }

    #[test]
    fn a_suggested_network_is_a_unique_local_one_of_this_host() {
        let own = own_network("host", "default");
        let ula: Ipv6Net = "fd00::/8".parse().expect("a network");
        assert!(ula.contains(&own), "{own}");
        assert_eq!(own, own_network("host", "default"));
        assert_ne!(own, own_network("host", "other"));
        assert_ne!(own, own_network("another", "default"));
    }
}
