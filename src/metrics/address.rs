//! Where the metrics are served.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The value of `--metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsAddress {
    /// An address and a port, over TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl MetricsAddress {
    /// Whether other hosts may reach it.
    pub(crate) fn is_public(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => false,
        }
    }
}

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err("the path after unix: must begin with /".to_owned()),
            };
        }
        let wanted = "give ADDRESS:PORT, such as 127.0.0.1:9166 or [::1]:9166, or unix:/PATH";
        text.parse().map(Self::Tcp).map_err(|_| wanted.to_owned())
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_what_is_wrong_is_said() {
        for (text, is_public) in [
            ("127.0.0.1:9166", false),
            ("[::1]:9166", false),
            ("[::ffff:127.0.0.1]:9166", false),
            ("0.0.0.0:9166", true),
            ("[2001:db8::1]:9166", true),
            ("unix:/run/docker-nat66/metrics.sock", false),
        ] {
            let address: MetricsAddress = text.parse().expect(text);
            assert_eq!(
                (address.is_public(), address.to_string()),
                (is_public, text.to_owned())
            );
        }
        for text in [
            "",
            "9166",
            ":9166",
            "localhost:9166",
            "::1:9166",
            "127.0.0.1",
            "unix:x",
        ] {
            let error = text.parse::<MetricsAddress>().expect_err(text);
            assert!(error.contains("give") || error.contains("must"), "{error}");
        }
    }
}
