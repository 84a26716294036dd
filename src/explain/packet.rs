//! The one packet that is sent: an opening packet of a connection in an Ethernet frame, with two
//! random numbers by which it is known again. Pure, except for the drawing of the numbers.
//!
//! The flow label and the nonce survive rewriting of addresses and ports. A firewall mark would be
//! simpler, and is not used: other rules act on marks.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::Ipv6Addr;

use crate::model::forward::Proto;

/// Length of an Ethernet header: two hardware addresses and the type (linux/if_ether.h).
const ETHERNET: usize = 14;

/// `ETH_P_IPV6`.
const ETHERTYPE: [u8; 2] = [0x86, 0xdd];

/// The bits of an IPv6 header's first word that are the flow label (RFC 8200, 3).
pub(super) const LABEL_MASK: u32 = 0x000f_ffff;

/// As far as the packet of an ordinary host comes (RFC 1700's default).
const HOP_LIMIT: u8 = 64;

/// Length of a TCP header with the option for the largest segment.
const TCP_HEADER: usize = 24;

/// The flags SYN, RST and ACK in a TCP header (RFC 9293, 3.1).
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The largest segment on Ethernet: 1500 bytes without the headers of IPv6 and TCP.
const MAX_SEGMENT: [u8; 2] = 1440_u16.to_be_bytes();

/// The first of the ports that clients use (RFC 6335, 6).
const FIRST_DYNAMIC_PORT: u16 = 49_152;

/// By what the packet is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(super) proto: Proto,
    /// 20 bits.
    pub(super) label: u32,
    /// TCP's sequence number, SCTP's initiate tag, or the beginning of UDP's payload.
    pub(super) nonce: u32,
}

impl Mark {
    /// Where the nonce lies, in bytes from the beginning of the transport header.
    pub(super) fn nonce_offset(self) -> u32 {
        match self.proto {
            Proto::Tcp => 4,
            Proto::Udp => 8,
            Proto::Sctp => 16,
        }
    }
}

/// The packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) mark: Mark,
    pub(crate) from: (Ipv6Addr, u16),
    pub(crate) to: (Ipv6Addr, u16),
    /// For the answer to another packet: the number of TCP that it acknowledges.
    pub(crate) acknowledges: Option<u32>,
}

