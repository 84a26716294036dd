//! Rules in the tables of ip6tables, through ip6tables-save and ip6tables-restore.
//!
//! [`render`] and `parse` are pure; `exec` alone starts processes, bounded in time and output, none of
//! which outlives the daemon ([`lock`]). Each call starts one tool and waits for it. A crash in the
//! middle of a commit leaves the batch in the kernel whole or not at all, or of many removals some.

pub(super) mod compile;
mod counters;
pub(super) mod describe;
mod detect;
mod error;
pub(crate) mod exec;
pub(crate) mod facts;
mod foreign;
mod known;
pub mod lock;
pub(super) mod parse;
mod patience;
pub(super) mod plan;
pub mod render;
pub(super) mod rule;
#[cfg(test)]
pub(super) mod testing;
pub(crate) mod tokens;
mod tool;

#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/oracles/ip6tables.rs"]
pub(crate) mod oracle;

pub use lock::ToolLock;
pub use tool::{ToolSettings, Variant};

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use super::{Backend, BackendError, Batch, ErrorKind, ObservedRule, Verb};
use crate::model::rule::{BackendKind, Rule, RuleId};
use crate::netlink::watch::{Changes, OwnPorts};
use crate::netlink::witness::Witness;
use exec::Network;
use known::Known;
use parse::Listing;
use plan::{ChainState, Plan};
use rule::Table;
use tool::Tools;

/// Rules removed in one run of the tool. For each it searches the chain from the top, and it reads
/// the whole table in each run: 45,000 rules took 26 s so, 65 s in one run, and 122 s by 1,000
/// (1.8.9, nf_tables).
const AT_ONCE: usize = 5000;

/// One variant of ip6tables.
#[derive(Debug)]
pub struct Ip6tables {
    tools: Tools,
    settings: ToolSettings,
    /// Who made the last listing that was believed; empty before the first.
    generator: String,
    presence: Presence,
    /// What the last listing showed, as long as nothing was changed since.
    chain_state: Option<ChainState>,
    /// Where the last jump to our chain was put in FORWARD, for the log.
    jump: usize,
    /// Only of the variant in use, and only where the kernel announces its changes.
    witness: Option<Witness>,
    /// What the tables hold, if the witness knows that nobody else has changed them.
    known: Option<Known>,
}

/// Whether listing may bring the table into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// The variant in use: its tables are wanted.
    Wanted,
    /// The other variant: used only where its tables are there already.
    OnlyIfThere,
}

impl Ip6tables {
    /// The other variant, where it is installed beside this one: an earlier run may have left
    /// rules there. Its listing is empty, and creates and loads nothing, where the kernel has
    /// no such table in use; [`ErrorKind::Unsupported`] from it says that the kernel cannot
    /// hold any.
    pub fn other(&self) -> Option<Self> {
        let tools = Tools::of_variant(&self.settings, self.variant().other())?;
        let settings = self.settings.clone();
        Some(Self::new(tools, settings, Presence::OnlyIfThere))
    }

    /// Every installed variant, for a daemon that uses another backend: as [`Ip6tables::other`].
    pub fn left_over(settings: &ToolSettings) -> Vec<Self> {
        let by_name = [Variant::Nft, Variant::Legacy].map(|v| Tools::of_variant(settings, v));
        let mut tools: Vec<Tools> = by_name.into_iter().flatten().collect();
        if tools.is_empty() {
            // Older than the variants' own names.
            tools.extend(Tools::find(settings).ok());
        }
        let left_over = |tools| Self::new(tools, settings.clone(), Presence::OnlyIfThere);
        tools.into_iter().map(left_over).collect()
    }

    /// The legacy variant, if it is installed, to read what others keep there.
    pub fn legacy(settings: &ToolSettings) -> Option<Self> {
        let tools = Tools::of_variant(settings, Variant::Legacy).or_else(|| {
            let named = Tools::find(settings).ok();
            named.filter(|tools| tools.variant == Variant::Legacy)
        })?;
        Some(Self::new(tools, settings.clone(), Presence::OnlyIfThere))
    }

