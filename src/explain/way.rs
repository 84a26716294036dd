//! The way of the packet as it is shown: each rule that it met, where, in words, and whose it is.

use std::collections::BTreeMap;

use super::error::ExplainError;
use super::owner::{Clues, Owner, owner};
use super::place::Place;
use super::trace::{ChainName, Decision};
use super::verdict::{Course, Spot};
use super::words::{RuleWords, Words, family};
use crate::model::text::escape;

/// The tables of ip6tables.
const IPTABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// `NFPROTO_IPV6`.
const IPV6: u8 = 10;

/// Chains by which Docker and ufw are known in a table of ip6tables.
const DOCKERS: [&str; 3] = ["DOCKER-USER", "DOCKER-FORWARD", "DOCKER"];
const UFWS: &str = "ufw6-before-forward";

/// Longest text of a rule that is shown, in characters: sets in it may have thousands of elements.
const SHOWN: usize = 300;

/// A rule that the packet met, or the policy that ended its way.
#[derive(Debug, Clone)]
pub(crate) struct TraceStep {
    /// Where the base chain hangs, in which the packet was; `None` where that chain has gone.
    pub(crate) place: Option<Place>,
    pub(crate) spot: Spot,
    pub(crate) decision: Decision,
    /// `None` for a policy, and for rules that are not to be shown.
    pub(crate) words: Option<RuleWords>,
    pub(crate) owner: Owner,
    /// What the tool is called here that changes the chain, where that is one of ip6tables'.
    pub(crate) tool: Option<&'static str>,
}

impl TraceStep {
    /// Whether it is shown when not everything is asked for: it decides something.
    pub(crate) fn is_decisive(&self) -> bool {
        !matches!(
            self.decision,
            Decision::Continue | Decision::To(_) | Decision::Return
        )
    }

    /// Whether it drops the packet.
    pub(crate) fn drops(&self) -> bool {
        self.decision == Decision::Drop
    }

    /// Whether the chain is one of ip6tables'.
    pub(crate) fn is_iptables(&self) -> bool {
        let chain = &self.spot.chain;
        let is_upper = chain.chain.starts_with(|c: char| c.is_ascii_uppercase());
        let is_printed = self
            .words
            .as_ref()
            .is_some_and(|words| words.text.starts_with("-A "));
        chain.family == IPV6 && IPTABLES.contains(&chain.table.as_str()) && (is_upper || is_printed)
    }

    /// The chain, for a sentence.
    pub(crate) fn chain_words(&self) -> String {
        let (table, chain) = self.names();
        if self.is_iptables() {
            return format!("chain {chain} of ip6tables' table {table}");
        }
        let family = family(self.spot.chain.family).unwrap_or("of another family");
        format!("chain {chain} of table {family} {table}")
    }

    /// The names of the table and the chain, safe to print.
    fn names(&self) -> (String, String) {
        (shown(&self.spot.chain.table), shown(&self.spot.chain.chain))
    }

    /// The table and the chain, and what the rule says, for a line of the way.
    pub(crate) fn line(&self) -> String {
        let (table, chain) = self.names();
        let text = match (&self.words, self.spot.handle) {
            (Some(words), _) => shown(&words.text),
            (None, None) => match self.decision {
                Decision::Drop => "policy drop".to_owned(),
                _ => "policy accept".to_owned(),
            },
            (None, Some(handle)) => format!("the rule of handle {handle}"),
        };
        if self.is_iptables() {
            return match text.strip_prefix(&format!("-A {chain} ")) {
                Some(rule) => format!("ip6tables {table}, {chain}: {rule}"),
                None => format!("ip6tables {table}, {chain}: {text}"),
            };
        }
        let family = family(self.spot.chain.family).unwrap_or("?");
        format!("{family} {table}, chain {chain}: {text}")
    }
}

/// Untrusted text, safe to show, and not too long.
pub(crate) fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown = escape(chars.by_ref().take(SHOWN));
    let rest = chars.count();
    if rest > 0 {
        shown.push_str(&format!("…(+{rest})"));
    }
    shown
}