/// Random bytes from the kernel.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Packet {
    /// A packet with numbers and a source port of its own.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub(crate) fn draw(proto: Proto, from: Ipv6Addr, to: (Ipv6Addr, u16)) -> io::Result<Self> {
        let [a, b, c, d, e, f, g, h, p, q] = random()?;
        // 0 means that there is no label, and SCTP refuses a tag of 0.
        let label = (u32::from_be_bytes([a, b, c, d]) & LABEL_MASK).max(1);
        let nonce = u32::from_be_bytes([e, f, g, h]).max(1);
        let mark = Mark {
            proto,
            label,
            nonce,
        };
        let port = FIRST_DYNAMIC_PORT | u16::from_be_bytes([p, q]);
        Ok(Self {
            mark,
            from: (from, port),
            to,
            acknowledges: None,
        })
    }

    /// The answer to this packet, which went on from `from` to `to` after all rewriting.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub(super) fn answer(&self, from: (Ipv6Addr, u16), to: (Ipv6Addr, u16)) -> io::Result<Self> {
        let drawn = Self::draw(self.mark.proto, to.0, from)?;
        Ok(Self {
            from: to,
            acknowledges: Some(self.mark.nonce.wrapping_add(1)),
            ..drawn
        })
    }

    /// The frame as it would arrive at an interface with this hardware address.
    pub(crate) fn frame(&self, to: [u8; 6]) -> Vec<u8> {
        // A locally administered address (IEEE 802c), which no interface of the host has.
        let from = [0x02, 0, 0, 0, 0, 0x66];
        let transport = self.transport();
        let mut frame = Vec::with_capacity(ETHERNET + 40 + transport.len());
        frame.extend(to);
        frame.extend(from);
        frame.extend(ETHERTYPE);
        frame.extend((0x6000_0000 | self.mark.label).to_be_bytes());
        // Some tens of bytes.
        frame.extend((transport.len() as u16).to_be_bytes());
        frame.extend([self.mark.proto.number(), HOP_LIMIT]);
        frame.extend(self.from.0.octets());
        frame.extend(self.to.0.octets());
        frame.extend(transport);
        frame
    }

    fn transport(&self) -> Vec<u8> {
        let mut header = [self.from.1.to_be_bytes(), self.to.1.to_be_bytes()].concat();
        let nonce = self.mark.nonce.to_be_bytes();
        match self.mark.proto {
            Proto::Tcp => {
                header.extend(nonce);
                header.extend(self.acknowledges.unwrap_or(0).to_be_bytes());
                let flags = match self.acknowledges {
                    Some(_) => SYN | ACK,
                    None => SYN,
                };
                header.extend([(TCP_HEADER as u8 / 4) << 4, flags]);
                // Window, checksum, urgent pointer.
                header.extend([0xff, 0xff, 0, 0, 0, 0]);
                header.extend([2, 4]);
                header.extend(MAX_SEGMENT);
                self.set_checksum(&mut header, 16);
            }
            Proto::Udp => {
                let length = 8 + 4;
                header.extend([0, length, 0, 0]);
                header.extend(nonce);
                self.set_checksum(&mut header, 6);
            }
            Proto::Sctp => {
                // Verification tag and checksum, then an INIT chunk of 20 bytes (RFC 9260, 3.3.2):
                // tag, window, streams out and in, initial TSN.
                header.extend([0; 8]);
                header.extend([1, 0, 0, 20]);
                header.extend(nonce);
                header.extend([0, 1, 0, 0]);
                header.extend([0, 1, 0, 1]);
                header.extend(nonce);
                let checksum = crc32c(&header);
                header[8..12].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        header
    }

    /// Puts in the Internet checksum over the pseudo-header and `segment` (RFC 8200, 8.1).
    fn set_checksum(&self, segment: &mut [u8], at: usize) {
        let length = segment.len() as u32;
        let mut bytes = [self.from.0.octets(), self.to.0.octets()].concat();
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 0, 0, self.mark.proto.number()]);
        bytes.extend(&*segment);
        let words = bytes.chunks(2);
        let sum: u32 = words
            .map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0)))
            .sum();
        let folded = (sum >> 16) + (sum & 0xffff);
        let folded = !((folded >> 16) + folded) as u16;
        // For UDP, 0 would mean that there is none.
        let checksum = if folded == 0 { 0xffff } else { folded };
        segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// SCTP's checksum (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    /// The polynomial 0x1edc6f41, its bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL * (crc & 1))
        })
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(proto: Proto) -> Packet {
        Packet {
            mark: Mark {
                proto,
                label: 0xabcde,
                nonce: 0x0102_0304,
            },
            from: ("2001:db8::9".parse().unwrap(), 50_000),
            to: ("2001:db8::1".parse().unwrap(), 8080),
            acknowledges: None,
        }
    }

    #[test]
    fn a_frame_carries_label_and_nonce_where_the_rules_look_for_them() {
        for proto in Proto::ALL {
            let packet = packet(proto);
            let frame = packet.frame([1, 2, 3, 4, 5, 6]);
            assert_eq!(frame[14..18], [0x60, 0x0a, 0xbc, 0xde]);
            assert_eq!(usize::from(frame[19]), frame.len() - 54, "{proto}");
            let nonce = 54 + packet.mark.nonce_offset() as usize;
            assert_eq!(frame[nonce..nonce + 4], [1, 2, 3, 4], "{proto}");
        }
    }

    #[test]
    fn the_checksum_makes_the_sum_of_all_words_vanish() {
        for proto in [Proto::Tcp, Proto::Udp] {
            let packet = packet(proto);
            let frame = packet.frame([0; 6]);
            let mut words = frame[22..].to_vec();
            words.extend(((frame.len() - 54) as u32).to_be_bytes());
            words.extend([0, 0, 0, proto.number()]);
            let sum: u32 = words
                .chunks(2)
                .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
                .sum();
            assert_eq!((sum >> 16) + (sum & 0xffff), 0xffff, "{proto}");
        }
    }

    /// The check value of CRC-32C (RFC 3720, B.4 has others).
    #[test]
    fn the_checksum_of_sctp_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn an_answer_goes_back_and_acknowledges() {
        let asked = packet(Proto::Tcp);
        let container = ("fd00::2".parse().unwrap(), 80);
        let answer = asked.answer(asked.from, container).expect("random");
        assert_eq!((answer.from, answer.to), (container, asked.from));
        assert_ne!(answer.mark, asked.mark);
        let frame = answer.frame([0; 6]);
        assert_eq!(frame[62..66], 0x0102_0305_u32.to_be_bytes());
        assert_eq!(frame[67], SYN | ACK);
    }

    #[test]
    fn two_packets_never_look_alike() {
        let draw = || {
            let to = ("2001:db8::1".parse().unwrap(), 80);
            Packet::draw(Proto::Tcp, "2001:db8::9".parse().unwrap(), to).expect("random")
        };
        let (one, two) = (draw(), draw());
        assert_ne!(one.mark, two.mark);
        assert!(one.from.1 >= FIRST_DYNAMIC_PORT && one.mark.label <= LABEL_MASK);
    }
}
