//! Rounds in view of Docker's own NAT, over a kernel in memory.

use std::sync::Mutex;

use slog::o;

use super::*;
use crate::backend::fake::FakeKernel;
use crate::backend::{ErrorKind, compile};
use crate::conntrack::fake::FakeTable;
use crate::control::row::Row;
use crate::docker_nat::observation::{DockerNat, LeftBehind};
use crate::docker_nat::since::SETTLES_AFTER;
use crate::docker_nat::testing::{at, docker, published};
use crate::journal::memory::MemoryJournal;
use crate::model::boot::BootId;
use crate::model::forward::{Forward, Owner, Proto, Sources};
use crate::model::intent::{Intent, Policy};
use crate::model::rule::BackendKind;

/// The static rules and a forward of port 8080, which [`docker`] and [`published`] name too.
fn intent() -> Intent {
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
        owner: Owner::new("a", "a", "bridge"),
    };
    Intent::new(policy, Some(vec![forward]))
}

/// How many rules the intent compiles to.
fn count(intent: &Intent) -> usize {
    compile::desired(BackendKind::Ip6tables, intent).rules.len()
}

fn failure(kind: ErrorKind) -> BackendError {
    BackendError {
        operation: "made".into(),
        kind,
        detail: "to fail".into(),
    }
}

/// A host with one daemon after another.
#[derive(Clone, Default)]
struct Host {
    kernel: FakeKernel,
    journal: MemoryJournal,
    docker_nat: Arc<Mutex<Option<DockerNat>>>,
}

struct Daemon {
    host: Host,
    reconciler: Reconciler<MemoryJournal>,
    compiler: Compiler,
    watch: Watch,
}

impl Host {
    fn daemon(&self) -> Daemon {
        let log = Logger::root(slog::Discard, o!());
        let mut reconciler = Reconciler::new(
            Box::new(self.kernel.backend()),
            Vec::new(),
            self.journal.clone(),
            Box::new(FakeTable::new().flows()),
            BootId::new("boot"),
            log.clone(),
        );
        reconciler.recover(self.journal.records(), Vec::new(), 1);
        let shown = self.docker_nat.clone();
        let observe = move || {
            let shown = shown.lock().unwrap().clone();
            let shown = shown.map(Into::into);
            shown.ok_or_else(|| failure(ErrorKind::Busy))
        };
        Daemon {
            host: self.clone(),
            compiler: Compiler::new(reconciler.kind()),
            reconciler,
            watch: Watch::new(Box::new(observe), log),
        }
    }
}

impl Daemon {
    /// One round in which the kernel shows `shown` of Docker's NAT, or cannot be listed (`None`).
    /// Returns how many rules the kernel then holds; the journal must hold as many records.
    fn round(&mut self, intent: Intent, shown: Option<DockerNat>, second: u64) -> (usize, Round) {
        *self.host.docker_nat.lock().unwrap() = shown;
        let message = Converge {
            intent: Arc::new(intent),
            published: Some(published(&[8080]).into()),
            remaining: Arc::default(),
            verify: false,
            event_at: None,
        };
        let watch = Some(&mut self.watch);
        let compiler = &mut self.compiler;
        let now = || at(second);
        let begin = |_| {};
        let round = round(
            &mut self.reconciler,
            compiler,
            watch,
            &message,
            now,
            begin,
            1,
        );
        let rules = self.host.kernel.ours().len();
        assert_eq!(self.host.journal.records().len(), rules);
        (rules, round)
    }
}

fn state(round: &Round) -> StandbyState {
    round.docker_nat.as_ref().expect("observed").state
}

#[test]
fn rules_go_when_dockers_nat_comes_and_return_when_it_has_gone() {
    let mut daemon = Host::default().daemon();
    let all = count(&intent());
    let nothing = || Some(DockerNat::default());
    assert_eq!(daemon.round(intent(), nothing(), 0).0, all);
    let (rules, round) = daemon.round(intent(), Some(docker(&[])), 0);
    assert_eq!((rules, state(&round)), (0, StandbyState::On));
    assert_eq!(daemon.round(intent(), Some(docker(&[8080])), 0).0, 0);
    assert_eq!(daemon.host.kernel.lines(), Vec::<String>::new());
    assert_eq!(daemon.round(intent(), nothing(), 0).0, all);
}

#[test]
fn while_dockers_nat_cannot_be_observed_every_rule_stays() {
    let mut daemon = Host::default().daemon();
    let all = count(&intent());
    // A daemon that has not observed anything yet adds nothing.
    let (rules, round) = daemon.round(intent(), None, 0);
    assert_eq!((rules, state(&round)), (0, StandbyState::Unsettled));
    daemon.round(intent(), Some(DockerNat::default()), 0);
    let (rules, round) = daemon.round(intent(), None, 0);
    assert_eq!((rules, state(&round)), (all, StandbyState::Off));
    assert!(!round.is_in_step());
    assert_eq!(
        round.troubles(),
        ["cannot find out whether Docker's own IPv6 NAT is on: made: busy: to fail"]
    );
    daemon.round(intent(), Some(docker(&[8080])), 0);
    let (rules, round) = daemon.round(intent(), None, 0);
    assert_eq!((rules, state(&round)), (0, StandbyState::On));
}

