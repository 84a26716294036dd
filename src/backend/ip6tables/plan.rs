//! What a batch takes to carry out, given what stands around our rules.
//!
//! Pure. Our two chains of the filter table are kept here: made in the batch that first needs
//! one, removed in the batch that takes out its last rule and the last jump to it, and left
//! alone as long as somebody else's rule stands in it or jumps to it. So a plan holds only on
//! the ground of a fresh listing. If that has changed meanwhile, the tool refuses the table's
//! whole section, and the next listing gives another plan.

use std::fmt::Write as _;

use super::render::{self, Locator, NotALocator};
use super::shape::{HOOKS, Shape, Table, Target, own_chain};
use crate::backend::{Batch, ObservedRule};
use crate::model::rule::{BackendKind, Hook, Rule, RuleSpec};

/// What a listing of the filter table shows around our rules. All rules, whosever they are, as
/// listed without the `-A`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::backend) struct Ground {
    /// The rules of FORWARD, and whether they jump to DOCKER-USER where packets still come to it.
    forward: Vec<(String, bool)>,
    /// A rule of FORWARD has taken all packets.
    forward_ends: bool,
    chains: [Chain; HOOKS.len()],
}

/// What is known of a chain of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    is_there: bool,
    /// Rules in it.
    rules: Vec<String>,
    /// Rules that send packets to it.
    callers: Vec<String>,
}

/// The chain in which Docker lets users filter first.
const DOCKER_USER: &str = "DOCKER-USER";

impl Ground {
    /// Notes a chain of the filter table.
    pub(super) fn note_chain(&mut self, name: &str) {
        if let Some(hook) = named(name) {
            self.chain_mut(hook).is_there = true;
        }
    }

    /// Notes a rule of the filter table: its text after `-A`, chain included, and the chain
    /// that it sends packets to.
    pub(super) fn note_rule(&mut self, text: &str, chain: &str, target: Option<&str>) {
        if chain == "FORWARD" {
            // Behind what takes all, our jump would be dead, and DOCKER-USER's is.
            let yields = target == Some(DOCKER_USER) && !self.forward_ends;
            self.forward.push((text.to_owned(), yields));
            self.forward_ends |= takes_all(text);
        }
        if let Some(hook) = named(chain) {
            self.chain_mut(hook).rules.push(text.to_owned());
        }
        if let Some(hook) = target.and_then(named) {
            self.chain_mut(hook).callers.push(text.to_owned());
        }
    }

    /// Chains of ours that hold nothing and that nothing jumps to.
    pub(super) fn idle(&self) -> impl Iterator<Item = Hook> {
        HOOKS
            .into_iter()
            .filter(|hook| self.chain(*hook).is_idle_without(&[]))
    }

    /// Where a jump to our chain is to stand in FORWARD once `leaving` is gone, counted from 1.
    fn place_in_forward(&self, leaving: &[String]) -> usize {
        let texts: Vec<&String> = self.forward.iter().map(|(text, _)| text).collect();
        let staying = without(&texts, leaving);
        let mut yielding = staying.iter().map(|at| self.forward[*at].1);
        yielding.rposition(|yields| yields).map_or(1, |at| at + 2)
    }

    /// For each rule of FORWARD that is listed so: whether a jump to DOCKER-USER stands behind it.
    pub(super) fn precede_docker_user(&self, text: &str) -> Vec<bool> {
        let last = self.forward.iter().rposition(|(_, yields)| *yields);
        let same = self.forward.iter().enumerate();
        let same = same.filter(|(_, (listed, _))| listed == text);
        same.map(|(at, _)| last.is_some_and(|last| at < last))
            .collect()
    }

    fn chain(&self, hook: Hook) -> &Chain {
        &self.chains[hook as usize]
    }

    fn chain_mut(&mut self, hook: Hook) -> &mut Chain {
        &mut self.chains[hook as usize]
    }
}

impl Chain {
    /// Whether it can go once `leaving` is gone.
    fn is_idle_without(&self, leaving: &[String]) -> bool {
        let gone = |rules: &[String]| {
            let texts: Vec<&String> = rules.iter().collect();
            without(&texts, leaving).is_empty()
        };
        self.is_there && gone(&self.rules) && gone(&self.callers)
    }

    fn is_touched_by(&self, leaving: &[String]) -> bool {
        let mut mine = self.rules.iter().chain(&self.callers);
        mine.any(|text| leaving.contains(text))
    }
}

/// Whether a rule of FORWARD ends the way of every packet.
fn takes_all(text: &str) -> bool {
    ["ACCEPT", "DROP", "REJECT"].iter().any(|end| {
        let rest = text.strip_prefix("FORWARD -j ");
        rest.is_some_and(|rest| rest.split(' ').next() == Some(end))
    })
}

/// Indexes of what is left of `texts` when one copy goes for each entry of `leaving`, the first
/// ones first, as the tools do it.
fn without(texts: &[&String], leaving: &[String]) -> Vec<usize> {
    let mut staying: Vec<usize> = (0..texts.len()).collect();
    for gone in leaving {
        if let Some(at) = staying.iter().position(|at| texts[*at] == gone) {
            staying.remove(at);
        }
    }
    staying
}

fn named(chain: &str) -> Option<Hook> {
    HOOKS.into_iter().find(|hook| own_chain(*hook) == chain)
}

/// Whether a listed rule stands in the nat table.
pub(super) fn is_in_nat(seen: &ObservedRule) -> bool {
    matches!(
        render::read_locator(&seen.locator),
        Ok(Locator::Rule(Table::Nat, _))
    )
}

