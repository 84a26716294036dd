//! Validates the interfaces and prefixes of the command line and the environment.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use crate::mapper::compute::Choice;
use crate::model::device::{Device, DeviceError};

/// The prefix as the first release's documentation wrote it by mistake, one colon short.
const DOCUMENTED_TYPO: &str = "fdfd:5898:4917:1:/64";

/// An example that works as it stands, for error messages.
const EXAMPLE: &str = "docker-nat66 --dev eth0 --prefix fdfd:5898:4917:1::/64";

/// Why settings cannot be used; each message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(
        "nothing to do without an egress interface (--dev) and the containers' prefix (--prefix), \
         as in: {EXAMPLE}"
    )]
    NoDevNoPrefix,
    #[error(
        "no egress interface: name the interface on which requests arrive with --dev, as in: \
         {EXAMPLE}"
    )]
    NoDev,
    #[error(
        "no prefix: give the prefix of the containers' addresses (dockerd's --fixed-cidr-v6) with \
         --prefix, as in: {EXAMPLE}"
    )]
    NoPrefix,
    /// `auto` beside values.
    #[error("{0} auto cannot be combined with other values: give either auto or the values")]
    AutoAndMore(&'static str),
    /// A text that cannot be the name of an interface.
    #[error("--dev {name:?}: {reason}; give a name that `ip link` lists, such as eth0")]
    Dev {
        /// The text given.
        name: String,
        /// What is wrong with it. The message contains it, so it is not a `source`.
        reason: DeviceError,
    },
    /// A name with its peer or parent, as `ip link` prints it.
    #[error(
        "--dev {text:?}: the part from the @ on, which `ip link` prints, is not part of the name; \
         give --dev {name}"
    )]
    WithPeer {
        /// The text given.
        text: String,
        name: String,
    },
    #[error("--prefix {text:?}: {reason}; give an IPv6 prefix such as fdfd:5898:4917:1::/64")]
    Prefix {
        /// The text given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A setting that is accepted with a warning in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Warning {
    /// A prefix is used in another form than it was written.
    PrefixReadAs {
        /// The text given.
        text: String,
        /// The prefix that is used.
        prefix: Ipv6Net,
        /// What was wrong with it.
        why: &'static str,
    },
}

/// Parses the egress interfaces, in the order given, without duplicates; or `auto`.
///
/// # Errors
/// The first impossible name; `auto` among other values.
pub(crate) fn devices(names: &[String]) -> Result<Choice<Device>, ConfigError> {
    if is_auto(names, "--dev")? {
        return Ok(Choice::Auto);
    }
    let mut devices: Vec<Device> = Vec::new();
    for name in names {
        if let Some((before, _)) = name.split_once('@').filter(|(b, _)| !b.is_empty()) {
            return Err(ConfigError::WithPeer {
                text: name.clone(),
                name: before.to_owned(),
            });
        }
        let device = name.parse().map_err(|reason| ConfigError::Dev {
            name: name.clone(),
            reason,
        })?;
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    Ok(Choice::Fixed(devices))
}

fn is_auto(values: &[String], option: &'static str) -> Result<bool, ConfigError> {
    match (values.iter().any(|v| v == "auto"), values.len()) {
        (false, _) => Ok(false),
        (true, 1) => Ok(true),
        (true, _) => Err(ConfigError::AutoAndMore(option)),
    }
}

/// Parses the prefixes, in the order given, without duplicates, or `auto`; and warnings about them.
///
/// # Errors
/// The first unusable prefix; `auto` among other values.
pub(crate) fn prefixes(texts: &[String]) -> Result<(Choice<Ipv6Net>, Vec<Warning>), ConfigError> {
    if is_auto(texts, "--prefix")? {
        return Ok((Choice::Auto, Vec::new()));
    }
    let mut prefixes = Vec::new();
    let mut seen = BTreeSet::new();
    let mut warnings = Vec::new();
    for text in texts {
        let (prefix, warning) = prefix(text).map_err(|reason| ConfigError::Prefix {
            text: text.clone(),
            reason,
        })?;
        warnings.extend(warning);
        if seen.insert(prefix) {
            prefixes.push(prefix);
        }
    }
    Ok((Choice::Fixed(prefixes), warnings))
}

/// Checks that both interfaces and prefixes are given.
///
/// # Errors
/// Names what is missing.
pub(crate) fn require_both(devices: &[String], prefixes: &[String]) -> Result<(), ConfigError> {
    match (devices.is_empty(), prefixes.is_empty()) {
        (true, true) => Err(ConfigError::NoDevNoPrefix),
        (true, false) => Err(ConfigError::NoDev),
        (false, true) => Err(ConfigError::NoPrefix),
        (false, false) => Ok(()),
    }
}

fn prefix(text: &str) -> Result<(Ipv6Net, Option<Warning>), &'static str> {
    let read_as = |prefix: Ipv6Net, why| {
        let text = text.to_owned();
        Some(Warning::PrefixReadAs { text, prefix, why })
    };
    if text == DOCUMENTED_TYPO {
        let prefix = Ipv6Net::new_assert(Ipv6Addr::new(0xfdfd, 0x5898, 0x4917, 1, 0, 0, 0, 0), 64);
        return Ok((prefix, read_as(prefix, "it is one colon short")));
    }
    let net = match text.parse::<IpNet>() {
        Ok(IpNet::V6(net)) => net,
        Ok(IpNet::V4(_)) => return Err("this is an IPv4 prefix, which Docker forwards by itself"),
        Err(_) if text.parse::<Ipv6Addr>().is_ok() => return Err("the prefix length is missing"),
        Err(_) => return Err("this is not an IPv6 prefix"),
    };
    let prefix = net.trunc();
    check(prefix)?;
    let warning = (prefix != net)
        .then(|| read_as(prefix, "it has bits set beyond its length"))
        .flatten();
    Ok((prefix, warning))
}

