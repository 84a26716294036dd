//! Bytes that a kernel (6.18, little-endian) answered a dump with, after `conntrack -I`.

use proptest::prelude::*;

use super::super::oracle::check;
use super::*;
use crate::netlink::kernel_script::KernelScript;
use crate::netlink::message::{Message, Messages};

/// `tcp 2001:db8::2:40000 > 2001:db8::1:8080`, DNAT to `[fdfd:5898:4917:1::2]:80`.
const TCP: &str = "200100000001220007000000b85b00000a0000004c0001802c0001801400030020010db800000000\
     00000000000000021400040020010db80000000000000000000000011c0002800500010006000000\
     060002009c400000060003001f9000004c0002802c00018014000300fdfd58984917000100000000\
     000000021400040020010db80000000000000000000000021c000280050001000600000006000200\
     00500000060003009c40000008000300000001a8080008000000000008000c004167e2fb08000b00\
     000000010800070000000063300004802c0001800500010003000000050002000000000005000300\
     00000000060004000a000000060005000a0000001c00188008000100000000000800020000000000\
     0800030000000000";

/// `udp …:40001 > …:53`, no DNAT, zone 7.
const UDP_ZONE: &str = "f80000000001220007000000b85b00000a0000004c0001802c0001801400030020010db800000000\
     00000000000000021400040020010db80000000000000000000000011c0002800500010011000000\
     060002009c41000006000300003500004c0002802c0001801400030020010db80000000000000000\
     000000011400040020010db80000000000000000000000021c000280050001001100000006000200\
     00350000060003009c41000006001200000700000800030000000008080008000000000008000c00\
     2de4bfba08000b000000000108000700000000631c00188008000100000000000800020000000000\
     0800030000000000";

/// `udp …:40002 > …:53`, no DNAT, zone 9 in the original direction only.
const UDP_ORIG_ZONE: &str = "f80000000001220007000000b85b00000a000000540001802c0001801400030020010db800000000\
     00000000000000021400040020010db80000000000000000000000011c0002800500010011000000\
     060002009c420000060003000035000006000300000900004c0002802c0001801400030020010db8\
     0000000000000000000000011400040020010db80000000000000000000000021c00028005000100\
     110000000600020000350000060003009c4200000800030000000008080008000000000008000c00\
     1d1e0b4808000b000000000108000700000000631c00188008000100000000000800020000000000\
     0800030000000000";

/// `sctp …:40003 > …:5000`, DNAT to `[fdfd:5898:4917:1::2]:5000`.
const SCTP: &str = "100100000001220007000000b85b00000a0000004c0001802c0001801400030020010db800000000\
     00000000000000021400040020010db80000000000000000000000011c0002800500010084000000\
     060002009c43000006000300138800004c0002802c00018014000300fdfd58984917000100000000\
     000000021400040020010db80000000000000000000000021c000280050001008400000006000200\
     13880000060003009c43000008000300000001a8080008000000000008000c005cf578ff08000b00\
     000000010800070000000063200004801c0003800500010004000000080002000100000008000300\
     020000001c001880080001000000000008000200000000000800030000000000";

/// An echo request.
const ICMP: &str = "000100000001220007000000b85b00000a000000540001802c0001801400030020010db800000000\
     00000000000000021400040020010db800000000000000000000000124000280050001003a000000\
     060007000001000005000800800000000500090000000000540002802c0001801400030020010db8\
     0000000000000000000000011400040020010db80000000000000000000000022400028005000100\
     3a000000060007000001000005000800810000000500090000000000080003000000000808000800\
     0000000008000c00b8489b9708000b000000000108000700000000631c0018800800010000000000\
     08000200000000000800030000000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |d: &u8| u8::try_from((*d as char).to_digit(16).expect("hex")).expect("small");
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|p| digit(&p[0]) << 4 | digit(&p[1])).collect()
}

fn first(datagram: &[u8]) -> Message<'_> {
    let mut messages = Messages::new(datagram);
    messages.next().expect("a message").expect("well-formed")
}

fn at(text: &str) -> (Ipv6Addr, u16) {
    let addr: std::net::SocketAddrV6 = text.parse().expect("an address");
    (*addr.ip(), addr.port())
}