/// One line of the tool's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend) enum InputLine {
    /// Make a chain of ours.
    NewChain(&'static str),
    /// Remove the first rule that is listed so, without the `-A`.
    Remove(String),
    /// Append a rule, or insert it at this place of its chain, counted from 1.
    Insert(Rule, Option<usize>),
    /// Remove a chain of ours.
    DropChain(&'static str),
}

/// What is to be done, table by table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::backend) struct Plan {
    /// Each whole or not at all, in this order. None is empty.
    pub(in crate::backend) sections: Vec<(Table, Vec<InputLine>)>,
}

impl Plan {
    /// The plan for a batch: the filter goes in before what it guards, and out after it. Within
    /// a table removals come first, so that a replacement never stands beside what it replaces.
    ///
    /// # Errors
    /// A removal's locator was not made by this backend, or a rule is for another.
    pub(in crate::backend) fn new(batch: &Batch, ground: &Ground) -> Result<Self, NotALocator> {
        let foreign = |rule: &&Rule| rule.backend != BackendKind::Ip6tables;
        if let Some(rule) = batch.insert.iter().find(foreign) {
            return Err(NotALocator(rule.id().comment()));
        }
        let mut leaving: [Vec<String>; 2] = Default::default();
        let mut surplus = Vec::new();
        for gone in &batch.remove {
            match render::read_locator(&gone.locator)? {
                Locator::Rule(table, text) => leaving[table as usize].push(text.to_owned()),
                Locator::Chain(hook) => surplus.push(hook),
            }
        }
        let [gone_filter, gone_nat] = leaving;
        let (filter, nat): (Vec<&Rule>, Vec<&Rule>) = batch
            .insert
            .iter()
            .partition(|rule| Shape::of(&rule.spec).table == Table::Filter);
        let filter = filter_steps(&filter, gone_filter, &surplus, ground);
        let mut sections = vec![
            (Table::Filter, filter),
            (Table::Nat, steps(&nat, gone_nat, 1)),
        ];
        if batch.insert.is_empty() {
            sections.reverse();
        }
        sections.retain(|(_, steps)| !steps.is_empty());
        Ok(Self { sections })
    }

    /// Whether a batch can be planned without a listing.
    pub(super) fn needs_no_ground(batch: &Batch) -> bool {
        let is_nat = |rule: &Rule| Shape::of(&rule.spec).table == Table::Nat;
        batch.insert.iter().all(is_nat) && batch.remove.iter().all(is_in_nat)
    }

    /// The input of `ip6tables-restore --noflush`.
    pub(super) fn input(&self) -> String {
        let mut input = String::new();
        for (table, steps) in &self.sections {
            // Writing to a String cannot fail.
            let _ = writeln!(input, "*{}", table.as_str());
            for step in steps {
                let _ = match step {
                    // Never `:CHAIN`, which would flush one that is there.
                    InputLine::NewChain(chain) => writeln!(input, "-N {chain}"),
                    InputLine::Remove(text) => writeln!(input, "-D {text}"),
                    InputLine::Insert(rule, place) => {
                        writeln!(input, "{}", render::insertion(rule, *place))
                    }
                    InputLine::DropChain(chain) => writeln!(input, "-X {chain}"),
                };
            }
            input.push_str("COMMIT\n");
        }
        input
    }

    /// Where in FORWARD the jump to our chain goes, if it does.
    pub(super) fn place_of_jump(&self) -> Option<usize> {
        let steps = self.sections.iter().flat_map(|(_, steps)| steps);
        steps.into_iter().find_map(|step| match step {
            InputLine::Insert(rule, place) if rule.spec == RuleSpec::Jump(Hook::Forward) => *place,
            _ => None,
        })
    }
}

/// Removals and insertions.
fn steps(insert: &[&Rule], leaving: Vec<String>, jump: usize) -> Vec<InputLine> {
    let inserted = insert.iter().map(|rule| {
        let place = match rule.spec {
            RuleSpec::Jump(Hook::Forward) => Some(jump),
            ref spec => render::stands_first(spec).then_some(1),
        };
        InputLine::Insert((*rule).clone(), place)
    });
    let removed = leaving.into_iter().map(InputLine::Remove);
    removed.chain(inserted).collect()
}

/// The same in the filter table, between what our chains need.
fn filter_steps(
    insert: &[&Rule],
    leaving: Vec<String>,
    surplus: &[Hook],
    ground: &Ground,
) -> Vec<InputLine> {
    let needed = |hook: Hook| {
        insert.iter().any(|rule| {
            let shape = Shape::of(&rule.spec);
            shape.chain == own_chain(hook) || shape.target == Target::Jump(hook)
        })
    };
    let chains = || HOOKS.into_iter();
    let new = chains().filter(|hook| needed(*hook) && !ground.chain(*hook).is_there);
    let done = chains().filter(|hook| {
        let chain = ground.chain(*hook);
        let ours = surplus.contains(hook) || chain.is_touched_by(&leaving);
        ours && !needed(*hook) && chain.is_idle_without(&leaving)
    });
    let mut all: Vec<InputLine> = new
        .map(|hook| InputLine::NewChain(own_chain(hook)))
        .collect();
    let done: Vec<InputLine> = done
        .map(|hook| InputLine::DropChain(own_chain(hook)))
        .collect();
    let jump = ground.place_in_forward(&leaving);
    all.extend(steps(insert, leaving, jump));
    all.extend(done);
    all
}

#[cfg(test)]
mod tests;
