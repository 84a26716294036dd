//! How networks are read.

use serde_json::{Value, json};

use super::*;

fn one(row: Value) -> (Network, Vec<Untrusted>) {
    let listed = list(&json!([row]).to_string()).expect("a list");
    let [network] = listed.rows.try_into().expect("one row");
    (network, listed.odd)
}

/// A network with these options, and with one IPv6 subnet.
fn with(options: Value) -> (Network, Vec<Untrusted>) {
    one(
        json!({"Id": "ab", "Name": "net", "Driver": "bridge", "EnableIPv6": true,
        "Internal": false, "Options": options,
        "IPAM": {"Config": [{"Subnet": "fd00::/64"}]}}),
    )
}

#[test]
fn a_bare_network_is_read_with_docker_s_defaults() {
    let (network, odd) = with(json!({}));
    let expected = Network {
        id: "ab".to_owned(),
        name: "net".into(),
        driver: "bridge".into(),
        internal: false,
        subnets: vec!["fd00::/64".parse().expect("a prefix")],
        gateway_mode: GatewayMode::Nat,
        masquerade: true,
        host_ipv6: None,
        bridge: "br-ab".parse().ok(),
        ingress: false,
    };
    assert_eq!((network, odd), (expected.clone(), vec![]));
    assert_eq!(with(Value::Null), (expected, vec![]));
}

#[test]
fn options_are_read_as_docker_reads_them() {
    for (text, mode) in [
        ("nat", GatewayMode::Nat),
        ("nat-unprotected", GatewayMode::NatUnprotected),
        ("routed", GatewayMode::Routed),
        ("isolated", GatewayMode::Isolated),
    ] {
        let (network, odd) = with(json!({GATEWAY_MODE: text}));
        assert_eq!((network.gateway_mode, odd), (mode, vec![]), "{text}");
    }
    for (text, on) in [("true", true), ("1", true), ("False", false), ("0", false)] {
        let (network, odd) = with(json!({MASQUERADE: text}));
        assert_eq!((network.masquerade, odd), (on, vec![]), "{text}");
    }
    let (network, odd) = with(json!({HOST_IPV6: "2001:db8::5"}));
    assert_eq!(network.host_ipv6, "2001:db8::5".parse().ok());
    assert_eq!((network.masquerade, odd), (true, vec![]));
}

#[test]
fn an_option_that_cannot_be_read_counts_as_the_strictest_and_is_noted() {
    for value in [
        json!(""),
        json!("NAT"),
        json!("teapot"),
        json!(7),
        json!(null),
    ] {
        let (network, odd) = with(json!({GATEWAY_MODE: value}));
        let unknown = matches!(network.gateway_mode, GatewayMode::Unknown(_));
        assert!(unknown && odd.len() == 1, "{value}: {network:?}");
    }
    for value in [json!(""), json!("yes"), json!(true), json!(null)] {
        let (network, odd) = with(json!({MASQUERADE: value}));
        assert!(!network.masquerade && odd.len() == 1, "{value}");
    }
    for value in [
        json!(""),
        json!("::"),
        json!("::1"),
        json!("192.0.2.1"),
        json!("::ffff:192.0.2.1"),
        json!(["2001:db8::5"]),
    ] {
        let (network, odd) = with(json!({HOST_IPV6: value}));
        let none = network.host_ipv6.is_none() && !network.masquerade;
        assert!(none && odd.len() == 1, "{value}: {network:?}");
    }
    let (network, odd) = with(json!(["not", "an", "object"]));
    assert!(!network.masquerade && odd.len() == 1, "{odd:?}");
    assert!(matches!(network.gateway_mode, GatewayMode::Unknown(_)));
}

#[test]
fn subnets_are_those_of_ipv6_and_only_where_it_is_on() {
    let of = |enabled: Value, config: Value| {
        one(json!({"Id": "ab", "Name": "net", "EnableIPv6": enabled, "IPAM": {"Config": config}}))
    };
    let subnet = |text: &str| json!({"Subnet": text, "Gateway": "fd00::1/64"});
    let texts = |network: Network| -> Vec<String> {
        network.subnets.iter().map(ToString::to_string).collect()
    };
    let both = json!([
        subnet("172.17.0.0/16"),
        subnet("2001:DB8::1:1:7/112"),
        subnet("fd00::/64")
    ]);
    let (network, odd) = of(json!(true), both.clone());
    assert_eq!(texts(network), ["2001:db8::1:1:0/112", "fd00::/64"]);
    assert_eq!(odd, []);
    for off in [json!(false), json!(null)] {
        let (network, odd) = of(off, both.clone());
        assert_eq!((texts(network), odd.len()), (vec![], 0));
    }
    let (network, odd) = of(json!("true"), both);
    assert_eq!((texts(network), odd.len()), (vec![], 1));
    for malformed in [
        subnet("::/0"),
        subnet("8000::/1"),
        subnet("ff02::/16"),
        subnet("fe80::/64"),
        subnet("::ffff:0:0/96"),
        subnet("fd00::/129"),
        subnet("fd00::"),
        subnet(""),
        json!({"Subnet": 7}),
        json!(null),
        json!([]),
    ] {
        let (network, odd) = of(json!(true), json!([malformed, subnet("fd00::/64")]));
        assert_eq!(texts(network), ["fd00::/64"], "{malformed}");
        assert_eq!(odd.len(), 1, "{malformed}");
    }
    let (network, odd) = of(json!(true), json!({"Subnet": "fd00::/64"}));
    assert_eq!((texts(network), odd.len()), (vec![], 1));
}

#[test]
fn an_odd_row_hides_no_other_and_is_no_wider() {
    let rows = json!([null, 7, {"Name": "nameless"}, {"Id": "../x"}, {"Id": "ab"},
        {"Id": "cd", "Internal": "no", "Driver": 7, "Name": [], "IPAM": []}]);
    let listed = list(&rows.to_string()).expect("a list");
    let ids: Vec<_> = listed.rows.iter().map(|n| n.id.as_str()).collect();
    assert_eq!(ids, ["ab", "cd"]);
    assert!(listed.rows[1].internal, "it may be internal");
    assert_eq!(listed.odd.len(), 5, "{:?}", listed.odd);
    for text in ["", "{}", "null", "[", "<html>"] {
        assert!(list(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_recorded_networks_are_read() {
    let text = include_str!("../../tests/support/fake_engine/recorded/api-1.41/networks.json");
    let listed = list(text).expect("recorded");
    assert_eq!(listed.odd, []);
    let seen: Vec<_> = listed
        .rows
        .iter()
        .map(|n| {
            (
                n.name.raw(),
                n.driver.raw(),
                n.internal,
                n.subnets.len(),
                n.masquerade,
            )
        })
        .collect();
    assert!(
        seen.contains(&("bridge", "bridge", false, 1, true)),
        "{seen:?}"
    );
    assert!(
        seen.contains(&("second", "bridge", false, 1, true)),
        "{seen:?}"
    );
    assert!(
        seen.contains(&("inside", "bridge", true, 1, true)),
        "{seen:?}"
    );
    assert!(
        seen.contains(&("plain", "bridge", false, 1, false)),
        "{seen:?}"
    );
    assert!(seen.contains(&("v4", "bridge", false, 0, true)), "{seen:?}");
    assert!(seen.contains(&("host", "host", false, 0, true)), "{seen:?}");
    assert!(seen.contains(&("none", "null", false, 0, true)), "{seen:?}");
}
