//! Standing by where Docker's own IPv6 NAT is on: the judgement is
//! [`crate::mapper::standby`]'s, from what the kernel shows at the beginning of each round.

use std::borrow::Cow;
use std::time::Duration;

use slog::{Logger, error, info, warn};

use super::Reconciler;
use super::report::{Report, Trouble};
use crate::journal::Journal;
use crate::mapper::standby::{self, Audit, Stand};
use crate::model::change::Desired;
use crate::model::problem::{Problem, ProblemId};
use crate::model::rule::RuleSpec;

/// Time since any fixed moment, never going back.
pub type Clock = Box<dyn Fn() -> Duration + Send>;

/// What keeps watch over Docker's own NAT.
pub(super) struct Standby {
    clock: Clock,
    judge: standby::Standby,
    seen: Option<Sighting>,
}

/// What was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// What becomes of our rules.
    pub stand: Stand,
    /// What Docker's NAT serves of what is published.
    pub audit: Audit,
}

impl Standby {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            judge: standby::Standby::default(),
            seen: None,
        }
    }
}

impl<J: Journal> Reconciler<J> {
    /// What was last seen of Docker's own NAT; `None` where nobody looks.
    pub fn sighting(&self) -> Option<&Sighting> {
        self.standby.as_ref()?.seen.as_ref()
    }

    /// What of `desired` is to be in the kernel now.
    pub(super) fn weigh<'d>(
        &mut self,
        desired: &'d Desired,
        report: &mut Report,
    ) -> Cow<'d, Desired> {
        let Some(watch) = &mut self.standby else {
            return Cow::Borrowed(desired);
        };
        let published = desired.published.as_ref();
        let seen = match self.backend.native() {
            Ok(native) => {
                let now = (watch.clock)();
                let stand = watch.judge.judge(&native, published, now);
                report.look_again_in = watch.judge.looks_again_in(now);
                let mut audit = watch.judge.audit(&native, published, now);
                let mut rules = desired.rules.values().map(|owned| &owned.rule.spec);
                if !rules.any(|spec| matches!(spec, RuleSpec::Dnat(_))) {
                    // There is nothing that it could drop.
                    audit.left_behind.clear();
                }
                Sighting { stand, audit }
            }
            Err(error) => {
                // Who leaves takes all out, whatever Docker does.
                if *desired != Desired::nothing() {
                    report.troubles.push(Trouble::Native(error));
                }
                // As before; who has seen nothing yet adds nothing.
                watch.seen.clone().unwrap_or(Sighting {
                    stand: Stand::Unsettled,
                    audit: Audit::default(),
                })
            }
        };
        let records = &self.records;
        let weighed = seen
            .stand
            .applies_to(desired, |id| records.contains_key(id));
        log_changes(&self.log, watch.seen.as_ref(), &seen);
        report.stand = Some(seen.stand);
        watch.seen = Some(seen);
        weighed
    }
}

fn log_changes(log: &Logger, before: Option<&Sighting>, now: &Sighting) {
    let stood = before.map(|s| s.stand);
    if stood != Some(now.stand) {
        match now.stand {
            Stand::On => {
                info!(log, "Docker's own IPv6 NAT is on: standing by, no rule of ours is in the \
                    kernel"; "served" => now.audit.served.len());
            }
            Stand::Off if stood.is_none() => {}
            Stand::Off => info!(log, "Docker's own IPv6 NAT is off: publishing ports"),
            Stand::Unsettled => {
                info!(
                    log,
                    "Docker's chains stand in the IPv6 nat table: looking whether it uses \
                    them, and adding nothing until that is known"
                );
            }
        }
    }
    let known = before.map(Sighting::problems).unwrap_or_default();
    for problem in now.problems().iter().filter(|it| !known.contains(it)) {
        error!(log, "degraded: {problem}"; "do" => problem.remedy.as_deref());
    }
    let before = before
        .map(|sighting| sighting.audit.clone())
        .unwrap_or_default();
    for forward in now.audit.stray.difference(&before.stray) {
        warn!(log, "Docker's own IPv6 NAT forwards what is not published"; "port" => %forward);
    }
    for forward in now.audit.closed.difference(&before.closed) {
        warn!(log, "Docker's own IPv6 NAT forwards what a label closes"; "port" => %forward);
    }
}

