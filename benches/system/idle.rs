//! What a daemon takes that has nothing to do.

use std::time::Duration;

use crate::Options;
use crate::rows::{Figure, Goal, Table};
use crate::support::fake_engine::FakeEngine;
use crate::support::lab::Lab;
use crate::support::wait::let_pass;

/// How long it is watched, after as long as it may take to become quiet.
const MINUTE: Duration = Duration::from_secs(60);
const QUIET_AFTER: Duration = Duration::from_secs(15);

pub(crate) fn measure(backend: &str, options: &Options, table: &mut Table) {
    let (mut cpu, mut sleeps) = (Vec::new(), Vec::new());
    for subject in &options.subjects {
        let lab = Lab::up(&format!("system_idle_{backend}"));
        let engine = FakeEngine::start();
        let url = format!("unix://{}", engine.socket().display());
        let mut daemon = subject.start(&lab, backend, &["--docker-host", &url]);
        daemon.ready();
        let_pass(QUIET_AFTER);
        let before = (daemon.cpu(), daemon.sleeps());
        let_pass(MINUTE);
        let used = daemon.cpu() - before.0;
        cpu.push(Some(Figure::Ms(used.as_secs_f64() * 1e3)));
        sleeps.push(Some(Figure::Count((daemon.sleeps() - before.1) as f64)));
        daemon.leaves();
    }
    let most = |figure| Goal::AtMost(figure);
    table.add(backend, "idle 60 s: CPU", most(Figure::Ms(5.0)), cpu, None);
    let what = "idle 60 s: voluntary context switches";
    table.add(backend, what, most(Figure::Count(60.0)), sleeps, None);
}
