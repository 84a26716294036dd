//! Rounds that compare what has changed and nothing else, with the compiler that reports it, as the
//! writer drives both.

use proptest::prelude::*;

use super::machine::{Daemon, Fate, MISHAPS, Machine, forward, policy};
use super::*;
use crate::backend::compiler::Compiler;
use crate::model::forwards::{Forwards, Group};
use crate::model::intent::Hairpin;

/// What follows on what came before.
#[derive(Debug, Clone)]
struct Turn {
    /// By host port, the last group of the container's address, and the container.
    ports: BTreeMap<u16, (u16, char)>,
    /// The ports that no docker-proxy serves.
    unserved: BTreeSet<u16>,
    /// Whether another program has taken out a rule.
    drifts: bool,
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let owner = prop::sample::select(vec!['a', 'b', 'c']);
    let ports = prop::collection::btree_map(80u16..85, (2u16..5, owner), 0..5);
    // Mostly the same.
    let unserved = prop::bool::weighted(0.2);
    (ports, unserved, prop::bool::weighted(0.2)).prop_map(|(ports, unserved, drifts)| Turn {
        ports,
        unserved: unserved.then_some(81).into_iter().collect(),
        drifts,
    })
}

/// Makes intents in which a container that has not changed has the same group as before.
#[derive(Default)]
struct Mapper(BTreeMap<char, Group>);

impl Mapper {
    fn intent(&mut self, turn: &Turn) -> Intent {
        let mut forwards = Forwards::default();
        for owner in ['a', 'b', 'c'] {
            let own = turn.ports.iter().filter(|(_, (_, of))| *of == owner);
            let own: Vec<_> = own
                .map(|(port, (host, _))| forward((*port, *host, owner)))
                .collect();
            let group = self.0.entry(owner).or_default();
            if **group != own {
                *group = own.into();
            }
            forwards.push(group.clone());
        }
        let unserved = turn.unserved.iter().map(|port| (Proto::Tcp, *port));
        let hairpin = Hairpin::Only(unserved.collect::<BTreeSet<_>>().into());
        let mut intent = Intent::new(policy(hairpin), Some(Vec::new()));
        intent.forwards = Some(forwards);
        intent
    }
}

/// Lives through the turns, each retried until it is met.
fn live(machine: &Machine, daemon: &mut Daemon, turns: &[Turn]) {
    let (mut mapper, mut compiler) = (Mapper::default(), Compiler::new(daemon.kind()));
    for turn in turns {
        if turn.drifts {
            machine.kernel.edit(|lines| {
                let rule = lines.iter().rposition(|line| line.contains("-j DNAT"));
                rule.map(|at| lines.remove(at));
            });
            daemon.invalidate();
        }
        let intent = mapper.intent(turn);
        let met = (0..5).any(|_| {
            let touched = compiler.follow_beside(&intent, &|id| daemon.rule(id));
            let desired = || Cow::Borrowed(compiler.desired());
            daemon.converge_to(desired, &touched, 2).is_converged()
        });
        assert!(met, "a passing failure must not last");
    }
}

fn ends_as_the_last(turns: &[Turn], mishaps: &[(usize, Mishap)]) {
    let (machine, fate) = (Machine::new(), Fate::new(mishaps));
    let mut lives = 0;
    while !machine.lives(&fate, |daemon| live(&machine, daemon, turns)) {
        lives += 1;
        assert!(lives <= mishaps.len());
    }
    let last = Mapper::default().intent(turns.last().expect("one"));
    let last = compile::desired(BackendKind::Ip6tables, &last);
    machine.must_match(&last, &(turns, mishaps));
}

#[test]
fn without_a_mishap_a_round_looks_at_what_has_changed() {
    let machine = Machine::new();
    let turn = |ports: &[(u16, (u16, char))]| Turn {
        ports: ports.iter().copied().collect(),
        unserved: BTreeSet::new(),
        drifts: false,
    };
    let both = turn(&[(80, (2, 'a')), (81, (3, 'b'))]);
    let fate = Fate::default();
    let lived = machine.lives(&fate, |daemon| {
        let (mut mapper, mut compiler) = (Mapper::default(), Compiler::new(daemon.kind()));
        for (turn, first) in [(&both, true), (&turn(&[(80, (2, 'a'))]), false)] {
            assert_eq!(daemon.is_in_step, !first);
            let touched = compiler.follow(&mapper.intent(turn));
            let looked_at = match &touched {
                Touched::All => None,
                Touched::Only(ids) => Some(ids.len()),
            };
            assert_eq!(looked_at, (!first).then_some(1));
            let report = daemon.converge_to(|| Cow::Borrowed(compiler.desired()), &touched, 2);
            assert!(report.is_converged() && daemon.is_in_step);
        }
    });
    assert!(lived);
    assert_eq!(machine.open_ports(), [80]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_turns_under_any_mishaps_end_as_the_last(
        turns in prop::collection::vec(any_turn(), 1..6),
        mishaps in prop::collection::vec((0usize..40, prop::sample::select(MISHAPS.to_vec())), 0..4),
    ) {
        ends_as_the_last(&turns, &mishaps);
    }
}
