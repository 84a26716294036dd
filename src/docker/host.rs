//! Where the Engine listens: `unix:///path`, or `tcp://host:port` without TLS.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use crate::model::text::Untrusted;

/// The socket that Docker installations have by default.
pub(crate) const DEFAULT: &str = "unix:///var/run/docker.sock";

/// The port of `tcp://HOST` without one: what Docker's own client takes.
const DEFAULT_PORT: u16 = 2375;

/// Schemes that Docker's own tools take and we do not, and what to use instead.
const NOT_SUPPORTED: [(&str, &str); 4] = [
    (
        "https",
        "TLS is not spoken; use unix:///PATH, or tcp://HOST:PORT of a local tunnel",
    ),
    (
        "ssh",
        "the daemon must run on the engine's own host; use unix:///PATH there",
    ),
    (
        "npipe",
        "named pipes exist on Windows only; use unix:///PATH",
    ),
    (
        "fd",
        "that is an option of dockerd; use the path of its socket, unix:///PATH",
    ),
];

/// An address that can be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerHost {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`, an IPv6 address in brackets.
    Tcp(String),
}

/// Why a text is not an address that can be used. The command line's fault: exit code 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A scheme that Docker's own client supports and this daemon does not.
    #[error("{scheme}:// is not supported in docker host {given}: {instead}")]
    NotSupported {
        /// The scheme without `://`.
        scheme: &'static str,
        /// What was given.
        given: Untrusted,
        /// What would be right.
        instead: &'static str,
    },
    /// `DOCKER_TLS_VERIFY` is set and the address is not a Unix socket.
    #[error(
        "DOCKER_TLS_VERIFY is set, but TLS is not supported (docker host {0}): unset it, or use \
         unix:///var/run/docker.sock or a local tunnel"
    )]
    Tls(Untrusted),
    /// Something exists at the path, and it is no socket.
    #[error("docker host {0} is not a socket: expected the engine's socket, by default {DEFAULT}")]
    NotASocket(Untrusted),
    /// Anything else.
    #[error("docker host {given} is malformed ({why}): expected unix:///PATH or tcp://HOST:PORT")]
    Malformed {
        /// What was given.
        given: Untrusted,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Default for DockerHost {
    fn default() -> Self {
        Self::Unix(PathBuf::from("/var/run/docker.sock"))
    }
}

impl DockerHost {
    /// Reads an address as `--docker-host` and `DOCKER_HOST` give it; a bare absolute path is a
    /// Unix socket. `tls_verify`: whether `DOCKER_TLS_VERIFY` is set and not empty.
    ///
    /// A path that does not exist is accepted, for Docker may come later.
    ///
    /// # Errors
    /// See [`HostError`]; the path is checked once, and no connection is made.
    pub fn parse(text: &str, tls_verify: bool) -> Result<Self, HostError> {
        let given = || Untrusted::new(text);
        let malformed = |why| HostError::Malformed {
            given: given(),
            why,
        };
        if text.starts_with('/') {
            return Self::socket(text, text);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(malformed("no scheme"));
        };
        match scheme {
            "unix" => Self::socket(rest, text),
            "tcp" | "http" if tls_verify => Err(HostError::Tls(given())),
            "tcp" | "http" => authority(rest).map(Self::Tcp).map_err(malformed),
            _ => Err(
                match NOT_SUPPORTED.iter().find(|(known, _)| *known == scheme) {
                    Some(&(scheme, instead)) => HostError::NotSupported {
                        scheme,
                        given: given(),
                        instead,
                    },
                    None => malformed("unknown scheme"),
                },
            ),
        }
    }

    fn socket(path: &str, given: &str) -> Result<Self, HostError> {
        let given = Untrusted::new(given);
        let why = match path {
            "" => Some("no path"),
            _ if !path.starts_with('/') => Some("the path is not absolute"),
            _ if path.contains('\0') => Some("the path holds a NUL"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(HostError::Malformed { given, why });
        }
        let is_other = match std::fs::metadata(path) {
            Ok(meta) => !meta.file_type().is_socket(),
            // One that is missing or cannot be seen may come later: connecting reports that, and
            // is retried.
            Err(e) => e.kind() == io::ErrorKind::NotADirectory,
        };
        match is_other {
            true => Err(HostError::NotASocket(given)),
            false => Ok(Self::Unix(PathBuf::from(path))),
        }
    }
}

/// Reads `host[:port][/]`.
fn authority(rest: &str) -> Result<String, &'static str> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() {
        return Err("no host");
    }
    let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
        let (addr, after) = inner.split_once(']').ok_or("a bracket is not closed")?;
        let addr: Ipv6Addr = addr.parse().map_err(|_| "not an IPv6 address")?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or("no colon before the port")?),
        };
        (format!("[{addr}]"), port)
    } else {
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        if host.contains(':') {
            return Err("an IPv6 address needs brackets");
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if host.is_empty() || !host.bytes().all(fits) {
            return Err("not a host name");
        }
        (host.to_owned(), port)
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            // `u16::from_str` accepts `+80`, which no other program does.
            Ok(number) if number != 0 && !port.starts_with('+') => number,
            _ => return Err("not a port"),
        },
    };
    Ok(format!("{host}:{port}"))
}

