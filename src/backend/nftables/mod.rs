//! Elements of our own nftables table, over netlink: no tool is started.
//!
//! One table, `ip6 docker_nat66`: its chains are the same on every host ([`chains`]), and the
//! elements of its sets and maps are our rules ([`sets`], [`element`]). So a change is one
//! atomic batch whatever it holds, and a packet's cost does not depend on the number of
//! published ports. The table is owned by the socket that made it (flags OWNER and PERSIST,
//! where the kernel has them): others cannot change it, `nft flush ruleset` passes it over, and
//! it outlives a killed daemon. Then the next daemon adopts it, elements and counters included,
//! and fills its chains anew in the same batch; that is also how chains that somebody has
//! altered are repaired.
//!
//! `encode` and `decode`, `plan` and `outcome` are pure; `link` alone speaks to the kernel. No
//! task runs here: each call sends, and reads the answers that are there by then. A crash in
//! the middle of a commit leaves the batch in the kernel whole or not at all.
//!
//! The messages are written and read here, over [`crate::netlink`]. It takes seven kinds of
//! message and eleven of expression, some 500 lines. A change must cost little more than the
//! kernel's own 5 µs, so elements are written once, into one buffer, in the order they are
//! sent; netlink-packet-netfilter has no nf_tables; generated bindings (netlink-bindings) bring
//! every subsystem's messages and leave to us what is difficult, which is what goes into them:
//! comments with their NUL, both ends of ranges, byte orders for nft's sake, and whether a rule
//! that the kernel prints is the one it was told.

mod chains;
pub(super) mod compile;
mod decode;
mod element;
mod encode;
mod expression;
pub(crate) mod fault;
pub(crate) mod link;
mod look;
mod outcome;
mod plan;
mod probe;
mod sets;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod wire;
mod words;

#[cfg(any(test, fuzzing))]
pub(crate) use decode::judge;

use std::fmt;
use std::time::{Duration, Instant};

use super::{Backend, BackendError, Batch, ErrorKind, ObservedRule, Verb};
use crate::model::rule::{BackendKind, Rule};
use crate::netlink::SocketError;
use crate::netlink::socket::Socket;
use crate::netlink::watch::OwnPorts;
use encode::Step;
use fault::Fault;
use link::Link;
use look::State;
use outcome::Outcome;
use plan::Make;

/// The name of our table, in the family ip6.
pub const TABLE: &str = "docker_nat66";

/// The name of the table that does our table's work while that is made anew. The kernel takes it
/// away when its socket is closed.
const STAND_IN: &str = "docker_nat66_stand_in";

/// What the backend needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many elements the map of forwards can hold before it is replaced by a larger one.
    pub size: u32,
    /// Longest wait for the kernel.
    pub deadline: Duration,
    /// Whether to ask for the table's ownership where the kernel has it.
    pub owned: bool,
}

impl Default for Settings {
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
    settings: Settings,
    role: Role,
    /// Flags that the table is made with.
    flags: u32,
    open: Opener,
    link: Option<Box<dyn Link>>,
    own_ports: OwnPorts,
    /// What stands in the kernel as of a generation, as long as nothing has failed since.
    known: Option<(u32, State)>,
}

type Opener = Box<dyn FnMut() -> Result<Box<dyn Link>, SocketError> + Send>;

/// What a backend is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It is in use: its table is wanted, and made ours where it is there.
    InUse,
    /// An earlier run may have used it: its elements are looked for and removed.
    LeftOver,
}

impl Nftables {
    /// Makes sure that the kernel can do what is needed, with a batch that makes a whole table
    /// of another name and is then made to fail, which leaves no trace.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the kernel lacks something, [`ErrorKind::Denied`]
    /// without privilege; any other kind: no answer.
    pub fn detect(settings: Settings) -> Result<Self, BackendError> {
        Self::probed(settings, Box::new(open))
    }

    fn probed(settings: Settings, open: Opener) -> Result<Self, BackendError> {
        let mut found = Self::new(settings, Role::InUse, open);
        let operation = || "probe of nftables".to_owned();
        found.probe().map_err(|fault| fault.during(operation()))?;
        Ok(found)
    }

    /// The table of an earlier run, for a daemon that uses another backend.
    /// [`ErrorKind::Unsupported`] from its listing says that the kernel cannot hold any.
    pub fn left_over(settings: Settings) -> Self {
        Self::new(settings, Role::LeftOver, Box::new(open))
    }

    fn new(settings: Settings, role: Role, open: Opener) -> Self {
        Self {
            flags: if settings.owned {
                wire::table::OWNED
            } else {
                0
            },
            settings,
            role,
            open,
            link: None,
            own_ports: OwnPorts::default(),
            known: None,
        }
    }

    /// Whether the kernel lets the table be owned by its daemon.
    pub fn is_owning(&self) -> bool {
        self.flags != 0
    }

    fn make(&self) -> Make {
        Make {
            flags: self.flags,
            size: self.settings.size,
        }
    }

