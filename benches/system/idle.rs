//! What daemons take that have nothing to do.

use std::time::Duration;

use crate::Options;
use crate::rows::{Figure, Goal, Table};
use crate::subject::{Running, Subject};
use crate::support::fake_engine::FakeEngine;
use crate::support::lab::Lab;
use crate::support::wait::let_pass;

/// How long they are watched, after as long as they may take to become quiet.
const MINUTE: Duration = Duration::from_secs(60);
const QUIET_AFTER: Duration = Duration::from_secs(15);

/// All at the same time, each on a host and with an Engine of its own: they wake so seldom that none is in
/// another's way.
pub(crate) fn measure(options: &Options, table: &mut Table) {
    let backends = options.backends.iter();
    let pairs = backends.flat_map(|backend| {
        let subjects = options.subjects.iter();
        // Another program does not know where its Engine is.
        let known = subjects.filter(|subject| subject.is_like_ours);
        known.map(move |subject| (backend.as_str(), subject))
    });
    let pairs: Vec<(&str, &Subject)> = pairs.collect();
    let hosts = (0..pairs.len()).map(|number| {
        let lab = Lab::up(&format!("system_idle_{number}"));
        (lab, FakeEngine::start())
    });
    let hosts: Vec<(Lab, FakeEngine)> = hosts.collect();
    let daemons = pairs.iter().zip(&hosts);
    let daemons = daemons.map(|((backend, subject), (lab, engine))| {
        let url = format!("unix://{}", engine.socket().display());
        let mut daemon = subject.start(lab, backend, &["--docker-host", &url]);
        daemon.ready();
        daemon
    });
    let daemons: Vec<Running<'_>> = daemons.collect();
    let_pass(QUIET_AFTER);
    let so_far = || daemons.iter().map(|one| (one.cpu(), one.sleeps()));
    let before: Vec<(Duration, u64)> = so_far().collect();
    let_pass(MINUTE);
    let after: Vec<(Duration, u64)> = so_far().collect();
    daemons.into_iter().for_each(Running::leaves);
    for backend in &options.backends {
        let (mut cpu, mut sleeps) = (Vec::new(), Vec::new());
        for subject in &options.subjects {
            let is = |pair: &(&str, &Subject)| pair.0 == backend && pair.1.name == subject.name;
            let at = pairs.iter().position(is);
            let used = at.map(|at| after[at].0 - before[at].0);
            cpu.push(used.map(|used| Figure::Ms(used.as_secs_f64() * 1e3)));
            let slept = at.map(|at| after[at].1 - before[at].1);
            sleeps.push(slept.map(|count| Figure::Count(count as f64)));
        }
        let most = Goal::AtMost;
        table.add(backend, "idle 60 s: CPU", most(Figure::Ms(5.0)), cpu, None);
        let what = "idle 60 s: voluntary context switches";
        table.add(backend, what, most(Figure::Count(60.0)), sleeps, None);
    }
}
