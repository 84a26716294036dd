//! Another tool that rewrites the tables all the time, at the moments when the daemon does, too.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::daemon::eventually;
use crate::namespace;
use crate::scene::Backend;
use crate::together::{case, in_full, together};
use crate::tool::trial_of;

/// How often each of two other tools is started at most; on two busy cores that makes about 100
/// times a second in all.
const EVERY: Duration = Duration::from_millis(10);

/// How often the containers change meanwhile.
const CHANGE_EVERY: Duration = Duration::from_millis(150);

/// Rules of theirs in a chain of theirs, one more and one less.
const ITS_CHAIN: [&str; 2] = [
    "printf '*nat\n:THEIRS - [0:0]\n-A THEIRS -i lo -j ACCEPT\nCOMMIT\n' | $tool ip6tables-restore --noflush $wait",
    "printf '*nat\n:THEIRS - [0:0]\nCOMMIT\n' | $tool ip6tables-restore --noflush $wait",
];

/// Whole tables, as they were a moment ago: ours as well.
const WHOLE_TABLES: [&str; 2] = [
    "$tool ip6tables-save -t nat | $tool ip6tables-restore -T nat $wait",
    "$tool ip6tables-save -t filter | $tool ip6tables-restore -T filter $wait",
];

/// Another table of nf_tables, and an attempt at ours.
const ITS_TABLE: [&str; 2] = [
    "nft 'add table ip6 theirs; flush table ip6 theirs; add chain ip6 theirs c; add rule ip6 theirs c accept'
     nft delete table ip6 docker_nat66 2>/dev/null || :",
    "nft 'add table ip6 theirs; delete table ip6 theirs; add table ip6 theirs'",
];

/// Runs the lines in turn until it is dropped; each as often as the other then.
struct Rewriter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(u32, u32)>>,
    began: Instant,
}

impl Rewriter {
    fn start(variant: &str, lines: [&'static str; 2]) -> Self {
        // Neither the script in the place of the tools, nor waiting in vain.
        let tool = format!("/run/tools/real/xtables-{variant}-multi");
        let wait = if variant == "legacy" { "-w" } else { "" };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        // It is in the namespaces of the case.
        let thread = thread::spawn(move || {
            let (mut runs, mut failures) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                for line in lines {
                    let next = Instant::now() + EVERY;
                    let mut command = Command::new("sh");
                    command
                        .args(["-c", line])
                        .env("tool", &tool)
                        .env("wait", wait);
                    let output = command.output().expect("a shell");
                    runs += 1;
                    if !output.status.success() {
                        failures += 1;
                        eprintln!("{line}: {output:?}");
                    }
                    thread::park_timeout(next.saturating_duration_since(Instant::now()));
                }
            }
            (runs, failures)
        });
        Self {
            stop,
            thread: Some(thread),
            began: Instant::now(),
        }
    }

    fn ends(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it runs");
        let (runs, failures) = thread.join().expect("it does not panic");
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = f64::from(runs) / seconds;
        eprintln!("rewritten {runs} times, {rate:.0}/s; {failures} failures");
    }
}

fn quarrel(
    who: &'static str,
    variant: &'static str,
    backend: Backend,
    lines: [&'static str; 2],
) -> impl FnOnce() {
    move || {
        let fault = format!("{who} rewriting all the time, {variant}, {backend:?}");
        trial_of(variant, backend, &fault, |trial| {
            let rounds = if in_full() { 20 } else { 1 };
            for _ in 0..rounds {
                // One process after the other is not fast enough on a busy machine.
                let rewriters = [(); 2].map(|()| Rewriter::start(variant, lines));
                for _ in 0..7 {
                    trial.change();
                    let changed = Instant::now();
                    eventually("the next change", || changed.elapsed() > CHANGE_EVERY);
                }
                rewriters.into_iter().for_each(Rewriter::ends);
                trial.recovers();
            }
        });
    }
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn who_rewrites_the_tables_all_the_time_keeps_his_rules_and_we_ours() {
    use Backend::{Ip6tables, Nftables};
    let cases = [
        ("a chain", "nft", Ip6tables, ITS_CHAIN),
        ("whole tables", "nft", Ip6tables, WHOLE_TABLES),
        ("a table of its own", "nft", Ip6tables, ITS_TABLE),
        ("a chain", "legacy", Ip6tables, ITS_CHAIN),
        ("whole tables", "legacy", Ip6tables, WHOLE_TABLES),
        ("a table of its own", "nft", Nftables, ITS_TABLE),
        ("whole tables", "nft", Nftables, WHOLE_TABLES),
    ];
    let cases = cases
        .map(|(who, variant, backend, lines)| case(who, quarrel(who, variant, backend, lines)));
    namespace::fresh(|| {
        // One at a time, to keep up the pace.
        for case in cases {
            together(vec![case]);
        }
    });
}
