//! The table of endings: each with its kind, its sentence's words and its remedy.

use super::*;
use crate::explain::facts::Listener;
use crate::explain::holder::Process;
use crate::explain::place::Place;
use crate::model::text::Untrusted;

const SENT: &str = "2001:db8::1";
const CONTAINER: &str = "fd00::2";

fn addr(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        mac: None,
        is_up: true,
        master: None,
        has_native_xdp: false,
    }
}

fn published() -> Publication {
    Publication {
        targets: vec![PortTarget {
            addr: addr(CONTAINER),
            port: 80,
            host_addr: None,
            id: "c1".into(),
            name: Untrusted::new("web\n"),
            network: Untrusted::default(),
            sources: Vec::new(),
        }],
        ..Publication::default()
    }
}

/// The answer for an ending, with these facts, on an interface eth0 of the number 2.
fn of(
    ending: &Ending,
    facts: &EndingFacts,
    publication: &Publication,
    fault: Option<&Fault>,
) -> Diagnosis {
    at_link(&link(2, "eth0"), ending, facts, publication, fault)
}

/// The same on another interface.
fn at_link(
    link: &Link,
    ending: &Ending,
    facts: &EndingFacts,
    publication: &Publication,
    fault: Option<&Fault>,
) -> Diagnosis {
    let case = Case {
        proto: Proto::Tcp,
        from: addr("2001:db8::9"),
        sent: (addr(SENT), 8080),
        link,
        ending,
        stop: None,
        rewriter: None,
        untracked: None,
        facts,
        publication,
        legacy: None,
        fault,
        back: None,
        knock: None,
    };
    case.diagnose()
}

#[test]
fn each_ending_has_its_kind_and_its_words() {
    let arrived = Ending::Out(Some((addr(CONTAINER), 80)), Some(3));
    let local = EndingFacts {
        is_local: true,
        forwarding: Some(true),
        ..EndingFacts::default()
    };
    let off = EndingFacts {
        forwarding: Some(false),
        ..local.clone()
    };
    let forced = EndingFacts {
        force_forwarding: true,
        ..off.clone()
    };
    let lost = EndingFacts {
        route: Some(Route::None(Errno::NETUNREACH)),
        ..local.clone()
    };
    let full = EndingFacts {
        conntrack: Some((9, 9)),
        ..local.clone()
    };
    let dark = EndingFacts {
        disabled: vec!["eth0".into()],
        ..local.clone()
    };
    let heard = |name: &str| EndingFacts {
        listener: Some(Listener {
            process: Some(Process {
                pid: 1,
                name: name.into(),
            }),
        }),
        ..local.clone()
    };
    let at = |hook, priority| Ending::Vanished(Place { hook, priority });
    let host = Ending::Host(Some((addr(SENT), 8080)));
    let (proxy, dockerd) = (heard("docker-proxy"), heard("dockerd"));
    let other = Ending::Out(Some((addr("fd00::3"), 80)), Some(3));
    let back_out = Ending::Out(Some((addr(CONTAINER), 80)), Some(2));
    let cases: Vec<(&Ending, &EndingFacts, &str, &str)> = vec![
        (
            &arrived,
            &local,
            "reachable",
            "reaches web\\n (c1) at [fd00::2]:80",
        ),
        (
            &other,
            &local,
            "wrong-target",
            "goes to [fd00::3]:80 and not to web",
        ),
        (&back_out, &local, "goes-back", "leaves by eth0 again"),
        (
            &host,
            &local,
            "not-forwarded",
            "nothing listens on the host",
        ),
        (&host, &proxy, "answered-by-host", "by docker-proxy"),
        (&host, &dockerd, "held-by-dockerd", "never answers"),
        (
            &Ending::Unrouted,
            &off,
            "forwarding",
            "forwards no IPv6 packets",
        ),
        (&Ending::Unrouted, &forced, "unrouted", "why is unknown"),
        (
            &Ending::Unrouted,
            &lost,
            "no-route",
            "there is no route to fd00::2",
        ),
        (
            &Ending::Unseen,
            &local,
            "before-netfilter",
            "XDP program or a tc filter",
        ),
        (
            &Ending::NotReceived,
            &dark,
            "ipv6-disabled",
            "IPv6 is off on interface eth0",
        ),
        (&Ending::NotReceived, &local, "not-received", "is unknown"),
    ];
    for (ending, facts, code, words) in cases {
        let told = of(ending, facts, &published(), None);
        assert_eq!(told.code, code, "{told:?}");
        assert!(told.sentence.contains(words), "{words}: {told:?}");
        let is_open = ["reachable", "answered-by-host"].contains(&code);
        assert_eq!(told.is_reachable, is_open, "{told:?}");
        assert!(told.sentence.starts_with("8080/tcp ") && told.sentence.ends_with('.'));
        assert!(!told.sentence.contains('\n'), "{told:?}");
    }
    let told = of(&at(Hook::Prerouting, -299), &full, &published(), None);
    assert_eq!(told.code, "conntrack-full");
    let told = of(&at(Hook::Prerouting, -299), &local, &published(), None);
    assert!(told.sentence.contains("is unknown"), "{told:?}");
}

