//! One connection-tracking entry: read from a dump, named again in a deletion, or made.
//!
//! Attribute numbers are those of linux/netfilter/nfnetlink_conntrack.h.

use std::net::Ipv6Addr;
use std::time::Instant;

use super::sockets::Accepted;
use crate::model::forward::Proto;
use crate::netlink::NetlinkError;
use crate::netlink::message::{
    ACK, CREATE, EXCL, IPV6, Malformed, NFGENMSG_IPV6, REQUEST, Writer, address, find, pick,
};
use crate::netlink::request::{self, Channel, Ended};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`: what a dump answers with, and what makes one.
const CT_NEW: u16 = 0x0100;
/// `… | IPCTNL_MSG_CT_GET`.
const CT_GET: u16 = 0x0101;
/// `… | IPCTNL_MSG_CT_DELETE`.
const CT_DELETE: u16 = 0x0102;

pub(super) const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
pub(super) const CTA_ID: u16 = 12;
pub(super) const CTA_ZONE: u16 = 18;

const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;

const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;

const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
const CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;

/// `TCP_CONNTRACK_ESTABLISHED` (linux/netfilter/nf_conntrack_tcp.h).
const ESTABLISHED: u8 = 3;

/// `struct nf_ct_tcp_flags`, flags and mask: `IP_CT_TCP_FLAG_BE_LIBERAL`, because the windows of a
/// connection that is under way are not known.
const BE_LIBERAL: [u8; 2] = [0x08, 0x08];

/// `IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED` (linux/netfilter/nf_conntrack_common.h): it is
/// past the first packet, the only one that NAT rules see, and is not the first to go when the
/// table is full.
const UNDER_WAY: u32 = 1 << 1 | 1 << 2 | 1 << 3;

/// Seconds without a packet after which an entry is dropped: the kernel's own default for an
/// established connection (net/netfilter/nf_conntrack_proto_tcp.c).
const TIMEOUT: u32 = 5 * 24 * 60 * 60;

/// `TCP_CONNTRACK_SYN_RECV` to `TCP_CONNTRACK_TIME_WAIT`: the other side has answered
/// (linux/netfilter/nf_conntrack_tcp.h).
const ANSWERED: std::ops::RangeInclusive<u8> = 2..=7;

/// An IPv6 entry of a protocol that Docker publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) proto: Proto,
    /// Who began.
    pub(super) source: Ipv6Addr,
    /// From which port.
    pub(super) source_port: u16,
    /// What it was sent to, before any rewriting.
    pub(super) destination: (Ipv6Addr, u16),
    /// Who answers: the DNAT target, or `destination` where there was no DNAT.
    pub(super) answerer: (Ipv6Addr, u16),
    /// Whether it is a TCP connection that some server has accepted.
    pub(super) accepted: bool,
    tuple: &'a [u8],
    pub(super) zone: Option<&'a [u8]>,
    pub(super) id: &'a [u8],
}

/// How the kernel finds an entry again. The parts are the kernel's own bytes: the original
/// tuple, with the zone inside that conntrack puts there for a zone of one direction, the zone
/// of both directions, and the id, by which an entry that took the tuple meanwhile differs.
///
/// Made from an [`Entry`] only: a deletion without a tuple would empty the whole table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Locator {
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
    id: Vec<u8>,
}

impl<'a> Entry<'a> {
    /// Reads the payload of a [`CT_NEW`] message; `None` for another family or protocol.
    pub(super) fn read(payload: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let [family, _, _, _, attrs @ ..] = payload else {
            return Err(Malformed("an entry without its family"));
        };
        if *family != IPV6 {
            return Ok(None);
        }
        let kinds = [
            CTA_TUPLE_ORIG,
            CTA_TUPLE_REPLY,
            CTA_ID,
            CTA_ZONE,
            CTA_PROTOINFO,
        ];
        let [original, reply, id, zone, info] = pick(attrs, kinds)?;
        let (Some(tuple), Some(reply), Some(id)) = (original, reply, id) else {
            return Err(Malformed("an entry without its tuples and its id"));
        };
        if id.len() != 4 || zone.is_some_and(|zone| zone.len() != 2) {
            return Err(Malformed("an id or a zone of an impossible length"));
        }
        let Some(original) = Tuple::read(tuple)? else {
            return Ok(None);
        };
        let Some(reply) = Tuple::read(reply)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            proto: original.proto,
            source: original.source.0,
            source_port: original.source.1,
            destination: original.destination,
            answerer: reply.source,
            accepted: info.is_some_and(is_accepted),
            tuple,
            zone,
            id,
        }))
    }

    /// Whether its first packet came from this address and port.
    pub(super) fn begins_at(&self, from: (Ipv6Addr, u16)) -> bool {
        (self.source, self.source_port) == from
    }

    /// What finds it again.
    pub(super) fn locator(&self) -> Locator {
        Locator {
            tuple: self.tuple.to_vec(),
            zone: self.zone.map(<[u8]>::to_vec),
            id: self.id.to_vec(),
        }
    }
}

/// One direction of a flow.
pub(super) struct Tuple {
    pub(super) proto: Proto,
    pub(super) source: (Ipv6Addr, u16),
    pub(super) destination: (Ipv6Addr, u16),
}

impl Tuple {
    /// `None` for a protocol that Docker does not publish.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let [Some(ip), Some(transport)] = pick(bytes, [CTA_TUPLE_IP, CTA_TUPLE_PROTO])? else {
            return Err(Malformed("a tuple without addresses or protocol"));
        };
        let kinds = [CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT];
        let [number, from, to] = pick(transport, kinds)?;
        let number = number.and_then(<[u8]>::first);
        let number = number.ok_or(Malformed("a tuple without the protocol's number"))?;
        let Some(proto) = Proto::from_number(*number) else {
            return Ok(None);
        };
        let [src, dst] = pick(ip, [CTA_IP_V6_SRC, CTA_IP_V6_DST])?;
        let end = |addr: Option<&[u8]>, port: Option<&[u8]>| {
            let port = port?.try_into().ok()?;
            Some((address(addr?)?, u16::from_be_bytes(port)))
        };
        let (Some(source), Some(destination)) = (end(src, from), end(dst, to)) else {
            return Err(Malformed("a tuple without its addresses and ports"));
        };
        Ok(Some(Self {
            proto,
            source,
            destination,
        }))
    }
}

/// Reads `CTA_PROTOINFO`; for a protocol other than TCP it describes no connection.
fn is_accepted(info: &[u8]) -> bool {
    let state = find(info, CTA_PROTOINFO_TCP).and_then(|tcp| find(tcp, CTA_PROTOINFO_TCP_STATE));
    state.is_some_and(|state| matches!(state, [state] if ANSWERED.contains(state)))
}

/// Hands out every IPv6 entry of a protocol that Docker publishes.
pub(super) fn list(
    channel: &mut dyn Channel,
    deadline: Instant,
    each: &mut dyn FnMut(&Entry<'_>),
) -> Result<Ended, NetlinkError> {
    let which = |writer: &mut Writer| writer.raw(&NFGENMSG_IPV6);
    request::dump(channel, deadline, CT_GET, &which, &mut |payload| {
        if let Some(entry) = Entry::read(payload)? {
            each(&entry);
        }
        Ok(())
    })
}

/// Appends the request to delete one entry.
pub(super) fn delete(writer: &mut Writer, seq: u32, locator: &Locator) {
    writer.message(CT_DELETE, REQUEST | ACK, seq, |payload| {
        payload.raw(&NFGENMSG_IPV6);
        payload.nest(CTA_TUPLE_ORIG, &locator.tuple);
        if let Some(zone) = &locator.zone {
            payload.attr(CTA_ZONE, zone);
        }
        payload.attr(CTA_ID, &locator.id);
    });
}

/// Appends the request for an entry of a connection that is under way, without NAT.
pub(super) fn create(writer: &mut Writer, seq: u32, accepted: &Accepted) {
    let Accepted { client, server } = *accepted;
    writer.message(CT_NEW, REQUEST | ACK | CREATE | EXCL, seq, |payload| {
        payload.raw(&NFGENMSG_IPV6);
        tuple(payload, CTA_TUPLE_ORIG, client, server);
        tuple(payload, CTA_TUPLE_REPLY, server, client);
        payload.number(CTA_STATUS, UNDER_WAY);
        payload.number(CTA_TIMEOUT, TIMEOUT);
        payload.nested(CTA_PROTOINFO, |info| {
            info.nested(CTA_PROTOINFO_TCP, |tcp| {
                tcp.attr(CTA_PROTOINFO_TCP_STATE, &[ESTABLISHED]);
                tcp.attr(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &BE_LIBERAL);
                tcp.attr(CTA_PROTOINFO_TCP_FLAGS_REPLY, &BE_LIBERAL);
            });
        });
    });
}

/// Appends one direction of a TCP connection.
fn tuple(writer: &mut Writer, kind: u16, source: (Ipv6Addr, u16), destination: (Ipv6Addr, u16)) {
    writer.nested(kind, |tuple| {
        tuple.nested(CTA_TUPLE_IP, |ip| {
            ip.attr(CTA_IP_V6_SRC, &source.0.octets());
            ip.attr(CTA_IP_V6_DST, &destination.0.octets());
        });
        tuple.nested(CTA_TUPLE_PROTO, |transport| {
            transport.attr(CTA_PROTO_NUM, &[Proto::Tcp.number()]);
            transport.attr(CTA_PROTO_SRC_PORT, &source.1.to_be_bytes());
            transport.attr(CTA_PROTO_DST_PORT, &destination.1.to_be_bytes());
        });
    });
}

#[cfg(test)]
mod tests;

/// An entry that no kernel has shown.
#[cfg(test)]
pub(super) fn invented(
    proto: Proto,
    source: Ipv6Addr,
    destination: (Ipv6Addr, u16),
    answerer: (Ipv6Addr, u16),
) -> Entry<'static> {
    Entry {
        proto,
        source,
        source_port: 40_000,
        destination,
        answerer,
        accepted: false,
        tuple: &[],
        zone: None,
        id: &[],
    }
}
