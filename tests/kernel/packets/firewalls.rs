//! What the README says about other firewalls, taken from it as it stands there: with each backend, what
//! one lets through before its two lines, and that nothing is missing after them. The rules of ufw and firewalld,
//! and what their commands make of them, are recorded from Debian's packages (`recorded`), each from
//! a run in namespaces of its own.

use docker_nat66::backend::ip6tables::{Ip6tables, ToolSettings};
use docker_nat66::backend::nftables::{Nftables, TableSettings};
use docker_nat66::model::forward::Sources;
use docker_nat66::model::rule::BackendKind;

use super::super::flows::scenery::{HOST, ONE, PORT};
use super::scenery::{CLIENT, Firewall, SERVED, asker, build, client, forwards, policy};
use crate::support::namespace;
use crate::support::readme::{commands, section, text};
use crate::support::shell::{sh, sh_with};
use crate::support::together::{case, together};

const UFW: &str = include_str!("../recorded/ufw-0.36.2/rules.save");
const FIREWALLD: &str = include_str!("../recorded/firewalld-1.3.3/rules.nft");
const WITH_DOCKER0: &str = include_str!("../recorded/firewalld-1.3.3/rules-docker0-trusted.nft");

/// The commands of ufw and firewalld: what they were seen to do with these arguments, and nothing
/// with others.
const PROGRAMS: &str = "mkdir /run/programs
cat >/run/programs/ufw <<'E'
#!/bin/sh -e
case \"$*\" in
'route allow in on eth0 to fdfd:5898:4917:1::/64')
  ip6tables -A ufw6-user-forward -d fdfd:5898:4917:1::/64 -i eth0 -j ACCEPT ;;
'route allow in on docker0 out on eth0')
  ip6tables -A ufw6-user-forward -i docker0 -o eth0 -j ACCEPT ;;
*) echo \"ufw $*: not recorded\" >&2; exit 1 ;;
esac
E
cat >/run/programs/firewall-cmd <<'E'
#!/bin/sh -e
case \"$*\" in
'--permanent --zone=trusted --add-interface=docker0') touch /run/programs/permanent ;;
'--reload')
  test -e /run/programs/permanent
  nft delete table inet firewalld
  nft -f /run/reloaded ;;
*) echo \"firewall-cmd $*: not recorded\" >&2; exit 1 ;;
esac
E
chmod +x /run/programs/*";

/// A ruleset of one's own.
const OWN: &str = "table inet filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    meta l4proto ipv6-icmp accept
  }
}";

/// A firewall, how its rules come into the kernel, and what they are.
const FIREWALLS: [(&str, &str, &str); 3] = [
    ("ufw", "ip6tables-restore --noflush", UFW),
    ("firewall-cmd", "nft -f -", FIREWALLD),
    ("nft", "nft -f -", OWN),
];

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn the_lines_of_the_readme_open_ports_and_let_containers_out() {
    namespace::fresh(|| {
        let backends = [BackendKind::Nftables, BackendKind::Ip6tables];
        let each = FIREWALLS.into_iter().flat_map(|firewall| {
            let name = firewall.0;
            backends.map(|kind| case(name, move || is_mended(firewall, kind)))
        });
        together(each.collect());
    });
}

fn is_mended((program, load, recorded): (&str, &str, &str), kind: BackendKind) {
    let readme = text();
    let mut lines = commands(section(&readme, "## Firewalls"));
    lines.retain(|line| line.starts_with(program));
    assert_eq!(lines.len(), 2, "{program}: {lines:?}");
    build();
    // So Docker's own bridge is called.
    sh("ip link set br0 down name docker0 && ip link set docker0 up
        ip addr replace fdfd:5898:4917:1::1/64 dev docker0 nodad");
    let mut ours = Firewall::of(match kind {
        BackendKind::Nftables => {
            Box::new(Nftables::detect(TableSettings::default()).expect("usable"))
        }
        BackendKind::Ip6tables => {
            Box::new(Ip6tables::detect(ToolSettings::default()).expect("usable"))
        }
    });
    ours.set(&policy(), &forwards(&Sources::Any));
    let container = asker(Some("one"), ONE);
    client().is_answered(HOST, PORT, "one", CLIENT);
    container.is_answered(CLIENT, SERVED, "client", HOST);

    sh_with(load, recorded);
    sh("conntrack -F 2>/dev/null || :");
    // firewalld lets through what has been rewritten, and ours stand before ufw's in the same table.
    let before_ufw = program == "ufw" && kind == BackendKind::Ip6tables;
    if before_ufw || program == "firewall-cmd" {
        client().is_answered(HOST, PORT, "one", CLIENT);
    } else {
        client().gets_nothing(HOST, PORT);
    }
    if before_ufw {
        container.is_answered(CLIENT, SERVED, "client", HOST);
    } else {
        container.gets_nothing(CLIENT, SERVED);
    }

    sh_with("cat >/run/reloaded", WITH_DOCKER0);
    sh(PROGRAMS);
    for line in lines {
        eprintln!("{line}");
        sh(&format!("PATH=/run/programs:$PATH\n{line}"));
    }
    client().is_answered(HOST, PORT, "one", CLIENT);
    container.is_answered(CLIENT, SERVED, "client", HOST);
    ours.unset();
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn the_settings_of_the_readme_make_the_host_forward() {
    let readme = text();
    let lines = commands(section(&readme, "### The default bridge"));
    namespace::fresh(|| {
        sh("ip link add eth0 type veth peer name other");
        let before = "sysctl -w net.ipv6.conf.all.forwarding=0 net.ipv6.conf.eth0.accept_ra=1";
        sh(before);
        for line in &lines {
            sh(line);
        }
        let set = sh("sysctl -n net.ipv6.conf.all.forwarding net.ipv6.conf.eth0.accept_ra");
        assert_eq!(set, "1\n2\n", "{lines:?}");
    });
}