#[test]
fn while_the_state_is_unsettled_rules_are_only_removed() {
    let host = Host::default();
    let mut daemon = host.daemon();
    let (rules, round) = daemon.round(intent(), Some(docker(&[])), 0);
    assert_eq!((rules, state(&round)), (0, StandbyState::Unsettled));
    let again = |round: &Round| round.docker_nat.as_ref().and_then(|it| it.again_in);
    assert_eq!(again(&round), Some(SETTLES_AFTER));
    assert!(!round.is_in_step());
    let (rules, round) = daemon.round(intent(), Some(docker(&[])), 3);
    let all = count(&intent());
    assert_eq!((rules, state(&round)), (all, StandbyState::Off));

    // What the Engine left behind becomes a problem after the settling time.
    let mut hollow = docker(&[]);
    hollow.left_behind.insert(LeftBehind {
        place: "chain DOCKER of table ip6 filter".into(),
        remedy: "ip6tables -t filter -D DOCKER".into(),
    });
    let problems = |round: &Round| {
        let observation = round.docker_nat.as_ref().expect("observed");
        observation.audit.problems()
    };
    let (_, round) = daemon.round(intent(), Some(hollow.clone()), 3);
    assert_eq!(again(&round), Some(SETTLES_AFTER));
    assert!(problems(&round).is_empty());
    let (_, round) = daemon.round(intent(), Some(hollow.clone()), 6);
    assert!(round.is_in_step());
    let problem = problems(&round)[0].to_string();
    assert!(problem.starts_with("left-behind: chain DOCKER "));
    // Without forwards it drops nothing of ours.
    let (_, round) = daemon.round(Intent::nothing(), Some(hollow), 6);
    assert!(problems(&round).is_empty());
    daemon.round(intent(), Some(docker(&[])), 6);

    // A new daemon treats the rules of its predecessor in the same way.
    let mut daemon = host.daemon();
    let before = host.kernel.lines();
    daemon.round(intent(), Some(docker(&[])), 0);
    assert_eq!(host.kernel.lines(), before);
    daemon.round(Intent::nothing(), Some(docker(&[])), 0);
    assert_eq!(host.kernel.ours(), Vec::new());
}

#[test]
fn a_daemon_that_leaves_removes_all_and_does_not_ask_what_dockers_nat_does() {
    for shown in [Some(DockerNat::default()), None] {
        let mut daemon = Host::default().daemon();
        daemon.round(intent(), Some(DockerNat::default()), 0);
        daemon.round(intent(), shown, 0);
        assert_eq!(daemon.host.kernel.ours().len(), count(&intent()));
        let report = remove_all(&mut daemon.reconciler, 1);
        assert!(report.is_converged(), "{report:?}");
        assert_eq!(daemon.host.kernel.ours(), Vec::new());
    }
}

/// What Docker publishes at one time of a day: of 8 ports some, now and then at another address or by
/// another container.
fn published_at(time: u64) -> Intent {
    let mut draw = (1 + time).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let forwards = (0..8_u16).filter_map(|port| {
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        let container = format!("c{}", draw % 3);
        let forward = Forward {
            host_port: 8000 + port,
            container_addr: format!("fd00::{:x}", 0x10 + draw % 5).parse().unwrap(),
            owner: Owner::new(container.as_str(), container.as_str(), "bridge"),
            ..intent().forwards.unwrap()[0].clone()
        };
        (!draw.is_multiple_of(4)).then_some(forward)
    });
    Intent::new(intent().policy, Some(forwards.collect()))
}

#[test]
fn in_a_day_of_changes_dump_diff_shows_no_difference_that_is_none() {
    let mut daemon = Host::default().daemon();
    let mut rules = 0;
    // A change every five minutes.
    for now in (0..24 * 60 * 60).step_by(300) {
        let intent = published_at(now);
        let desired = daemon.reconciler.compile(&intent);
        daemon.round(intent, Some(DockerNat::default()), now);
        let compared = daemon.reconciler.compare(&desired).expect("listed");
        let records = daemon.host.journal.records();
        let rows = records.iter().flat_map(Row::of);
        let journal = rows.map(|row| (row.id.clone(), row)).collect();
        let comparison = compare::compare(&journal, compared, now, true);
        assert!(comparison.equal, "second {now}: {comparison:#?}");
        rules += comparison.kernel;
    }
    assert!(rules > 24 * 12 * 4, "{rules}");
}
