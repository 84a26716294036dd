//! Reads a container's labels. They narrow what Docker publishes, and never widen it.
//!
//! | label | meaning |
//! |---|---|
//! | `docker-nat66.enable=false` | keeps the container out |
//! | `docker-nat66.ports=80/tcp,53/udp` | only these container ports; a range is `8000-8010`, tcp may be left out |
//! | `docker-nat66.allow=2001:db8::/32,…` | only these sources |
//!
//! A malformed or unknown label with our prefix closes the whole container: its author wanted to
//! open less than everything, and the daemon does not know how much less.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv6Net;

use crate::model::forward::{Proto, Sources};
use crate::model::text::Untrusted;

/// The prefix of all our labels.
const NAMESPACE: &str = "docker-nat66.";

/// Most entries in one label: each source is a rule per port and interface.
pub(super) const MAX_ENTRIES: usize = 64;

/// What the labels of one container leave open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabelFilter {
    /// Container ports; `None` for all.
    pub ports: Option<Vec<(Proto, RangeInclusive<u16>)>>,
    /// Who may use them.
    pub sources: Sources,
}

impl LabelFilter {
    /// Whether the labels leave this container port open.
    pub(crate) fn allows(&self, proto: Proto, container_port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| {
            let matches = |(p, range): &(Proto, RangeInclusive<u16>)| {
                *p == proto && range.contains(&container_port)
            };
            ports.iter().any(matches)
        })
    }
}

/// Why a container's labels open nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClosedByLabel {
    /// `docker-nat66.enable=false`.
    Disabled,
    /// A malformed or unknown label.
    Malformed {
        /// The label's name.
        label: Untrusted,
        /// Its value.
        value: Untrusted,
        /// What is valid there.
        expected: &'static str,
    },
}

impl fmt::Display for ClosedByLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => write!(f, "label docker-nat66.enable=false"),
            Self::Malformed {
                label,
                value,
                expected,
            } => write!(f, "invalid label {label}=\"{value}\", expected {expected}"),
        }
    }
}

/// Reads the labels of one container.
pub(crate) fn read(labels: &BTreeMap<String, String>) -> Result<LabelFilter, ClosedByLabel> {
    let mut filter = LabelFilter {
        ports: None,
        sources: Sources::Any,
    };
    let mut enabled = true;
    for (label, value) in labels {
        let Some(name) = label.strip_prefix(NAMESPACE) else {
            continue;
        };
        let malformed = |expected| ClosedByLabel::Malformed {
            label: Untrusted::new(label.as_str()),
            value: Untrusted::new(value.as_str()),
            expected,
        };
        match name {
            "enable" => {
                enabled = match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(malformed("true or false")),
                };
            }
            "ports" => {
                let expected = "container ports such as 80/tcp,53/udp,8000-8010";
                let ports = list(value, port).ok_or_else(|| malformed(expected))?;
                filter.ports = Some(ports);
            }
            "allow" => {
                let expected = "IPv6 prefixes such as 2001:db8::/32,2001:db8::1";
                let sources = list(value, source).ok_or_else(|| malformed(expected))?;
                filter.sources = Sources::Only(sources.into_iter().collect::<BTreeSet<_>>());
            }
            _ => {
                return Err(malformed(
                    "one of docker-nat66.enable, docker-nat66.ports, docker-nat66.allow",
                ));
            }
        }
    }
    if enabled {
        Ok(filter)
    } else {
        Err(ClosedByLabel::Disabled)
    }
}

/// Entries between commas; `None` if one is malformed, or there is none.
fn list<T>(text: &str, entry: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let entries: Vec<&str> = text.split(',').map(str::trim).collect();
    if entries.len() > MAX_ENTRIES {
        return None;
    }
    entries.into_iter().map(entry).collect()
}

fn port(text: &str) -> Option<(Proto, RangeInclusive<u16>)> {
    let (ports, proto) = match text.split_once('/') {
        Some((ports, proto)) => (ports, proto.parse().ok()?),
        None => (text, Proto::Tcp),
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits
            .then(|| text.parse::<u16>().ok())?
            .filter(|p| *p != 0)
    };
    let (first, last) = match ports.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(ports)?, number(ports)?),
    };
    (first <= last).then_some((proto, first..=last))
}

/// A prefix whose host bits are zero, or an address. With other host bits, it would be unclear
/// which of the two the user means.
fn source(text: &str) -> Option<Ipv6Net> {
    if let Ok(addr) = text.parse::<Ipv6Addr>() {
        return Some(Ipv6Net::from(addr));
    }
    let net: Ipv6Net = text.parse().ok()?;
    (net.trunc() == net && net.prefix_len() > 0).then_some(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect()
    }

    #[test]
    fn no_label_of_ours_narrows_nothing() {
        let filter = read(&labels(&[("com.example.docker-nat66.enable", "false")])).unwrap();
        assert_eq!(filter.sources, Sources::Any);
        assert!(filter.allows(Proto::Sctp, 1));
    }

    #[test]
    fn ports_narrow_by_protocol_and_range() {
        let filter = read(&labels(&[(
            "docker-nat66.ports",
            "80, 53/udp,8000-8010/tcp",
        )]))
        .unwrap();
        for (proto, port, covered) in [
            (Proto::Tcp, 80, true),
            (Proto::Udp, 80, false),
            (Proto::Udp, 53, true),
            (Proto::Tcp, 8010, true),
            (Proto::Tcp, 8011, false),
        ] {
            assert_eq!(filter.allows(proto, port), covered, "{port}/{proto}");
        }
    }

    #[test]
    fn sources_are_prefixes_or_addresses() {
        let filter = read(&labels(&[("docker-nat66.allow", "2001:db8::/32,fd00::1")])).unwrap();
        let nets = ["2001:db8::/32", "fd00::1/128"].map(|n| n.parse().unwrap());
        assert_eq!(filter.sources, Sources::Only(nets.into()));
    }

    #[test]
    fn a_malformed_label_opens_nothing_and_says_what_would_be_right() {
        let too_many = vec!["80"; 65].join(",");
        for (label, value) in [
            ("docker-nat66.enable", "no"),
            ("docker-nat66.enable", ""),
            ("docker-nat66.ports", ""),
            ("docker-nat66.ports", "80,"),
            ("docker-nat66.ports", "0"),
            ("docker-nat66.ports", "+80"),
            ("docker-nat66.ports", "65536"),
            ("docker-nat66.ports", "90-80"),
            ("docker-nat66.ports", "80/icmp"),
            ("docker-nat66.ports", &too_many),
            ("docker-nat66.allow", ""),
            ("docker-nat66.allow", "10.0.0.0/8"),
            ("docker-nat66.allow", "2001:db8::1/32"),
            ("docker-nat66.allow", "::/0"),
            ("docker-nat66.allow", "example.org"),
            ("docker-nat66.alow", "2001:db8::/32"),
        ] {
            let closed = read(&labels(&[(label, value)])).unwrap_err();
            assert!(
                matches!(closed, ClosedByLabel::Malformed { .. }),
                "{label}={value}"
            );
            assert!(closed.to_string().contains("expected "), "{closed}");
        }
    }

    #[test]
    fn a_disabled_container_is_kept_out() {
        let closed = read(&labels(&[("docker-nat66.enable", "false")])).unwrap_err();
        assert_eq!(closed, ClosedByLabel::Disabled);
        assert!(read(&labels(&[("docker-nat66.enable", "true")])).is_ok());
    }
}