    /// What the legacy variant's ip6tables-save prints of a table; `None` where the kernel has no
    /// such table in use.
    ///
    /// # Errors
    /// Why the tool failed, or why the kernel does not name its tables. Nothing was retried.
    pub(crate) fn legacy_listing(&mut self, table: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let tables = self.legacy_tables()?;
        let is_there = tables.lines().any(|name| name == table);
        is_there.then(|| self.tools.save(table)).transpose()
    }

    /// The tools that are called `ip6tables` here, or else any; nothing is listed or tried.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if there are none, or if they do not belong together; otherwise
    /// why one of them cannot be run.
    pub(crate) fn installed(settings: &ToolSettings) -> Result<Self, BackendError> {
        let tools = Tools::find(settings)?;
        Ok(Self::new(tools, settings.clone(), Presence::OnlyIfThere))
    }

    /// The nft variant, if it is installed, to read what others keep in tables that are there.
    pub(crate) fn nft(settings: &ToolSettings) -> Option<Self> {
        let tools = Tools::of_variant(settings, Variant::Nft).or_else(|| {
            let named = Tools::find(settings).ok();
            named.filter(|tools| tools.variant == Variant::Nft)
        })?;
        Some(Self::new(tools, settings.clone(), Presence::OnlyIfThere))
    }

    /// What ip6tables-save prints of a table, as it is.
    ///
    /// # Errors
    /// Why the tool failed; [`ErrorKind::Uncertain`] where foreign rules stand in the table that
    /// it cannot read. Nothing was retried.
    pub(crate) fn listing(&mut self, table: &str) -> Result<String, BackendError> {
        let output = self.tools.save(table)?;
        let known = Table::ALL.into_iter().find(|it| it.as_str() == table);
        if let Some(Err(error)) = known.map(|table| parse::listing(&output, table)) {
            return Err(BackendError {
                operation: format!("listing of table {table}"),
                kind: ErrorKind::Uncertain,
                detail: error.to_string(),
            });
        }
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    fn new(tools: Tools, settings: ToolSettings, presence: Presence) -> Self {
        Self {
            tools,
            settings,
            generator: String::new(),
            presence,
            chain_state: None,
            jump: 1,
            witness: None,
            known: None,
        }
    }

    /// Which variant this is.
    pub fn variant(&self) -> Variant {
        self.tools.variant
    }

    /// Program and version that made the last listing; empty before the first.
    pub fn generator(&self) -> &str {
        &self.generator
    }

    /// The legacy tables that the kernel has in use. Listing another would create it.
    fn legacy_tables(&self) -> Result<String, BackendError> {
        let path: &PathBuf = &self.settings.legacy_tables;
        match fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            names => names.map_err(|e| BackendError {
                operation: format!("read of {}", path.display()),
                kind: match e.kind() {
                    std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                    _ => ErrorKind::Failed,
                },
                detail: e.to_string(),
            }),
        }
    }

    /// One table, if the answer can be believed.
    fn list_table(&mut self, table: Table) -> Result<Listing, BackendError> {
        let uncertain = |detail| BackendError {
            operation: format!("listing of table {}", table.as_str()),
            kind: ErrorKind::Uncertain,
            detail,
        };
        let output = self.tools.save(table.as_str())?;
        let listing = parse::listing(&output, table).map_err(|e| uncertain(e.to_string()))?;
        // The tools were asked which variant they are when they were found.
        let replaced = !self.generator.is_empty() && self.generator != listing.generator;
        if replaced {
            // The other variant would show other tables.
            let variant = self.tools.ask_variant()?;
            if variant != self.variant() {
                return Err(uncertain(format!(
                    "the tool has become the {variant} variant, it was {}",
                    self.variant()
                )));
            }
        }
        self.generator.clone_from(&listing.generator);
        Ok(listing)
    }

    fn commit_whole(
        &mut self,
        batch: &Batch,
        chain_state: &mut ChainState,
    ) -> Result<(), BackendError> {
        let what = format!(
            "{} removals and {} insertions",
            batch.remove.len(),
            batch.insert.len()
        );
        let plan = Plan::new(batch, chain_state).map_err(|e| BackendError {
            operation: format!("ip6tables-restore of {what}"),
            kind: ErrorKind::Failed,
            detail: e.to_string(),
        })?;
        if plan.sections.is_empty() {
            return Ok(());
        }
        if let Some(place) = plan.place_of_jump() {
            self.jump = place;
        }
        let known = self.known.take();
        self.tools.restore(&what, &plan.input(), Network::Own)?;
        chain_state.follow(&plan);
        // Where not even our change is announced, others' are not either.
        self.known = known.filter(|_| self.changes(self.tools.last_port()) == Changes::Own);
        if let Some(known) = &mut self.known {
            known.follow(&plan);
        }
        Ok(())
    }

