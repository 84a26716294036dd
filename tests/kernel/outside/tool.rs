//! Tools that are not there any more, fail, hang or babble.

use std::time::Instant;

use super::{AFTER, BEFORE, MOST_MEMORY, holds, serves, settles, strays};
use crate::running::{Running, change, container, engine, reference};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::fake_engine::FakeEngine;
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::score::Score;
use crate::support::together::{case, together};
use crate::support::toolbox::Toolbox;
use crate::support::wait::until;

/// More arguments of the daemon: the next listing corrects one that lied.
const ARGS: [&str; 2] = ["--verify-interval", "1s"];

/// A daemon that serves, and what is right before and after a change.
pub(crate) struct Trial<'s> {
    scene: &'s Scene,
    toolbox: &'s Toolbox,
    engine: FakeEngine,
    pub(crate) daemon: Daemon<'s>,
    /// What runs, and what should be in the kernel then; and the same after the next change.
    states: [(&'static Running, Vec<String>); 2],
    score: Score,
}

impl<'s> Trial<'s> {
    fn new(scene: &'s Scene, toolbox: &'s Toolbox, fault: &str) -> Self {
        let states = [BEFORE, AFTER].map(|running| (running, reference(scene, running)));
        let engine = engine(BEFORE);
        let daemon = Daemon::ready(scene, &engine, &ARGS);
        Self {
            scene,
            toolbox,
            engine,
            daemon,
            states,
            score: Score::new(fault),
        }
    }

    /// While `harm` is done to the tools the containers change; the daemon warns in these
    /// words, and when the tools are well it is right again by itself.
    #[track_caller]
    fn suffers(&mut self, harm: impl FnOnce(&Toolbox), warning: Option<&str>) {
        harm(self.toolbox);
        let after = self.change();
        match warning {
            Some(words) => drop(self.daemon.warns_of(words)),
            // It finds out that all has gone well.
            None => serves(&mut self.daemon, after),
        }
        self.toolbox.put_back();
        self.toolbox.behave("");
        self.recovers();
    }

    /// The containers change; what runs then.
    pub(crate) fn change(&mut self) -> &'static Running {
        self.states.reverse();
        let [(after, _), (before, _)] = self.states;
        change(&self.engine, before, after);
        after
    }

    /// Waits until the daemon has taken in every change so far. It may be behind by some, and what ran two
    /// changes ago is what runs now.
    pub(crate) fn takes_in_all(&mut self) {
        const PORT: u16 = 8099;
        let last = container(99, PORT);
        self.engine.run(last.clone());
        let daemon = &self.daemon;
        until("the last change", || {
            let mut rows = daemon.rows().into_iter().flatten();
            rows.any(|row| row.host_port == Some(PORT))
        });
        self.engine.die(&last.id);
    }

    /// From now on nothing is wrong any more, and all is right soon.
    #[track_caller]
    pub(crate) fn recovers(&mut self) {
        let healed = Instant::now();
        let (running, expected) = &self.states[0];
        serves(&mut self.daemon, running);
        settles(self.scene, expected);
        self.score.recovered(healed.elapsed());
        let pid = self.daemon.id();
        holds(self.scene, &mut self.score, "healed", expected, &[pid]);
    }

    /// How often the daemon has said these words.
    pub(crate) fn said(&self, words: &str) -> usize {
        self.scene.log().matches(words).count()
    }

    /// The fault came so often a second.
    pub(crate) fn happened_at(&mut self, rate: f64) {
        self.score.happened_at(rate);
    }

    /// A tool that is to change the rules works, or waits for its turn.
    #[track_caller]
    pub(crate) fn tool_waits(&self) {
        let changes = |tools: Vec<String>| tools.iter().any(|tool| tool.contains("-restore"));
        until("a tool", || changes(strays(&[self.daemon.id()])));
    }

    /// The daemon is killed, and nothing of it stays.
    #[track_caller]
    pub(crate) fn is_killed(&mut self) {
        self.daemon.kill();
        until("the end of its tools", || strays(&[]).is_empty());
    }

    /// The next one starts.
    pub(crate) fn starts_again(&mut self) {
        self.daemon = Daemon::start(self.scene, &self.engine, &ARGS);
    }

    fn behaves(&mut self, behaviour: &str, warning: Option<&str>) {
        eprintln!("{behaviour}: {warning:?}");
        self.suffers(|tools| tools.behave(behaviour), warning);
    }

    fn ends(mut self) {
        let memory = self.daemon.most_memory();
        assert!(memory < MOST_MEMORY, "{memory} MiB");
        assert!(!self.scene.log().contains('\u{1b}'), "{}", self.scene.log());
        self.daemon.leaves();
        holds(self.scene, &mut self.score, "after it has left", &[], &[]);
    }
}

