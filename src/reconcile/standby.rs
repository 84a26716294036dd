//! Standing by where Docker's own IPv6 NAT is on: the judgement is
//! [`crate::mapper::standby`]'s, from what the kernel shows at the beginning of each round.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use slog::{Logger, info, warn};

use super::{Reconciler, Report, Trouble};
use crate::journal::Journal;
use crate::mapper::standby::{self, Audit, Stand};
use crate::model::change::Desired;
use crate::model::native::Target;

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
        let wanted = standby::wanted(desired);
        let seen = match self.backend.native() {
            Ok(native) => {
                let now = (watch.clock)();
                let stand = watch.judge.judge(&native, wanted.as_ref(), now);
                report.look_again_in = watch.judge.looks_again_in(now);
                let audit = watch.judge.audit(&native, wanted.as_ref(), now);
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
    if now.stand != Stand::On {
        return;
    }
    let none = BTreeSet::new();
    let known = before.map_or(&none, |s| &s.audit.stray);
    for target in now.audit.stray.difference(known) {
        warn!(log, "Docker's own IPv6 NAT forwards what is not published, or closed by a label";
            "to" => text(*target));
    }
}

/// `[ADDRESS]:PORT`.
pub fn text((addr, port): Target) -> String {
    format!("[{addr}]:{port}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use slog::{Discard, o};

    use super::*;
    use crate::backend::ErrorKind;
    use crate::backend::fake::FakeKernel;
    use crate::conntrack::fake::FakeTable;
    use crate::journal::memory::MemoryJournal;
    use crate::journal::record::BootId;
    use crate::mapper::rules::{Hairpin, Layout, Unpublished, desired};
    use crate::mapper::standby::SETTLES_AFTER;
    use crate::model::forward::{Forward, Owner, Proto, Sources};
    use crate::model::native::Native;
    use crate::model::rule::BackendKind;

    /// Static rules and one published port.
    fn wish() -> Desired {
        let layout = Layout {
            backend: BackendKind::Ip6tables,
            devices: vec!["eth0".parse().unwrap()],
            prefixes: vec!["fd00::/64".parse().unwrap()],
            unpublished: Unpublished::Drop,
            hairpin: Hairpin::Off,
            snat: Vec::new(),
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
        desired(&layout, Some(&[forward]))
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
        let target = ("fd00::2".parse().unwrap(), 80);
        Native {
            table: false,
            jump: true,
            targets: serves.then_some(target).into_iter().collect(),
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