    /// Who has changed the tables since the last call; these ports are ours.
    fn changes(&self, own: &OwnPorts) -> Changes {
        let witness = self.witness.as_ref();
        witness.map_or(Changes::Foreign, |it| it.changes(own))
    }
}

impl Backend for Ip6tables {
    fn kind(&self) -> BackendKind {
        BackendKind::Ip6tables
    }

    /// Table by table, for the tool's answer to "all tables" hangs on those of others, and in
    /// the legacy variant leaves out what is not loaded yet.
    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        self.chain_state = None;
        self.known = None;
        // What was done before shows in the listing.
        let _ = self.changes(&OwnPorts::default());
        let mut is_alone = self.witness.is_some();
        let only_if_there = self.presence == Presence::OnlyIfThere;
        let in_use = match only_if_there && self.variant() == Variant::Legacy {
            true => Some(self.legacy_tables()?),
            false => None,
        };
        let mut rules = Vec::new();
        let mut chain_state = ChainState::default();
        for table in Table::ALL {
            if let Some(names) = &in_use
                && !names.lines().any(|name| name == table.as_str())
            {
                continue;
            }
            let listing = self.list_table(table)?;
            // The tool makes a table that is not there.
            is_alone &= self.changes(self.tools.last_port()) != Changes::Foreign;
            rules.extend(listing.rules);
            chain_state.add(listing.chain_state);
        }
        self.known = is_alone.then(|| Known::new(&rules, &chain_state));
        self.chain_state = Some(chain_state);
        Ok(rules)
    }

    /// Lists only if another program may have changed the tables since.
    fn list_of(&mut self, ids: &BTreeSet<RuleId>) -> Result<Vec<ObservedRule>, BackendError> {
        let known = self.known.take();
        self.known = known.filter(|_| self.changes(&OwnPorts::default()) == Changes::None);
        if let Some(known) = &self.known {
            self.chain_state = Some(known.chain_state().clone());
            return Ok(known.of(ids));
        }
        let mut observed = self.list()?;
        observed.retain(|seen| ids.contains(&seen.id));
        Ok(observed)
    }

    /// One input for both tables, except for removals of more than [`AT_ONCE`] rules of the nat
    /// table and nothing else, which are done in parts. What it needs to know of our chains it
    /// takes from the last listing, and lists first where there was none since the last change.
    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        if self.chain_state.is_none() && !Plan::needs_no_chain_state(batch) {
            self.list()?;
        }
        let mut chain_state = self.chain_state.take().unwrap_or_default();
        if !batch.insert.is_empty() {
            return self.commit_whole(batch, &mut chain_state);
        }
        // What is guarded goes before what guards it.
        let (nat, filter): (Vec<_>, Vec<_>) =
            batch.remove.iter().cloned().partition(plan::is_in_nat);
        let removal = |remove| Batch {
            remove,
            ..Batch::default()
        };
        let last = nat.len() / AT_ONCE * AT_ONCE;
        for some in nat[..last].chunks(AT_ONCE) {
            self.commit_whole(&removal(some.to_vec()), &mut chain_state)?;
        }
        // The filter table in one, for our chains go with the last of their rules.
        let rest = [&nat[last..], &filter].concat();
        self.commit_whole(&removal(rest), &mut chain_state)
    }

    fn connections(&mut self) -> Result<BTreeMap<RuleId, u64>, BackendError> {
        Ok(counters::read(
            &self.tools.save_counting(Table::Nat.as_str())?,
        ))
    }

    fn own_ports(&self) -> OwnPorts {
        self.settings.own_ports.clone()
    }

    fn describe(&self, verb: Verb, rule: &Rule) -> String {
        describe::describe(verb, rule, self.jump)
    }
}
