//! Keeps the rules that an intent comes to, from one intent to the next: groups of forwards that both
//! hold are compiled once. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::makers::{Makers, makers};
use crate::model::change::{Desired, Known, Undecided};
use crate::model::forward::{Forward, Owner};
use crate::model::forwards::Group;
use crate::model::intent::{Hairpin, Intent, Policy};
use crate::model::rule::{BackendKind, Basis, OwnedRule, Rule, RuleId};
use crate::model::shared::Shared;

/// Which rules of the result may differ from those of the time before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Any.
    All,
    /// At most these.
    Only(BTreeSet<RuleId>),
}

/// Finds rules that are in memory already.
type Held<'h> = dyn Fn(RuleId) -> Option<&'h Rule> + 'h;

/// The compiler of one backend.
pub(crate) struct Compiler {
    makers: Makers,
    /// That of the last intent; `None` before the first.
    policy: Option<Policy>,
    /// The groups of the last intent, by their addresses in memory, which the groups hold.
    groups: HashMap<usize, (Group, Box<[RuleId]>)>,
    /// How many forwards want each rule that more than one wants.
    shared: BTreeMap<RuleId, usize>,
    pub(super) desired: Desired,
}

impl Compiler {
    /// A compiler that has seen no intent.
    pub(crate) fn new(backend: BackendKind) -> Self {
        Self {
            makers: makers(backend),
            policy: None,
            groups: HashMap::new(),
            shared: BTreeMap::new(),
            desired: Desired {
                rules: BTreeMap::new(),
                known: Known {
                    statics: false,
                    forwards: false,
                },
                undecided: Undecided::default(),
                may_insert: true,
            },
        }
    }

    /// What should be in the kernel, by the last intent.
    pub(crate) fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Takes the next intent.
    pub(crate) fn follow(&mut self, intent: &Intent) -> Touched {
        self.follow_beside(intent, &|_| None)
    }

    /// The same where equal rules are `held` elsewhere: they are shared, so that each is in memory once.
    pub(crate) fn follow_beside(&mut self, intent: &Intent, held: &Held<'_>) -> Touched {
        let was_complete = self.desired.is_complete();
        self.desired.known = intent.known;
        self.desired.undecided.clone_from(&intent.undecided);
        let is_complete = was_complete && self.desired.is_complete();
        let touched = match self.outdated(intent) {
            Some(outdated) if is_complete && intent.forwards.is_some() => {
                self.exchange(intent, &outdated, held)
            }
            _ => None,
        };
        match touched {
            Some(touched) => Touched::Only(touched),
            None => {
                self.begin_anew(intent, held);
                Touched::All
            }
        }
    }

    /// The groups of the last intent that are compiled in another way under this policy; `None` if
    /// everything is.
    fn outdated(&self, intent: &Intent) -> Option<BTreeSet<usize>> {
        let before = self.policy.as_ref()?;
        let after = &intent.policy;
        if before == after {
            return Some(BTreeSet::new());
        }
        let (Hairpin::Only(before_ports), Hairpin::Only(after_ports)) =
            (&before.hairpin, &after.hairpin)
        else {
            return None;
        };
        let others = Policy {
            hairpin: before.hairpin.clone(),
            ..after.clone()
        };
        if *before != others {
            return None;
        }
        let changed: BTreeSet<_> = before_ports.symmetric_difference(after_ports).collect();
        let is_changed = |f: &Forward| changed.contains(&(f.proto, f.host_port));
        let groups = self.groups.iter();
        let outdated = groups.filter(|(_, (group, _))| group.iter().any(is_changed));
        Some(outdated.map(|(at, _)| *at).collect())
    }

    /// Exchanges the groups that have changed, or are outdated. `None`, with half of it done: several
    /// forwards want one rule, before or after, and all has to be compiled.
    fn exchange(
        &mut self,
        intent: &Intent,
        outdated: &BTreeSet<usize>,
        held: &Held<'_>,
    ) -> Option<BTreeSet<RuleId>> {
        self.policy = Some(intent.policy.clone());
        let mut touched = BTreeSet::new();
        let groups = intent.forwards.as_ref()?.groups();
        let now: BTreeSet<usize> = groups.iter().map(Shared::place).collect();
        let before = self.groups.keys();
        let leaving = before.filter(|at| !now.contains(at) || outdated.contains(at));
        let leaving: Vec<usize> = leaving.copied().collect();
        for at in leaving {
            let (_, ids) = self.groups.remove(&at)?;
            for id in ids {
                self.unwant(id, &mut touched)?;
            }
        }
        for group in groups {
            if !self.groups.contains_key(&group.place()) {
                self.add(group, &intent.policy, held, &mut touched)?;
            }
        }
        Some(touched)
    }

