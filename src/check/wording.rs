//! Words of shell, names that others have chosen, and a prefix to suggest. Pure.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use sha2::{Digest, Sha256};

use super::ruleset::{Home, Place};
use crate::backend::authors::{Author, author};
use crate::backend::ip6tables::Variant;
use crate::model::text::must_be_escaped;
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

/// The text as one word for a shell, and as it is printed; `None` where no such word would be
/// printed as it is.
pub(crate) fn word(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Some(text.to_owned());
    }
    let is_safe = |c: char| c != '\'' && c != '\n' && !must_be_escaped(c);
    text.chars().all(is_safe).then(|| format!("'{text}'"))
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

/// A table or a chain, as nft reads its name: it takes no quotes.
pub(crate) fn nft_word(name: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts && name.chars().all(is_plain)).then(|| name.to_owned())
}

/// What the tool for the tables of this variant of ip6tables is called where the plain name means
/// `plain`; `None` where no tool for the tables in nf_tables is known.
pub(crate) fn tool(of: Variant, plain: Option<Variant>) -> Option<&'static str> {
    match (of, plain) {
        (Variant::Legacy, Some(Variant::Legacy)) | (Variant::Nft, Some(Variant::Nft)) => {
            Some("ip6tables")
        }
        (Variant::Legacy, _) => Some("ip6tables-legacy"),
        (Variant::Nft, Some(Variant::Legacy)) => Some("ip6tables-nft"),
        (Variant::Nft, None) => None,
    }
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
    fn a_word_is_read_by_the_shell_as_it_was_meant_or_not_printed() {
        let cases = [
            ("web_1", Some("web_1")),
            ("a b", Some("'a b'")),
            ("$(reboot)", Some("'$(reboot)'")),
            ("", Some("''")),
            ("it's", None),
            ("a\\b", None),
            ("a\nb", None),
            ("a\u{202e}b", None),
        ];
        for (text, expected) in cases {
            assert_eq!(word(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(nft_word("a; flush ruleset"), None);
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
