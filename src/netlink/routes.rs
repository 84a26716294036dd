//! Lists the IPv6 default routes, and says which of them the kernel has made from a router's
//! advertisements.

use std::time::{Duration, Instant};

use super::error::NetlinkError;
use super::listing::list_all;
use super::message::{IPV6, find};
use super::socket::Socket;

/// `RTM_GETROUTE` (linux/rtnetlink.h).
const GET_ROUTE: u16 = 26;

/// Length of `struct rtmsg` (linux/rtnetlink.h): family, length of the destination, of the source,
/// tos, table, protocol, scope, type, each a u8, and flags as u32.
const ROUTE_HEADER: usize = 12;

/// `RTA_OIF` and `RTA_MULTIPATH` (linux/rtnetlink.h).
const OUTGOING: u16 = 4;
const MULTIPATH: u16 = 9;

/// `RTPROT_RA`: a route from a router's advertisement; `RTN_UNICAST` (linux/rtnetlink.h).
const FROM_ADVERTISEMENT: u8 = 9;
const UNICAST: u8 = 1;

/// Length of `struct rtnexthop` (linux/rtnetlink.h), whose last four bytes are the interface.
const NEXT_HOP: usize = 8;

/// The kernel answers at once, or under a lock that others hold for moments.
const PATIENCE: Duration = Duration::from_secs(1);

/// A default route through one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    /// The interface's index.
    pub(crate) interface: u32,
    /// Whether its protocol is that of a router's advertisement (`RTPROT_RA`).
    pub(crate) from_advertisement: bool,
}

/// The default routes of all tables, one entry for each interface of a route.
///
/// # Errors
/// The kernel does not answer, or not as it should.
pub(crate) fn default_routes() -> Result<Vec<DefaultRoute>, NetlinkError> {
    let mut socket = Socket::route()?;
    let deadline = Instant::now() + PATIENCE;
    let all = |writer: &mut super::message::Writer| {
        let mut header = [0; ROUTE_HEADER];
        header[0] = IPV6;
        writer.raw(&header);
    };
    let listed = list_all(&mut socket, deadline, GET_ROUTE, &all, |payload| {
        Some(read(payload))
    })?;
    // Routes that keep changing are listed by the next look.
    Ok(listed.unwrap_or_default().into_iter().flatten().collect())
}

/// Reads the payload of an `RTM_NEWROUTE`.
fn read(payload: &[u8]) -> Vec<DefaultRoute> {
    let Some((header, attributes)) = payload.split_at_checked(ROUTE_HEADER) else {
        return Vec::new();
    };
    let [IPV6, 0, _, _, _, protocol, _, UNICAST, ..] = *header else {
        return Vec::new();
    };
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_ne_bytes);
    let mut interfaces: Vec<u32> = find(attributes, OUTGOING)
        .and_then(number)
        .into_iter()
        .collect();
    let mut hops = find(attributes, MULTIPATH).unwrap_or_default();
    while let Some((hop, _)) = hops.split_at_checked(NEXT_HOP) {
        interfaces.extend(number(&hop[4..]));
        let length = usize::from(u16::from_ne_bytes([hop[0], hop[1]]));
        hops = hops.get(length.max(NEXT_HOP)..).unwrap_or_default();
    }
    let route = |interface| DefaultRoute {
        interface,
        from_advertisement: protocol == FROM_ADVERTISEMENT,
    };
    interfaces.into_iter().map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::super::message::Writer;
    use super::*;

    fn route(length: u8, protocol: u8, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.raw(&[IPV6, length, 0, 0, 254, protocol, 0, UNICAST, 0, 0, 0, 0]);
        fill(&mut writer);
        writer.into_bytes()
    }

    #[test]
    fn a_default_route_is_read_with_its_origin_and_all_its_interfaces() {
        let via = |index: u32| move |w: &mut Writer| w.attr(OUTGOING, &index.to_ne_bytes());
        let entry = |interface, from_advertisement| DefaultRoute {
            interface,
            from_advertisement,
        };
        assert_eq!(read(&route(0, 9, via(2))), [entry(2, true)]);
        assert_eq!(read(&route(0, 3, via(2))), [entry(2, false)]);
        assert_eq!(read(&route(64, 9, via(2))), []);
        let hop = |index: u8| [8, 0, 0, 0, index, 0, 0, 0];
        let two = [hop(3), hop(4)].concat();
        let several = route(0, 3, |w| w.attr(MULTIPATH, &two));
        if cfg!(target_endian = "little") {
            assert_eq!(read(&several), [entry(3, false), entry(4, false)]);
        }
        for cut in 0..several.len() {
            read(&several[..cut]);
        }
    }
}
