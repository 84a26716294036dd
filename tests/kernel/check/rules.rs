//! Rules of others that keep packets out, and rules that nobody keeps. Those of ufw and firewalld are
//! recorded from Debian's packages (`recorded`), each from a run in namespaces of its own.

use super::{Case, Checked};
use crate::support::PROGRAM;
use crate::support::namespace;
use crate::support::shell::{sh, sh_with};
use crate::support::together::{case, together};

const UFW: &str = include_str!("../recorded/ufw-0.36.2/rules.save");
const FIREWALLD: &str = include_str!("../recorded/firewalld-1.3.3/rules.nft");

const NFTABLES: &[&str] = &["--backend", "nftables"];
const IP6TABLES: &[&str] = &["--backend", "ip6tables"];

const CASES: [(&str, Case); 12] = [
    (
        "a policy",
        Case::new(
            "forward-drop",
            "nft 'add table inet myfw { chain fw { type filter hook forward priority 10; policy drop;
               ct state vmap { established : accept, related : accept, invalid : drop }
               iifname \"lan0\" accept; icmpv6 type echo-request accept
             }; }'",
            "fail",
            "the policy of chain fw of table inet myfw drops",
        ),
    ),
    (
        "a rule of a chain that is jumped to",
        Case::new(
            "forward-drop",
            "nft 'add table ip6 myfw { chain last { counter reject; }
               chain fw { type filter hook forward priority 10; ct state established,related accept
                 jump last; }; }'",
            "fail",
            "in chain last of table ip6 myfw drops",
        ),
    ),
    (
        "a policy behind rules that may accept",
        Case::new(
            "forward-drop",
            "nft 'add table inet myfw { chain fw { type filter hook forward priority 10; policy drop;
               tcp dport 80 accept; }; }'",
            "warn",
            "unless a rule before it accepts them",
        ),
    ),
    (
        "the policy of ip6tables",
        Case::new(
            "forward-drop",
            "ip6tables -P FORWARD DROP",
            "fail",
            "the policy of chain FORWARD of table ip6 filter drops",
        )
        .with(NFTABLES),
    ),
    (
        "the policy of ip6tables beside Docker's chains",
        Case::new(
            "forward-drop",
            "ip6tables -P FORWARD DROP
             ip6tables -N DOCKER-FORWARD && ip6tables -A FORWARD -j DOCKER-FORWARD",
            "fail",
            "written by probably Docker",
        )
        .with(NFTABLES),
    ),
    (
        "a closed DOCKER-USER",
        Case::new(
            "forward-drop",
            "ip6tables -N DOCKER-USER && ip6tables -A FORWARD -j DOCKER-USER
             ip6tables -A DOCKER-USER -i eth0 -j DROP",
            "fail",
            "in chain DOCKER-USER of table ip6 filter drops new connections to published ports; \
             written by a human",
        )
        .with(IP6TABLES),
    ),
    (
        "the other variant",
        Case::new(
            "forward-drop",
            "ip6tables-legacy -P FORWARD DROP
             ip6tables-legacy -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "fail",
            "the policy of chain FORWARD of table filter of ip6tables-legacy drops",
        )
        .with(IP6TABLES),
    ),
    (
        "both variants",
        Case::new(
            "mixed-rules",
            "ip6tables-legacy -A FORWARD -s fd99::/64 -j DROP
             ip6tables-legacy -P INPUT DROP
             ip6tables-legacy -t nat -N mine
             ip6tables -A INPUT -s fd98::/64 -j DROP",
            "warn",
            "both variants of ip6tables hold rules",
        ),
    ),
    (
        "a strict rpfilter",
        Case::new(
            "rpfilter",
            "nft 'add table inet t { chain c { type filter hook prerouting priority -300;
               fib saddr . iif oif missing drop; }; }'
             ip -6 route del default",
            "warn",
            "no route leads back by eth0",
        ),
    ),
    (
        "a strict rpfilter of ip6tables",
        Case::new(
            "rpfilter",
            "ip6tables -t raw -A PREROUTING -m rpfilter --invert -j DROP
             ip -6 route del default",
            "warn",
            "chain PREROUTING of table ip6 raw",
        ),
    ),
    (
        "rules of the first docker-nat66",
        Case::new(
            "leftovers",
            "ip6tables -t nat -A POSTROUTING -o eth0 -s fd11:2233:4455:1::/64 -j MASQUERADE
             ip6tables -t nat -A PREROUTING -i eth0 -p tcp --dport 32770 -j DNAT --to-destination \
               [fd11:2233:4455:1:0:242:ac11:2]:6379",
            "warn",
            "2 rules as the first docker-nat66 (written in Go)",
        )
        .fill(BUILT),
    ),
    (
        "the same, in the legacy variant",
        Case::new(
            "leftovers",
            "ip6tables-legacy -t nat -A POSTROUTING -o eth0 -s fd11:2233:4455:1::/64 -j MASQUERADE",
            "warn",
            "1 rule as the first docker-nat66 (written in Go)",
        )
        .fill(BUILT),
    ),
];

