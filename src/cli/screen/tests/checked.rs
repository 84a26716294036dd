//! `check`.

use super::{canvas, is_golden, is_golden_but_for};
use crate::check::{CheckId, Finding, Report};
use crate::cli::screen::check;

/// A command whose longest word is wider than a terminal.
const POLICY: &str = "'chain ip6 a-table-whose-name-somebody-has-made-very-long-indeed \
                      what-is-forwarded-here { policy accept; }'";

fn report() -> Report {
    let found = vec![
        Finding::fail(
            CheckId::Forwarding,
            "net.ipv6.conf.all.forwarding is 0: no packet reaches a container",
        )
        .with("sysctl -w net.ipv6.conf.all.forwarding=1"),
        Finding::ok(CheckId::AcceptRa, "eth0: accept_ra = 2, its default route comes from a router"),
        Finding::ok(CheckId::Docker, "Engine 20.10.24 answers, API 1.41"),
        Finding::fail(CheckId::DockerIpv6, "network my project has IPv6 off: web and db have no address").with(
            "docker network disconnect -f 'my project' web && docker network rm 'my project' && \
             docker network create --ipv6 --subnet fd12:3456:789a:1::/64 'my project' && \
             docker network connect 'my project' web",
        ),
        Finding::warn(
            CheckId::Tools,
            "native rules stand in a table of ip6tables, which cannot list it: table `filter' is \
             incompatible, use 'nft' tool.",
        )
        .with(
            "nft -a list ruleset ip6, and move what ip6tables has not written into a table of its own",
        ),
        Finding::fail(
            CheckId::Ufw,
            "chain ufw6-user-forward of table ip6 filter drops every new connection to a published \
             port, and our rules cannot overrule it",
        )
        .with(
            "ufw route allow in on eth0 to fdfd:5898:4917:1::/64 comment 'published ports of \
             containers' && ufw reload",
        ),
        Finding::skip(CheckId::Kernel, "listing the rules needs CAP_NET_ADMIN"),
    ];
    Report::new(found, &[])
}

#[test]
fn check_has_a_line_for_each_finding_and_counts_them() {
    let report = report();
    is_golden("check", |c| check::screen(&report, c));
}

#[test]
fn a_word_of_a_command_stays_whole_where_it_is_wider_than_the_terminal() {
    let found = Finding::fail(CheckId::ForwardDrop, "everything is dropped");
    let report = Report::new(vec![found.with(format!("nft {POLICY}"))], &[]);
    is_golden_but_for("check-long-word", POLICY, |c| check::screen(&report, c));
}

#[test]
fn what_others_have_named_steers_no_terminal() {
    let found = vec![
        Finding::fail(CheckId::DockerIpv6, "network a\u{1b}[2J has IPv6 off").with("mend 'a b'"),
        Finding::warn(CheckId::Clock, "late"),
        Finding::ok(CheckId::Forwarding, "on"),
    ];
    let expected = "\
ok    forwarding   on
fail  docker-ipv6  network a\\u{1b}[2J has IPv6 off
      do           mend 'a b'
1 ok, 0 warn, 1 fail, 0 skipped
";
    let report = Report::new(found, &[CheckId::Clock]);
    assert_eq!(check::screen(&report, &canvas(None)), expected);
}
