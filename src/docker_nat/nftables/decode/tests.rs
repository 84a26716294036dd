//! Rules as nft and ip6tables-nft make them.

use super::*;
use crate::netlink::message::{NFGENMSG_IPV6, Writer};
use crate::netlink::nf_tables::{DATA_VERDICT, EXPR_DATA, EXPR_NAME, VERDICT_CODE, rule};

/// A rule of these expressions.
fn of(expressions: &[u8]) -> Rule {
    Rule::read(&[&NFGENMSG_IPV6[..], &attr(rule::EXPRESSIONS, expressions)].concat())
}

fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.attr(kind, value);
    writer.bytes().to_vec()
}

fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    let name = attr(EXPR_NAME, &[name.as_bytes(), &[0]].concat());
    attr(1, &[name, attr(EXPR_DATA, data)].concat())
}

fn numbers(numbers: &[(u16, u32)]) -> Vec<u8> {
    let attrs = numbers.iter();
    attrs
        .flat_map(|(kind, value)| attr(*kind, &value.to_be_bytes()))
        .collect()
}

fn immediate(register: u32, value: &[u8]) -> Vec<u8> {
    let value = attr(immediate::DATA, &attr(DATA_VALUE, value));
    expression(
        "immediate",
        &[numbers(&[(immediate::DREG, register)]), value].concat(),
    )
}

fn nat(kind: u32, addr: u32, port: u32) -> Vec<u8> {
    expression(
        "nat",
        &numbers(&[
            (nat::TYPE, kind),
            (nat::REG_ADDR_MIN, addr),
            (nat::REG_PROTO_MIN, port),
        ]),
    )
}

fn payload((base, offset, length): (u32, u32, u32)) -> Vec<u8> {
    let loads = [
        (payload::DREG, 1),
        (payload::BASE, base),
        (payload::OFFSET, offset),
        (payload::LEN, length),
    ];
    expression("payload", &numbers(&loads))
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &numbers(&[(meta::DREG, 1), (meta::KEY, key)]))
}

fn compare(how: u32, value: &[u8]) -> Vec<u8> {
    let value = attr(cmp::DATA, &attr(DATA_VALUE, value));
    expression(
        "cmp",
        &[numbers(&[(cmp::SREG, 1), (cmp::OP, how)]), value].concat(),
    )
}

fn addr(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// `ip6 saddr != fe80::/10 ip6 daddr 2001:db8::1 tcp dport 8080 dnat to [fdfd::2]:80`, with a
/// register that is used twice.
fn dockers(dnat: u32) -> Rule {
    let rule = [
        payload((1, 8, 2)),
        compare(cmp::UNEQUAL, &[0xfe, 0x80]),
        payload(payload::DADDR),
        compare(cmp::EQUAL, &addr("2001:db8::1").octets()),
        meta(meta::PROTO),
        compare(cmp::EQUAL, &[6]),
        payload(payload::DPORT),
        compare(cmp::EQUAL, &8080u16.to_be_bytes()),
        immediate(1, &[0; 16]),
        immediate(1, &addr("fdfd::2").octets()),
        immediate(2, &[0, 80]),
        nat(dnat, 1, 2),
    ];
    of(&rule.concat())
}

#[test]
fn a_dnat_rule_is_known_by_its_key_and_its_target() {
    let forward = HostForward {
        proto: Proto::Tcp,
        host_addr: Some(addr("2001:db8::1")),
        host_port: 8080,
        target: (addr("fdfd::2"), 80),
    };
    assert_eq!(dockers(nat::DNAT).forward, Some(forward));
    // The same of a source.
    assert_eq!(dockers(0).forward, None);
    let unset = [immediate(1, &[0; 16]), nat(nat::DNAT, 1, 9)].concat();
    assert_eq!(of(&unset).forward, None);
}

#[test]
fn ports_in_a_match_of_xtables_are_read_in_the_hosts_order() {
    let port = |low: u16, high: u16| [low.to_ne_bytes(), high.to_ne_bytes()].concat();
    let matches = |name: &str, info: Vec<u8>| {
        let name = attr(xt::NAME, &[name.as_bytes(), &[0]].concat());
        expression("match", &[name, attr(xt::INFO, &info)].concat())
    };
    let to = [
        immediate(1, &[1; 16]),
        immediate(2, &[0, 80]),
        nat(nat::DNAT, 1, 2),
    ]
    .concat();
    let any = port(0, 0xffff);
    let udp = matches("udp", [any.clone(), port(53, 53), vec![0; 2]].concat());
    let sctp = matches("sctp", [port(9, 9), any.clone()].concat());
    let range = matches("tcp", [any, port(53, 54)].concat());
    let found = |rule: Vec<u8>| {
        let forward = of(&[rule, to.clone()].concat()).forward;
        forward.map(|forward| (forward.proto, forward.host_port))
    };
    assert_eq!(found(udp), Some((Proto::Udp, 53)));
    assert_eq!(found(sctp), Some((Proto::Sctp, 9)));
    assert_eq!(found(range), None);
}

#[test]
fn a_drop_of_what_goes_into_a_bridge_names_the_bridge() {
    let drop = attr(
        immediate::DATA,
        &attr(DATA_VERDICT, &numbers(&[(VERDICT_CODE, DROP)])),
    );
    let drop = expression(
        "immediate",
        &[numbers(&[(immediate::DREG, 0)]), drop].concat(),
    );
    let rule = |out: &[u8]| {
        let parts = [
            meta(meta::INTERFACE_IN),
            compare(cmp::UNEQUAL, b"docker0\0"),
            meta(meta::INTERFACE_OUT),
            compare(cmp::EQUAL, out),
            drop.clone(),
        ];
        of(&parts.concat())
    };
    let bridge = rule(b"docker0\0\0\0\0\0\0\0\0\0");
    assert_eq!(
        (bridge.drops, bridge.bridge.as_deref()),
        (true, Some("docker0"))
    );
    assert_eq!(rule(b"eth0\0").bridge, None);
}