/// A trial with the nft variant.
fn trial(fault: &str, body: impl FnOnce(&mut Trial<'_>)) {
    trial_of("nft", Backend::Ip6tables, fault, body);
}

/// A trial with a variant, and with this backend.
pub(crate) fn trial_of(
    variant: &str,
    backend: Backend,
    fault: &str,
    body: impl FnOnce(&mut Trial<'_>),
) {
    let toolbox = Toolbox::installed(variant);
    let scene = Scene::new(backend);
    let mut trial = Trial::new(&scene, &toolbox, fault);
    body(&mut trial);
    trial.ends();
}

fn missing() {
    trial("ip6tables missing for a while", |trial| {
        for _ in 0..3 {
            trial.suffers(Toolbox::remove, Some("No such file"));
        }
    });
}

/// While nothing can be listed nothing is changed; while nothing can be changed the rest stays.
fn failing() {
    trial("ip6tables fails with exit codes 1 to 4", |trial| {
        for code in 1..=4 {
            let exit = format!("exit status: {code}");
            trial.behaves(&format!("[ $what = restore ] || exit {code}"), Some(&exit));
            trial.behaves(&format!("[ $what = save ] || exit {code}"), Some(&exit));
            // It does its work, and reports a failure.
            let lies = format!("[ $what = save ] || {{ real \"$@\"; exit {code}; }}");
            trial.behaves(&lies, None);
        }
    });
}

fn crashing() {
    trial("ip6tables is killed in the middle", |trial| {
        trial.behaves("kill -SEGV $$", Some("signal"));
        trial.behaves("[ $what = save ] || kill -KILL $$", Some("signal"));
        trial.behaves("[ $what = save ] || { real \"$@\"; kill -KILL $$; }", None);
    });
}

/// What the tool prints instead of, or besides, what it should.
fn babbling() {
    trial("ip6tables prints garbage", |trial| {
        for (babble, warning) in [
            ("head -c 100000 /dev/urandom", "cannot be listed"),
            ("real \"$@\" | head -n 4", "cannot be listed"),
            ("real \"$@\" | tr a-m n-z", "cannot be listed"),
            ("real \"$@\"; echo '*nat'", "cannot be listed"),
            ("printf '\\033[31mred\\r\\n\\000' >&2; exit 1", "red"),
        ] {
            trial.behaves(
                &format!("[ $what = restore ] || {{ {babble}; exit; }}"),
                Some(warning),
            );
        }
        let babble = "[ $what = save ] || { head -c 100000 /dev/urandom; real \"$@\"; exit; }";
        trial.behaves(babble, None);
        // A whole listing, of nothing: rules that are there are put in once more, and the chain
        // that looks idle cannot be removed.
        let empty = "[ $what = restore ] || { real \"$@\" | grep -v docker-nat66; exit; }";
        trial.behaves(empty, Some("could not be removed"));
    });
}

/// More than anybody can keep.
fn flooding() {
    trial("ip6tables prints without end", |trial| {
        for flood in [
            "exec head -c 1073741824 /dev/zero",
            "exec cat /dev/zero",
            "exec yes",
            "exec cat /dev/zero >&2",
        ] {
            trial.behaves(
                &format!("[ $what = restore ] || {flood}"),
                Some("printing more than"),
            );
        }
        trial.behaves("[ $what = save ] || exec yes", Some("printing more than"));
    });
}

/// Before and after it has done its work.
fn hanging(behaviour: &'static str) -> impl FnOnce() {
    move || {
        trial("ip6tables hangs", |trial| {
            trial.behaves(behaviour, Some("killed after"));
        });
    }
}

/// Of a tool that fails nothing can be concluded, whichever code it has: rules of an earlier run may
/// stand where only it can remove them.
fn failing_elsewhere() {
    let toolbox = Toolbox::installed("nft");
    let scene = Scene::new(Backend::Nftables);
    let mut score = Score::new("ip6tables fails while another backend takes over");
    let expected = reference(&scene, AFTER);
    for code in 1..=4 {
        let before = engine(BEFORE);
        Daemon::ready(&scene, &before, &["--backend", "ip6tables"]).kill();
        toolbox.behave(&format!("[ $what = restore ] || exit {code}"));
        let after = engine(AFTER);
        let mut daemon = Daemon::start(&scene, &after, &ARGS);
        daemon.warns_of("may be left in the other ip6tables");
        toolbox.behave("");
        let healed = Instant::now();
        serves(&mut daemon, AFTER);
        settles(&scene, &expected);
        score.recovered(healed.elapsed());
        let pid = daemon.id();
        holds(&scene, &mut score, "healed", &expected, &[pid]);
        daemon.leaves();
        holds(&scene, &mut score, "after it has left", &[], &[]);
    }
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn tools_that_fail_or_babble_are_waited_for() {
    let cases = vec![
        case("missing", missing),
        case("failing", failing),
        case("failing elsewhere", failing_elsewhere),
        case("crashing", crashing),
        case("babbling", babbling),
        case("flooding", flooding),
    ];
    namespace::fresh(|| together(cases));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn tools_that_hang_are_killed_and_looked_after() {
    let hangs = [
        "exec sleep 600",
        "[ $what = save ] || exec sleep 600",
        "[ $what = save ] || { real \"$@\"; exec sleep 600; }",
        "[ $what = save ] || { sleep 600 & sleep 600 >/dev/null 2>&1; }",
        "trap '' TERM; [ $what = restore ] || while :; do :; done",
    ];
    let cases = hangs.map(|behaviour| case(behaviour, hanging(behaviour)));
    namespace::fresh(|| together(cases.into()));
}
