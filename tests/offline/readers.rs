//! What the lab reads of the kernel's rules, from listings written by hand; and the checksum of the
//! packets that it makes itself.

use crate::support::lab::elements::{masquerades, parse, published};
use crate::support::lab::rules::{
    Published, Tables, is_ours, parse_listed, parse_published, parse_saved, telling,
};
use crate::support::lab::sctp::crc32c;

fn normalise(saved: &str) -> Tables {
    telling(parse_saved(saved))
}

#[test]
fn native_tables_are_told_apart_and_the_tools_own_are_not_listed_twice() {
    let ruleset = "table ip6 nat {\n\tchain POSTROUTING {\n\t}\n}\n\
        table ip6 docker_nat66 { # progname docker-nat66\n}\n\
        table inet filter {\n\tchain input {\n\t}\n}\n";
    let found = parse_listed(ruleset);
    let names: Vec<&String> = found.keys().collect();
    assert_eq!(names, ["table inet filter", "table ip6 docker_nat66"]);
    assert_eq!(found["table inet filter"].len(), 4);
}

#[test]
fn counters_dates_and_empty_tables_do_not_count() {
    let before = "# Generated on Monday\n*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n*filter\n\
                  :FORWARD DROP [1:2]\n-A FORWARD -j ACCEPT\nCOMMIT\n";
    let after =
        "# Generated on Tuesday\n*filter\n:FORWARD DROP [3:4]\n-A FORWARD -j ACCEPT\nCOMMIT\n";
    assert_eq!(normalise(before), normalise(after));
}

#[test]
fn a_policy_a_chain_or_a_rule_more_counts() {
    let plain = normalise("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n");
    for other in [
        "*nat\n:PREROUTING DROP [0:0]\nCOMMIT\n",
        "*nat\n:PREROUTING ACCEPT [0:0]\n:MINE - [0:0]\nCOMMIT\n",
        "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\nCOMMIT\n",
    ] {
        assert_ne!(normalise(other), plain, "{other}");
    }
}

#[test]
fn a_rule_of_ours_is_read_whatever_the_order_of_its_matches() {
    let listing = "-P PREROUTING ACCEPT\n\
        -A PREROUTING -p tcp -m tcp --dport 1 -j DNAT --to-destination [fd00::1]:1\n\
        -A PREROUTING -d 2001:db8::11/128 -i eth0 -p udp -m udp --dport 53 -m addrtype \
        --dst-type LOCAL -m comment --comment \"docker-nat66:0123456789abcdef\" -j DNAT \
        --to-destination [fd00::2]:5353\n";
    assert_eq!(
        parse_published(listing),
        [Published::new("eth0 udp 2001:db8::11 53", "[fd00::2]:5353")]
    );
}

#[test]
fn elements_of_ours_are_read_from_every_map_and_others_are_not() {
    let listing = r#"table ip6 docker_nat66 {
	set egress {
		type ifname
		elements = { "eth0" comment "docker-nat66:0123456789abcdef" }
	}

	set prefixes {
		elements = { fd00::/64 comment "docker-nat66:0123456789abcdef" }
	}

	map forwards {
		type inet_proto . inet_service : ipv6_addr . inet_service
		size 65535
		counter
		elements = { tcp . 1 counter : fd00::9 . 1,
			     tcp . 8080 counter comment "docker-nat66:0123456789abcdef" : fd00::2 . 80 }
	}

	map forwards_from_host {
		elements = { 2001:db8::/32 . 2001:db8::11 . udp . 53 counter comment "docker-nat66:0123456789abcdef" : fd00::2 . 5353 }
	}
}
"#;
    let elements = parse(listing);
    assert_eq!(masquerades(&elements), ["eth0 fd00::/64"]);
    assert_eq!(
        published(&elements),
        [
            Published::new("eth0 tcp * 8080", "[fd00::2]:80"),
            Published::new("eth0 udp 2001:db8::11 53", "[fd00::2]:5353"),
        ]
    );
    assert_eq!(elements.len(), 5);
    let ours = elements.iter().filter(|e| is_ours(&e.line()));
    assert_eq!(ours.count(), 4);
}

#[test]
fn the_checksum_of_sctp_is_that_of_the_standard() {
    // RFC 3720, B.4: 32 bytes of zeroes.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
}
