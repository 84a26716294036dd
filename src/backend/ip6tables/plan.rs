//! What a batch takes to carry out, given what stands around our rules.
//!
//! Pure. Our two chains of the filter table are kept here: made in the batch that first needs
//! one, removed in the batch that takes out its last rule and the last jump to it, and left
//! alone as long as another program's rule stands in it or jumps to it. So a plan holds only for a
//! fresh listing. If the table has changed meanwhile, the tool refuses its whole section, and the
//! next listing gives another plan.

use std::fmt::Write as _;

use super::render::{self, Locator, NotALocator, OWN_CHAINS};
use super::rule::Table;
use crate::backend::kind::JUMP_FORWARD;
use crate::backend::{Batch, ObservedRule};
use crate::model::rule::{BackendKind, Rule};

/// What a listing of the filter table shows around our rules: the rules of all programs, as listed
/// without the `-A`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::backend) struct FilterState {
    /// The rules of FORWARD, and whether they jump to DOCKER-USER where packets still come to it.
    forward: Vec<(String, bool)>,
    /// A rule of FORWARD has taken all packets.
    forward_ends: bool,
    /// By [`OWN_CHAINS`].
    chains: [Chain; OWN_CHAINS.len()],
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

impl FilterState {
    /// Notes a chain of the filter table.
    pub(super) fn note_chain(&mut self, name: &str) {
        if let Some(chain) = self.chain_mut(name) {
            chain.is_there = true;
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
        if let Some(chain) = self.chain_mut(chain) {
            chain.rules.push(text.to_owned());
        }
        if let Some(chain) = target.and_then(|target| self.chain_mut(target)) {
            chain.callers.push(text.to_owned());
        }
    }

    /// Chains of ours that hold nothing and that nothing jumps to.
    pub(super) fn idle(&self) -> impl Iterator<Item = &'static str> {
        let chains = self.chains();
        chains.filter_map(|(name, chain)| chain.is_idle_without(&[]).then_some(name))
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

    /// Our chains by name.
    fn chains(&self) -> impl Iterator<Item = (&'static str, &Chain)> {
        OWN_CHAINS.into_iter().zip(&self.chains)
    }

    fn chain_mut(&mut self, name: &str) -> Option<&mut Chain> {
        let at = OWN_CHAINS.iter().position(|own| *own == name)?;
        self.chains.get_mut(at)
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
    pub(in crate::backend) fn new(
        batch: &Batch,
        filter_state: &FilterState,
    ) -> Result<Self, NotALocator> {
        let foreign = |rule: &&Rule| rule.backend != BackendKind::Ip6tables;
        if let Some(rule) = batch.insert.iter().find(foreign) {
            return Err(NotALocator(rule.id().comment()));
        }
        let mut leaving: [Vec<String>; 2] = Default::default();
        let mut surplus = Vec::new();
        for gone in &batch.remove {
            match render::read_locator(&gone.locator)? {
                Locator::Rule(table, text) => leaving[table as usize].push(text.to_owned()),
                Locator::Chain(chain) => surplus.push(chain),
            }
        }
        let [gone_filter, gone_nat] = leaving;
        let (filter, nat): (Vec<&Rule>, Vec<&Rule>) = batch
            .insert
            .iter()
            .partition(|rule| Table::of(rule) == Table::Filter);
        let filter = filter_steps(&filter, gone_filter, &surplus, filter_state);
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
    pub(super) fn needs_no_filter_state(batch: &Batch) -> bool {
        let is_nat = |rule: &Rule| Table::of(rule) == Table::Nat;
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
            InputLine::Insert(rule, place) if JUMP_FORWARD.is(&rule.facts) => *place,
            _ => None,
        })
    }
}

/// Removals and insertions.
fn steps(insert: &[&Rule], leaving: Vec<String>, jump: usize) -> Vec<InputLine> {
    let inserted = insert
        .iter()
        .map(|rule| InputLine::Insert((*rule).clone(), render::place(rule, jump)));
    let removed = leaving.into_iter().map(InputLine::Remove);
    removed.chain(inserted).collect()
}

/// The same in the filter table, between what our chains need.
fn filter_steps(
    insert: &[&Rule],
    leaving: Vec<String>,
    surplus: &[&str],
    filter_state: &FilterState,
) -> Vec<InputLine> {
    let needed = |chain: &str| {
        let calls = format!(" -j {chain}");
        let mut rules = insert.iter();
        rules.any(|rule| render::chain(rule) == chain || rule.text.ends_with(&calls))
    };
    let (mut all, mut done) = (Vec::new(), Vec::new());
    for (name, chain) in filter_state.chains() {
        if needed(name) {
            if !chain.is_there {
                all.push(InputLine::NewChain(name));
            }
        } else if (surplus.contains(&name) || chain.is_touched_by(&leaving))
            && chain.is_idle_without(&leaving)
        {
            done.push(InputLine::DropChain(name));
        }
    }
    let jump = filter_state.place_in_forward(&leaving);
    all.extend(steps(insert, leaving, jump));
    all.extend(done);
    all
}

#[cfg(test)]
mod tests;