    fn begin_anew(&mut self, intent: &Intent, held: &Held<'_>) {
        let policy = &intent.policy;
        self.policy = Some(policy.clone());
        self.groups.clear();
        self.shared.clear();
        self.desired.rules.clear();
        let mut of_policy = (self.makers.statics)(policy);
        if intent.forwards.is_some() {
            of_policy.extend((self.makers.snat)(policy));
        }
        for rule in of_policy {
            self.want(shared(rule, held), None);
        }
        for group in intent.forwards.iter().flat_map(|all| all.groups()) {
            let mut ids = Vec::with_capacity(group.len());
            self.compile(group, policy, held, |compiler, rule, owners| {
                ids.push(rule.id());
                compiler.want(rule, Some(owners));
                Some(())
            });
            self.groups
                .insert(group.place(), (group.clone(), ids.into()));
        }
    }

    fn add(
        &mut self,
        group: &Group,
        policy: &Policy,
        held: &Held<'_>,
        touched: &mut BTreeSet<RuleId>,
    ) -> Option<()> {
        let mut ids = Vec::with_capacity(group.len());
        self.compile(group, policy, held, |compiler, rule, owners| {
            let id = rule.id();
            ids.push(id);
            if rule.facts.basis == Basis::Forward && compiler.desired.rules.contains_key(&id) {
                return None;
            }
            touched.insert(id);
            compiler.want(rule, Some(owners));
            Some(())
        })?;
        self.groups
            .insert(group.place(), (group.clone(), ids.into()));
        Some(())
    }

    /// Makes the rules of a group, in the order of its forwards.
    fn compile(
        &mut self,
        group: &Group,
        policy: &Policy,
        held: &Held<'_>,
        mut take: impl FnMut(&mut Self, Rule, &Shared<BTreeSet<Owner>>) -> Option<()>,
    ) -> Option<()> {
        let mut owners: Shared<BTreeSet<Owner>> = Shared::default();
        for forward in group.iter() {
            if !owners.contains(&forward.owner) {
                owners = BTreeSet::from([forward.owner.clone()]).into();
            }
            for rule in (self.makers.of_forward)(policy, forward) {
                take(self, shared(rule, held), &owners)?;
            }
        }
        Some(())
    }

    /// Wants a rule, once more perhaps.
    fn want(&mut self, rule: Rule, owners: Option<&Shared<BTreeSet<Owner>>>) {
        let id = rule.id();
        let owners = owners.filter(|_| rule.facts.basis == Basis::Forward);
        let Some(known) = self.desired.rules.get_mut(&id) else {
            let owners = owners.cloned().unwrap_or_default();
            self.desired.rules.insert(id, OwnedRule { rule, owners });
            return;
        };
        *self.shared.entry(id).or_insert(1) += 1;
        for owner in owners.iter().flat_map(|owners| owners.iter()) {
            if !known.owners.contains(owner) {
                known.owners.insert(owner.clone());
            }
        }
    }

    /// One forward less wants a rule. `None`: others want it, and it is not known which of its owners
    /// are theirs.
    fn unwant(&mut self, id: RuleId, touched: &mut BTreeSet<RuleId>) -> Option<()> {
        if let Some(count) = self.shared.get_mut(&id) {
            let rule = &self.desired.rules.get(&id)?.rule;
            if rule.facts.basis == Basis::Forward {
                return None;
            }
            *count -= 1;
            if *count == 1 {
                self.shared.remove(&id);
            }
            return Some(());
        }
        touched.insert(id);
        self.desired.rules.remove(&id);
        Some(())
    }
}