/// Native-endian goldens are read only where they were captured.
#[cfg(target_endian = "little")]
mod golden {
    use super::*;

    #[test]
    fn the_kernels_own_words_are_understood() {
        let target = "[fdfd:5898:4917:1::2]";
        for (hex, proto, destination, answerer) in [
            (
                TCP,
                Proto::Tcp,
                "[2001:db8::1]:8080",
                format!("{target}:80"),
            ),
            (
                UDP_ZONE,
                Proto::Udp,
                "[2001:db8::1]:53",
                "[2001:db8::1]:53".into(),
            ),
            (
                UDP_ORIG_ZONE,
                Proto::Udp,
                "[2001:db8::1]:53",
                "[2001:db8::1]:53".into(),
            ),
            (
                SCTP,
                Proto::Sctp,
                "[2001:db8::1]:5000",
                format!("{target}:5000"),
            ),
        ] {
            let bytes = bytes(hex);
            let message = first(&bytes);
            assert_eq!((message.kind, message.seq), (CT_NEW, 7));
            let entry = Entry::read(message.payload)
                .expect("well-formed")
                .expect("ours");
            assert_eq!(entry.proto, proto);
            assert_eq!(
                entry.source,
                "2001:db8::2".parse::<Ipv6Addr>().expect("valid")
            );
            assert_eq!(entry.destination, at(destination));
            assert_eq!(entry.answerer, at(&answerer));
            assert_eq!(entry.accepted, proto == Proto::Tcp);
        }
    }

    #[test]
    fn other_protocols_and_families_are_passed_over() {
        assert_eq!(Entry::read(first(&bytes(ICMP)).payload), Ok(None));
        let mut v4 = bytes(TCP);
        v4[16] = 2;
        assert_eq!(Entry::read(first(&v4).payload), Ok(None));
    }

    #[test]
    fn a_deletion_carries_the_tuple_the_zone_and_the_id_as_the_kernel_gave_them() {
        for (hex, zone, id) in [
            (TCP, "", "08000c004167e2fb"),
            (UDP_ZONE, "0600120000070000", "08000c002de4bfba"),
            (UDP_ORIG_ZONE, "", "08000c001d1e0b48"),
        ] {
            let answer = bytes(hex);
            let entry = Entry::read(first(&answer).payload)
                .expect("well-formed")
                .expect("ours");
            let mut writer = Writer::default();
            delete(&mut writer, 9, &entry.locator());
            // From the family to the end of the original tuple the answer is the request.
            let tuple = usize::from(u16::from_le_bytes([answer[20], answer[21]]));
            let mut expected = bytes("000000000201050009000000000000000a000000");
            expected.extend(&answer[20..20 + tuple]);
            expected.extend(bytes(zone));
            expected.extend(bytes(id));
            let length = u8::try_from(expected.len()).expect("short");
            expected[0] = length;
            assert_eq!(writer.bytes(), expected);
        }
    }

    #[test]
    fn a_dump_asks_for_ipv6_only() {
        let mut kernel = KernelScript::default();
        let listed = list(&mut kernel, KernelScript::deadline(), &mut |_| {});
        assert_eq!(listed, Err(NetlinkError::TimedOut));
        let expected = "14000000010101030000000000000000".to_owned() + "0a000000";
        assert_eq!(kernel.sent, bytes(&expected));
    }

    #[test]
    fn an_entry_cut_off_anywhere_is_malformed() {
        let whole = bytes(TCP);
        let message = first(&whole);
        // Behind the id nothing is needed.
        let needed = 4 + 0x4c + 0x4c + 8 + 8;
        for length in 0..=needed {
            let payload = &message.payload[..length];
            let read = Entry::read(payload);
            assert!(read.is_err(), "{length}: {read:?}");
        }
    }

    proptest! {
        #[test]
        fn no_damage_to_an_answer_breaks_what_must_hold(
            which in prop::sample::select(vec![TCP, UDP_ZONE, UDP_ORIG_ZONE, SCTP, ICMP]),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut damaged = bytes(which);
            for (place, value) in damage {
                let place = place.index(damaged.len());
                damaged[place] = value;
            }
            check(&damaged);
        }
    }
}
