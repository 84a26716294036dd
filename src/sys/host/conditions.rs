//! The host's settings that decide, beside rules, whether packets get through: sysctls, interfaces
//! and their networks.

use std::collections::BTreeMap;
use std::io;

use ipnet::Ipv6Net;

use super::inet6::{InterfaceAddress, interface_addresses};
use super::proc_file::read_optional;
use crate::model::conditions::{Conditions, InterfaceState};
use crate::model::device::Device;
use crate::netlink::interface;
use crate::sys::causes::chain;

/// The IPv6 settings of this network namespace (Documentation/networking/ip-sysctl.rst); absent
/// in a kernel without IPv6.
pub(super) const CONF: &str = "/proc/sys/net/ipv6/conf";

/// Reads the state of the egress interfaces and of the bridges. Only egress interfaces are looked up
/// over netlink, because the kernel answers under a lock that other programs may hold for a while.
///
/// # Errors
/// A file exists but cannot be read, or the kernel does not answer over netlink.
pub(crate) fn conditions(egress: &[Device], bridges: &[Device]) -> io::Result<Conditions> {
    let networks = networks(interface_addresses()?);
    let mut interfaces = BTreeMap::new();
    for device in bridges {
        let disabled = flag(device.as_str(), "disable_ipv6")?;
        let state = disabled.map_or(Ok(InterfaceState::Missing), |_| {
            present(device, None, &networks)
        });
        interfaces.insert(device.clone(), state?);
    }
    for device in egress {
        let name = device.as_str();
        let state = match interface::look_up(name)
            .map_err(|e| io::Error::other(format!("looking up interface {name}: {}", chain(&e))))?
        {
            None => InterfaceState::Missing,
            Some(found) if found.name != name => InterfaceState::AnotherNameOf(found.name),
            Some(found) => present(device, found.master, &networks)?,
        };
        interfaces.insert(device.clone(), state);
    }
    Ok(Conditions {
        forwarding: flag("all", "forwarding")?,
        interfaces,
    })
}

fn present(
    device: &Device,
    bridge: Option<String>,
    networks: &BTreeMap<String, Vec<Ipv6Net>>,
) -> io::Result<InterfaceState> {
    let name = device.as_str();
    Ok(InterfaceState::Here {
        disable_ipv6: flag(name, "disable_ipv6")? == Some(true),
        force_forwarding: flag(name, "force_forwarding")? == Some(true),
        bridge,
        networks: networks.get(name).cloned().unwrap_or_default(),
    })
}

/// Whether a sysctl of an interface, or of `all`, is non-zero; `None` if it does not exist.
///
/// # Errors
/// It exists but cannot be read.
pub(crate) fn flag(interface: &str, key: &str) -> io::Result<Option<bool>> {
    let text = read_optional(&format!("{CONF}/{interface}/{key}"))?;
    Ok(text.map(|text| text.trim() != "0"))
}

/// The networks of each interface's global addresses. A /128 address has no network.
fn networks(addresses: Vec<InterfaceAddress>) -> BTreeMap<String, Vec<Ipv6Net>> {
    let mut networks: BTreeMap<String, Vec<Ipv6Net>> = BTreeMap::new();
    for address in addresses {
        if address.is_global
            && address.length < 128
            && let Some(net) = address.net()
        {
            let known = networks.entry(address.interface).or_default();
            if !known.contains(&net) {
                known.push(net);
            }
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_the_networks_of_its_global_addresses() {
        let text = "fe8000000000000042acfffe110002 02 40 20 80 eth0\n\
                    20010db8000000000000000000000001 02 40 00 80 eth0\n\
                    20010db8000000000000000000000002 02 40 00 80 eth0\n\
                    20010db8000100000000000000000001 02 80 00 80 eth0\n";
        let networks = networks(super::super::inet6::parse(text));
        let net: Ipv6Net = "2001:db8::/64".parse().expect("a network");
        assert_eq!(networks, [("eth0".to_owned(), vec![net])].into());
    }

    #[test]
    fn an_interface_that_does_not_exist_is_missing() {
        let names = ["lo", "no-such-dev"].map(|name| name.parse().expect("a name"));
        let read = conditions(&names, &[]).expect("readable");
        assert_eq!(conditions(&[], &names).expect("readable"), read);
        let states: Vec<&InterfaceState> = read.interfaces.values().collect();
        assert!(
            matches!(
                states[..],
                [InterfaceState::Here { .. }, InterfaceState::Missing]
            ),
            "{states:?}"
        );
    }
}
