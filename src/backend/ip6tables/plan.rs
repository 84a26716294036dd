//! What a batch takes to carry out, given what stands around our rules.
//!
//! Pure. Our own chains are kept here: made in the batch that first needs one, removed in the batch
//! that takes out its last rule and the last jump to it, and left alone as long as another
//! program's rule stands in it or jumps to it. So a plan holds only for a fresh listing. If a table
//! has changed meanwhile, the tool refuses its whole section, and the next listing gives another plan.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::facts::JUMP_FORWARD;
use super::render::{self, Locator, NotALocator};
use super::rule::{OWN_CHAINS, OWN_INSIDE, Table};
use crate::backend::authors::DOCKER_USER;
use crate::backend::{Batch, ObservedRule};
use crate::model::rule::{BackendKind, Rule};

/// What a listing shows around our rules: the rules of all programs, as listed without the `-A`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::backend) struct ChainState {
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
    rules: Vec<Digest>,
    /// Rules that send packets to it.
    callers: Vec<Digest>,
}

/// The hash of a rule's text as listed: a chain can hold tens of thousands of rules.
type Digest = u64;

fn digest(text: &str) -> Digest {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// How many copies of each rule go.
type Leaving = HashMap<Digest, usize>;

impl ChainState {
    /// Notes a chain.
    pub(super) fn note_chain(&mut self, table: Table, name: &str) {
        if let Some(chain) = self.chain_mut(table, name) {
            chain.is_there = true;
        }
    }

    /// Notes a rule: its text after `-A`, chain included, and the chain that it sends packets to.
    pub(super) fn note_rule(
        &mut self,
        table: Table,
        text: &str,
        chain: &str,
        target: Option<&str>,
    ) {
        if (table, chain) == (Table::Filter, "FORWARD") {
            // Behind what takes all, our jump would be dead, and DOCKER-USER's is.
            let yields = target == Some(DOCKER_USER) && !self.forward_ends;
            self.forward.push((text.to_owned(), yields));
            self.forward_ends |= takes_all(text);
        }
        self.note_in_chains(table, text, chain, target);
    }

    fn note_in_chains(&mut self, table: Table, text: &str, chain: &str, target: Option<&str>) {
        if let Some(chain) = self.chain_mut(table, chain) {
            chain.rules.push(digest(text));
        }
        if let Some(chain) = target.and_then(|target| self.chain_mut(table, target)) {
            chain.callers.push(digest(text));
        }
    }

    /// Adds what the listing of another table shows.
    pub(in crate::backend) fn add(&mut self, other: Self) {
        self.forward.extend(other.forward);
        self.forward_ends |= other.forward_ends;
        for (chain, other) in self.chains.iter_mut().zip(other.chains) {
            chain.is_there |= other.is_there;
            chain.rules.extend(other.rules);
            chain.callers.extend(other.callers);
        }
    }

    /// The tool has done this.
    pub(super) fn follow(&mut self, plan: &Plan) {
        for (table, steps) in &plan.sections {
            let gone = steps.iter().filter_map(|step| match step {
                InputLine::Remove(text) => Some(text.as_str()),
                _ => None,
            });
            let gone: Vec<String> = gone.map(str::to_owned).collect();
            if *table == Table::Filter {
                let staying = without(&self.forward, &gone);
                let forward = staying.iter().map(|at| self.forward[*at].clone());
                self.forward = forward.collect();
            }
            let gone = count(gone.iter().map(String::as_str));
            let chains = OWN_CHAINS.into_iter().zip(&mut self.chains);
            for (_, chain) in chains.filter(|((of, _), _)| of == table) {
                chain.rules = staying(&chain.rules, &gone);
                chain.callers = staying(&chain.callers, &gone);
            }
            for step in steps {
                match step {
                    InputLine::NewChain(name) => self.note_chain(*table, name),
                    InputLine::DropChain(name) => {
                        if let Some(chain) = self.chain_mut(*table, name) {
                            *chain = Chain::default();
                        }
                    }
                    InputLine::Insert(rule, place) => self.note_insertion(*table, rule, *place),
                    InputLine::Remove(_) => {}
                }
            }
        }
    }

    /// Notes a rule of ours that was put at this place of its chain, counted from 1; `None`: at its end.
    fn note_insertion(&mut self, table: Table, rule: &Rule, place: Option<usize>) {
        let listed = render::listed(rule);
        let text = listed.strip_prefix("-A ").unwrap_or(&listed);
        let chain = text.split(' ').next().unwrap_or_default();
        if (table, chain) == (Table::Filter, "FORWARD") {
            let end = self.forward.len();
            let at = place.map_or(end, |place| end.min(place.saturating_sub(1)));
            // It goes to a chain of ours.
            self.forward.insert(at, (text.to_owned(), false));
        }
        self.note_in_chains(table, text, chain, render::target(rule));
    }

    /// Chains of ours that hold nothing and that nothing jumps to.
    pub(super) fn idle(&self) -> impl Iterator<Item = &'static str> {
        let none = Leaving::new();
        let chains = OWN_CHAINS.into_iter().zip(&self.chains);
        chains.filter_map(move |((_, name), chain)| chain.is_idle_without(&none).then_some(name))
    }

    /// Where a jump to our chain is to stand in FORWARD once `leaving` is gone, counted from 1.
    fn place_in_forward(&self, leaving: &[String]) -> usize {
        let staying = without(&self.forward, leaving);
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

    /// The same with the rules of our chains in one order.
    #[cfg(test)]
    pub(super) fn sorted(mut self) -> Self {
        for chain in &mut self.chains {
            chain.rules.sort_unstable();
            chain.callers.sort_unstable();
        }
        self
    }

    /// Our chains of a table by name.
    fn chains(&self, table: Table) -> impl Iterator<Item = (&'static str, &Chain)> {
        let chains = OWN_CHAINS.into_iter().zip(&self.chains);
        chains.filter_map(move |((of, name), chain)| (of == table).then_some((name, chain)))
    }

    fn chain_mut(&mut self, table: Table, name: &str) -> Option<&mut Chain> {
        let at = OWN_CHAINS.iter().position(|own| *own == (table, name))?;
        self.chains.get_mut(at)
    }
}

impl Chain {
    /// Whether it can go once `leaving` is gone.
    fn is_idle_without(&self, leaving: &Leaving) -> bool {
        let gone = |rules: &[Digest]| staying(rules, leaving).is_empty();
        self.is_there && gone(&self.rules) && gone(&self.callers)
    }

    fn is_touched_by(&self, leaving: &Leaving) -> bool {
        let mut mine = self.rules.iter().chain(&self.callers);
        mine.any(|rule| leaving.contains_key(rule))
    }
}

fn count<'t>(texts: impl Iterator<Item = &'t str>) -> Leaving {
    let mut counts = Leaving::new();
    for text in texts {
        *counts.entry(digest(text)).or_default() += 1;
    }
    counts
}

