//! Netlink's framing: messages in a datagram, attributes in a message. Pure.
//!
//! Whatever the bytes are, reading ends, and ends without a panic. Headers are in the byte order
//! of the machine, the values that netfilter puts into attributes are big-endian.

use std::net::Ipv6Addr;

use rustix::io::Errno;

/// Length of `struct nlattr` (linux/netlink.h): length u16, type u16.
const ATTR_HEADER: usize = 4;

/// Messages and attributes begin at multiples of this (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGN: usize = 4;

/// The bits of an attribute's type that name it; the others are `NLA_F_NESTED` and
/// `NLA_F_NET_BYTEORDER`.
const ATTR_TYPE: u16 = 0x3fff;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// `NLMSG_MIN_TYPE`: the first type of message that is a subsystem's; those below control.
pub(crate) const FIRST_OF_SUBSYSTEMS: u16 = 0x10;
/// `NLMSG_ERROR`: an error, or with code 0 an acknowledgement (linux/netlink.h).
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(crate) const DONE: u16 = 3;
/// `NLMSG_OVERRUN`: data was lost.
pub(crate) const OVERRUN: u16 = 4;
/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(crate) const ACK: u16 = 0x4;
/// `NLM_F_DUMP_INTR`: the dump was inconsistent due to a change.
pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_DUMP`, that is `NLM_F_ROOT | NLM_F_MATCH`.
pub(crate) const DUMP: u16 = 0x300;

/// `NLM_F_EXCL`: fail where it is there already.
pub(crate) const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;

/// `AF_INET6`.
pub(crate) const IPV6: u8 = 10;

/// `NFPROTO_INET`, the family of tables for both IPv4 and IPv6 (linux/netfilter.h).
pub(crate) const INET: u8 = 1;

/// `struct nfgenmsg` with this family, version 0 and resource id 0 (linux/netfilter/nfnetlink.h).
pub(crate) const fn nfgenmsg(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// That of IPv6.
pub(crate) const NFGENMSG_IPV6: [u8; 4] = nfgenmsg(IPV6);

/// The kernel's largest error number, negated (`MAX_ERRNO`, linux/err.h).
const MAX_ERRNO: i32 = -4095;

/// Bytes are not the netlink messages that were expected; says what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

/// One message; its header is `struct nlmsghdr` (linux/netlink.h), 16 bytes: length u32, type
/// u16, flags u16, sequence number u32, port id u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    /// Who sent it, or who made the change that it announces.
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

impl Message<'_> {
    /// The error code that begins the payload of [`ERROR`] and [`DONE`]: 0, or an errno negated.
    pub(crate) fn code(&self) -> Result<Option<Errno>, Malformed> {
        let Some(code) = self.payload.first_chunk() else {
            // The end of a dump may come without a code.
            return match self.kind {
                DONE => Ok(None),
                _ => Err(Malformed("an error without its code")),
            };
        };
        match i32::from_ne_bytes(*code) {
            // Conntrack ends its dumps with the length of the last datagram.
            0.. => Ok(None),
            code @ MAX_ERRNO..0 => Ok(Some(Errno::from_raw_os_error(-code))),
            // `Errno` would panic at it.
            _ => Err(Malformed("an error number that does not exist")),
        }
    }
}

/// The messages of one datagram. Ends after the first that is malformed.
#[derive(Debug, Clone)]
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let all = std::mem::take(&mut self.0);
        let Some((length, rest)) = all.split_first_chunk() else {
            return Some(Err(Malformed("a message without a header")));
        };
        let length = u32::from_ne_bytes(*length) as usize;
        let Some(body) = length.checked_sub(4).and_then(|n| rest.get(..n)) else {
            return Some(Err(Malformed("a message longer than its datagram")));
        };
        let [k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3, payload @ ..] = body else {
            return Some(Err(Malformed("a message shorter than its header")));
        };
        self.0 = all.get(length.next_multiple_of(ALIGN)..).unwrap_or(&[]);
        Some(Ok(Message {
            kind: u16::from_ne_bytes([*k0, *k1]),
            flags: u16::from_ne_bytes([*f0, *f1]),
            seq: u32::from_ne_bytes([*s0, *s1, *s2, *s3]),
            port: u32::from_ne_bytes([*p0, *p1, *p2, *p3]),
            payload,
        }))
    }
}

/// The attributes of a message or of a nest: type and value. Ends after the first that is
/// malformed.
#[derive(Debug, Clone)]
pub(crate) struct Attrs<'a>(&'a [u8]);

impl<'a> Attrs<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let all = std::mem::take(&mut self.0);
        let [l0, l1, t0, t1, ..] = all else {
            return Some(Err(Malformed("an attribute without a header")));
        };
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let Some(value) = all.get(ATTR_HEADER..length) else {
            return Some(Err(Malformed("an attribute of an impossible length")));
        };
        self.0 = all.get(length.next_multiple_of(ALIGN)..).unwrap_or(&[]);
        Some(Ok((u16::from_ne_bytes([*t0, *t1]) & ATTR_TYPE, value)))
    }
}

/// The first attribute of this type, before what is malformed.
pub(crate) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = Attrs::new(attributes).map_while(Result::ok);
    all.find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// The values of these attributes, in their order: of each the last, `None` where it is not there.
pub(crate) fn pick<const N: usize>(
    attributes: &[u8],
    kinds: [u16; N],
) -> Result<[Option<&[u8]>; N], Malformed> {
    let mut values = [None; N];
    for attr in Attrs::new(attributes) {
        let (kind, value) = attr?;
        if let Some(at) = kinds.iter().position(|wanted| *wanted == kind) {
            values[at] = Some(value);
        }
    }
    Ok(values)
}

/// The IPv6 address that a value is.
pub(crate) fn address(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

/// A text without its closing NUL.
pub(crate) fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
}

/// Messages to be sent in one datagram.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Appends a message; `fill` appends its payload.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        seq: u32,
        fill: impl FnOnce(&mut Self),
    ) {
        let start = self.0.len();
        self.0.extend([0; 4]);
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self.0.extend(seq.to_ne_bytes());
        // The port id: the kernel knows who sends.
        self.0.extend([0; 4]);
        fill(self);
        // Attributes of 64 KiB at the most, of which there are few.
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.0[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends bytes as they are; their number must be a multiple of four.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Appends an attribute.
    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) {
        // Callers that write long nests keep them below 64 KiB, the most there can be.
        let length = u16::try_from(ATTR_HEADER + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
    }

    /// Appends an attribute that holds attributes.
    pub(crate) fn nest(&mut self, kind: u16, attributes: &[u8]) {
        self.attr(kind | NESTED, attributes);
    }

    /// Appends an attribute that holds what `fill` appends.
    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.attr(kind | NESTED, &[]);
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends a number, big-endian as netfilter has it.
    pub(crate) fn number(&mut self, kind: u16, number: u32) {
        self.attr(kind, &number.to_be_bytes());
    }

    /// Appends a text and its closing NUL.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.attr(kind, &[text.as_bytes(), &[0]].concat());
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: usize = 16;

    fn attr() -> impl Strategy<Value = (u16, Vec<u8>)> {
        (0..=ATTR_TYPE, prop::collection::vec(any::<u8>(), 0..70))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            messages in prop::collection::vec(
                (any::<u16>(), any::<u16>(), any::<u32>(), prop::collection::vec(attr(), 0..5)),
                0..5,
            ),
        ) {
            let mut writer = Writer::default();
            for (kind, flags, seq, attrs) in &messages {
                writer.message(*kind, *flags, *seq, |writer| {
                    for (kind, value) in attrs {
                        writer.attr(*kind, value);
                    }
                });
            }
            let read: Vec<Message<'_>> =
                Messages::new(writer.bytes()).collect::<Result<_, _>>().expect("well-formed");
            prop_assert_eq!(read.len(), messages.len());
            for (read, (kind, flags, seq, attrs)) in read.iter().zip(&messages) {
                prop_assert_eq!((read.kind, read.flags, read.seq), (*kind, *flags, *seq));
                let values: Vec<(u16, Vec<u8>)> = Attrs::new(read.payload)
                    .map(|attr| attr.map(|(kind, value)| (kind, value.to_vec())))
                    .collect::<Result<_, _>>()
                    .expect("well-formed");
                prop_assert_eq!(&values, attrs);
            }
        }
    }

    #[test]
    fn lengths_that_lead_nowhere_are_malformed() {
        for length in [0_u32, 3, 4, 15, 17, u32::MAX] {
            let mut bytes = [0; HEADER];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let read: Vec<_> = Messages::new(&bytes).collect();
            assert!(matches!(read[..], [Err(_)]), "{length}: {read:?}");
        }
        for length in [0_u16, 3, 5, u16::MAX] {
            let mut bytes = [0; ATTR_HEADER];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            let read: Vec<_> = Attrs::new(&bytes).collect();
            assert!(matches!(read[..], [Err(_)]), "{length}: {read:?}");
        }
    }
}