#[test]
fn a_legacy_table_is_named_only_where_it_is_in_use() {
    let ending = Ending::Vanished(Place {
        hook: Hook::Forward,
        priority: -149,
    });
    let told = of(&ending, &EndingFacts::default(), &published(), None);
    assert_eq!(told.code, "vanished");
    let used = EndingFacts {
        legacy: vec!["nat".into(), "filter".into()],
        ..EndingFacts::default()
    };
    let told = of(&ending, &used, &published(), None);
    assert_eq!(told.code, "dropped-by-legacy");
    assert!(
        told.sentence
            .contains("the table filter of ip6tables-legacy")
    );
}

#[test]
fn dockers_reason_comes_before_others() {
    let closed = Publication {
        closed: vec!["port 8080/tcp of container web (c1): label".into()],
        ..Publication::default()
    };
    let host = Ending::Host(Some((addr(SENT), 8080)));
    let elsewhere = EndingFacts {
        listens_elsewhere: true,
        ..EndingFacts::default()
    };
    let told = of(&host, &elsewhere, &closed, None);
    assert_eq!(told.code, "not-published");
    let words = "at another address or over IPv4 only.";
    assert!(told.sentence.ends_with(words), "{told:?}");
    let told = of(&host, &EndingFacts::default(), &closed, None);
    assert_eq!(told.code, "not-published");
    assert!(
        told.sentence.ends_with("nothing listens on the host."),
        "{told:?}"
    );
    assert!(
        told.sentence.contains("container web (c1): label"),
        "{told:?}"
    );
}

#[test]
fn the_container_may_be_at_fault() {
    let arrived = Ending::Out(Some((addr(CONTAINER), 80)), Some(3));
    let faults = [
        (Fault::NothingListens, "nothing-listens"),
        (Fault::OnlyV4, "ipv4-only"),
        (Fault::OnlyAt(Ipv6Addr::LOCALHOST), "other-address-only"),
        (Fault::NoAddress, "no-address"),
        (Fault::Tentative, "tentative"),
        (Fault::Duplicate, "duplicate-address"),
        (Fault::NoRoute, "no-route-in-container"),
    ];
    for (fault, code) in faults {
        let told = of(
            &arrived,
            &EndingFacts::default(),
            &published(),
            Some(&fault),
        );
        assert_eq!((told.code, told.is_reachable), (code, false), "{told:?}");
    }
}

#[test]
fn an_interface_is_named_so_that_a_terminal_and_a_shell_bear_it() {
    let host = Ending::Host(Some((addr(SENT), 8080)));
    for (name, shown, sysctl, up) in [
        ("eth0", "eth0", Some("eth0"), Some("eth0")),
        ("eth0.100", "eth0.100", Some("eth0/100"), Some("eth0.100")),
        ("a;b", "a;b", None, Some("'a;b'")),
        ("a\u{1b}c", "a\\u{1b}c", None, None),
    ] {
        let link = link(2, name);
        let dark = EndingFacts {
            disabled: vec![name.to_owned()],
            ..EndingFacts::default()
        };
        let turned_on = match (sysctl, up) {
            (Some(key), _) => Some(format!("sysctl -w net.ipv6.conf.{key}.disable_ipv6=0")),
            (None, Some(_)) => Some("sysctl -w 'net.ipv6.conf.a;b.disable_ipv6=0'".to_owned()),
            (None, None) => None,
        };
        let off = at_link(&link, &Ending::NotReceived, &dark, &published(), None);
        let off_beyond = of(&Ending::Unrouted, &dark, &published(), None);
        for told in [&off]
            .into_iter()
            .chain((name != "eth0").then_some(&off_beyond))
        {
            assert_eq!((told.code, &told.remedy), ("ipv6-disabled", &turned_on));
            let words = format!("IPv6 is off on interface {shown}.");
            assert!(told.sentence.ends_with(&words), "{told:?}");
        }
        let down = Link {
            is_up: false,
            ..link.clone()
        };
        let told = at_link(&down, &Ending::Unseen, &dark, &published(), None);
        let expected = up.map(|name| format!("ip link set {name} up"));
        assert_eq!((told.code, &told.remedy), ("device-down", &expected));
        let ours = Publication {
            by_daemon: true,
            ..published()
        };
        for ending in [&Ending::Unseen, &Ending::NotReceived, &host] {
            let told = at_link(&link, ending, &EndingFacts::default(), &ours, None);
            assert!(told.sentence.contains(shown), "{told:?}");
        }
    }
}
