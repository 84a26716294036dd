//! Never wider than Docker: what the recorded answers open, beside the rules that the same Engine
//! set for them.

use serde_json::{Value, json};

use super::world::{World, everywhere, text};
use super::*;
use docker_nat66::mapper::published::published;
use docker_nat66::model::published::HostForward;
use fake_engine::fixture;

/// Recorded with Docker's own IPv6 NAT on: `rules.save` holds what it publishes.
const WITH_RULES: [&str; 2] = ["engine-28.5.2", "engine-29.9-iptables"];

/// What Docker's own rules forward, as [`text`] writes it, as `ip6tables-save` prints them.
fn dnat_rules(saved: &str) -> BTreeSet<String> {
    let read = |rule: &str| {
        let (mut proto, mut host, mut port, mut target) = ("", "", "", "");
        // From where Docker forwards nothing, and so neither need we.
        let rule = rule.replace("! -s fe80::/10 ", "");
        let mut words = rule.split_whitespace();
        while let Some(word) = words.next() {
            let value = words.next().expect("a value");
            match word {
                "-p" => proto = value,
                "-d" => host = value.trim_end_matches("/128"),
                "--dport" => port = value,
                "--to-destination" => target = value,
                "-m" => assert_eq!(value, proto, "{rule}"),
                "-j" => assert_eq!(value, "DNAT", "{rule}"),
                _ => panic!("{word} in {rule}"),
            }
        }
        format!("{proto} {host}:{port} {target}")
    };
    saved
        .lines()
        .filter(|line| line.contains("-j DNAT"))
        .map(|line| read(line.strip_prefix("-A DOCKER ").expect("in DOCKER")))
        .collect()
}

#[test]
fn forwards_equal_what_docker_s_own_nat_forwards() {
    for dir in WITH_RULES {
        let mut world = World::recorded(dir);
        let snapshot = world.listed();
        let ours: BTreeSet<String> = everywhere(&snapshot).forwards.iter().map(text).collect();
        let docker_s = dnat_rules(&fixture::read(dir, "rules.save"));
        assert_eq!(docker_s.len(), 16, "{dir}");
        assert_eq!(ours, docker_s, "{dir}");
    }
}

/// What standby and audit compare those rules with, whatever we would open.
#[test]
fn all_that_docker_publishes_is_what_its_own_nat_forwards() {
    for dir in WITH_RULES {
        let snapshot = World::recorded(dir).listed();
        let all = published(&snapshot, true).expect("known").forwards;
        let key = |f: &HostForward| {
            let host = f.host_addr.map(|addr| addr.to_string()).unwrap_or_default();
            let (addr, port) = f.target;
            format!("{} {host}:{} [{addr}]:{port}", f.proto, f.host_port)
        };
        let docker_s = dnat_rules(&fixture::read(dir, "rules.save"));
        assert_eq!(
            all.iter().map(key).collect::<BTreeSet<_>>(),
            docker_s,
            "{dir}"
        );
    }
}

/// A container that is on the network `front`, too, which does NAT: Docker routes it all the same,
/// as long as its IPv6 gateway is on the other.
#[test]
fn a_routed_port_stays_closed_until_docker_publishes_it() {
    for dir in WITH_RULES {
        let mut world = World::recorded(dir);
        let id = world.row("routed")["Id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let front = &world.row("front")["NetworkSettings"]["Networks"]["front"];
        let mut endpoint = front.clone();
        endpoint["GlobalIPv6Address"] = json!("fdfd:5898:4917:2::9");
        let both = |value: &mut Value| {
            value["NetworkSettings"]["Networks"]["front"] = endpoint.clone();
        };
        both(world.row("routed"));
        both(world.inspect(&id));
        let port = |snapshot: &Snapshot| {
            let resolved = everywhere(snapshot);
            let open = resolved.forwards.iter().find(|f| f.host_port == 8089);
            let closed = resolved.skipped.iter().find(|s| s.container_id == id);
            (
                open.map(|f| f.container_addr.to_string()),
                closed.map(|s| s.reason.to_string()),
            )
        };
        let routed =
            "routed: over IPv6 the container is reached at its own addresses, not at the host's";
        for list in ["the first list", "another list", "a third one"] {
            let asked = world.asked;
            let snapshot = world.listed();
            let closed = (None, Some(routed.to_owned()));
            assert_eq!(port(&snapshot), closed, "{dir}, {list}");
            assert!(
                list == "the first list" || world.asked == asked,
                "asked again"
            );
        }
        // Its IPv6 gateway becomes the other network, which no event told.
        let shown =
            |ip: &str| json!({"IP": ip, "PrivatePort": 10000, "PublicPort": 8089, "Type": "tcp"});
        let rows = |ip: &str| json!({"HostIp": ip, "HostPort": "8089"});
        world.row("routed")["Ports"] = json!([shown("0.0.0.0"), shown("::")]);
        world.inspect(&id)["NetworkSettings"]["Ports"]["10000/tcp"] =
            json!([rows("0.0.0.0"), rows("::")]);
        let open = (Some("fdfd:5898:4917:2::9".to_owned()), None);
        assert_eq!(port(&world.listed()), open, "{dir}");
    }
}
