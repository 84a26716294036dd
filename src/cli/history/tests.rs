//! What is made of entries and records.

use super::*;

fn at(text: &str) -> Moment {
    match PastMoment::parse(text).expect(text) {
        PastMoment::At(moment) => moment,
        PastMoment::Ago(_) => panic!("{text} is a time"),
    }
}

fn port(port: u16) -> HostPort {
    let (proto, addr) = (Proto::Tcp, None);
    HostPort { proto, addr, port }
}

fn owner(id: &str) -> Owner {
    Owner::new(id, id, "bridge")
}

/// An entry for ports 80 to 82.
fn closing(id: &str, (from, to): (u64, u64), reason: EndReason) -> Closing {
    Closing {
        container: Some(owner(id)),
        addr: "fd00::2".parse().expect("an address"),
        dev: None,
        source: None,
        from,
        to,
        reason,
        ports: vec![PortRun {
            first: port(80),
            last: 82,
            to: 8000,
        }],
    }
}

fn past(closings: Vec<Closing>) -> Past {
    let link = |number| Link {
        number,
        ..Link::default()
    };
    Past {
        closings: (1..).map(link).zip(closings).collect(),
        losses: Vec::new(),
        broken: None,
    }
}

fn row(id: &str, host_port: u16, inserted_at: u64) -> Row {
    Row {
        kind: "dnat".to_owned(),
        state: "applied".to_owned(),
        purpose: Some("outside".to_owned()),
        proto: Some("tcp".to_owned()),
        host_port: Some(host_port),
        container_addr: "fd00::2".parse().ok(),
        container_port: Some(host_port - 80 + 8000),
        container_id: Some(id.to_owned()),
        container_name: Some(id.to_owned()),
        network: Some("bridge".to_owned()),
        inserted_at,
        ..Row::default()
    }
}

/// Container, first port, beginning and end of each.
fn shown(intervals: &[Interval]) -> Vec<(String, u16, u64, Option<u64>)> {
    let shown = |it: &Interval| {
        let id = it
            .container
            .as_ref()
            .map(|owner| owner.container_id.clone());
        let to = it.to.map(|(to, _)| to.as_secs());
        (
            id.unwrap_or_default(),
            it.run.first.port,
            it.from.as_secs(),
            to,
        )
    };
    intervals.iter().map(shown).collect()
}

#[test]
fn a_moment_is_a_time_or_how_long_ago() {
    let now = at("2026-11-30T09:08:02Z");
    for (text, secs) in [
        ("2h", 7_200),
        ("1day 1s", 86_401),
        ("2026-11-30T09:08:01Z", 1),
        ("2026-11-30T10:07:02+01:00", 60),
    ] {
        let moment = PastMoment::parse(text).expect(text).moment(now);
        assert_eq!(moment.secs_until(now), secs, "{text}");
    }
    for text in ["", "yesterday", "12", "2026-11-30"] {
        let why = PastMoment::parse(text).expect_err(text);
        assert!(why.contains("such as 2026-11-30T09:08:02Z, or 2h"), "{why}");
    }
}

#[test]
fn what_another_container_took_over_was_its_own_from_then_on() {
    let taken = closing("a", (10, 20), EndReason::TakenOver);
    let next = closing("b", (10, 30), EndReason::ContainerEnded);
    let rows = [row("c", 81, 40), row("c", 443, 5)];
    let all = intervals(&past(vec![taken, next]), &rows, 0);
    let expected = [
        ("a", 80, 10, Some(20)),
        ("b", 80, 20, Some(30)),
        ("c", 81, 40, None),
        ("c", 443, 5, None),
    ];
    assert_eq!(
        shown(&all),
        expected.map(|(id, p, from, to)| (id.to_owned(), p, from, to))
    );
}

