//! Words of the commands that are recommended to a person: for a shell, for nft, and the names of
//! ip6tables' tools. Pure.
//!
//! Names come from Docker and from rules of other programs. Where a name cannot be printed so that the
//! shell reads it as it was meant, there is no command.

use super::ip6tables::Variant;
use crate::model::text::must_be_escaped;

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

/// A table or a chain, as nft reads its name: it takes no quotes. `None` where nft would read
/// something else.
pub(crate) fn nft_word(name: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts && name.chars().all(is_plain)).then(|| name.to_owned())
}

/// Whether a rule, as ip6tables-save prints it, is safe to print as part of a command: rules of
/// Engines, of docker-ipv6nat and of the first docker-nat66 have no other characters.
pub(crate) fn is_plain_rule(rule: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " _-./:[],!".contains(c);
    rule.chars().all(is_plain)
}

/// The tool for the tables of this variant, whatever the plain name means on this host.
pub(crate) fn tool_of(variant: Variant) -> &'static str {
    match variant {
        Variant::Nft => "ip6tables-nft",
        Variant::Legacy => "ip6tables-legacy",
    }
}

/// What the tool for the tables of this variant is called where the plain name `ip6tables` means
/// `plain`; `None` where no tool for the tables in nf_tables is known.
pub(crate) fn tool_where(variant: Variant, plain: Option<Variant>) -> Option<&'static str> {
    match (variant, plain) {
        (of, Some(plain)) if of == plain => Some("ip6tables"),
        (Variant::Nft, None) => None,
        (of, _) => Some(tool_of(of)),
    }
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
    }

    #[test]
    fn a_tool_has_its_plain_name_only_where_that_means_its_variant() {
        use Variant::{Legacy, Nft};
        let cases = [
            (Legacy, Some(Legacy), Some("ip6tables")),
            (Legacy, Some(Nft), Some("ip6tables-legacy")),
            (Legacy, None, Some("ip6tables-legacy")),
            (Nft, Some(Nft), Some("ip6tables")),
            (Nft, Some(Legacy), Some("ip6tables-nft")),
            (Nft, None, None),
        ];
        for (of, plain, expected) in cases {
            assert_eq!(tool_where(of, plain), expected, "{of:?} {plain:?}");
        }
    }
}
