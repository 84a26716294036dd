//! Records encoded and decoded, and the detection of damage to them.

use std::collections::BTreeSet;

use ipnet::Ipv6Net;
use proptest::prelude::*;

use super::*;
use crate::journal::record::RecordState;
use crate::journal::testing;
use crate::model::boot::BootId;
use crate::model::device::Device;
use crate::model::forward::{Owner, Proto};
use crate::model::rule::{BackendKind, Basis, ContainerPort, HostPort, OwnedRule, Rule, RuleFacts};
use crate::model::text::Untrusted;

fn owners() -> impl Strategy<Value = BTreeSet<Owner>> {
    let image = prop_oneof![Just(String::new()), ".{1,40}"];
    let named = ("[0-9a-f]{64}", ".{0,40}", "[a-z]{0,12}", image);
    let owner = named.prop_map(|(id, name, network, image)| {
        Owner::new(id, Untrusted::new(name), Untrusted::new(network)).of_image(image.as_str())
    });
    prop::collection::btree_set(owner, 0..4)
}

fn rule() -> impl Strategy<Value = Rule> {
    let dev = "[a-z][a-z0-9.]{0,14}".prop_map(|name| name.parse::<Device>().expect("valid"));
    let addr = || any::<[u8; 16]>().prop_map(std::net::Ipv6Addr::from);
    let net = || {
        (addr(), 0..=128_u8).prop_map(|(addr, len)| Ipv6Net::new(addr, len).expect("valid length"))
    };
    let proto = prop::sample::select(Proto::ALL.to_vec());
    let port = (proto, prop::option::of(addr()), 1_u16..);
    let port = port.prop_map(|(proto, addr, port)| HostPort { proto, addr, port });
    let target = (addr(), 1_u16..).prop_map(|(addr, port)| ContainerPort { addr, port });
    let basis = vec![Basis::Settings, Basis::Forwards, Basis::Forward];
    let named = (
        any::<u8>(),
        "[a-z-]{0,12}",
        "[a-z-]{0,12}",
        prop::sample::select(basis),
    );
    let of = prop::option::of::<BoxedStrategy<_>>;
    let nets = (of(net().boxed()), of(net().boxed()));
    let rest = (
        prop::option::of(dev),
        nets,
        prop::option::of(port),
        prop::option::of(target),
    );
    let facts = (named, rest).prop_map(
        |((rank, kind, purpose, basis), (dev, (prefix, source), port, target))| RuleFacts {
            rank,
            kind: kind.into(),
            purpose: purpose.into(),
            basis,
            dev,
            prefix,
            port,
            source,
            target,
        },
    );
    let backend = prop::sample::select(vec![BackendKind::Ip6tables, BackendKind::Nftables]);
    let recorded = any::<Option<[u8; 8]>>();
    (backend, ".{1,99}", facts, recorded).prop_map(
        |(backend, text, facts, recorded)| match recorded {
            Some(id) => Rule::recorded(RuleId::from_bytes(id), backend, "".into(), facts),
            None => Rule::new(backend, text, facts),
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let state = prop::sample::select(vec![
        RecordState::Intended,
        RecordState::Applied,
        RecordState::Removing,
    ]);
    (rule(), owners(), state, any::<u64>(), "[0-9a-f-]{0,36}").prop_map(
        |(rule, owners, state, inserted_at, boot)| Record {
            owned: OwnedRule {
                rule,
                owners: owners.into(),
            },
            state,
            inserted_at,
            boot_id: BootId::new(boot),
        },
    )
}

fn sample(host_port: u16, names: &str) -> Record {
    Record {
        owned: OwnedRule {
            rule: testing::rule(host_port),
            owners: BTreeSet::from([Owner::new("c".repeat(64), names, names)]).into(),
        },
        state: RecordState::Applied,
        inserted_at: 1_700_000_000,
        boot_id: BootId::new("boot"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_decoded_record_equals_the_encoded_one(record in record()) {
        let value = encode(&record).expect("fits");
        let read = decode(record.id().as_bytes(), &value).expect("whole");
        prop_assert_eq!(images(&read), images(&record));
        prop_assert_eq!(read, record);
    }

    #[test]
    fn every_single_bit_flip_is_detected(record in record()) {
        let key = *record.id().as_bytes();
        let value = encode(&record).expect("fits");
        for bit in 0..key.len() * 8 {
            let mut flipped = key;
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(is_damage(decode(&flipped, &value)), "key bit {}", bit);
        }
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(is_damage(decode(&key, &flipped)), "value bit {}", bit);
        }
    }

    #[test]
    fn every_truncation_and_extension_is_detected(record in record(), more in prop::collection::vec(any::<u8>(), 1..20)) {
        let key = *record.id().as_bytes();
        let value = encode(&record).expect("fits");
        for len in 0..value.len() {
            prop_assert!(is_damage(decode(&key, &value[..len])), "cut to {}", len);
        }
        for len in 0..key.len() {
            prop_assert!(is_damage(decode(&key[..len], &value)), "key cut to {}", len);
        }
        let longer: Vec<u8> = value.iter().copied().chain(more.clone()).collect();
        prop_assert!(is_damage(decode(&key, &longer)));
        let longer: Vec<u8> = key.iter().copied().chain(more).collect();
        prop_assert!(is_damage(decode(&longer, &value)));
    }

    #[test]
    fn a_sentinel_is_decoded_and_its_bit_flips_are_detected(generation: u64, live: u64) {
        let sentinel = Sentinel { generation, live };
        let value = encode_sentinel(sentinel);
        prop_assert_eq!(decode_sentinel(&value), Ok(sentinel));
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode_sentinel(&flipped).is_err(), "bit {}", bit);
        }
        prop_assert!(decode_sentinel(&envelope(SENTINEL_KEY, FIRST_VERSION, &[0; 17])).is_err());
    }
}

/// A comparison of records does not see them.
fn images(record: &Record) -> Vec<String> {
    let owners = record.owned.owners.iter();
    owners.map(|owner| owner.image.raw().to_owned()).collect()
}

fn is_damage(result: Result<Record, DecodeError>) -> bool {
    matches!(result, Err(DecodeError::Damaged { .. }))
}

/// Existing journals contain these bytes: a change needs a new version.
#[test]
fn version_2_never_changes() {
    let record = sample(8080, "web");
    let value = encode(&record).expect("fits");
    let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
    let header = "4e36364a02000000";
    assert!(hex.starts_with(header), "{hex}");
    let body = &hex[32..];
    let text = |text: &str| -> String {
        let bytes = text.bytes().map(|b| format!("{b:02x}"));
        format!("{:02x}{}", text.len(), bytes.collect::<String>())
    };
    let expected = [
        "01",
        "fc00f15365",
        &text("boot"),
        "00",
        &text(&record.owned.rule.text),
        "0c",
        &text("dnat"),
        &text("outside"),
        "02",
        &format!("01{}", text("eth0")),
        "00",
        "010000fb901f",
        "00",
        "01fdfd589849170001000000000000000250",
        "01",
        &text(&"c".repeat(64)),
        &text("web"),
        &text("web"),
    ];
    assert_eq!(body, expected.concat());
}

/// Version 3 is version 2 and the images.
#[test]
fn version_3_never_changes() {
    let mut record = sample(8080, "web");
    let before = encode(&record).expect("fits");
    let owner = record.owned.owners.pop_first().expect("one owner");
    record.owned.owners.insert(owner.of_image("nginx:1.27"));
    let value = encode(&record).expect("fits");
    assert_eq!((before[4], value[4]), (2, 3));
    let more = [&[1, 10], &b"nginx:1.27"[..]].concat();
    let body = [&before[HEADER_BYTES..], &more].concat();
    assert_eq!(value[HEADER_BYTES..], body);
    let key = *record.id().as_bytes();
    let read = decode(&key, &value).expect("whole");
    assert_eq!(images(&read), ["nginx:1.27"]);
    // As many images as owners, or it is damage.
    for count in [0, 2] {
        let more = vec!["nginx"; count];
        let other = options().serialize(&more).expect("fits");
        let other = [&before[HEADER_BYTES..], &other].concat();
        assert!(is_damage(decode(&key, &envelope(&key, VERSION, &other))));
    }
}

#[test]
fn a_record_that_is_too_large_with_images_is_written_without() {
    let mut record = sample(1, "web");
    let owners = (0..50).map(|n| {
        let owner = Owner::new(format!("{n:064x}"), "web", "bridge");
        owner.of_image("i".repeat(5_000).as_str())
    });
    record.owned.owners = owners.collect::<BTreeSet<_>>().into();
    let value = encode(&record).expect("fits");
    let read = decode(record.id().as_bytes(), &value).expect("whole");
    assert_eq!(images(&read), vec![""; 50]);
    record.owned.owners = record
        .owned
        .owners
        .iter()
        .take(1)
        .cloned()
        .collect::<BTreeSet<_>>()
        .into();
    let value = encode(&record).expect("fits");
    let read = decode(record.id().as_bytes(), &value).expect("whole");
    assert_eq!(images(&read), ["i".repeat(255)]);
}

#[test]
fn a_newer_version_is_not_damage() {
    let record = sample(8080, "web");
    let key = *record.id().as_bytes();
    let value = encode(&record).expect("fits");
    let newer = resealed_as(4, &key, &value);
    assert_eq!(decode(&key, &newer), Err(DecodeError::NewerVersion(4)));
    assert!(is_damage(decode(&key, &resealed_as(0, &key, &value))));
}

#[test]
fn a_body_with_impossible_content_is_damage() {
    let port = sample(8080, "web");
    let text = encode(&port).expect("fits");
    let key = *port.id().as_bytes();
    let body = &text[HEADER_BYTES..];
    let at = body
        .windows(3)
        .position(|window| window == [0xfb, 0x90, 0x1f])
        .expect("the port's varint");
    let mut zero = body[..at].to_vec();
    zero.push(0);
    zero.extend_from_slice(&body[at + 3..]);
    let refused = decode(&key, &envelope(&key, WITHOUT_IMAGE, &zero));
    assert_eq!(refused, Err(damaged("a port is 0")));

    let at = body
        .windows(4)
        .position(|window| window == b"eth0")
        .expect("the device");
    let mut slash = body.to_vec();
    slash[at + 3] = b'/';
    let refused = decode(&key, &envelope(&key, WITHOUT_IMAGE, &slash));
    assert!(is_damage(refused));
}

#[test]
fn a_long_name_is_cut_and_the_record_is_written() {
    let record = sample(1, &"ü".repeat(40_000));
    let value = encode(&record).expect("fits");
    let read = decode(record.id().as_bytes(), &value).expect("whole");
    let owner = read.owned.owners.first().expect("one owner");
    assert_eq!(owner.container_name.raw(), "ü".repeat(127));
}

#[test]
fn a_record_with_absurdly_many_owners_is_refused() {
    let mut record = sample(1, "web");
    for n in 0..1000 {
        record
            .owned
            .owners
            .insert(Owner::new(format!("{n:064x}"), "web", "bridge"));
    }
    assert!(matches!(
        encode(&record),
        Err(EncodeError::TooLarge { owners: 1001, .. })
    ));
}

/// The checksum is right each time: the other checks find the damage.
#[test]
fn a_wrong_value_with_a_right_checksum_is_damage() {
    let (one, two) = (testing::record(1), testing::record(2));
    let key = *one.id().as_bytes();
    let is_damage = |value: &[u8]| matches!(decode(&key, value), Err(DecodeError::Damaged { .. }));
    let own = body(&v2::RecordV2::from(&one)).expect("it fits");
    let sound = envelope(&key, WITHOUT_IMAGE, &own);
    assert_eq!(decode(&key, &sound), Ok(one.clone()));
    for (what, at) in [("magic", 0), ("flags", 6), ("length", 8)] {
        let mut value = sound.clone();
        value[at] ^= 1;
        let crc = crc(&key, &value[..CRC_AT], &own);
        value[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        assert!(is_damage(&value), "{what}");
    }
    let trailing = [&own[..], &[0]].concat();
    assert!(is_damage(&envelope(&key, WITHOUT_IMAGE, &trailing)));
    let others = body(&v2::RecordV2::from(&two)).expect("it fits");
    assert!(is_damage(&envelope(&key, WITHOUT_IMAGE, &others)));
    let mut crowded = one;
    let owners = (1..100).flat_map(|n| (*testing::record(n).owned.owners).clone());
    crowded.owned.owners = owners.collect::<BTreeSet<_>>().into();
    let long = options().with_no_limit();
    let long = long
        .serialize(&v2::RecordV2::from(&crowded))
        .expect("it has a form");
    assert!(long.len() > MAX_BODY_BYTES);
    assert!(is_damage(&envelope(&key, WITHOUT_IMAGE, &long)));
    let sentinel = encode_sentinel(Sentinel {
        generation: 1,
        live: 2,
    });
    let misplaced = envelope(&key, FIRST_VERSION, &sentinel[HEADER_BYTES..]);
    assert!(decode_sentinel(&misplaced).is_err());
}
