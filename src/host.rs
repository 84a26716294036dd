//! What the daemon needs to know of the host it runs on, read from `/proc` and `/sys`.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::journal::record::BootId;
use crate::model::device::Device;

/// The kernel's id of this boot (`Documentation/admin-guide/sysctl/kernel.rst`, random).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Every IPv6 address of this network namespace.
const IF_INET6: &str = "/proc/self/net/if_inet6";

/// Capability to administer a network (`linux/capability.h`).
const CAP_NET_ADMIN: u32 = 12;

/// The id of this boot.
///
/// # Errors
/// The kernel does not tell; nothing was retried.
pub fn boot_id() -> io::Result<BootId> {
    Ok(BootId::new(std::fs::read_to_string(BOOT_ID)?.trim()))
}

/// The host's own IPv6 addresses, of any scope. A host without IPv6 has none.
///
/// # Errors
/// The file is there but cannot be read.
pub fn addresses() -> io::Result<BTreeSet<Ipv6Addr>> {
    match std::fs::read_to_string(IF_INET6) {
        Ok(text) => Ok(parse_if_inet6(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Each line begins with an address as 32 hexadecimal digits (net/ipv6/addrconf.c).
fn parse_if_inet6(text: &str) -> BTreeSet<Ipv6Addr> {
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter_map(|hex| u128::from_str_radix(hex, 16).ok())
        .map(Ipv6Addr::from)
        .collect()
}

/// Whether such an interface exists now in this network namespace.
pub fn has_device(device: &Device) -> bool {
    // /sys/class/net shows the namespace in which /sys was mounted; /proc/self follows ours.
    std::fs::read_to_string("/proc/self/net/dev").is_ok_and(|text| {
        text.lines().any(|line| {
            line.split_once(':')
                .is_some_and(|(name, _)| name.trim() == device.as_str())
        })
    })
}

/// The inode that names this network namespace.
///
/// # Errors
/// `/proc` is not mounted.
pub fn netns_inode() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(Path::new("/proc/self/ns/net"))?.ino())
}

/// Whether this process may change the firewall: CAP_NET_ADMIN among its effective
/// capabilities (`CapEff` in proc_pid_status(5)).
///
/// # Errors
/// `/proc` is not mounted, or not as expected.
pub fn may_administer_network() -> io::Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .ok_or_else(|| io::Error::other("no CapEff in /proc/self/status"))?;
    Ok(effective & (1 << CAP_NET_ADMIN) != 0)
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
        let addrs = parse_if_inet6(text);
        assert!(addrs.contains(&Ipv6Addr::LOCALHOST));
        assert!(addrs.contains(&"2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn the_boot_id_and_the_loopback_device_are_there() {
        assert!(!boot_id().unwrap().as_str().is_empty());
        assert!(has_device(&"lo".parse().unwrap()));
        assert!(!has_device(&"no-such-dev".parse().unwrap()));
        assert!(netns_inode().unwrap() > 0);
    }
}
