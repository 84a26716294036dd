//! Asks the kernel where it would send a packet.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::error::NetlinkError;
use super::message::{IPV6, Writer, find};
use super::request;
use super::socket::Socket;

/// `RTM_GETROUTE` (linux/rtnetlink.h).
const GET_ROUTE: u16 = 26;

/// Length of `struct rtmsg`, which begins with family, lengths of destination and source, all u8;
/// its eighth byte is the type of the route.
const ROUTE_HEADER: usize = 12;
const TYPE: usize = 7;

/// `RTA_DST`, `RTA_SRC`, `RTA_IIF`, `RTA_OIF`, `RTA_GATEWAY`.
const DST: u16 = 1;
const SRC: u16 = 2;
const IIF: u16 = 3;
const OIF: u16 = 4;
const GATEWAY: u16 = 5;

/// `RTN_UNICAST` and `RTN_LOCAL`.
const UNICAST: u8 = 1;
const LOCAL: u8 = 2;

/// The kernel answers at once.
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
}
