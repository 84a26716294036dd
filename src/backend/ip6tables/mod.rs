//! Rules in the tables of ip6tables, through ip6tables-save and ip6tables-restore.
//!
//! [`render`] and `parse` are pure; `exec` alone starts processes, bounded in time and output, none of
//! which outlives the daemon ([`lock`]). Each call starts one tool and waits for it. A crash in the
//! middle of a commit leaves the batch in the kernel whole or not at all, or of many removals some.

pub(super) mod compile;
mod counters;
pub(super) mod describe;
mod error;
pub(crate) mod exec;
mod facts;
mod foreign;
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

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::{Backend, BackendError, Batch, ErrorKind, ObservedRule, Verb};
use crate::model::rule::{BackendKind, Rule, RuleId};
use crate::netlink::watch::OwnPorts;
use exec::Network;
use parse::Listing;
use plan::{ChainState, Plan};
use rule::Table;
use tool::Tools;

/// Rules that use every part of the kernel that ours use: tables, chains, targets and matches.
const PROBE: &str = "*filter\n\
    -N DOCKER-NAT66\n\
    -A FORWARD -j DOCKER-NAT66 -m comment --comment docker-nat66\n\
    -A DOCKER-NAT66 -i lo -d fd00::/64 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT \
    -m comment --comment docker-nat66 -j DROP\n\
    COMMIT\n\
    *nat\n\
    -A POSTROUTING -o lo -s fd00::/64 -j SNAT --to-source fd00::1 ! -d fd00::/64 \
    -m comment --comment docker-nat66\n\
    -A POSTROUTING -o lo -s fd00::/64 -j MASQUERADE -m addrtype ! --src-type LOCAL \
    -m comment --comment docker-nat66\n\
    -A PREROUTING -i lo -p tcp --dport 1 -j DNAT --to-destination [fd00::1]:1 \
    -m addrtype --dst-type LOCAL -m comment --comment docker-nat66\n\
    COMMIT\n";

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
}

/// Whether listing may bring the table into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// The variant in use: its tables are wanted.
    Wanted,
    /// The other variant: looked at only where it is there already.
    OnlyIfThere,
}

impl Ip6tables {
    /// Finds the tools and makes sure that they and the kernel can do what is needed: the table
    /// can be listed, and rules like ours are accepted, tried in an empty network namespace
    /// that vanishes at once. Where making one is not permitted, or the xtables lock is held,
    /// the first commit must tell.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without tools or without IPv6 NAT in the kernel,
    /// [`ErrorKind::Denied`] without privilege; otherwise as [`Backend::list`], except that an
    /// uncertain or busy listing is no obstacle here: it may pass, and the caller lists again.
    pub fn detect(settings: ToolSettings) -> Result<Self, BackendError> {
        let mut found = Self::new(Tools::find(&settings)?, settings, Presence::Wanted);
        let variant = found.variant();
        let listed = match variant {
            Variant::Nft => found.list(),
            // Only root may read which tables there are, without which no round is possible.
            Variant::Legacy => found.legacy_tables().and_then(|_| found.list()),
        };
        match listed {
            Ok(_) => {}
            Err(e) if matches!(e.kind, ErrorKind::Uncertain | ErrorKind::Busy) => {}
            Err(mut e) => {
                match e.kind {
                    ErrorKind::Denied => e.detail.push_str(match variant {
                        Variant::Nft => "; run as root or with CAP_NET_ADMIN",
                        Variant::Legacy => {
                            "; the legacy variant of ip6tables needs root with CAP_NET_ADMIN and \
                             CAP_NET_RAW"
                        }
                    }),
                    ErrorKind::Unsupported => e.detail.push_str(&found.what_is_needed()),
                    _ => {}
                }
                return Err(e);
            }
        }
        found.probe()?;
        Ok(found)
    }

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

    /// Whether the kernel takes rules like ours.
    fn probe(&mut self) -> Result<(), BackendError> {
        match self.tools.restore("a probe", PROBE, Network::Fresh) {
            Err(e)
                if matches!(
                    e.kind,
                    ErrorKind::Unsupported | ErrorKind::NotFound | ErrorKind::Exists
                ) || (e.kind == ErrorKind::Failed && e.detail.contains("line")) =>
            {
                Err(BackendError {
                    kind: ErrorKind::Unsupported,
                    detail: e.detail + &self.what_is_needed(),
                    ..e
                })
            }
            // No new network namespace may be made here, or another program holds the lock.
            _ => Ok(()),
        }
    }

    /// What a kernel that refuses lacks, to be added to the tool's words.
    fn what_is_needed(&self) -> String {
        let own = match self.variant() {
            Variant::Nft => "nft_compat, nft_chain_nat",
            Variant::Legacy => "ip6table_filter, ip6table_nat",
        };
        format!(
            "; the kernel needs IPv6 NAT and filter tables with MASQUERADE, SNAT, DNAT, conntrack, \
             addrtype and comment (modules {own}, xt_nat, xt_MASQUERADE, xt_conntrack, \
             xt_addrtype, xt_comment)"
        )
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
        self.tools.restore(&what, &plan.input(), Network::Own)?;
        chain_state.forget(&plan);
        Ok(())
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
            rules.extend(listing.rules);
            chain_state.add(listing.chain_state);
        }
        self.chain_state = Some(chain_state);
        Ok(rules)
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