/// What is left of `rules` when so many copies of each go.
fn staying(rules: &[Digest], leaving: &Leaving) -> Vec<Digest> {
    let mut seen = Leaving::new();
    let stays = |rule: &&Digest| {
        let Some(copies) = leaving.get(rule) else {
            return true;
        };
        let seen = seen.entry(**rule).or_default();
        *seen += 1;
        *seen > *copies
    };
    rules.iter().filter(stays).copied().collect()
}

/// Whether a rule of FORWARD ends the way of every packet.
fn takes_all(text: &str) -> bool {
    ["ACCEPT", "DROP", "REJECT"].iter().any(|end| {
        let rest = text.strip_prefix("FORWARD -j ");
        rest.is_some_and(|rest| rest.split(' ').next() == Some(end))
    })
}

/// Indexes of what is left of the rules of FORWARD when one copy goes for each entry of `leaving`, the
/// first ones first, as the tools do it.
fn without(forward: &[(String, bool)], leaving: &[String]) -> Vec<usize> {
    let mut staying: Vec<usize> = (0..forward.len()).collect();
    for gone in leaving {
        if let Some(at) = staying.iter().position(|at| forward[*at].0 == *gone) {
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
        chain_state: &ChainState,
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
        let steps = |table, insert: &[&Rule], leaving| {
            let steps = with_chains(table, insert, leaving, &surplus, chain_state);
            (table, steps)
        };
        let mut sections = vec![
            steps(Table::Filter, &filter, gone_filter),
            steps(Table::Nat, &nat, gone_nat),
        ];
        if batch.insert.is_empty() {
            sections.reverse();
        }
        sections.retain(|(_, steps)| !steps.is_empty());
        Ok(Self { sections })
    }

    /// Whether a batch can be planned without a listing.
    pub(super) fn needs_no_chain_state(batch: &Batch) -> bool {
        let is_simple =
            |rule: &Rule| Table::of(rule) == Table::Nat && !render::concerns(rule, OWN_INSIDE);
        let goes_simply =
            |seen: &ObservedRule| is_in_nat(seen) && !seen.locator.contains(OWN_INSIDE);
        batch.insert.iter().all(is_simple) && batch.remove.iter().all(goes_simply)
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

/// The same between what our chains of this table need.
fn with_chains(
    table: Table,
    insert: &[&Rule],
    leaving: Vec<String>,
    surplus: &[&str],
    chain_state: &ChainState,
) -> Vec<InputLine> {
    let needed = |chain: &str| insert.iter().any(|rule| render::concerns(rule, chain));
    let gone = count(leaving.iter().map(String::as_str));
    let (mut all, mut done) = (Vec::new(), Vec::new());
    for (name, chain) in chain_state.chains(table) {
        if needed(name) {
            if !chain.is_there {
                all.push(InputLine::NewChain(name));
            }
        } else if (surplus.contains(&name) || chain.is_touched_by(&gone))
            && chain.is_idle_without(&gone)
        {
            done.push(InputLine::DropChain(name));
        }
    }
    let jump = match table {
        Table::Filter => chain_state.place_in_forward(&leaving),
        Table::Nat => 1,
    };
    all.extend(steps(insert, leaving, jump));
    all.extend(done);
    all
}

#[cfg(test)]
mod tests;
