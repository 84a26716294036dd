//! A made-up history.

use super::samples::{addr, ago};
use crate::cli::screen::history::{Chain, Interval};
use crate::journal::history::chain::Link;
use crate::journal::history::closing::{EndReason, Loss, PortRun};
use crate::model::forward::{Owner, Proto};
use crate::model::rule::HostPort;

/// As `docker ps` has them: by name, by a digest, by an id, hostile, and not known.
fn image_of(name: &str) -> &'static str {
    match name {
        "web" => "nginx:1.27-alpine",
        "ranged" => "sha256:0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "each" => "",
        "my-compose-project-web_1" => {
            "registry.example.org:5000/team/postgres:17.2@sha256:5c5c5c5c"
        }
        _ => "\u{1b}[2J\u{202e}image\nline",
    }
}

fn interval(name: &str, (host, container): (u16, u16), from: u64) -> Interval {
    let id = "c9".repeat(32);
    Interval {
        entry: None,
        container: Some(Owner::new(id, name, "bridge").of_image(image_of(name))),
        addr: addr("fdfd:5898:4917:1:0:242:ac11:2").expect("one"),
        dev: None,
        source: None,
        run: PortRun {
            first: HostPort {
                proto: Proto::Tcp,
                addr: None,
                port: host,
            },
            last: host,
            to: container,
        },
        from: ago(from),
        to: None,
    }
}

fn ended(interval: Interval, number: u64, to: u64, reason: EndReason) -> Interval {
    let seal = [0x5c; 32];
    Interval {
        entry: Some(Link { number, seal }),
        to: Some((ago(to), reason)),
        ..interval
    }
}

/// What was open, and what is.
pub(super) fn intervals() -> Vec<Interval> {
    let day = 86_400;
    let bound = |mut interval: Interval| {
        interval.run.first.addr = addr("2001:db8:9::1");
        interval
    };
    let range = |mut interval: Interval| {
        interval.run.last += 4;
        interval
    };
    let unknown = |interval| Interval {
        container: None,
        ..interval
    };
    let limited = |source: &str| Interval {
        source: Some(source.to_owned()),
        ..interval("web", (8443, 443), 600)
    };
    let mut all = vec![
        interval("web", (8080, 80), 11_520),
        limited("2001:db8::/32"),
        limited("2001:db8:9:1::/64"),
        interval("web", (8444, 444), 600),
        ended(
            bound(interval("my-compose-project-web_1", (5432, 5432), 40 * day)),
            1,
            9 * day,
            EndReason::TakenOver,
        ),
        ended(
            range(interval("ranged", (7000, 7000), 3 * day)),
            2,
            2 * day,
            EndReason::ContainerEnded,
        ),
        ended(
            unknown(interval("", (53, 53), 7_300)),
            3,
            7_200,
            EndReason::RuleGone,
        ),
        ended(
            interval("\u{1b}[2J\u{202e}red\nline", (8080, 80), 11_600),
            4,
            11_540,
            EndReason::DaemonKilled,
        ),
    ];
    for (nth, reason) in EndReason::ALL.into_iter().enumerate() {
        let (port, nth) = (9000 + 2 * nth as u16, nth as u64);
        let each = interval("each", (port, 80), 900);
        all.push(ended(each, 5 + nth, 890 - nth, reason));
    }
    all
}

/// Names of screens, how many of the intervals they show, and what checking the seals has found.
pub(super) fn chains() -> [(&'static str, usize, Chain); 4] {
    let (number, seal) = (15, [0x5c; 32]);
    let whole = Chain {
        first: 1,
        head: Link { number, seal },
        broken: None,
        losses: Vec::new(),
    };
    let cut = Chain {
        first: 4,
        ..whole.clone()
    };
    let broken = Chain {
        broken: Some("entry 7 does not fit its seal".to_owned()),
        ..whole.clone()
    };
    let loss = |number, entries, why: &str| {
        let (at, why) = (ago(7_200).as_secs(), why.to_owned());
        let link = Link { number, seal };
        (link, Loss { entries, at, why })
    };
    let lost = Chain {
        first: 10,
        losses: vec![
            loss(10, Some((3, 9)), "it is \u{1b}[2Jdamaged"),
            loss(12, None, "the database has vanished"),
        ],
        ..whole.clone()
    };
    [
        ("history-lost", 5, lost),
        ("history", 21, whole),
        ("history-cut", 5, cut),
        ("history-broken", 5, broken),
    ]
}

pub(super) fn no_chain() -> Chain {
    Chain {
        first: 1,
        head: Link::default(),
        broken: None,
        losses: Vec::new(),
    }
}