/// The steps of a course, without those in our own table. Texts are looked up for all rules, or
/// only for those that decide something.
///
/// # Errors
/// The kernel does not answer.
pub(crate) fn steps(course: &Course, all: bool) -> Result<Vec<TraceStep>, ExplainError> {
    let mut looker = Looker {
        words: Words::open()?,
        places: BTreeMap::new(),
        owners: BTreeMap::new(),
        neighbours: BTreeMap::new(),
    };
    let mut steps = Vec::new();
    let mut place = None;
    for event in &course.events {
        if event.chain.table == course.own {
            continue;
        }
        // A chain that is reached by a jump is where its base chain is.
        place = looker.place(&event.chain)?.or(place);
        let accepts_by_policy = event.handle.is_none() && event.decision != Decision::Drop;
        if accepts_by_policy {
            continue;
        }
        let mut step = TraceStep {
            place,
            spot: Spot {
                chain: event.chain.clone(),
                handle: event.handle,
            },
            decision: event.decision.clone(),
            words: None,
            owner: Owner::Unknown,
            tool: None,
        };
        if all || step.is_decisive() {
            looker.describe(&mut step)?;
            steps.push(step);
        }
    }
    Ok(steps)
}

/// The first rule of the course that keeps connection tracking away.
///
/// # Errors
/// The kernel does not answer.
pub(crate) fn untracking(course: &Course) -> Result<Option<TraceStep>, ExplainError> {
    let all = steps(course, true)?;
    Ok(all.into_iter().find(|step| {
        let words = step.words.as_ref();
        words.is_some_and(|words| words.facts.untracks())
    }))
}

/// Looks things up, each once.
struct Looker {
    words: Words,
    places: BTreeMap<ChainName, Option<Place>>,
    owners: BTreeMap<(u8, String), Option<(u32, String)>>,
    /// By family and table: whether Docker's chains are in it, and ufw's.
    neighbours: BTreeMap<(u8, String), (bool, bool)>,
}

impl Looker {
    fn place(&mut self, chain: &ChainName) -> Result<Option<Place>, ExplainError> {
        if let Some(place) = self.places.get(chain) {
            return Ok(*place);
        }
        let facts = self.words.ruleset.chain(chain)?;
        let place = facts.and_then(|facts| facts.place);
        self.places.insert(chain.clone(), place);
        Ok(place)
    }

    fn describe(&mut self, step: &mut TraceStep) -> Result<(), ExplainError> {
        step.words = self.words.rule(&step.spot)?;
        let chain = &step.spot.chain;
        let policy_at = match step.spot.handle {
            None => step.place.map(|place| place.hook),
            Some(_) => None,
        };
        let (beside_docker, beside_ufw) = match policy_at {
            Some(_) => self.neighbours(chain)?,
            None => (false, false),
        };
        let process = self.process(chain)?;
        let words = step.words.as_ref();
        let clues = Clues {
            comment: words.and_then(|words| words.facts.comment.as_deref()),
            process,
            policy_at,
            beside_docker,
            beside_ufw,
        };
        step.owner = owner(chain, &clues);
        if step.is_iptables() && step.is_decisive() {
            step.tool = self.words.tool();
        }
        Ok(())
    }

    fn neighbours(&mut self, chain: &ChainName) -> Result<(bool, bool), ExplainError> {
        let key = (chain.family, chain.table.clone());
        if let Some(known) = self.neighbours.get(&key) {
            return Ok(*known);
        }
        let mut is_there = |name: &str| {
            let beside = ChainName {
                chain: name.to_owned(),
                ..chain.clone()
            };
            self.words.ruleset.chain(&beside)
        };
        let mut docker = false;
        for name in DOCKERS {
            docker |= is_there(name)?.is_some();
        }
        let known = (docker, is_there(UFWS)?.is_some());
        self.neighbours.insert(key, known);
        Ok(known)
    }

    /// The process that owns the chain's table, and what it calls itself.
    fn process(&mut self, chain: &ChainName) -> Result<Option<(u32, String)>, ExplainError> {
        let key = (chain.family, chain.table.clone());
        if let Some(known) = self.owners.get(&key) {
            return Ok(known.clone());
        }
        let owner = self.words.ruleset.owner(chain)?;
        // The number is the process's id for the first socket that it opens.
        let known = owner.map(|port| {
            let name = std::fs::read_to_string(format!("/proc/{port}/comm"));
            let name = name.unwrap_or_default();
            (port, shown(name.trim_end()))
        });
        self.owners.insert(key, known.clone());
        Ok(known)
    }
}
