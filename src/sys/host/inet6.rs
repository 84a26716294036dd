//! The IPv6 addresses of this network namespace, as the kernel lists them.

use std::io;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::proc_file::{IF_INET6, read_or_empty};

/// The scope of an address that routers forward (`IPV6_ADDR_SCOPE_GLOBAL`, net/ipv6.h).
const GLOBAL: u8 = 0;

/// `IFA_F_TEMPORARY`, `IFA_F_OPTIMISTIC`, `IFA_F_DADFAILED`, `IFA_F_DEPRECATED`,
/// `IFA_F_TENTATIVE` (linux/if_addr.h).
const TEMPORARY: u8 = 0x01;
const OPTIMISTIC: u8 = 0x04;
const DUPLICATE: u8 = 0x08;
const DEPRECATED: u8 = 0x20;
const TENTATIVE: u8 = 0x40;

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InterfaceAddress {
    pub(crate) addr: Ipv6Addr,
    /// Bits of its network.
    pub(crate) length: u8,
    /// Whether routers forward it.
    pub(crate) is_global: bool,
    /// Another host has it, so that it is not used.
    pub(crate) is_duplicate: bool,
    /// The kernel is still finding out whether another host has it.
    pub(crate) is_tentative: bool,
    /// It changes by itself (RFC 8981), or the host is about to give it up.
    pub(crate) is_passing: bool,
    /// The interface's name.
    pub(crate) interface: String,
}

/// Every address; none in a kernel without IPv6.
///
/// # Errors
/// The file exists but cannot be read.
pub(crate) fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let text = read_or_empty(IF_INET6)?;
    Ok(parse(&text))
}

/// Each line: address as 32 digits, interface's index, length of the prefix, scope, flags,
/// interface (net/ipv6/addrconf.c, `if6_seq_show`); numbers are hexadecimal.
pub(crate) fn parse(text: &str) -> Vec<InterfaceAddress> {
    text.lines().filter_map(parse_line).collect()
}

impl InterfaceAddress {
    /// The network that it is in.
    pub(crate) fn net(&self) -> Option<Ipv6Net> {
        Ipv6Net::new(self.addr, self.length)
            .ok()
            .map(|net| net.trunc())
    }
}

fn parse_line(line: &str) -> Option<InterfaceAddress> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [addr, _, length, scope, flags, name] = fields[..] else {
        return None;
    };
    let byte = |text| u8::from_str_radix(text, 16).ok();
    let flags = byte(flags)?;
    Some(InterfaceAddress {
        addr: Ipv6Addr::from(u128::from_str_radix(addr, 16).ok()?),
        length: byte(length)?,
        is_global: byte(scope)? == GLOBAL,
        is_duplicate: flags & DUPLICATE != 0,
        is_tentative: flags & TENTATIVE != 0 && flags & OPTIMISTIC == 0,
        is_passing: flags & (TEMPORARY | DEPRECATED) != 0,
        interface: name.to_owned(),
    })
}
