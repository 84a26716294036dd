//! A purge of stale flows while 10,000 are tracked.

use docker_nat66::conntrack::{Conntrack, Flows as _};
use docker_nat66::sys::host;

use crate::entries::{command, load, removed};
use crate::table::{Goal, row};
use crate::{FULL, timed};

/// One forward has gone, and has one flow.
pub(crate) fn purge() {
    let all: String = (1..=FULL).map(command).collect();
    load(&all);
    let purge = [removed(1, 1)];
    let mut conntrack = Conntrack::new(host::addresses);
    assert_eq!(conntrack.purge(&purge).expect("purges"), 1);
    let mut times = Vec::new();
    for _ in 0..101 {
        load(&command(1));
        let deleted = timed(&mut times, || conntrack.purge(&purge)).expect("purges");
        assert_eq!(deleted, 1);
    }
    let what = format!("purge of one forward among {FULL} flows");
    row(&what, times, None, Goal::Median(40.0));
}
