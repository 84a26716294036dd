//! Facts about the host, read from `/proc` and over netlink.

mod accept_ra;
mod conditions;
mod inet6;
mod proc_file;
mod proxies;

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use self::accept_ra::{RouterAdvertisements, router_advertisements};
pub(crate) use self::conditions::{conditions, flag};
pub(crate) use self::inet6::{InterfaceAddress, interface_addresses, parse as parse_addresses};
use self::proc_file::IF_INET6;
pub(crate) use self::proc_file::{read_optional, read_or_empty};
pub(crate) use self::proxies::{PortSource, ProxiedPorts, proxied_ports};
use crate::model::boot::BootId;
use crate::model::device::Device;

/// The kernel's id of this boot (`Documentation/admin-guide/sysctl/kernel.rst`, random).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Every IPv6 route of this network namespace.
const IPV6_ROUTE: &str = "/proc/self/net/ipv6_route";

/// The id of this boot.
///
/// # Errors
/// `/proc` cannot be read; nothing was retried.
pub fn boot_id() -> io::Result<BootId> {
    Ok(BootId::new(std::fs::read_to_string(BOOT_ID)?.trim()))
}

/// The host's own IPv6 addresses, of any scope. A kernel without IPv6 has none.
///
/// # Errors
/// The file exists but cannot be read.
pub fn addresses() -> io::Result<BTreeSet<Ipv6Addr>> {
    let listed = interface_addresses()?;
    Ok(listed.into_iter().map(|address| address.addr).collect())
}

/// Whether the kernel has IPv6, and no boot option turns it off.
#[must_use]
pub(crate) fn has_ipv6() -> bool {
    Path::new(IF_INET6).exists()
}

/// The interfaces of the IPv6 default routes, in order, without duplicates.
///
/// # Errors
/// The file exists but cannot be read.
pub fn default_devices() -> io::Result<Vec<Device>> {
    Ok(parse_default_devices(&read_or_empty(IPV6_ROUTE)?))
}

/// Each line: destination, its length, source, its length, next hop, metric, references, use,
/// flags, interface (net/ipv6/route.c, `rt6_info_route`); numbers are hexadecimal.
fn parse_default_devices(text: &str) -> Vec<Device> {
    /// The route rejects packets (`RTF_REJECT`, uapi/linux/route.h). The kernel keeps such a default
    /// route on `lo` while it has no other.
    const RTF_REJECT: u32 = 0x200;
    let mut devices: Vec<Device> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, "00", .., flags, device] = fields[..] else {
            continue;
        };
        let flags = u32::from_str_radix(flags, 16).unwrap_or(RTF_REJECT);
        let usable = flags & RTF_REJECT == 0 && device != "lo";
        if !usable || destination.bytes().any(|b| b != b'0') {
            continue;
        }
        devices.extend(device.parse().ok().filter(|d| !devices.contains(d)));
    }
    devices
}

/// The inode that names this network namespace.
///
/// # Errors
/// `/proc` is not mounted.
pub(crate) fn netns_inode() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(Path::new("/proc/self/ns/net"))?.ino())
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_prints_them() {
        let text = "fe8000000000000042acfffe110002 02 40 20 80 eth0\n\
                    00000000000000000000000000000001 01 80 10 80       lo\n\
                    20010db8000000000000000000000001 02 40 00 80     eth0\n";
        let addrs: BTreeSet<Ipv6Addr> = inet6::parse(text).iter().map(|a| a.addr).collect();
        assert!(addrs.contains(&Ipv6Addr::LOCALHOST));
        assert!(addrs.contains(&"2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn only_usable_default_routes_give_egress_devices() {
        let zero = "0".repeat(32);
        let via = "fe800000000000000000000000000001";
        let line = |to: &str, len: &str, flags: &str, dev: &str| {
            format!("{to} {len} {zero} 00 {via} 00000400 00000001 00000000 {flags} {dev:>8}\n")
        };
        let text = [
            line(&zero, "00", "00450003", "eth0"),
            line(&zero, "00", "00450003", "eth0"),
            line(&zero, "00", "00000003", "wwan0"),
            line(&zero, "00", "00200200", "lo"),
            line(&zero, "00", "00200200", "eth9"),
            line(via, "40", "00000001", "eth1"),
            line(&zero, "08", "00000001", "eth2"),
        ]
        .concat();
        let names: Vec<String> = parse_default_devices(&text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["eth0", "wwan0"]);
    }

    #[test]
    fn the_boot_id_and_the_network_namespace_can_be_read() {
        assert!(!boot_id().unwrap().as_str().is_empty());
        assert!(netns_inode().unwrap() > 0);
    }
}
