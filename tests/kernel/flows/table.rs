//! Entries that `conntrack` puts into the table: of every kind, and many.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use docker_nat66::conntrack::{Flow, Flows as _, Purge};
use docker_nat66::model::forward::Proto;

use super::scenery::{HOST, ONE, PORT, TWO, build, conntrack, flow};
use crate::support::namespace;
use crate::support::shell::sh;

const CLIENT: &str = "2001:db8::2";
const ELSEWHERE: &str = "2001:db8:ff::1";

/// A table under construction. Each entry has a source port of its own, its name here.
#[derive(Default)]
struct Table {
    commands: String,
    last: u16,
}

impl Table {
    /// Adds an entry, answered by port 80 of a container or by the destination itself; `more`
    /// are further options. Returns its source port.
    fn add(
        &mut self,
        proto: &str,
        (source, destination, port): (&str, &str, u16),
        container: Option<&str>,
        more: &str,
    ) -> u16 {
        self.last += 1;
        let sport = self.last;
        let (by, by_port) = container.map_or((destination, port), |c| (c, 80));
        let state = match proto {
            "tcp" if more.contains("--state") => "",
            "tcp" => "--state ESTABLISHED",
            "sctp" => "--state ESTABLISHED --orig-vtag 1 --reply-vtag 2",
            _ => "",
        };
        writeln!(
            self.commands,
            "-I -p {proto} -s {source} -d {destination} --sport {sport} --dport {port} \
             -r {by} -q {source} --reply-port-src {by_port} --reply-port-dst {sport} \
             --timeout 600 {state} {more}"
        )
        .expect("a string takes all");
        sport
    }

    /// Puts it all into the kernel.
    fn load(&self) {
        std::fs::write("/run/table", &self.commands).expect("written");
        sh("conntrack -R /run/table 2>/run/load || { head -c 1000 /run/load >&2; exit 1; }");
        assert_eq!(shown().len(), usize::from(self.last));
    }
}

/// The source ports of all entries in the kernel, both families.
fn shown() -> BTreeSet<u16> {
    let text = sh("conntrack -L -f ipv6 2>/dev/null; conntrack -L -f ipv4 2>/dev/null");
    let sport = |line: &str| line.split("sport=").nth(1)?.split(' ').next()?.parse().ok();
    text.lines().filter_map(sport).collect()
}

#[test]
#[ignore = "needs root and conntrack: run by tests/run"]
fn a_purge_takes_its_own_flows_of_any_protocol_and_zone_and_no_other() {
    namespace::fresh(|| {
        build();
        let mut table = Table::default();
        let here = (CLIENT, HOST, PORT);
        let mut removed = BTreeSet::new();
        let mut installed = BTreeSet::new();
        for zone in ["", "-w 7", "--orig-zone 9", "--reply-zone 11"] {
            removed.insert(table.add("tcp", here, Some(ONE), zone));
            let unanswered = format!("{zone} --state SYN_SENT");
            installed.insert(table.add("tcp", here, None, &unanswered));
        }
        // The same tuple in two zones: the second differs by its zone only.
        let twin = table.last;
        table.commands.push_str(
            &table
                .commands
                .lines()
                .last()
                .expect("one")
                .replace("--reply-zone 11", "-w 12"),
        );
        table.commands.push('\n');
        // What docker-proxy serves stays.
        table.add("tcp", here, None, "");
        let removed_udp = table.add("udp", here, Some(ONE), "");
        let removed_sctp = table.add("sctp", here, Some(ONE), "");
        let to_two = table.add("tcp", here, Some(TWO), "");
        table.add("tcp", (CLIENT, HOST, PORT + 1), Some(ONE), "");
        table.add("tcp", (CLIENT, HOST, 80), Some(ONE), "");
        table.add("tcp", (ONE, ELSEWHERE, PORT), None, "");
        table.add("tcp", (HOST, ELSEWHERE, PORT), None, "");
        table.add("tcp", (HOST, "::1", PORT), None, "");
        table.add("tcp", (CLIENT, ONE, 80), None, "");
        table.add("tcp", ("192.0.2.2", "192.0.2.1", PORT), None, "");
        table.load();
        let mut left = shown();
        let mut conntrack = conntrack();
        let mut purge = |purge: Purge, count: usize, gone: &BTreeSet<u16>| {
            let what = format!("{purge:?}");
            assert_eq!(conntrack.purge(&[purge]), Ok(count), "{what}");
            left = &left - gone;
            assert_eq!(shown(), left, "{what}");
        };
        purge(Purge::Removed(flow(Proto::Tcp, ONE)), 4, &removed);
        purge(
            Purge::Removed(flow(Proto::Udp, ONE)),
            1,
            &BTreeSet::from([removed_udp]),
        );
        purge(
            Purge::Removed(flow(Proto::Sctp, ONE)),
            1,
            &BTreeSet::from([removed_sctp]),
        );
        let elsewhere = Flow {
            host_addr: Some("2001:db8::11".parse().expect("valid")),
            ..flow(Proto::Tcp, TWO)
        };
        purge(Purge::Installed(elsewhere), 0, &BTreeSet::new());
        // Those that lead to container two stay, twin and all others that lead past it go.
        assert!(installed.contains(&twin));
        purge(Purge::Installed(flow(Proto::Tcp, TWO)), 5, &installed);
        purge(
            Purge::Removed(flow(Proto::Tcp, TWO)),
            1,
            &BTreeSet::from([to_two]),
        );
    });
}

/// The speed that is asked for (one forward in 40 ms) is that of a release build, which
/// `benches/conntrack.rs` measures; here a debug build on busy cores must come near.
const TIME: Duration = Duration::from_secs(1);

#[test]
#[ignore = "needs root and conntrack: run by tests/run"]
fn one_forward_among_ten_thousand_flows_is_purged_at_once() {
    namespace::fresh(|| {
        build();
        let mut table = Table::default();
        for n in 0..10_000 {
            table.add("udp", (CLIENT, HOST, 10_000 + n / 10), Some(ONE), "");
        }
        table.load();
        let removed = |port: u16| {
            Purge::Removed(Flow {
                host_port: port,
                ..flow(Proto::Udp, ONE)
            })
        };
        let mut conntrack = conntrack();
        let begin = Instant::now();
        assert_eq!(conntrack.purge(&[removed(10_500)]), Ok(10));
        let one = begin.elapsed();
        let all: Vec<Purge> = (10_000..11_000).map(removed).collect();
        let begin = Instant::now();
        assert_eq!(conntrack.purge(&all), Ok(9_990));
        let thousand = begin.elapsed();
        println!("one of 1,000 forwards: {one:?}; all of them: {thousand:?}");
        assert_eq!(shown(), BTreeSet::new());
        assert!(one < TIME && thousand < 2 * TIME, "{one:?}, {thousand:?}");
    });
}
