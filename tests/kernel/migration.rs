//! From another program to this one: what `cleanup --foreign` lists and removes.

use std::process::Command;

use crate::support::PROGRAM;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::namespace;
use crate::support::shell::{sh, sh_with};
use crate::support::together::{case, together};

/// The rules of the first docker-nat66 for one port, one of them twice, and around them what others
/// set: Docker, a person, and ourselves.
const RULES: &str = "\
$tool -t nat -N DOCKER
$tool -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
$tool -t nat -A DOCKER ! -i docker0 -p tcp --dport 81 -j DNAT --to-destination [fd00::3]:80
$tool -t nat -A POSTROUTING -s fd00::/64 ! -o docker0 -j MASQUERADE
$tool -t nat -A POSTROUTING -o eth0 -s fd00::/64 -j MASQUERADE
$tool -t nat -A POSTROUTING -o eth0 -s fd01::/64 -j MASQUERADE
$tool -t nat -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination [fd00::2]:80
$tool -t nat -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination [fd00::2]:80
$tool -t nat -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination [fd00::2]:80 \
 -m comment --comment docker-nat66:0123456789abcdef
";

#[test]
#[ignore = "needs root: run by tests/run"]
fn rules_of_the_first_docker_nat66_are_listed_and_removed_when_asked_twice() {
    namespace::fresh(|| {
        let rules = |tool: &str| {
            let saved = sh(&format!("{tool}-save -t nat"));
            let lines = saved.lines().filter(|line| line.starts_with("-A "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let tools = ["ip6tables-nft", "ip6tables-legacy"];
        for tool in tools {
            sh(&RULES.replace("$tool", tool));
        }
        let before = tools.map(rules);
        let cleanup = |more: &str| {
            let go = "cleanup --foreign docker-nat66-go --prefix fd00::/64";
            sh(&format!("{PROGRAM} {go} {more}"))
        };
        let listed = cleanup("");
        for tool in tools {
            let of_tool = listed.lines().filter(|line| line.starts_with(tool));
            assert_eq!(of_tool.count(), 3, "{listed}");
        }
        assert!(
            listed.ends_with("6 would be removed, with --yes\n"),
            "{listed}"
        );
        assert_eq!(tools.map(rules), before, "a list removes nothing");

        let removed = cleanup("--yes");
        assert!(removed.ends_with("removed: 6\n"), "{removed}");
        for (tool, before) in tools.into_iter().zip(before) {
            let is_theirs = |line: &&String| {
                line.ends_with("-s fd00::/64 -o eth0 -j MASQUERADE")
                    || line.ends_with("--dport 80 -j DNAT --to-destination [fd00::2]:80")
                        && !line.contains("--comment")
            };
            let kept: Vec<String> = before.iter().filter(|l| !is_theirs(l)).cloned().collect();
            assert_eq!(kept.len(), before.len() - 3);
            assert_eq!(rules(tool), kept);
        }
        assert_eq!(cleanup("--yes"), "there is no such rule\n");
    });
}

const IPV6NAT: [&str; 2] = [
    include_str!("recorded/docker-ipv6nat-0.4/rules.save"),
    include_str!("recorded/docker-ipv6nat-0.4/rules-hairpin.save"),
];

/// What others have beside docker-ipv6nat: an administrator, a person, and ourselves.
const BESIDE: &str = "\
$tool -I DOCKER-USER -s 2001:db8:bad::/48 -j DROP
$tool -A FORWARD -i eth1 -j ACCEPT
$tool -t nat -A POSTROUTING -s fd00::/64 ! -o br7 -j MASQUERADE
$tool -t nat -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination [fd00::2]:80 \
 -m comment --comment docker-nat66:0123456789abcdef
";

/// What a tool shows of both tables, without counters.
fn saved(tool: &str) -> Vec<String> {
    let saved = sh(&format!("{tool}-save -t nat; {tool}-save -t filter"));
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(" [").next().unwrap_or_default().to_owned())
        .collect()
}

/// The exit code, and what is said.
fn cleanup(foreign: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(PROGRAM);
    command.args(["cleanup", "--foreign", foreign]).args(more);
    let output = command.env_clear().output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn docker_ipv6nat_goes_with_its_chains_and_nothing_else_does() {
    let case_of = |tool: &'static str, recorded: &'static str| {
        case(tool, move || {
            sh_with(&format!("{tool}-restore"), recorded);
            let before = saved(tool);
            assert!(before.iter().any(|line| line.contains("-j DNAT")));
            sh(&BESIDE.replace("$tool", tool));
            let beside = saved(tool);
            let (code, listed) = cleanup("docker-ipv6nat", &[]);
            assert_eq!(code, Some(0), "{listed}");
            assert_eq!(saved(tool), beside, "a list removes nothing");
            assert!(listed.contains("no docker-nat66 runs here"), "{listed}");
            // The list is what a person could run.
            let commands = listed.lines().filter(|line| line.starts_with(tool));
            let commands: Vec<&str> = commands.collect();
            let (code, removed) = cleanup("docker-ipv6nat", &["--yes"]);
            let count = format!("removed: {}\n", commands.len());
            assert!(code == Some(0) && removed.ends_with(&count), "{removed}");
            let after = saved(tool);
            let theirs = |line: &String| line.replace("DOCKER-USER", "").contains("DOCKER");
            assert!(!after.iter().any(&theirs), "{after:#?}");
            let of_others = beside.iter().filter(|line| !before.contains(line));
            for line in of_others {
                assert!(after.contains(line), "{line} has gone: {after:#?}");
            }
            assert!(after.iter().any(|line| line == "-A FORWARD -j DOCKER-USER"));
            assert_eq!(
                cleanup("docker-ipv6nat", &["--yes"]),
                (Some(0), "there is no such rule\n".to_owned())
            );
            // The commands do the same.
            for line in BESIDE.replace("$tool", tool).lines().rev() {
                sh(&line.replace(" -I ", " -D ").replace(" -A ", " -D "));
            }
            sh_with(&format!("{tool}-restore"), recorded);
            commands.iter().for_each(|line| drop(sh(line)));
            assert!(!saved(tool).iter().any(&theirs));
        })
    };
    namespace::fresh(|| {
        let tools = ["ip6tables-nft", "ip6tables-legacy"];
        let each = tools
            .into_iter()
            .flat_map(|tool| IPV6NAT.map(|it| case_of(tool, it)));
        together(each.collect());
    });
}

const ENGINE_28: &str = include_str!("../support/fake_engine/recorded/engine-28.5.2/rules-on.save");
const LEFT_BY_28: &str =
    include_str!("../support/fake_engine/recorded/engine-28.5.2/rules-leftover.save");
const LEFT_BY_29: &str = include_str!("recorded/engine-29.9-nftables/rules-leftover.nft");

#[test]
#[ignore = "needs root: run by tests/run"]
fn rules_of_an_engine_are_not_taken_for_those_of_docker_ipv6nat() {
    namespace::fresh(|| {
        for recorded in [ENGINE_28, LEFT_BY_28] {
            sh_with("ip6tables-nft-restore", recorded);
            let before = saved("ip6tables-nft");
            let (code, said) = cleanup("docker-ipv6nat", &["--yes"]);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("is a Docker Engine's"), "{said}");
            assert_eq!(saved("ip6tables-nft"), before);
        }
    });
}

/// A container whose port, by Docker's word, leads there.
fn publishing(host_port: u16, container_port: u16) -> FakeEngine {
    let engine = FakeEngine::start();
    let mut web = FakeContainer::new(2, "web").publish(host_port, container_port);
    web.address = "fdfd:5898:4917:1::2".parse().ok();
    engine.put(web);
    engine
}

fn of(engine: &FakeEngine) -> String {
    format!("unix://{}", engine.socket().display())
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn what_an_engine_left_behind_goes_once_its_nat_is_off() {
    namespace::fresh(|| {
        let engine = publishing(8080, 10000);
        let docker = ["--docker-host", &of(&engine)];
        let yes = [&docker[..], &["--yes"]].concat();
        assert_eq!(
            cleanup("docker", &yes),
            (Some(0), "there is no such rule\n".to_owned())
        );
        // Its NAT is on: the rules are in use.
        sh_with("ip6tables-nft-restore", ENGINE_28);
        let before = saved("ip6tables-nft");
        let (code, said) = cleanup("docker", &yes);
        assert!(
            code == Some(1) && said.contains("NAT is on (it serves 8080/tcp"),
            "{said}"
        );
        // Nobody can be asked.
        let (code, said) = cleanup(
            "docker",
            &["--docker-host", "unix:///run/none.sock", "--yes"],
        );
        assert!(code == Some(1) && said.contains("start Docker"), "{said}");
        assert_eq!(saved("ip6tables-nft"), before);

        sh_with("ip6tables-nft-restore", LEFT_BY_28);
        let before = saved("ip6tables-nft");
        let drops: Vec<&String> = before.iter().filter(|line| is_left_behind(line)).collect();
        assert!(!drops.is_empty());
        let (code, listed) = cleanup("docker", &docker);
        assert_eq!(code, Some(0), "{listed}");
        for drop in &drops {
            let command = format!("ip6tables-nft -t filter {}\n", drop.replacen("-A", "-D", 1));
            assert!(listed.contains(&command), "{command}: {listed}");
        }
        assert_eq!(saved("ip6tables-nft"), before, "a list removes nothing");
        let (code, removed) = cleanup("docker", &yes);
        let count = format!("removed: {}\n", drops.len());
        assert!(code == Some(0) && removed.ends_with(&count), "{removed}");
        let mut kept = before.clone();
        kept.retain(|line| !is_left_behind(line));
        assert_eq!(saved("ip6tables-nft"), kept);
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn tables_that_cannot_be_read_are_not_taken_for_empty_ones() {
    namespace::fresh(|| {
        let engine = publishing(8080, 10000);
        let docker = ["--docker-host", &of(&engine)];
        sh(
            "ip6tables-legacy -N DOCKER && ip6tables-legacy -A FORWARD -o docker0 -j DOCKER
            ip6tables-legacy -A DOCKER ! -i docker0 -o docker0 -j DROP",
        );
        let hidden = [
            // The tool fails; it is not installed.
            (
                "/bin/false",
                "xtables-legacy-multi",
                "ip6tables-save of table filter (legacy): failed",
            ),
            (
                "/dev/null",
                "ip6tables-legacy-save",
                "ip6tables-legacy-save is not installed",
            ),
        ];
        for (by, tool, words) in hidden {
            sh(&format!("mount --bind {by} /usr/sbin/{tool}"));
            for more in [&docker[..], &[docker[0], docker[1], "--yes"]] {
                let (code, said) = cleanup("docker", more);
                assert_ne!(code, Some(0), "{said}");
                let refusal = "is not known for certain, so nothing is removed";
                assert!(said.contains(refusal) && said.contains(words), "{said}");
            }
            sh(&format!("umount /usr/sbin/{tool}"));
        }
        let (code, said) = cleanup("docker", &docker);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("1 would be removed, with --yes\n"), "{said}");
    });
}

/// The drop with which an Engine from 28 on ends its chain, for one bridge.
fn is_left_behind(line: &str) -> bool {
    let rest = line.strip_prefix("-A DOCKER ! -i ");
    rest.and_then(|rest| rest.strip_suffix(" -j DROP"))
        .and_then(|bridges| bridges.split_once(" -o "))
        .is_some_and(|(inside, outside)| inside == outside)
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn the_table_that_an_engine_left_behind_goes_whole() {
    namespace::fresh(|| {
        let engine = publishing(8080, 10000);
        sh_with(
            "nft -f -",
            &LEFT_BY_29.replace("hook output priority dstnat;", "hook output priority -100;"),
        );
        sh("nft add table ip6 theirs");
        let docker = ["--docker-host", &of(&engine)];
        let (code, listed) = cleanup("docker", &docker);
        let expected = "nft delete table ip6 docker-bridges\n1 would be removed, with --yes\n";
        assert_eq!((code, listed.as_str()), (Some(0), expected));
        let (code, removed) = cleanup("docker", &[&docker[..], &["--yes"]].concat());
        assert!(
            code == Some(0) && removed.ends_with("removed: 1\n"),
            "{removed}"
        );
        assert_eq!(sh("nft list tables ip6"), "table ip6 theirs\n");
    });
}
