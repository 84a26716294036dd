//! Elements of our own nftables table, over netlink: no tool is started.
//!
//! One table, `ip6 docker_nat66`: its chains are the same on every host ([`chains`]), and the
//! elements of its sets and maps are our rules ([`sets`], [`rule`]). So a change is one
//! atomic batch whatever it holds, and a packet's cost does not depend on the number of
//! published ports. The socket that made the table owns it (flags OWNER and PERSIST, where the
//! kernel has them): other programs cannot change it, `nft flush ruleset` passes it over, and it
//! outlives a killed daemon. Then the next daemon adopts it, elements and counters included, and
//! fills its chains anew in the same batch; chains that another program has altered are repaired
//! the same way.
//!
//! [`plan`], [`render`], [`parse`] and [`outcome`] are pure; [`exec`] alone speaks to the kernel.
//! No task runs here: each call sends, and reads the answers that are there by then. A crash in
//! the middle of a commit leaves the batch in the kernel whole or not at all.
//!
//! The messages are written and read here, over [`crate::netlink`]: nine types of message in batches, six
//! for queries, and eleven kinds of expression. A change must cost little more than the kernel's own
//! 5 µs, so elements are written once, into one buffer, in the order they are sent.
//! netlink-packet-netfilter has no nf_tables; generated bindings (netlink-bindings) bring every
//! subsystem's messages and leave the difficult part to us, which is their content: comments with
//! their NUL, both ends of ranges, byte orders for nft's sake, and whether a rule that the kernel
//! prints is the one it was sent.

mod chains;
pub(super) mod compile;
mod counters;
mod describe;
pub(crate) mod error;
mod exec;
mod expression;
pub(crate) mod foreign;
mod list;
mod members;
pub(crate) mod outcome;
mod parse;
mod plan;
mod probe;
mod render;
pub(super) mod rule;
pub(crate) mod sets;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/oracles/nftables.rs"]
pub(crate) mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::{Backend, BackendError, Batch, ObservedRule, Verb};
use crate::model::rule::{BackendKind, Rule, RuleId};
use crate::netlink::nf_tables::table::OWNED;
use crate::netlink::watch::OwnPorts;
use error::Fault;
use exec::{Opener, Session, next_generation, open};
use list::TableState;
use plan::TableOptions;
use render::Step;

pub use sets::TABLE;

/// The name of the table that does our table's work while that is made anew. The kernel removes it
/// when its socket is closed.
const STAND_IN: &str = "docker_nat66_stand_in";

/// How the backend makes its table, and how long it waits.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// How many elements the map of forwards can hold before it is replaced by a larger one.
    pub size: u32,
    /// Longest wait for the kernel.
    pub deadline: Duration,
    /// Whether to ask for the table's ownership where the kernel has it.
    pub owned: bool,
}

impl Default for TableSettings {
    /// As many elements as there are ports; 10 s, far beyond what the kernel takes for 100,000
    /// elements (0.1 s); ownership.
    fn default() -> Self {
        Self {
            size: 65_535,
            deadline: Duration::from_secs(10),
            owned: true,
        }
    }
}

/// Our table in the network namespace of the thread that uses it first.
pub struct Nftables {
    session: Session,
    role: Role,
    options: TableOptions,
    /// What stands in the kernel as of a generation, as long as nothing has failed since.
    known: Option<(u32, TableState)>,
}

/// What a backend is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It is in use: its table is wanted, and made ours where it is there.
    InUse,
    /// An earlier run may have used it: its elements are searched for and removed.
    LeftOver,
}

impl Nftables {
    /// Makes sure that the kernel can do what is needed, with a batch that makes a whole table
    /// of another name and then fails on purpose, so that it leaves no trace.
    ///
    /// # Errors
    /// [`super::ErrorKind::Unsupported`] where the kernel lacks something, [`super::ErrorKind::Denied`]
    /// without privilege; any other kind: no answer.
    pub fn detect(settings: TableSettings) -> Result<Self, BackendError> {
        Self::probed(settings, Box::new(open))
    }

    fn probed(settings: TableSettings, open: Opener) -> Result<Self, BackendError> {
        let mut found = Self::new(settings, Role::InUse, open);
        let operation = || "probe of nftables".to_owned();
        let probed = probe::probe(&mut found.session, found.options);
        found.options.flags = probed.map_err(|fault| fault.during(operation()))?;
        Ok(found)
    }

    /// The table of an earlier run, for a daemon that uses another backend.
    /// [`super::ErrorKind::Unsupported`] from its listing says that the kernel cannot hold any.
    pub fn left_over(settings: TableSettings) -> Self {
        Self::new(settings, Role::LeftOver, Box::new(open))
    }

    fn new(settings: TableSettings, role: Role, open: Opener) -> Self {
        Self {
            session: Session::new(open, settings.deadline),
            role,
            options: TableOptions {
                flags: if settings.owned { OWNED } else { 0 },
                size: settings.size,
            },
            known: None,
        }
    }

    /// Whether the kernel lets the table be owned by its daemon.
    pub fn is_owning(&self) -> bool {
        self.options.flags != 0
    }

