//! What the tables hold, as long as nobody else changes them: then a change needs no listing.
//!
//! Pure. The kernel announces each change of the nft variant's tables, and who made it
//! ([`crate::netlink::witness`]). What the tool has done follows from its input, for it refuses a
//! table's section whole or does all of it.

use std::collections::{BTreeSet, HashMap};

use super::parse::idle_chain;
use super::plan::{ChainState, InputLine, Plan};
use super::render;
use crate::backend::ObservedRule;
use crate::model::rule::RuleId;

/// The last listing, and what has been done since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    rules: Vec<ObservedRule>,
    chain_state: ChainState,
}

impl Known {
    pub(super) fn new(rules: &[ObservedRule], chain_state: &ChainState) -> Self {
        let rules = rules.iter().filter(|seen| seen.id != idle_chain());
        Self {
            rules: rules.cloned().collect(),
            chain_state: chain_state.clone(),
        }
    }

    /// The rules with these identities, one entry per copy.
    pub(super) fn of(&self, ids: &BTreeSet<RuleId>) -> Vec<ObservedRule> {
        let found = self.rules.iter().filter(|seen| ids.contains(&seen.id));
        found.cloned().collect()
    }

    pub(super) fn chain_state(&self) -> &ChainState {
        &self.chain_state
    }

    /// The tool has done this.
    pub(super) fn follow(&mut self, plan: &Plan) {
        let mut leaving: HashMap<String, usize> = HashMap::new();
        let mut coming = Vec::new();
        for (table, steps) in &plan.sections {
            for step in steps {
                match step {
                    InputLine::Remove(text) => {
                        let locator = render::rule_locator(*table, &format!("-A {text}"));
                        *leaving.entry(locator).or_default() += 1;
                    }
                    InputLine::Insert(rule, _) => {
                        let locator = render::rule_locator(*table, &render::listed(rule));
                        coming.push(ObservedRule::new(rule.id(), Some(rule.clone()), locator));
                    }
                    InputLine::NewChain(_) | InputLine::DropChain(_) => {}
                }
            }
        }
        // The tool removes the first of equal copies.
        self.rules
            .retain(|seen| match leaving.get_mut(&*seen.locator) {
                Some(copies) if *copies > 0 => {
                    *copies -= 1;
                    false
                }
                _ => true,
            });
        self.rules.append(&mut coming);
        self.chain_state.follow(plan);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backend::Batch;
    use crate::backend::ip6tables::parse;
    use crate::backend::ip6tables::rule::Table;
    use crate::backend::ip6tables::testing::{every_kind, saved};
    use crate::model::rule::Rule;

    /// Lines of the two tables, as the tool lists them.
    type Lines = [Vec<String>; 2];

    fn listed(lines: &Lines) -> Known {
        let mut rules = Vec::new();
        let mut chain_state = ChainState::default();
        for table in Table::ALL {
            let lines: Vec<&str> = lines[table as usize].iter().map(String::as_str).collect();
            let listing = parse::listing(saved(table, &lines).as_bytes(), table).expect("whole");
            rules.extend(listing.rules);
            chain_state.add(listing.chain_state);
        }
        Known::new(&rules, &chain_state)
    }

    /// What the tool makes of the lines.
    fn restore(lines: &mut Lines, plan: &Plan) {
        for (table, steps) in &plan.sections {
            let lines = &mut lines[*table as usize];
            for step in steps {
                let position = |line: &str| lines.iter().position(|it| it == line);
                match step {
                    InputLine::NewChain(name) => lines.insert(0, format!(":{name} - [0:0]")),
                    InputLine::DropChain(name) => {
                        let at = position(&format!(":{name} - [0:0]"));
                        lines.remove(at.expect("the chain is there"));
                    }
                    InputLine::Remove(text) => {
                        let at = position(&format!("-A {text}"));
                        lines.remove(at.expect("the rule is there"));
                    }
                    InputLine::Insert(rule, place) => {
                        let line = render::listed(rule);
                        let chain = line.split(' ').nth(1).expect("a chain").to_owned();
                        let of_chain = |it: &String| it.split(' ').nth(1) == Some(&chain);
                        let rules =
                            |it: &(usize, &String)| it.1.starts_with("-A ") && of_chain(it.1);
                        let places: Vec<usize> = lines
                            .iter()
                            .enumerate()
                            .filter(rules)
                            .map(|(at, _)| at)
                            .collect();
                        let at = place.and_then(|place| places.get(place - 1).copied());
                        lines.insert(at.unwrap_or(lines.len()), line);
                    }
                }
            }
        }
    }

    fn sorted(mut known: Known) -> Known {
        known.rules.sort_by(|a, b| a.locator.cmp(&b.locator));
        known.chain_state = known.chain_state.sorted();
        known
    }

    const FOREIGN: [(Table, &str); 6] = [
        (Table::Filter, "-A FORWARD -j DOCKER-USER"),
        (
            Table::Filter,
            "-A FORWARD -j REJECT --reject-with icmp6-port-unreachable",
        ),
        (Table::Filter, "-A FOO -j DOCKER-NAT66"),
        (Table::Filter, "-A FORWARD -s fd01::/64 -j ACCEPT"),
        (Table::Nat, "-A POSTROUTING -s fd00::/64 -j MASQUERADE"),
        (Table::Nat, "-A FOO -p tcp -g DOCKER-NAT66-INSIDE"),
    ];

    proptest! {
        /// What is known after some changes is what a listing would show.
        #[test]
        fn it_is_what_a_listing_shows(
            foreign in proptest::collection::vec(any::<bool>(), FOREIGN.len()),
            changes in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<bool>()), 1..12),
        ) {
            let all = every_kind();
            let mut lines = Lines::default();
            for ((table, line), _) in FOREIGN.iter().zip(foreign).filter(|(_, is_there)| *is_there) {
                lines[*table as usize].push((*line).to_owned());
            }
            let mut known = listed(&lines);
            for (leaving, coming, twice) in changes {
                let chosen = |mask: u32| -> Vec<&Rule> {
                    let some = all.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0);
                    some.map(|(_, rule)| rule).collect()
                };
                let ids = chosen(leaving).into_iter().map(Rule::id).collect();
                let remove = known.of(&ids);
                let stays = |rule: &&Rule| !ids.contains(&rule.id());
                let is_new = |rule: &&Rule| twice || known.of(&[rule.id()].into()).is_empty();
                let insert = chosen(coming).into_iter().filter(stays).filter(is_new);
                let batch = Batch { remove, insert: insert.cloned().collect() };
                let plan = Plan::new(&batch, known.chain_state()).expect("our locators");
                restore(&mut lines, &plan);
                known.follow(&plan);
                prop_assert_eq!(sorted(known.clone()), sorted(listed(&lines)));
            }
        }
    }
}
