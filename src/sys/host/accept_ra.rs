//! Whether an interface still hears routers although the host forwards.

use std::io;

use super::conditions::CONF;
use super::proc_file::read_optional;

/// What an interface does with routers' advertisements
/// (Documentation/networking/ip-sysctl.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouterAdvertisements {
    /// `forwarding` is not 0.
    pub(crate) forwards: bool,
    /// `accept_ra`: 0 never, 1 unless the interface forwards, 2 always.
    pub(crate) accept: u8,
}

/// The settings of an interface; `None` if it is not there.
///
/// # Errors
/// A file exists but cannot be read.
pub(crate) fn router_advertisements(device: &str) -> io::Result<Option<RouterAdvertisements>> {
    let read = |key: &str| read_optional(&format!("{CONF}/{device}/{key}"));
    let (Some(forwarding), Some(accept)) = (read("forwarding")?, read("accept_ra")?) else {
        return Ok(None);
    };
    Ok(Some(RouterAdvertisements {
        forwards: forwarding.trim() != "0",
        accept: accept.trim().parse().unwrap_or_default(),
    }))
}
