//! The content of a listed rule, where it is in the form in which ours are printed.
//!
//! Pure. The order of options is left open, since versions may differ; everything else is not:
//! a rule with an option that ours lack is none of ours.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::words::Word;
use crate::model::rule::{BackendKind, Dnat, DnatKey, Rule, RuleSpec};

/// The options of a rule of ours, each at most once. Anything else makes it none.
#[derive(Debug, Default)]
struct Options<'a> {
    chain: Option<&'a str>,
    source: Option<&'a str>,
    destination: Option<&'a str>,
    device_in: Option<&'a str>,
    device_out: Option<&'a str>,
    proto: Option<&'a str>,
    port: Option<&'a str>,
    not_from: Option<&'a str>,
    to: Option<&'a str>,
    comment: Option<&'a str>,
    target: Option<&'a str>,
    destination_nat: Option<&'a str>,
}

impl<'a> Options<'a> {
    /// Sorts the words of a rule; `None` if one is left over.
    fn read(words: &'a [Word]) -> Option<Self> {
        let mut found = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut option = word.text.as_str();
            if word.quoted {
                return None;
            }
            let negated = option == "!";
            if negated {
                option = words.next()?.text.as_str();
            }
            let value = words.next()?.text.as_str();
            let slot = match (negated, option) {
                (false, "-A") => &mut found.chain,
                (false, "-s") => &mut found.source,
                (false, "-d") => &mut found.destination,
                (false, "-i") => &mut found.device_in,
                (false, "-o") => &mut found.device_out,
                (false, "-p") => &mut found.proto,
                (false, "--dport") => &mut found.port,
                (true, "--src-type") => &mut found.not_from,
                (false, "--dst-type") => &mut found.to,
                (false, "--comment") => &mut found.comment,
                (false, "-j") => &mut found.target,
                (false, "--to-destination") => &mut found.destination_nat,
                // The match's options tell whether it says anything.
                (false, "-m") if matches!(value, "addrtype" | "comment") => continue,
                (false, "-m") if found.proto == Some(value) => continue,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

/// The content of a rule in the form in which ours are printed; `None` if it is another.
pub(super) fn of(words: &[Word]) -> Option<Rule> {
    let spec = match Options::read(words)? {
        Options {
            chain: Some("POSTROUTING"),
            source,
            destination: None,
            device_in: None,
            device_out: Some(dev),
            proto: None,
            port: None,
            not_from: Some("LOCAL"),
            to: None,
            comment: Some(_),
            target: Some("MASQUERADE"),
            destination_nat: None,
        } => RuleSpec::Masquerade {
            dev: dev.parse().ok()?,
            // "any source" is not printed.
            prefix: match source {
                Some(prefix) => prefix.parse().ok()?,
                None => Ipv6Net::default(),
            },
        },
        Options {
            chain: Some("PREROUTING"),
            source: None,
            destination,
            device_in: Some(dev),
            device_out: None,
            proto: Some(proto),
            port: Some(port),
            not_from: None,
            to: Some("LOCAL"),
            comment: Some(_),
            target: Some("DNAT"),
            destination_nat: Some(target),
        } => {
            let (addr, target_port) = target.strip_prefix('[')?.split_once("]:")?;
            RuleSpec::Dnat(Dnat {
                key: DnatKey {
                    dev: dev.parse().ok()?,
                    proto: proto.parse().ok()?,
                    host_addr: match destination {
                        Some(net) => Some(single(net)?),
                        None => None,
                    },
                    host_port: self::port(port)?,
                },
                target: addr.parse().ok()?,
                target_port: self::port(target_port)?,
            })
        }
        _ => return None,
    };
    Some(Rule {
        backend: BackendKind::Ip6tables,
        spec,
    })
}

/// One address, printed with its `/128`.
fn single(net: &str) -> Option<Ipv6Addr> {
    net.strip_suffix("/128").unwrap_or(net).parse().ok()
}

/// A port; 0 is none.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}
