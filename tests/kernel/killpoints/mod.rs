//! The daemon killed by SIGKILL at every step of its life, at every step of recovering from that,
//! and at random moments, and started again: what is in the kernel then is what a daemon that was
//! never killed has there, once, and the journal agrees; foreign rules are as before, and no tool
//! is left.
//!
//! The kernel and the tools are real, in a network namespace of each test's own; the Engine is the
//! fake one. By default a sample of the steps; with [`STRIDE`] 1 all of them.

mod by_lot;

use crate::life::{self, Orders, Part, STAGES, recovers, reference};
use crate::support::backend::Backend;
use crate::support::daemon::End;
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::score::Score;
use crate::support::torture::{KILLS, SEED, STRIDE, given};

fn number(name: &str, default: usize) -> usize {
    given(name).map_or(default, |number| number as usize)
}

fn kill_at(step: usize) -> Orders {
    Orders {
        kill_at: Some(step),
        keep: false,
    }
}

/// Kills at every `stride`-th step until one life goes through unharmed.
fn killed_at_each_step(backend: Backend, stride: usize) {
    let scene = Scene::new(backend);
    let reference = reference(&scene);
    let mut score = Score::new(&format!("killed at a step of its life, {backend:?}"));
    let steps = (1 + number(SEED, 0) % stride..).step_by(stride);
    for step in steps {
        let mut stage = 0;
        let end = life::live(&scene, kill_at(step), |done| stage = done);
        if end == End::Left {
            assert!(step > 40, "there are more steps than {step}");
            return;
        }
        let stage = (stage + 1).min(STAGES);
        let what = format!("killed at step {step}");
        recovers(&scene, stage, &reference, &mut score, &what);
    }
}

/// In full, after a kill at one step, the recovery is killed at one in so many of its own; after a
/// kill at the next step, at others.
const SECOND_STRIDE: usize = 24;

/// Kills in each part of a life, and then while recovering from that. Without [`STRIDE`] in the
/// middle of the part only, and then at every `sample`-th step of the recovery.
fn killed_again_while_recovering(backend: Backend, sample: usize) {
    let first_stride = given(STRIDE).map(|stride| stride as usize);
    let stride = first_stride.map_or(sample, |_| SECOND_STRIDE);
    let scene = Scene::new(backend);
    let reference = reference(&scene);
    let fault = format!("killed, and killed again while recovering, {backend:?}");
    let mut score = Score::new(&fault);
    for part in Part::all() {
        let (end, steps) = life::live_through(&scene, part, 0);
        assert_eq!(end, End::Left, "{part:?}: {}", scene.log());
        // What was handed over goes with this one.
        life::restart(&scene, part.stage());
        // What the recovery finds depends on how far the part had come.
        let firsts: Vec<usize> = match first_stride {
            Some(first_stride) => (steps.start + 1..=steps.end)
                .step_by(first_stride)
                .collect(),
            None => vec![steps.start + steps.len() / 2 + 1],
        };
        for (nth, first) in firsts.into_iter().enumerate() {
            for second in (1 + (number(SEED, 0) + nth) % stride..).step_by(stride) {
                // Where it shows late that the part is over, the kill comes while it leaves.
                life::live_through(&scene, part, first);
                let again = life::recover(&scene, part.stage(), second);
                let what = format!(
                    "{part:?}, killed at step {first}, and at step {second} of the recovery"
                );
                recovers(&scene, part.stage(), &reference, &mut score, &what);
                if again == End::Left {
                    break;
                }
            }
        }
        eprintln!("{part:?}, steps {steps:?}: {} tries", score.tries());
    }
}

/// Leaves rules and a journal, damages that, and kills the next one at every `stride`-th step.
fn killed_beside_a_damaged_journal(backend: Backend, stride: usize) {
    let scene = Scene::new(backend);
    let reference = reference(&scene);
    let mut score = Score::new(&format!("journal damaged, and killed, {backend:?}"));
    for step in (1 + number(SEED, 0) % stride..).step_by(stride) {
        let mut stage = 0;
        let end = life::live(&scene, kill_at(90), |done| stage = done);
        assert_eq!(end, End::Killed);
        scene.damage_journal();
        let stage = (stage + 1).min(STAGES);
        let end = life::recover(&scene, stage, step);
        let what = format!("journal damaged, killed at step {step}");
        recovers(&scene, stage, &reference, &mut score, &what);
        if end == End::Left {
            break;
        }
    }
}

/// Kills at every `stride`-th of the last steps of a life that leaves its rules to a successor.
fn killed_while_handing_over(backend: Backend, stride: usize) {
    let scene = Scene::new(backend);
    let reference = reference(&scene);
    let mut score = Score::new(&format!("killed while handing over, {backend:?}"));
    for step in (120 + number(SEED, 0) % stride..).step_by(stride) {
        let mut stage = 0;
        let orders = Orders {
            keep: true,
            ..kill_at(step)
        };
        let end = life::live(&scene, orders, |done| stage = done);
        let stage = (stage + 1).min(STAGES);
        let what = format!("killed at step {step}, leaving its rules");
        if end == End::Left {
            assert_eq!(scene.ours(), reference[&STAGES], "{what}: {}", scene.log());
        }
        recovers(&scene, stage, &reference, &mut score, &what);
        if end == End::Left {
            break;
        }
    }
}

/// Kills at moments drawn by lot, each successor of the one before.
fn killed_at_random_moments(backend: Backend) {
    let scene = Scene::new(backend);
    let (seed, kills) = (number(SEED, 1), number(KILLS, 120));
    eprintln!("{SEED}={seed}");
    let mut score = Score::new(&format!("killed at a random moment, {backend:?}"));
    by_lot::live_and_die(&scene, seed as u64, kills as u64, &mut score);
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn ip6tables_survives_kills_at_random_moments() {
    namespace::fresh(|| killed_at_random_moments(Backend::Ip6tables));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn nftables_survives_kills_at_random_moments() {
    namespace::fresh(|| killed_at_random_moments(Backend::Nftables));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn ip6tables_survives_a_kill_at_any_step() {
    namespace::fresh(|| killed_at_each_step(Backend::Ip6tables, number(STRIDE, 10)));
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn nftables_survives_a_kill_at_any_step() {
    namespace::fresh(|| killed_at_each_step(Backend::Nftables, number(STRIDE, 7)));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn ip6tables_survives_a_second_kill_while_it_recovers() {
    namespace::fresh(|| killed_again_while_recovering(Backend::Ip6tables, number(STRIDE, 35)));
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn nftables_survives_a_second_kill_while_it_recovers() {
    namespace::fresh(|| killed_again_while_recovering(Backend::Nftables, number(STRIDE, 30)));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_damaged_journal_and_a_kill_lose_no_rule() {
    namespace::fresh(|| {
        for backend in [Backend::Ip6tables, Backend::Nftables] {
            killed_beside_a_damaged_journal(backend, number(STRIDE, 14));
        }
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_kill_while_handing_over_leaves_rules_that_the_next_one_knows() {
    namespace::fresh(|| {
        for backend in [Backend::Ip6tables, Backend::Nftables] {
            killed_while_handing_over(backend, number(STRIDE, 12));
        }
    });
}
