//! Which address of the host to ask, and from which to ask. Pure, apart from the drawing.

use std::io;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::packet::random;
use crate::sys::host::InterfaceAddress;

/// The network of addresses for documentation (RFC 3849): no client has one.
const DOCUMENTATION: &str = "2001:db8::/32";

/// The address of `device` that clients are likely to know: a global one that stays, rather than
/// one that is temporary, deprecated or not yet confirmed.
pub(crate) fn of_device(all: &[InterfaceAddress], device: &str) -> Option<Ipv6Addr> {
    let global = all.iter().filter(|a| a.interface == device && a.is_global);
    let is_last_choice = |a: &InterfaceAddress| a.is_passing || a.is_duplicate || a.is_tentative;
    // The kernel lists them in no order.
    let chosen = global.min_by_key(|a| (is_last_choice(a), a.addr))?;
    Some(chosen.addr)
}

/// An address from which to ask: one that no client has, so that rules which remember sources do
/// not remember somebody. It comes from `sources`, where only some may use the port; else from the
/// networks for documentation; on an interface without a default route from the network of the
/// address that is asked, because any other would have no way back.
///
/// # Errors
/// The kernel gives no random numbers.
pub(crate) fn source(
    all: &[InterfaceAddress],
    device: &str,
    asked: Ipv6Addr,
    has_default_route: bool,
    sources: &[Ipv6Net],
) -> io::Result<Ipv6Addr> {
    let documentation = || DOCUMENTATION.parse().ok();
    let on_link = || {
        let mut here = all.iter().filter(|a| a.interface == device);
        here.find(|a| a.addr == asked && a.length < 127)?.net()
    };
    let net = match (sources.first(), has_default_route) {
        (Some(net), _) => Some(*net),
        (None, true) => documentation(),
        (None, false) => on_link().or_else(documentation),
    };
    let net = net.unwrap_or_else(|| Ipv6Net::from(asked));
    let drawn = u128::from_be_bytes(random()?);
    let host_bits = u128::from(net.hostmask());
    Ok(Ipv6Addr::from(
        u128::from(net.network()) | drawn & host_bits,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::host::parse_addresses;

    const TEXT: &str = "fe8000000000000042acfffe110002 02 40 20 80 eth0\n\
        fe800000000000000042acfffe1100\n\
        20010db8000000000000000000000003 02 40 00 01 eth0\n\
        20010db8000000000000000000000001 02 40 00 80 eth0\n\
        20010db8000100000000000000000001 03 40 00 80 eth1\n";

    #[test]
    fn the_address_that_stays_is_asked() {
        let all = parse_addresses(TEXT);
        assert_eq!(all.len(), 4, "one line is cut");
        assert_eq!(of_device(&all, "eth0"), "2001:db8::1".parse().ok());
        assert_eq!(of_device(&all, "eth1"), "2001:db8:1::1".parse().ok());
        assert_eq!(of_device(&all, "eth2"), None);
    }

    #[test]
    fn the_source_is_nobodys_and_has_a_way_back() {
        let all = parse_addresses(TEXT);
        let asked = "2001:db8::1".parse().unwrap();
        let draw = |has_route, sources: &[Ipv6Net]| {
            source(&all, "eth0", asked, has_route, sources).expect("random")
        };
        let on_link: Ipv6Net = "2001:db8::/64".parse().unwrap();
        assert!(on_link.contains(&draw(false, &[])));
        let documentation: Ipv6Net = DOCUMENTATION.parse().unwrap();
        assert!(documentation.contains(&draw(true, &[])));
        let only: Ipv6Net = "fd99::/64".parse().unwrap();
        assert!(only.contains(&draw(true, &[only])));
        let one: Ipv6Net = "fd99::7/128".parse().unwrap();
        assert_eq!(draw(true, &[one]), one.addr());
    }
}
