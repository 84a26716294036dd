//! Files below `/proc` that are absent in a kernel without IPv6.

use std::io;

/// Every IPv6 address of this network namespace.
pub(super) const IF_INET6: &str = "/proc/self/net/if_inet6";

/// The content of a file; `None` if it does not exist.
pub(crate) fn read_optional(path: &str) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The content of a file in `/proc`; empty if the kernel has no such file.
pub(crate) fn read_or_empty(path: &str) -> io::Result<String> {
    Ok(read_optional(path)?.unwrap_or_default())
}