/// Refuses a prefix with addresses that containers of this host cannot have: rules for it would
/// rewrite other traffic.
fn check(prefix: Ipv6Net) -> Result<(), &'static str> {
    /// Addresses outside unicast space, or with a meaning of their own (IANA IPv6 Special-Purpose
    /// Address Registry).
    const UNUSABLE: [(&str, &str); 4] = [
        (
            "::ffff:0:0/96",
            "this is the range of IPv4-mapped addresses",
        ),
        (
            "::/8",
            "this range is reserved and holds no container addresses",
        ),
        ("fe80::/10", "link-local addresses cannot be forwarded"),
        ("ff00::/8", "multicast addresses belong to no container"),
    ];
    if prefix.prefix_len() == 0 {
        return Err("/0 would include every address there is");
    }
    let ranges = || {
        UNUSABLE
            .iter()
            .filter_map(|(net, reason)| Some((net.parse::<Ipv6Net>().ok()?, *reason)))
    };
    let inside = ranges().find(|(net, _)| net.contains(&prefix));
    let around = || ranges().find(|(net, _)| prefix.contains(net));
    match inside.or_else(around) {
        Some((_, reason)) => Err(reason),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<(String, usize), String> {
        prefixes(&[text.to_owned()])
            .map(|(p, w)| match p {
                Choice::Fixed(p) => (p[0].to_string(), w.len()),
                Choice::Auto => ("auto".into(), w.len()),
            })
            .map_err(|e| e.to_string())
    }

    #[test]
    fn an_interface_as_ip_prints_it_is_answered_with_its_name() {
        for (text, name) in [("eth0@if5", "eth0"), ("wan.100@eth0", "wan.100")] {
            let refused = devices(&[text.to_owned()]).expect_err("not a name");
            let said = refused.to_string();
            assert!(said.ends_with(&format!("give --dev {name}")), "{said}");
        }
    }

    #[test]
    fn prefixes_are_taken_as_written() {
        for text in [
            "fdfd:5898:4917:1::/64",
            "2001:db8::/32",
            "fd00::1/128",
            "2000::/3",
        ] {
            assert_eq!(one(text), Ok((text.to_owned(), 0)));
        }
    }

    #[test]
    fn the_documented_prefix_is_read_with_a_warning() {
        let read = Ok(("fdfd:5898:4917:1::/64".to_owned(), 1));
        assert_eq!(one("fdfd:5898:4917:1:/64"), read);
        assert_eq!(one("fdfd:5898:4917:1::42/64"), read);
    }

    #[test]
    fn an_unusable_prefix_is_refused_with_the_reason() {
        let cases = [
            ("", "this is not an IPv6 prefix"),
            ("eth0", "this is not an IPv6 prefix"),
            ("fdfd:5898:4917:2:/64", "this is not an IPv6 prefix"),
            ("fd00::/129", "this is not an IPv6 prefix"),
            ("fd00::/-1", "this is not an IPv6 prefix"),
            ("fd00::", "the prefix length is missing"),
            (
                "10.0.0.0/8",
                "this is an IPv4 prefix, which Docker forwards by itself",
            ),
            ("::/0", "/0 would include every address there is"),
            (
                "::ffff:0:0/96",
                "this is the range of IPv4-mapped addresses",
            ),
            (
                "::ffff:10.0.0.0/104",
                "this is the range of IPv4-mapped addresses",
            ),
            (
                "::/64",
                "this range is reserved and holds no container addresses",
            ),
            ("fe80::/64", "link-local addresses cannot be forwarded"),
            ("ff02::/16", "multicast addresses belong to no container"),
            ("f000::/4", "link-local addresses cannot be forwarded"),
        ];
        for (text, reason) in cases {
            let error = one(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
            assert!(error.contains("such as fdfd:5898:4917:1::/64"), "{error}");
        }
    }

    #[test]
    fn auto_cannot_be_combined_with_values() {
        assert_eq!(one("auto"), Ok(("auto".into(), 0)));
        assert_eq!(devices(&["auto".to_owned()]), Ok(Choice::Auto));
        let both = ["auto".to_owned(), "eth0".to_owned()];
        assert_eq!(devices(&both), Err(ConfigError::AutoAndMore("--dev")));
    }

    #[test]
    fn a_missing_option_is_named() {
        let some = ["x".to_owned()];
        assert_eq!(require_both(&[], &[]), Err(ConfigError::NoDevNoPrefix));
        assert_eq!(require_both(&[], &some), Err(ConfigError::NoDev));
        assert_eq!(require_both(&some, &[]), Err(ConfigError::NoPrefix));
        assert_eq!(require_both(&some, &some), Ok(()));
    }

    #[test]
    fn a_device_given_twice_counts_once() {
        let names = ["eth0", "eth1", "eth0"].map(str::to_owned);
        let twice = ["eth0", "eth1"].map(|n| n.parse().unwrap());
        assert_eq!(devices(&names), Ok(Choice::Fixed(twice.to_vec())));
        let error = devices(&["eth0/1".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("cannot hold '/'"), "{error}");
    }
}