/// The program that was built is not in the path.
const BUILT: &[(&str, &str)] = &[(
    "docker-nat66 cleanup",
    concat!(env!("CARGO_BIN_EXE_docker-nat66"), " cleanup"),
)];

#[test]
#[ignore = "needs root: run by tests/run"]
fn rules_of_others_are_mended_by_the_remedy_as_it_was_printed() {
    namespace::fresh(|| {
        let each = CASES
            .iter()
            .map(|(name, it)| case(name, move || Checked::new().mended(it)));
        together(each.collect());
    });
}

/// What ufw itself does, which cannot be installed here: its command is the one recorded beside its
/// rules, `-A ufw6-user-forward -d PREFIX -i eth0 -j ACCEPT`.
const UFW_COMMAND: &str = "ufw() {
  [ \"$1 $2 $3 $4 $6\" = 'route allow in on to' ]
  ip6tables -A ufw6-user-forward -d \"$7\" -i \"$5\" -j ACCEPT
}";

#[test]
#[ignore = "needs root: run by tests/run"]
fn ufws_own_rules_keep_packets_out_beside_nftables_alone() {
    namespace::fresh(|| {
        let host = Checked::new();
        sh_with("ip6tables-restore", UFW);
        // Ours stand at the top of FORWARD.
        for id in ["ufw", "forward-drop", "mixed-rules"] {
            host.is_ok(id, IP6TABLES);
        }
        host.is_ok("forward-drop", NFTABLES);
        sh("ip6tables -F && ip6tables -P FORWARD ACCEPT");
        let ufw = Case::new(
            "ufw",
            "ip6tables-restore </run/ufw",
            "fail",
            "written by ufw",
        );
        sh_with("cat >/run/ufw", UFW);
        host.mended(&ufw.with(NFTABLES).shim(UFW_COMMAND));
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn firewallds_own_rules_let_published_ports_through() {
    namespace::fresh(|| {
        let host = Checked::new();
        sh_with("nft -f -", FIREWALLD);
        for args in [NFTABLES, IP6TABLES] {
            for id in ["firewalld", "forward-drop", "rpfilter"] {
                host.is_ok(id, args);
            }
        }
        // Without the rule that lets them through it drops them, and is named.
        sh("nft delete rule inet firewalld filter_FORWARD handle \
            $(nft -a list chain inet firewalld filter_FORWARD | sed -n 's/.*dnat accept # handle //p')");
        let bad = host.bad("firewalld", &[]);
        assert_eq!(bad[0].result, "fail", "{bad:?}");
        assert!(bad[0].found.ends_with("written by firewalld"), "{bad:?}");
        // tests/shipped/remedies runs it, beside the real firewalld.
        let remedy = bad[0].remedy.as_deref().expect("a remedy");
        assert!(
            remedy.ends_with("firewalld.conf && firewall-cmd --reload"),
            "{bad:?}"
        );
        host.is_ok("forward-drop", &[]);
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn native_rules_in_a_table_of_ip6tables_are_seen_and_do_not_keep_the_rest_from_being_read() {
    namespace::fresh(|| {
        let host = Checked::new();
        let native = Case::new(
            "forward-drop",
            "nft 'add table ip6 filter { chain FORWARD { type filter hook forward priority 0;
               ct state vmap { new : drop }; }; }'",
            "fail",
            "in chain FORWARD of table ip6 filter drops",
        );
        host.mended(&native.with(NFTABLES));
        let bad = host.bad("mixed-rules", NFTABLES);
        assert_eq!(bad[0].result, "warn", "{bad:?}");
        let bad = host.bad("mixed-rules", IP6TABLES);
        assert_eq!(bad[0].result, "fail", "{bad:?}");
        assert!(bad[0].found.contains("cannot list it"), "{bad:?}");
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn rules_of_ours_without_a_daemon_are_cleaned_up() {
    namespace::fresh(|| {
        let host = Checked::new();
        let rule = "-s fd11:2233:4455:1::/64 -o eth0 -m comment --comment \
                    docker-nat66:0123456789abcdef -j MASQUERADE";
        sh(&format!("ip6tables -t nat -A POSTROUTING {rule}"));
        let bad = host.bad("leftovers", &[]);
        assert_eq!(
            bad[0].remedy.as_deref(),
            Some("docker-nat66 cleanup"),
            "{bad:?}"
        );
        let state = host.state_dir();
        sh(&format!(
            "{PROGRAM} cleanup --state-dir {}",
            state.display()
        ));
        host.is_ok("leftovers", &[]);
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn names_of_others_steer_no_terminal_and_run_no_command() {
    namespace::fresh(|| {
        let host = Checked::new();
        // ip6tables takes it for a chain's name.
        let chain = "a\u{1b}[2J$(>/run/owned)";
        sh(&format!(
            "ip6tables -N '{chain}' && ip6tables -A FORWARD -j '{chain}'
             ip6tables -A '{chain}' -j DROP"
        ));
        let bad = host.bad("forward-drop", NFTABLES);
        assert!(
            bad[0].found.contains(&format!("chain {chain} of")),
            "{bad:?}"
        );
        for args in [NFTABLES, &["--backend", "nftables", "--json"]] {
            let shown = host.output(&[], args).stdout;
            assert!(!shown.contains(&0x1b), "{shown:?}");
        }
        sh(bad[0].remedy.as_ref().expect("a remedy"));
        host.is_ok("forward-drop", NFTABLES);
        assert!(!std::path::Path::new("/run/owned").exists());
    });
}

/// The tools as update-alternatives has them, in copies of what it writes.
const ALTERNATIVES: &str = "for dir in etc/alternatives var/lib/dpkg/alternatives var/log; do
  mkdir -p /run/copy/$dir && cp -a /$dir/. /run/copy/$dir/ && mount --bind /run/copy/$dir /$dir
done
ln -sfn /usr/sbin/ip6tables-legacy-save /etc/alternatives/ip6tables-save";

/// A host without the tools of ip6tables, by links to everything else.
const NO_TOOLS: &str = "mkdir -p /run/real /run/rest
mount --bind /usr/sbin /run/real
cd /run/real
for tool in *; do
  case $tool in ip6tables*|xtables*) ;; *) ln -s /run/real/$tool /run/rest/$tool ;; esac
done
mount --bind /run/rest /usr/sbin";

/// The real apt-get, which only says what it would install, and then the tools.
const APT: &str = "export APT_CONFIG=/run/apt.conf
echo 'APT::Get::Simulate \"true\";' >$APT_CONFIG
trap 'umount /usr/sbin' EXIT";

#[test]
#[ignore = "needs root: run by tests/run"]
fn tools_that_do_not_belong_together_are_made_to() {
    namespace::fresh(|| {
        let host = Checked::new();
        host.mended(&Case::new(
            "tools",
            ALTERNATIVES,
            "warn",
            "make them the same",
        ));
        let legacy = "ln -sfn /usr/sbin/ip6tables-legacy-save /etc/alternatives/ip6tables-save";
        host.mended(&Case::new("tools", legacy, "fail", "make them the same").with(IP6TABLES));
        let missing = Case::new("tools", NO_TOOLS, "fail", "install the iptables package");
        host.mended(&missing.with(IP6TABLES).shim(APT));
    });
}