impl fmt::Display for DockerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", Untrusted::new(path.to_string_lossy())),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &str) -> DockerHost {
        DockerHost::Unix(PathBuf::from(path))
    }

    #[test]
    fn what_can_be_connected_to_is_accepted() {
        let cases = [
            ("unix:///no/such.sock", unix("/no/such.sock")),
            ("/no/such.sock", unix("/no/such.sock")),
            ("tcp://db:2376", DockerHost::Tcp("db:2376".to_owned())),
            (
                "tcp://127.0.0.1",
                DockerHost::Tcp("127.0.0.1:2375".to_owned()),
            ),
            ("http://[::1]:80/", DockerHost::Tcp("[::1]:80".to_owned())),
        ];
        for (text, host) in cases {
            assert_eq!(DockerHost::parse(text, false), Ok(host), "{text}");
        }
        assert_eq!(DockerHost::default().to_string(), DEFAULT);
        assert_eq!(DockerHost::parse(DEFAULT, true), Ok(DockerHost::default()));
    }

    #[test]
    fn what_is_not_supported_says_what_would_be_right() {
        let schemes = [
            ("https://h:2376", "TLS"),
            ("ssh://me@h", "own host"),
            ("npipe:////./pipe/docker_engine", "unix:///PATH"),
            ("fd://", "unix:///PATH"),
        ];
        for (text, hint) in schemes {
            let error = DockerHost::parse(text, false).expect_err(text);
            assert!(matches!(error, HostError::NotSupported { .. }), "{error:?}");
            assert!(error.to_string().contains(hint), "{error}");
        }
        let error = DockerHost::parse("tcp://h:2376", true).expect_err("tls");
        assert!(error.to_string().contains("DOCKER_TLS_VERIFY"), "{error}");
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "",
            "docker.sock",
            "unix://",
            "unix://docker.sock",
            "tcp://",
            "tcp://:80",
            "tcp://h:0",
            "tcp://h:+80",
            "tcp://h:65536",
            "tcp://h:80/path",
            "tcp://u@h:80",
            "tcp://::1:80",
            "tcp://[::1",
            "tcp://[::1]80",
            "tcp://a b:80",
            "gopher://h:70",
        ] {
            assert!(
                matches!(
                    DockerHost::parse(text, false),
                    Err(HostError::Malformed { .. })
                ),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_path_that_exists_and_is_no_socket_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        for path in [dir.path().to_owned(), file.clone(), file.join("below")] {
            let text = format!("unix://{}", path.display());
            assert_eq!(
                DockerHost::parse(&text, false),
                Err(HostError::NotASocket(Untrusted::new(text.as_str())))
            );
        }
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        let text = format!("unix://{}", socket.display());
        assert_eq!(
            DockerHost::parse(&text, false),
            Ok(DockerHost::Unix(socket))
        );
    }
}