#[test]
fn a_port_that_closes_while_it_is_asked_for_shows_once() {
    let closed = closing("a", (10, 20), EndReason::ContainerEnded);
    let rows = [row("a", 81, 10), row("a", 83, 10), row("a", 82, 21)];
    let all = intervals(&past(vec![closed.clone()]), &rows, 0);
    let ports: Vec<u16> = all.iter().map(|it| it.run.first.port).collect();
    assert_eq!(ports, [80, 83, 82]);
    // What was closed before is another time, even if it began in the same second.
    let all = intervals(&past(vec![closed]), &rows, 1);
    assert_eq!(all.len(), 4);
    let inside = Row {
        purpose: Some("host".to_owned()),
        ..row("a", 90, 1)
    };
    let intended = Row {
        state: "intended".to_owned(),
        ..row("a", 91, 1)
    };
    assert!(intervals(&past(vec![]), &[inside, intended], 0).is_empty());
}

#[test]
fn a_query_narrows_times_ports_and_containers() {
    let any = |_: &str, _: &str| true;
    let none = |_: &str, _: &str| false;
    let query = Query {
        since: None,
        at: None,
        port: None,
        is_container: &any,
        json: false,
        wide: false,
    };
    let now = Moment::from_secs(100);
    let then = |secs| Some(PastMoment::At(Moment::from_secs(secs)));
    let all = intervals(
        &past(vec![closing("a", (10, 20), EndReason::Moved)]),
        &[],
        0,
    );
    let open = intervals(&past(vec![]), &[row("a", 80, 50)], 0);
    let wants = |query: &Query<'_>, it: &[Interval]| query.wanted(it[0].clone(), now).is_some();
    for (at, closed, still_open) in [
        (9, false, false),
        (10, true, false),
        (20, true, false),
        (21, false, false),
        (50, false, true),
        (99, false, true),
    ] {
        let query = Query {
            at: then(at),
            ..query
        };
        assert_eq!(
            (wants(&query, &all), wants(&query, &open)),
            (closed, still_open),
            "{at}"
        );
    }
    for (since, closed) in [(9, true), (20, true), (21, false)] {
        let since = then(since);
        let query = Query { since, ..query };
        assert_eq!((wants(&query, &all), wants(&query, &open)), (closed, true));
    }
    let ago = Some(PastMoment::Ago(Duration::from_secs(85)));
    assert!(wants(&Query { at: ago, ..query }, &all));
    assert!(!wants(
        &Query {
            is_container: &none,
            ..query
        },
        &all
    ));
    for (port, proto, is_wanted) in [
        (80, None, true),
        (81, Some(Proto::Tcp), true),
        (81, Some(Proto::Udp), false),
        (83, None, false),
        (79, None, false),
    ] {
        let port = Some((port, proto));
        let query = Query { port, ..query };
        assert_eq!(wants(&query, &all), is_wanted, "{port:?}");
    }
    let port = Some((82, None));
    let one = Query { port, ..query }
        .wanted(all[0].clone(), now)
        .expect("it is in the range");
    let run = (one.run.first.port, one.run.last, one.run.to);
    assert_eq!(run, (82, 82, 8002));
}

#[test]
fn json_has_an_object_for_each_port_and_one_for_the_chain() {
    let all = intervals(
        &past(vec![closing("a", (10, 20), EndReason::Moved)]),
        &[],
        0,
    );
    let chain = Chain {
        first: 1,
        head: Link::default(),
        broken: None,
        losses: Vec::new(),
    };
    let text = json(&all, &chain).expect("plain values");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    let zeros = "0".repeat(64);
    let expected = format!(
        concat!(
            r#"{{"v":1,"entry":1,"sha256":"{}","proto":"tcp","host_addr":null,"host_port":81,"#,
            r#""container_addr":"fd00::2","container_port":8001,"container_id":"a","#,
            r#""container_name":"a","network":"bridge","image":null,"dev":null,"source":null,"#,
            r#""opened":"1970-01-01T00:00:10Z","closed":"1970-01-01T00:00:20Z","reason":"moved"}}"#
        ),
        zeros
    );
    assert_eq!(lines[1], expected);
    let last = format!(
        r#"{{"v":1,"chain":"whole","first":1,"newest":0,"sha256":"{zeros}","error":null}}"#
    );
    assert_eq!(lines[3], last);
}