impl Sighting {
    /// What is wrong in a way that our rules do not mend.
    pub fn problems(&self) -> Vec<Problem> {
        let Audit {
            unserved,
            left_behind,
            ..
        } = &self.audit;
        let unserved = unserved.iter().map(|forward| {
            let what = format!("Docker's own IPv6 NAT is on, but has no rule for {forward}");
            Problem::new(ProblemId::NotServed, what)
        });
        let left_behind = left_behind.iter().map(|left| {
            let what = format!(
                "{} drops what is forwarded; an Engine left it when it came back without IPv6 NAT",
                left.place
            );
            Problem::new(ProblemId::LeftBehind, what).with_remedy(&left.remedy)
        });
        unserved.chain(left_behind).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use slog::{Discard, o};

    use super::*;
    use crate::backend::ErrorKind;
    use crate::backend::compile;
    use crate::backend::fake::FakeKernel;
    use crate::conntrack::fake::FakeTable;
    use crate::journal::memory::MemoryJournal;
    use crate::mapper::standby::SETTLES_AFTER;
    use crate::model::boot::BootId;
    use crate::model::forward::{Forward, Owner, Proto, Sources};
    use crate::model::intent::{Intent, Policy};
    use crate::model::native::{HostForward, LeftBehind, Native, Published};
    use crate::model::rule::BackendKind;

    /// Static rules and one published port.
    fn wish() -> Desired {
        let policy = Policy {
            devices: vec!["eth0".parse().unwrap()],
            prefixes: vec!["fd00::/64".parse().unwrap()],
            ..Policy::default()
        };
        let forward = Forward {
            proto: Proto::Tcp,
            host_addr: None,
            host_port: 8080,
            container_addr: "fd00::2".parse().unwrap(),
            container_port: 80,
            sources: Sources::Any,
            owner: Owner {
                container_id: "a".to_owned(),
                container_name: "a".into(),
                network: "bridge".into(),
            },
        };
        let published = Published {
            forwards: [served()].into(),
            ..Published::default()
        };
        Desired {
            published: Some(published),
            ..compile::desired(
                BackendKind::Ip6tables,
                &Intent::new(policy, Some(vec![forward])),
            )
        }
    }

    /// Docker's own rule for it.
    fn served() -> HostForward {
        HostForward {
            proto: Proto::Tcp,
            host_addr: None,
            host_port: 8080,
            target: ("fd00::2".parse().unwrap(), 80),
        }
    }

    struct Scene {
        kernel: FakeKernel,
        journal: MemoryJournal,
        seconds: Arc<AtomicU64>,
        daemon: Reconciler<MemoryJournal>,
    }

    impl Scene {
        fn new() -> Self {
            let (kernel, journal) = (FakeKernel::new(), MemoryJournal::default());
            let seconds = Arc::new(AtomicU64::new(0));
            let now = seconds.clone();
            let mut daemon = Reconciler::new(
                Box::new(kernel.backend()),
                Vec::new(),
                journal.clone(),
                Box::new(FakeTable::new().flows()),
                BootId::new("boot"),
                Logger::root(Discard, o!()),
            )
            .standing_by(Box::new(move || {
                Duration::from_secs(now.load(Ordering::Relaxed))
            }));
            daemon.recover(Vec::new(), Vec::new(), 1);
            Self {
                kernel,
                journal,
                seconds,
                daemon,
            }
        }

        /// One round; how many rules are in the kernel then, and in the journal.
        fn round(&mut self, wish: &Desired, native: Native) -> (usize, Report) {
            self.kernel.set_native(native);
            let report = self.daemon.converge(wish, 1);
            let rules = self.kernel.ours().len();
            assert_eq!(self.journal.records().len(), rules);
            (rules, report)
        }
    }

    fn chain(serves: bool) -> Native {
        Native {
            chains: true,
            forwards: serves.then(served).into_iter().collect(),
            ..Native::default()
        }
    }

    #[test]
    fn rules_go_when_dockers_nat_comes_and_return_when_it_has_gone() {
        let mut scene = Scene::new();
        let all = wish().rules.len();
        assert_eq!(scene.round(&wish(), Native::default()).0, all);
        let (rules, report) = scene.round(&wish(), chain(false));
        assert_eq!((rules, report.stand), (0, Some(Stand::On)));
        assert_eq!(scene.round(&wish(), chain(true)).0, 0);
        assert_eq!(scene.kernel.lines(), Vec::<String>::new());
        assert_eq!(scene.round(&wish(), Native::default()).0, all);
        assert_eq!(scene.round(&Desired::nothing(), chain(true)).0, 0);
    }

    #[test]
    fn where_it_cannot_be_told_all_stays_and_who_leaves_does_not_ask() {
        let mut scene = Scene::new();
        let all = wish().rules.len();
        assert_eq!(scene.round(&wish(), Native::default()).0, all);
        scene.kernel.native_fails(Some(ErrorKind::Busy));
        let (rules, report) = scene.round(&wish(), Native::default());
        assert_eq!((rules, report.stand), (all, Some(Stand::Off)));
        assert!(!report.is_converged());
        let (rules, report) = scene.round(&Desired::nothing(), Native::default());
        assert_eq!((rules, report.is_converged()), (0, true));
    }

    #[test]
    fn until_a_chain_is_understood_nothing_comes_and_what_is_unwanted_goes() {
        let mut scene = Scene::new();
        let (rules, report) = scene.round(&wish(), chain(false));
        assert_eq!((rules, report.stand), (0, Some(Stand::Unsettled)));
        assert_eq!(report.look_again_in, Some(SETTLES_AFTER));
        assert!(!report.is_in_step());
        scene.seconds.store(3, Ordering::Relaxed);
        let (rules, report) = scene.round(&wish(), chain(false));
        assert_eq!(
            (rules, report.stand),
            (wish().rules.len(), Some(Stand::Off))
        );

        // What the Engine left behind is named once it has lasted, as long as it is there.
        let left = LeftBehind {
            place: "chain DOCKER of table ip6 filter".into(),
            remedy: "ip6tables -t filter -D DOCKER".into(),
        };
        let mut hollow = chain(false);
        hollow.left_behind.insert(left);
        let problems = |scene: &Scene| scene.daemon.sighting().expect("seen").problems();
        let (_, report) = scene.round(&wish(), hollow.clone());
        assert_eq!(report.look_again_in, Some(SETTLES_AFTER));
        assert!(problems(&scene).is_empty());
        scene.seconds.store(6, Ordering::Relaxed);
        assert!(scene.round(&wish(), hollow).1.is_in_step());
        assert!(
            problems(&scene)[0]
                .to_string()
                .starts_with("left-behind: chain DOCKER ")
        );
        scene.round(&wish(), chain(false));
        assert!(problems(&scene).is_empty());

        // The same at the start of a daemon whose predecessor left rules.
        let mut daemon = Reconciler::new(
            Box::new(scene.kernel.backend()),
            Vec::new(),
            scene.journal.clone(),
            Box::new(FakeTable::new().flows()),
            BootId::new("boot"),
            Logger::root(Discard, o!()),
        )
        .standing_by(Box::new(|| Duration::ZERO));
        daemon.recover(scene.journal.records(), Vec::new(), 1);
        let before = scene.kernel.lines();
        daemon.converge(&wish(), 1);
        assert_eq!(scene.kernel.lines(), before);
        let mut unwanted = wish();
        unwanted.rules.clear();
        daemon.converge(&unwanted, 1);
        assert_eq!(scene.kernel.ours(), Vec::new());
    }
}