/// The rule, or an equal one that is held.
fn shared(rule: Rule, held: &Held<'_>) -> Rule {
    let other = held(rule.id()).filter(|other| **other == rule);
    other.cloned().unwrap_or(rule)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backend::compile;
    use crate::model::forward::{Proto, Sources};
    use crate::model::forwards::Forwards;
    use crate::model::intent::Policy;

    /// The group of a container that publishes these ports at its address, which every second one
    /// shares with the one before.
    fn group(container: u16, ports: &BTreeSet<u16>, sources: &Sources) -> Group {
        let forward = |port: &u16| Forward {
            proto: Proto::Tcp,
            host_addr: None,
            host_port: *port,
            container_addr: format!("fd00::{}", container / 2 + 2)
                .parse()
                .expect("an address"),
            container_port: 80,
            sources: sources.clone(),
            owner: Owner::new(container.to_string(), "web", "bridge"),
        };
        ports.iter().map(forward).collect::<Vec<_>>().into()
    }

    fn any_sources() -> impl Strategy<Value = Sources> {
        let some = ["2001:db8::/32", "fd99::1/128"].map(|net| net.parse().expect("a prefix"));
        prop_oneof![
            3 => Just(Sources::Any),
            1 => prop::sample::subsequence(some.to_vec(), 1..=2)
                .prop_map(|some| Sources::Only(some.into_iter().collect())),
        ]
    }

    fn policy() -> Policy {
        Policy {
            devices: vec!["eth0".parse().expect("a name")],
            prefixes: vec!["fd00::/64".parse().expect("a prefix")],
            ..Policy::default()
        }
    }

    /// What is other in the next intent.
    #[derive(Debug, Clone)]
    enum Step {
        Group(u16, BTreeSet<u16>, Sources),
        Hairpin(BTreeSet<u16>),
        Devices(usize),
        Prefixes(usize),
        Snat(bool),
        /// Docker has not answered in this one.
        Silence,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let ports = || prop::collection::btree_set(1_u16..6, 0..4);
        prop_oneof![
            8 => (0_u16..4, ports(), any_sources()).prop_map(|(c, p, s)| Step::Group(c, p, s)),
            3 => ports().prop_map(Step::Hairpin),
            1 => (1_usize..3).prop_map(Step::Devices),
            1 => (1_usize..3).prop_map(Step::Prefixes),
            1 => any::<bool>().prop_map(Step::Snat),
            1 => Just(Step::Silence),
        ]
    }

    fn change(policy: &mut Policy, step: &Step) {
        let prefixes = ["fd00::/64", "fd01::/64"].map(|net| net.parse().expect("a prefix"));
        match step {
            Step::Hairpin(ports) => {
                let ports = ports.iter().map(|port| (Proto::Tcp, *port));
                policy.hairpin = Hairpin::Only(ports.collect::<BTreeSet<_>>().into());
            }
            Step::Devices(count) => {
                let names = ["eth0", "eth1"].map(|name| name.parse().expect("a name"));
                policy.devices = names[..*count].to_vec();
            }
            Step::Prefixes(count) => policy.prefixes = prefixes[..*count].to_vec(),
            Step::Snat(is_set) => {
                let source = "2001:db8::7".parse().expect("an address");
                policy.snat = is_set
                    .then_some((prefixes[0], source))
                    .into_iter()
                    .collect();
            }
            Step::Group(..) | Step::Silence => {}
        }
    }

    #[test]
    fn a_rule_that_is_held_elsewhere_is_shared() {
        let mut intent = Intent::new(policy(), Some(Vec::new()));
        let mut forwards = Forwards::default();
        forwards.push(group(0, &BTreeSet::from([1, 2]), &Sources::Any));
        intent.forwards = Some(forwards);
        let records = compile::desired(BackendKind::Nftables, &intent).rules;
        let held = |id| Some(&records.get(&id)?.rule);
        let mut compiler = Compiler::new(BackendKind::Nftables);
        compiler.follow_beside(&intent, &held);
        assert_eq!(compiler.desired().rules, records);
        for (id, owned) in &compiler.desired().rules {
            assert!(std::ptr::eq(&*owned.rule, &*records[id].rule), "{id}");
        }
    }

    proptest! {
        #[test]
        fn from_intent_to_intent_the_rules_are_those_of_the_last_alone(
            steps in prop::collection::vec(any_step(), 1..16)
        ) {
            for backend in [BackendKind::Ip6tables, BackendKind::Nftables] {
                let mut compiler = Compiler::new(backend);
                let mut groups: BTreeMap<u16, Group> = BTreeMap::new();
                let mut policy = policy();
                for step in &steps {
                    if let Step::Group(container, ports, sources) = step {
                        groups.insert(*container, group(*container, ports, sources));
                    }
                    change(&mut policy, step);
                    let has_answered = !matches!(step, Step::Silence);
                    let mut forwards = Forwards::default();
                    groups.values().for_each(|group| forwards.push(group.clone()));
                    let mut intent = Intent::new(policy.clone(), has_answered.then(Vec::new));
                    intent.forwards = has_answered.then_some(forwards);
                    let before = compiler.desired().clone();
                    let touched = compiler.follow_beside(&intent, &|id| {
                        Some(&before.rules.get(&id)?.rule)
                    });
                    let after = compiler.desired();
                    prop_assert_eq!(after, &compile::desired(backend, &intent));
                    let Touched::Only(touched) = touched else { continue };
                    let all = before.rules.keys().chain(after.rules.keys());
                    for id in all.filter(|id| !touched.contains(id)) {
                        prop_assert_eq!(before.rules.get(id), after.rules.get(id));
                    }
                }
            }
        }
    }
}
