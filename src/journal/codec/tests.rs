//! Records encoded and decoded, and the detection of damage to them.

use std::collections::BTreeSet;

use ipnet::Ipv6Net;
use proptest::prelude::*;

use super::*;
use crate::journal::record::State;
use crate::journal::testing;
use crate::model::boot::BootId;
use crate::model::device::Device;
use crate::model::element::Element;
use crate::model::forward::{Owner, Proto};
use crate::model::rule::{
    BackendKind, Dnat, DnatKey, Guard, Hook, HostPort, OwnedRule, Rule, RuleSpec, Via,
};
use crate::model::text::Untrusted;

fn owners() -> impl Strategy<Value = BTreeSet<Owner>> {
    let owner = ("[0-9a-f]{64}", ".{0,40}", "[a-z]{0,12}").prop_map(|(id, name, network)| Owner {
        container_id: id,
        container_name: Untrusted::new(name),
        network: Untrusted::new(network),
    });
    prop::collection::btree_set(owner, 0..4)
}

fn spec() -> impl Strategy<Value = RuleSpec> {
    let dev = "[a-z][a-z0-9.]{0,14}".prop_map(|name| name.parse::<Device>().expect("valid"));
    let addr = || any::<[u8; 16]>().prop_map(std::net::Ipv6Addr::from);
    let prefix = || {
        (addr(), 0..=128_u8).prop_map(|(addr, len)| Ipv6Net::new(addr, len).expect("valid length"))
    };
    let proto = prop::sample::select(Proto::ALL.to_vec());
    let at = (proto, prop::option::of(addr()), 1_u16..);
    let via = prop_oneof![
        dev.clone().prop_map(Via::Egress),
        Just(Via::Host),
        prefix().prop_map(Via::Containers),
        Just(Via::Outside),
        Just(Via::Inside),
    ];
    let source = prop::option::of(prefix());
    let target = (addr(), 1_u16..);
    let dnat = (via, at.clone(), source, target, any::<bool>()).prop_map(
        |(via, (proto, host_addr, host_port), source, (target, target_port), spares)| {
            RuleSpec::Dnat(Dnat {
                key: DnatKey {
                    via,
                    proto,
                    host_addr,
                    host_port,
                    source,
                },
                target,
                target_port,
                spares_link_local: spares && source.is_none(),
            })
        },
    );
    let refused = at
        .clone()
        .prop_map(|(proto, host_addr, host_port)| Element::Refused {
            proto,
            host_addr,
            host_port,
        });
    let element = prop_oneof![
        dev.clone().prop_map(Element::Egress),
        prefix().prop_map(Element::Prefix),
        prefix().prop_map(Element::Guarded),
        (prefix(), addr()).prop_map(|(prefix, source)| Element::Source { prefix, source }),
        refused,
    ];
    let refuse = (dev.clone(), at).prop_map(|(dev, (proto, host_addr, host_port))| {
        RuleSpec::Refuse(HostPort {
            dev,
            proto,
            host_addr,
            host_port,
        })
    });
    let hook = prop::sample::select(vec![Hook::Forward, Hook::Input]);
    let guard = prop::sample::select(Guard::ALL.to_vec());
    let outgoing = (dev, prefix());
    prop_oneof![
        dnat,
        element.prop_map(RuleSpec::Element),
        refuse,
        hook.prop_map(RuleSpec::Jump),
        prefix().prop_map(|prefix| RuleSpec::HairpinMasquerade { prefix }),
        (prefix(), prefix()).prop_map(|(from, to)| RuleSpec::HairpinGuard { from, to }),
        outgoing
            .clone()
            .prop_map(|(dev, prefix)| RuleSpec::Masquerade { dev, prefix }),
        (outgoing.clone(), guard).prop_map(|((dev, prefix), guard)| RuleSpec::Guard {
            dev,
            prefix,
            guard
        }),
        (outgoing, addr()).prop_map(|((dev, prefix), source)| RuleSpec::Snat {
            dev,
            prefix,
            source
        }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let backend = prop::sample::select(vec![BackendKind::Ip6tables, BackendKind::Nftables]);
    let state = prop::sample::select(vec![State::Intended, State::Applied, State::Removing]);
    (
        backend,
        spec(),
        owners(),
        state,
        any::<u64>(),
        "[0-9a-f-]{0,36}",
    )
        .prop_map(|(backend, spec, owners, state, inserted_at, boot)| Record {
            owned: OwnedRule {
                rule: Rule { backend, spec },
                owners,
            },
            state,
            inserted_at,
            boot_id: BootId::new(boot),
        })
}

fn sample(host_port: u16, names: &str) -> Record {
    Record {
        owned: OwnedRule {
            rule: Rule {
                backend: BackendKind::Ip6tables,
                spec: RuleSpec::Dnat(Dnat {
                    key: DnatKey {
                        via: Via::Egress("eth0".parse().expect("valid")),
                        proto: Proto::Tcp,
                        host_addr: None,
                        host_port,
                        source: None,
                    },
                    target: "fdfd:5898:4917:1::2".parse().expect("valid"),
                    target_port: 80,
                    spares_link_local: false,
                }),
            },
            owners: BTreeSet::from([Owner {
                container_id: "c".repeat(64),
                container_name: names.into(),
                network: names.into(),
            }]),
        },
        state: State::Applied,
        inserted_at: 1_700_000_000,
        boot_id: BootId::new("boot"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_decoded_record_equals_the_encoded_one(record in record()) {
        let value = encode(&record).expect("fits");
        prop_assert_eq!(decode(record.id().as_bytes(), &value), Ok(record));
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
        prop_assert!(decode_sentinel(&envelope(SENTINEL_KEY, VERSION, &[0; 17])).is_err());
    }
}

fn is_damage(result: Result<Record, DecodeError>) -> bool {
    matches!(result, Err(DecodeError::Damaged { .. }))
}

/// Existing journals contain these bytes: a change needs a new version.
#[test]
fn version_1_never_changes() {
    let record = sample(8080, "web");
    let value = encode(&record).expect("fits");
    let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
    let header = "4e36364a01000000";
    assert!(hex.starts_with(header), "{hex}");
    let body = &hex[32..];
    let expected = concat!(
        "01",
        "fc00f15365",
        "04626f6f74",
        "00",
        "01",
        "00",
        "0465746830",
        "00",
        "00",
        "fb901f",
        "00",
        "fdfd5898491700010000000000000002",
        "50",
        "01",
        "40",
    );
    let owner = format!("{}03776562{}", "63".repeat(64), "03776562");
    assert_eq!(body, format!("{expected}{owner}"));
}

#[test]
fn a_newer_version_is_not_damage() {
    let record = sample(8080, "web");
    let key = *record.id().as_bytes();
    let value = encode(&record).expect("fits");
    let newer = resealed_as(2, &key, &value);
    assert_eq!(decode(&key, &newer), Err(DecodeError::NewerVersion(2)));
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
    let refused = decode(&key, &envelope(&key, VERSION, &zero));
    assert_eq!(refused, Err(damaged("a port is 0")));

    let at = body
        .windows(4)
        .position(|window| window == b"eth0")
        .expect("the device");
    let mut slash = body.to_vec();
    slash[at + 3] = b'/';
    let refused = decode(&key, &envelope(&key, VERSION, &slash));
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
        record.owned.owners.insert(Owner {
            container_id: format!("{n:064x}"),
            container_name: "web".into(),
            network: "bridge".into(),
        });
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
    let own = body(&v1::RecordBody::from(&one)).expect("it fits");
    let sound = envelope(&key, VERSION, &own);
    assert_eq!(decode(&key, &sound), Ok(one.clone()));
    for (what, at) in [("magic", 0), ("flags", 6), ("length", 8)] {
        let mut value = sound.clone();
        value[at] ^= 1;
        let crc = crc(&key, &value[..CRC_AT], &own);
        value[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        assert!(is_damage(&value), "{what}");
    }
    let trailing = [&own[..], &[0]].concat();
    assert!(is_damage(&envelope(&key, VERSION, &trailing)));
    let others = body(&v1::RecordBody::from(&two)).expect("it fits");
    assert!(is_damage(&envelope(&key, VERSION, &others)));
    let mut crowded = one;
    crowded.owned.owners = (0..100)
        .flat_map(|n| testing::record(n).owned.owners)
        .collect();
    let long = options().with_no_limit();
    let long = long
        .serialize(&v1::RecordBody::from(&crowded))
        .expect("it has a form");
    assert!(long.len() > MAX_BODY_BYTES);
    assert!(is_damage(&envelope(&key, VERSION, &long)));
    let sentinel = encode_sentinel(Sentinel {
        generation: 1,
        live: 2,
    });
    let misplaced = envelope(&key, VERSION, &sentinel[HEADER_BYTES..]);
    assert!(decode_sentinel(&misplaced).is_err());
}
