//! Engines that say more than anybody can keep: the daemon's memory is bounded, and it settles.

use std::time::{Duration, Instant};

use crate::daemon::{
    AFTER, BEFORE, Daemon, MOST_MEMORY, change, engine, eventually, holds, reference, replace,
    settles,
};
use crate::engine::endless;
use crate::fake_engine::{FakeContainer, FakeEngine, Fault, Route};
use crate::namespace;
use crate::scene::{Backend, Scene};
use crate::score::Score;
use crate::together::{case, in_full, together};

/// Events a second.
const RATE: usize = 10_000;

/// Floods a daemon, and then lets it serve [`AFTER`].
fn flooded(name: &str, flood: impl FnOnce(&FakeEngine, &mut Daemon<'_>)) {
    let scene = Scene::new(Backend::Nftables);
    let after = reference(&scene, AFTER);
    let mut score = Score::new(&format!("Engine: {name}"));
    let engine = engine(BEFORE);
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    flood(&engine, &mut daemon);
    let ended = Instant::now();
    daemon.serves(AFTER);
    settles(&scene, &after);
    score.recovered(ended.elapsed());
    let known = [daemon.pid()];
    holds(&scene, &mut score, "after the flood", &after, &known);
    let memory = daemon.most_memory();
    eprintln!("{name}: at most {memory} MiB");
    assert!(memory < MOST_MEMORY, "{name}: {memory} MiB");
    daemon.leaves();
    holds(&scene, &mut score, "after it has left", &[], &[]);
}

fn ten_thousand_events_a_second() {
    flooded("10,000 events/s", |engine, _| {
        let seconds = if in_full() { 60 } else { 3 };
        let (began, before) = (Instant::now(), engine.events());
        let mut states = [BEFORE, AFTER];
        while began.elapsed() < Duration::from_secs(seconds) || states[0] == BEFORE {
            change(engine, states[0], states[1]);
            states.reverse();
            let due = |sent: usize| Duration::from_secs_f64(sent as f64 / RATE as f64);
            while began.elapsed() < due(engine.events() - before) {
                std::thread::yield_now();
            }
        }
        let (sent, took) = (engine.events() - before, began.elapsed().as_secs_f64());
        eprintln!("{sent} events, {:.0}/s", sent as f64 / took);
    });
}

/// A line of events that does not end; the stream is given up, and subscribed to again.
fn endless_line() {
    flooded("endless line of events", |engine, _| {
        let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
        let line = endless("Transfer-Encoding: chunked\r\n\r\n", &chunk);
        let before = engine.count(&Route::Events);
        engine.fault(Route::Events, line, usize::MAX);
        engine.drop_streams();
        eventually("another stream", || {
            engine.count(&Route::Events) >= before + 2
        });
        engine.heal();
        change(engine, BEFORE, AFTER);
    });
}

/// A list of 60 MiB, valid, without a container in it: nothing is published then.
fn long_list(name: &str, begin: &str, piece: &str, end: &str) {
    let pieces = piece.repeat((60 << 20) / piece.len());
    let list = Fault::Body(format!("{begin}{pieces}{end}"));
    flooded(name, |engine, daemon| {
        engine.fault(Route::List, list, usize::MAX);
        engine.drop_streams();
        daemon.until("none", |status| status.forwards == 0);
        engine.heal();
        replace(engine, AFTER);
        engine.drop_streams();
    });
}

/// As many at once as are ever asked for.
fn inspects() {
    flooded("inspects of 1 GiB", |engine, _| {
        let odd = (100..120).map(|number| {
            let name = format!("c{number}");
            FakeContainer::new(number, &name).bind("", &["0.0.0.0"], number, 80)
        });
        let odd: Vec<FakeContainer> = odd.collect();
        for container in &odd {
            let route = Route::Inspect(container.id.clone());
            let gibibyte = endless("Content-Length: 1073741824\r\n\r\n", " ");
            engine.fault(route, gibibyte, usize::MAX);
            engine.run(container.clone());
        }
        let asked = |c: &FakeContainer| engine.count(&Route::Inspect(c.id.clone())) > 0;
        eventually("inspects", || odd.iter().all(asked));
        engine.heal();
        odd.iter().for_each(|container| engine.die(&container.id));
        change(engine, BEFORE, AFTER);
    });
}

/// As fast as they can be read, and no end: all else goes on beside it.
fn nothings() {
    flooded("events that are none, without end", |engine, _| {
        let nothings = endless("Transfer-Encoding: chunked\r\n\r\n", "3\r\n{}\n\r\n");
        engine.fault(Route::Events, nothings, usize::MAX);
        engine.drop_streams();
        replace(engine, AFTER);
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn an_engine_that_says_too_much_takes_no_memory() {
    let rows = || long_list("list of 60 MiB of odd rows", "[", "0,", "0]");
    let row = || long_list("list of one row of 60 MiB", "[[", "0,", "0]]");
    let cases = vec![
        case("line", endless_line),
        case("nothings", nothings),
        case("rows", rows),
        case("row", row),
        case("inspects", inspects),
    ];
    namespace::fresh(|| together(cases));
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_flood_of_events_settles() {
    namespace::fresh(|| together(vec![case("flood", ten_thousand_events_a_second)]));
}