    /// Makes sure that what is known is what stands in the kernel, and returns it.
    fn listing(&mut self) -> Result<&TableState, Fault> {
        if let Some((known, state)) = self.known.take() {
            let now = self.session.call()?.generation()?;
            if now == known || self.still_owns(&state)? {
                return Ok(&self.known.insert((now, state)).1);
            }
        }
        let (mut generation, mut state) = self.read()?;
        // A table without elements is not adopted: it is one thing to remove.
        if self.role == Role::InUse && !state.rules.is_empty() {
            let port = self.session.port()?;
            let steps = plan::adoption(&state, port, self.options);
            if !steps.is_empty() {
                self.put(&state, &steps)?;
                (generation, state) = self.adopted(generation, state, &steps, port)?;
            }
        }
        Ok(&self.known.insert((generation, state)).1)
    }

    /// What stands in the kernel after an adoption of what stood there as of this generation. Very many
    /// elements are not read a second time if nothing else has changed meanwhile.
    fn adopted(
        &mut self,
        generation: u32,
        mut state: TableState,
        steps: &[Step],
        port: u32,
    ) -> Result<(u32, TableState), Fault> {
        let now = self.session.call()?.generation()?;
        if steps.first() == Some(&Step::DropTable) || now != next_generation(generation) {
            return self.read();
        }
        state.follow(steps, &Batch::default(), port);
        Ok((now, state))
    }

    /// Carries out an adoption or a release. While the table is made anew, another does its work:
    /// a packet that is between the old NAT chain and the new one when the generation changes
    /// would otherwise find neither, and its flow would stay without NAT to its end.
    fn put(&mut self, state: &TableState, steps: &[Step]) -> Result<(), Fault> {
        let made_anew = steps.first() == Some(&Step::DropTable);
        // Where it cannot be made, we do without it.
        let stands_in = made_anew && {
            let steps = plan::stand_in(state, self.options);
            self.session.commit(&steps, STAND_IN).is_ok()
        };
        let outcome = self.session.commit(steps, TABLE);
        if stands_in {
            // If that fails, it goes with the socket.
            let _ = self.session.commit(&[Step::DropTable], STAND_IN);
        }
        outcome
    }

    fn read(&mut self) -> Result<(u32, TableState), Fault> {
        list::list(&mut self.session.call()?, TABLE)
    }

    /// Whether the table of this state is there and this socket's own: then no other program can
    /// have changed it, whatever else has changed (Docker's own IPv4 rules, at each start of a
    /// container).
    fn still_owns(&mut self, state: &TableState) -> Result<bool, Fault> {
        let is_ours = state.is_owned_by(self.session.port()?);
        Ok(is_ours && list::table(&mut self.session.call()?, TABLE)? == state.table)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Fault> {
        if self.known.is_none() {
            self.listing()?;
        }
        let Some((generation, mut state)) = self.known.take() else {
            return Err(Fault::uncertain("no listing"));
        };
        let steps = plan::steps(&state, batch, self.options)?;
        if !steps.is_empty() {
            self.session.commit(&steps, TABLE)?;
        }
        let port = self.session.port()?;
        state.follow(&steps, batch, port);
        // If anything else has changed since the listing, the next one reads the kernel again,
        // unless no other program can have changed this table.
        let is_certain = |now: u32| {
            let expected = match steps.is_empty() {
                true => generation,
                false => next_generation(generation),
            };
            now == expected || state.is_owned_by(port)
        };
        if let Ok(now) = self.session.call().and_then(|mut call| call.generation())
            && is_certain(now)
        {
            self.known = Some((now, state));
        }
        Ok(())
    }
}

impl Backend for Nftables {
    fn kind(&self) -> BackendKind {
        BackendKind::Nftables
    }

    /// From memory, as long as the generation id says that no table has changed. A table that an
    /// earlier run left, or that another program altered, is made ours on the way.
    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        let during = |fault: Fault| fault.during(format!("listing of table ip6 {TABLE}"));
        self.listing().map(TableState::observed).map_err(during)
    }

    fn list_of(&mut self, ids: &BTreeSet<RuleId>) -> Result<Vec<ObservedRule>, BackendError> {
        let during = |fault: Fault| fault.during(format!("listing of table ip6 {TABLE}"));
        let listed = self.listing().map(|state| state.observed_of(ids));
        listed.map_err(during)
    }

    /// One batch.
    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        if batch.is_empty() {
            return Ok(());
        }
        let operation = format!(
            "nftables batch of {} removals and {} insertions",
            batch.remove.len(),
            batch.insert.len()
        );
        self.apply(batch).map_err(|fault| fault.during(operation))
    }

    fn connections(&mut self) -> Result<BTreeMap<RuleId, u64>, BackendError> {
        let mut counted = || counters::read(&mut self.session.call()?, TABLE);
        counted().map_err(|fault: Fault| fault.during(format!("counters of table ip6 {TABLE}")))
    }

    fn own_ports(&self) -> OwnPorts {
        self.session.own_ports.clone()
    }

    /// Makes the table anew without an owner: of a table that outlived its owner, nft 1.0.6 saves
    /// the flags in a form that it does not load again.
    fn leave(&mut self) -> Result<(), BackendError> {
        let released = self.read().and_then(|(_, state)| {
            self.known = None;
            let steps = plan::release(&state, self.options);
            if steps.is_empty() {
                return Ok(());
            }
            self.put(&state, &steps)
        });
        released.map_err(|fault| fault.during(format!("release of table ip6 {TABLE}")))
    }

    fn describe(&self, verb: Verb, rule: &Rule) -> String {
        describe::describe(verb, rule)
    }
}

impl fmt::Debug for Nftables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nftables")
            .field("role", &self.role)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
