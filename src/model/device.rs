//! Names of network interfaces.

use std::fmt;
use std::str::FromStr;

/// Longest interface name, in bytes: IFNAMSIZ (16, `linux/if.h`) less the closing NUL.
pub(crate) const MAX_DEVICE_BYTES: usize = 15;

/// A valid name of a network interface; the interface need not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(String);

/// Why a text is not an interface name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceError {
    /// The text is empty.
    Empty,
    /// The text is longer than [`MAX_DEVICE_BYTES`]; carries its length in bytes.
    TooLong(usize),
    /// The text is `.` or `..`, which the kernel refuses.
    Dots,
    /// The text has this character, which we accept in no interface name.
    BadCharacter(char),
}

/// An interface's name as part of the name of a sysctl, which spells a dot in it as a slash
/// (sysctl.d(5)).
pub(crate) fn sysctl_key(interface: &str) -> String {
    interface.replace('.', "/")
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "an interface name cannot be empty"),
            Self::TooLong(n) => write!(
                f,
                "an interface name has at most {MAX_DEVICE_BYTES} bytes, this one has {n}"
            ),
            Self::Dots => write!(f, "\".\" and \"..\" are no interface names"),
            Self::BadCharacter(c) => {
                write!(f, "an interface name cannot hold {c:?}")
            }
        }
    }
}

impl std::error::Error for DeviceError {}

impl Device {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    /// Follows the kernel's `dev_valid_name` (net/core/dev.c: no slash, colon or white space), and
    /// also refuses characters that have a meaning for ip6tables: a trailing `+` is its wildcard, a
    /// leading `!` or `-` its syntax, a quote or backslash its escape.
    fn from_str(name: &str) -> Result<Self, DeviceError> {
        if name.is_empty() {
            return Err(DeviceError::Empty);
        }
        if name.len() > MAX_DEVICE_BYTES {
            return Err(DeviceError::TooLong(name.len()));
        }
        if name == "." || name == ".." {
            return Err(DeviceError::Dots);
        }
        let bad = |c: char| {
            !c.is_ascii_graphic() || matches!(c, '/' | ':' | '"' | '\'' | '\\' | '+' | '!' | '*')
        };
        if let Some(c) = name.chars().find(|c| bad(*c)) {
            return Err(DeviceError::BadCharacter(c));
        }
        if name.starts_with('-') {
            return Err(DeviceError::BadCharacter('-'));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_takes_are_taken() {
        for name in [
            "eth0",
            "br-1a2b3c4d5e6f",
            "wan.100",
            "enp0s31f6",
            "a",
            "veth@x",
        ] {
            assert_eq!(
                name.parse::<Device>().map(|d| d.to_string()),
                Ok(name.into())
            );
        }
    }

    #[test]
    fn names_that_are_none_are_refused_with_their_reason() {
        let cases = [
            ("", DeviceError::Empty),
            ("sixteen_bytes_xy", DeviceError::TooLong(16)),
            (".", DeviceError::Dots),
            ("..", DeviceError::Dots),
            ("eth0/1", DeviceError::BadCharacter('/')),
            ("eth 0", DeviceError::BadCharacter(' ')),
            ("eth\n0", DeviceError::BadCharacter('\n')),
            ("eth:0", DeviceError::BadCharacter(':')),
            ("eth+", DeviceError::BadCharacter('+')),
            ("-eth", DeviceError::BadCharacter('-')),
            ("ethé", DeviceError::BadCharacter('é')),
        ];
        for (name, error) in cases {
            assert_eq!(name.parse::<Device>(), Err(error), "{name:?}");
        }
    }
}