    fn link(&mut self) -> Result<&mut dyn Link, Fault> {
        if self.link.is_none() {
            let link = (self.open)()?;
            self.own_ports.add(link.port());
            self.link = Some(link);
        }
        match &mut self.link {
            Some(link) => Ok(link.as_mut()),
            None => Err(Fault::uncertain("no socket")),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.settings.deadline
    }

    fn carry_out<T>(
        &mut self,
        steps: &[Step],
        table: &str,
        judge: impl FnOnce(&Outcome<'_>) -> T,
    ) -> Result<T, Fault> {
        let deadline = self.deadline();
        let link = self.link()?;
        let first = link.take_seq(encode::count(steps));
        let batch = encode::batch(steps, table, first);
        let outcome = link::carry_out(link, deadline, &batch)?;
        Ok(judge(&outcome))
    }

    fn generation(&mut self) -> Result<u32, Fault> {
        let deadline = self.deadline();
        link::generation(self.link()?, deadline)
    }

    fn listing(&mut self) -> Result<Vec<ObservedRule>, Fault> {
        if let Some((known, state)) = self.known.take() {
            let now = self.generation()?;
            if now == known || self.still_owns(&state)? {
                let observed = state.observed();
                self.known = Some((now, state));
                return Ok(observed);
            }
        }
        let (mut generation, mut state) = self.look()?;
        // Nothing is made of a table without elements: it is one thing to remove.
        if self.role == Role::InUse && !state.rules.is_empty() {
            let port = self.link()?.port();
            let steps = plan::adoption(&state, port, self.make());
            if !steps.is_empty() {
                self.put(&state, &steps)?;
                (generation, state) = self.look()?;
            }
        }
        let observed = state.observed();
        self.known = Some((generation, state));
        Ok(observed)
    }

    /// Carries out an adoption or a release. While the table is made anew, another does its work:
    /// a packet that is between the old NAT chain and the new one when the generation changes
    /// would otherwise find neither, and its flow would keep the NAT of nothing for life.
    fn put(&mut self, state: &State, steps: &[Step]) -> Result<(), Fault> {
        let made_anew = steps.first() == Some(&Step::DropTable);
        // It makes no difference if there can be none.
        let stands_in = made_anew && {
            let steps = plan::stand_in(state, self.make());
            let stood = self.carry_out(&steps, STAND_IN, |outcome| outcome.result());
            stood.is_ok_and(|outcome| outcome.is_ok())
        };
        let outcome = self.carry_out(steps, TABLE, |outcome| outcome.result());
        if stands_in {
            // Where that fails it goes with the socket.
            let _ = self.carry_out(&[Step::DropTable], STAND_IN, |_| ());
        }
        outcome?
    }

    fn look(&mut self) -> Result<(u32, State), Fault> {
        let deadline = self.deadline();
        look::look(self.link()?, deadline, TABLE)
    }

    /// Whether the table of this state is there and this socket's own: then nobody else can have
    /// changed it, whatever else has changed (Docker's own IPv4 rules, at each start of a
    /// container).
    fn still_owns(&mut self, state: &State) -> Result<bool, Fault> {
        let deadline = self.deadline();
        let link = self.link()?;
        let is_ours = state.is_owned_by(link.port());
        Ok(is_ours && look::table(link, deadline, TABLE)? == state.table)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Fault> {
        if self.known.is_none() {
            self.listing()?;
        }
        let Some((generation, mut state)) = self.known.take() else {
            return Err(Fault::uncertain("no listing"));
        };
        let steps = plan::steps(&state, batch, self.make())?;
        if !steps.is_empty() {
            self.carry_out(&steps, TABLE, |outcome| outcome.result())??;
        }
        let port = self.link()?.port();
        state.follow(&steps, batch, self.make(), port);
        // Whatever else has changed since the listing makes the next one look, unless nobody
        // else can have changed this table.
        let is_certain = |now: u32| {
            let expected = match steps.is_empty() {
                true => generation,
                false => look::next_generation(generation),
            };
            now == expected || state.is_owned_by(port)
        };
        if let Ok(now) = self.generation()
            && is_certain(now)
        {
            self.known = Some((now, state));
        }
        Ok(())
    }
}

fn open() -> Result<Box<dyn Link>, SocketError> {
    Ok(Box::new(Socket::netfilter()?))
}

impl Backend for Nftables {
    fn kind(&self) -> BackendKind {
        BackendKind::Nftables
    }

    /// From memory, as long as the generation id says that no table has changed. A table left
    /// by an earlier run, or altered by somebody, is made ours on the way.
    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        let during = |fault: Fault| fault.during(format!("listing of table ip6 {TABLE}"));
        self.listing().map_err(during)
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

    fn own_ports(&self) -> OwnPorts {
        self.own_ports.clone()
    }

    /// Makes a table of it that nobody owns: nft 1.0.6 saves the flags of one that outlived its
    /// owner in words that it does not load again.
    fn leave(&mut self) -> Result<(), BackendError> {
        let released = self.look().and_then(|(_, state)| {
            self.known = None;
            let steps = plan::release(&state, self.make());
            if steps.is_empty() {
                return Ok(());
            }
            self.put(&state, &steps)
        });
        released.map_err(|fault| fault.during(format!("release of table ip6 {TABLE}")))
    }

    fn describe(&self, verb: Verb, rule: &Rule) -> String {
        words::describe(verb, rule)
    }
}

impl fmt::Debug for Nftables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nftables")
            .field("role", &self.role)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}
