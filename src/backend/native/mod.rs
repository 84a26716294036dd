//! Docker's own IPv6 NAT, as the kernel shows it: read, never changed.
//!
//! Two forms, both of nf_tables and read over netlink, whatever backend holds our rules: the
//! table `ip6 docker-bridges`, and the chain `DOCKER` that Docker keeps by way of ip6tables (nft
//! variant) in `ip6 nat`. The legacy variant's tables are read by the backend that knows the
//! tool. Nothing else in those tables is looked at, and nothing is remembered but the socket.

mod decode;
#[cfg(any(test, fuzzing))]
pub(super) mod judge;

use std::time::{Duration, Instant};

use self::decode::Rule;
use super::nftables::fault::Fault;
use super::nftables::link::{self, Ended, Link};
use super::nftables::wire::{message, rule, table};
use super::{BackendError, ErrorKind};
use crate::model::native::Native;
use crate::netlink::message::Writer;
use crate::netlink::socket::Socket;

/// The table of an Engine that uses nftables (moby, `daemon/libnetwork/drivers/bridge`).
const BRIDGES: &str = "docker-bridges";

/// The table and the base chain in which an Engine that uses ip6tables puts its jump.
const NAT: &str = "nat";
const PREROUTING: &str = "PREROUTING";

/// The chain that it jumps to.
pub(super) const DOCKER: &str = "DOCKER";

/// How long the kernel may take. It answers in microseconds, unless a commit holds its mutex.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often an answer that changed while it was given is asked for again.
const TRIES: usize = 10;

/// Reads it.
#[derive(Debug, Default)]
pub struct NativeReader {
    socket: Option<Socket>,
}

impl NativeReader {
    /// What is there now. A kernel without nf_tables has nothing of it.
    ///
    /// # Errors
    /// The kernel did not answer, or changed too often while it did; nothing may be concluded.
    pub fn look(&mut self) -> Result<Native, BackendError> {
        match self.read(Instant::now() + PATIENCE) {
            Err(fault) if fault.kind == ErrorKind::Unsupported => Ok(Native::default()),
            Err(fault) => {
                self.socket = None;
                Err(fault.during("reading Docker's own IPv6 NAT".to_owned()))
            }
            Ok(native) => Ok(native),
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<Native, Fault> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::open()?),
        };
        let mut native = Native::default();
        let bridges = |w: &mut Writer| w.text(table::NAME, BRIDGES);
        native.table = link::get(socket, deadline, message::GET_TABLE, &bridges)?.is_some();
        if native.table {
            rules(socket, deadline, BRIDGES, None, |rule| {
                native.targets.extend(rule.target());
            })?;
        }
        rules(socket, deadline, NAT, Some(PREROUTING), |rule| {
            native.jump |= rule.jumps_to(DOCKER);
        })?;
        if native.jump {
            rules(socket, deadline, NAT, Some(DOCKER), |rule| {
                native.targets.extend(rule.target());
            })?;
        }
        Ok(native)
    }
}

/// The rules of a table, or of one of its chains; none where there is no such thing.
fn rules(
    link: &mut dyn Link,
    deadline: Instant,
    table: &str,
    chain: Option<&str>,
    mut each: impl FnMut(Rule<'_>),
) -> Result<(), Fault> {
    let which = |w: &mut Writer| {
        w.text(rule::TABLE, table);
        if let Some(chain) = chain {
            w.text(rule::CHAIN, chain);
        }
    };
    for _ in 0..TRIES {
        let mut take = |payload: &[u8]| {
            each(Rule::read(payload));
            Ok(())
        };
        // What was found in an answer that changed meanwhile was there at some moment.
        if link::dump(link, deadline, message::GET_RULE, &which, &mut take)? == Ended::Whole {
            return Ok(());
        }
    }
    Err(Fault {
        kind: ErrorKind::Busy,
        detail: "it keeps changing".to_owned(),
    })
}
