//! Asks the kernel where it would send a packet, and lists the IPv6 default routes with those that the
//! kernel has made from a router's advertisements.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::error::NetlinkError;
use super::listing::list_all;
use super::message::{IPV6, Writer, find};
use super::request;
use super::socket::Socket;

/// `RTM_GETROUTE` (linux/rtnetlink.h).
const GET_ROUTE: u16 = 26;

/// Length of `struct rtmsg` (linux/rtnetlink.h): family, length of the destination, of the source,
/// tos, table, protocol, scope, type, each a u8, and flags as u32.
const ROUTE_HEADER: usize = 12;
const TYPE: usize = 7;

/// `RTA_DST`, `RTA_SRC`, `RTA_IIF`, `RTA_OIF`, `RTA_GATEWAY`, `RTA_MULTIPATH` (linux/rtnetlink.h).
const DST: u16 = 1;
const SRC: u16 = 2;
const IIF: u16 = 3;
const OIF: u16 = 4;
const GATEWAY: u16 = 5;
const MULTIPATH: u16 = 9;

/// `RTPROT_RA`: a route from a router's advertisement (linux/rtnetlink.h).
const FROM_ADVERTISEMENT: u8 = 9;

/// `RTN_UNICAST` and `RTN_LOCAL` (linux/rtnetlink.h).
const UNICAST: u8 = 1;
const LOCAL: u8 = 2;

/// Length of `struct rtnexthop` (linux/rtnetlink.h), whose last four bytes are the interface.
const NEXT_HOP: usize = 8;

/// The kernel answers at once, or under a lock that others hold for moments.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a packet would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// To the host itself.
    Here,
    /// Out by the interface of this number, to this neighbour or directly.
    Out(u32, Option<Ipv6Addr>),
    /// Nowhere: no route, or one that refuses.
    None(Errno),
}

/// The route of a packet from `from` to `to` that arrives at the interface of the number `arrives`,
/// or where that is `None` begins here.
///
/// # Errors
/// The kernel does not answer, or not as it should.
pub(crate) fn route(
    from: Option<Ipv6Addr>,
    to: Ipv6Addr,
    arrives: Option<u32>,
) -> Result<Route, NetlinkError> {
    let mut socket = Socket::route()?;
    let which = |w: &mut Writer| {
        let length = |addr: Option<Ipv6Addr>| if addr.is_some() { 128 } else { 0 };
        let mut header = [0; ROUTE_HEADER];
        header[..3].copy_from_slice(&[IPV6, 128, length(from)]);
        w.raw(&header);
        w.attr(DST, &to.octets());
        if let Some(from) = from {
            w.attr(SRC, &from.octets());
        }
        if let Some(index) = arrives {
            w.attr(IIF, &index.to_ne_bytes());
        }
    };
    let refused = match request::get(&mut socket, Instant::now() + PATIENCE, GET_ROUTE, &which) {
        Ok(Some(answer)) => return Ok(read(&answer)),
        Ok(None) => Errno::NETUNREACH,
        Err(NetlinkError::Refused(errno)) => errno,
        Err(error) => return Err(error),
    };
    match refused {
        Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::INVAL => {
            Ok(Route::None(refused))
        }
        errno => Err(NetlinkError::Refused(errno)),
    }
}

/// Reads the payload of an `RTM_NEWROUTE`.
fn read(payload: &[u8]) -> Route {
    let attributes = payload.get(ROUTE_HEADER..).unwrap_or_default();
    let out = find(attributes, OIF).and_then(|index| index.try_into().ok());
    let gateway = find(attributes, GATEWAY).and_then(|addr| <[u8; 16]>::try_from(addr).ok());
    match (payload.get(TYPE), out.map(u32::from_ne_bytes)) {
        (Some(&LOCAL), _) => Route::Here,
        (Some(&UNICAST), Some(index)) => Route::Out(index, gateway.map(Ipv6Addr::from)),
        _ => Route::None(Errno::NETUNREACH),
    }
}

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
    let all = |writer: &mut Writer| {
        let mut header = [0; ROUTE_HEADER];
        header[0] = IPV6;
        writer.raw(&header);
    };
    let listed = list_all(&mut socket, deadline, GET_ROUTE, &all, |payload| {
        Some(read_default(payload))
    })?;
    // Routes that keep changing are listed the next time.
    Ok(listed.unwrap_or_default().into_iter().flatten().collect())
}

/// Reads the payload of an `RTM_NEWROUTE`.
fn read_default(payload: &[u8]) -> Vec<DefaultRoute> {
    let Some((header, attributes)) = payload.split_at_checked(ROUTE_HEADER) else {
        return Vec::new();
    };
    let [IPV6, 0, _, _, _, protocol, _, UNICAST, ..] = *header else {
        return Vec::new();
    };
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_ne_bytes);
    let mut interfaces: Vec<u32> = find(attributes, OIF).and_then(number).into_iter().collect();
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
    use super::*;

    #[test]
    fn an_answer_says_where_a_packet_goes() {
        let answer = |kind: u8, out: Option<u32>| {
            let mut writer = Writer::default();
            let mut header = [0; ROUTE_HEADER];
            header[TYPE] = kind;
            writer.raw(&header);
            if let Some(out) = out {
                writer.attr(OIF, &out.to_ne_bytes());
            }
            read(writer.bytes())
        };
        assert_eq!(answer(UNICAST, Some(3)), Route::Out(3, None));
        assert_eq!(answer(LOCAL, Some(1)), Route::Here);
        // RTN_BLACKHOLE.
        assert_eq!(answer(6, Some(1)), Route::None(Errno::NETUNREACH));
        assert_eq!(read(&[]), Route::None(Errno::NETUNREACH));
    }

    #[test]
    fn the_loopback_address_is_here() {
        let found = route(None, Ipv6Addr::LOCALHOST, None).expect("an answer");
        assert!(matches!(found, Route::Here | Route::None(_)), "{found:?}");
    }

    fn listed(length: u8, protocol: u8, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.raw(&[IPV6, length, 0, 0, 254, protocol, 0, UNICAST, 0, 0, 0, 0]);
        fill(&mut writer);
        writer.into_bytes()
    }

    #[test]
    fn a_default_route_is_read_with_its_origin_and_all_its_interfaces() {
        let via = |index: u32| move |w: &mut Writer| w.attr(OIF, &index.to_ne_bytes());
        let entry = |interface, from_advertisement| DefaultRoute {
            interface,
            from_advertisement,
        };
        assert_eq!(read_default(&listed(0, 9, via(2))), [entry(2, true)]);
        assert_eq!(read_default(&listed(0, 3, via(2))), [entry(2, false)]);
        assert_eq!(read_default(&listed(64, 9, via(2))), []);
        let hop = |index: u8| [8, 0, 0, 0, index, 0, 0, 0];
        let two = [hop(3), hop(4)].concat();
        let several = listed(0, 3, |w| w.attr(MULTIPATH, &two));
        if cfg!(target_endian = "little") {
            assert_eq!(read_default(&several), [entry(3, false), entry(4, false)]);
        }
        for cut in 0..several.len() {
            read_default(&several[..cut]);
        }
    }
}
