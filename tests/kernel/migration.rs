//! From another program to this one: what `cleanup --foreign` lists and removes.

use crate::support::PROGRAM;
use crate::support::namespace;
use crate::support::shell::sh;

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
