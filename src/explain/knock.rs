//! A knock: an opening packet that goes through to the container, whose kernel answers it.
//!
//! The answer is dropped as soon as connection tracking has seen it, so that the client gets nothing.
//! In the same moment the host's kernel sends the container a reset, which ends the connection before
//! the program there sees it, and ends its entry of connection tracking (kernels before 6.3 may
//! leave that to us): a SIGKILL finds nothing between them. The container's kernel sees two packets,
//! and a firewall or a sniffer there may note them. An entry that nobody has answered ends by itself
//! within two seconds.

use std::thread;
use std::time::{Duration, Instant};

use super::error::ExplainError;
use super::inject;
use super::neighbour;
use super::packet::Packet;
use super::probe_chains::{End, Knocked};
use super::probe_table::ProbeTable;
use crate::conntrack::Conntrack;
use crate::model::forward::Proto;
use crate::netlink::interface::Link;
use crate::sys::causes::chain;
use crate::sys::host;

/// How long the reset may take to leave the host.
const THROUGH: Duration = Duration::from_millis(200);

/// How often the counters are read meanwhile.
const PERIOD: Duration = Duration::from_millis(2);

/// How long the kernel may take for one request.
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of a knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Knock {
    /// What the container answered; `None`: nothing.
    pub(super) answer: Option<Knocked>,
    /// Whether a half-open connection may have stayed in the container.
    pub(super) is_left: bool,
}

/// Whether a knock is harmless: with the other protocols the program itself would get the packet.
pub(super) fn is_possible(proto: Proto) -> bool {
    proto == Proto::Tcp
}

/// Knocks with a packet like `asked`, sent into `link`, which leaves by the interface `out`. The
/// container's kernel answers at once, unless the host has to look for its hardware address first: the
/// packet waits in the host until then, and without the table its answer would go to the client.
///
/// # Errors
/// A capability or a feature of the kernel is missing; the kernel does not answer; the entry of
/// connection tracking could not be deleted.
pub(super) fn knock(asked: &Packet, link: &Link, out: &Link) -> Result<Knock, ExplainError> {
    let packet = Packet::draw(asked.mark.proto, asked.from.0, asked.to)?;
    let deadline = Instant::now() + PATIENCE;
    let mut table = ProbeTable::make(packet.mark, &link.name, End::Knock, deadline)?;
    let patience = neighbour::patience(&out.name);
    let knocked = knock_with(&mut table, &packet, link, patience);
    let mut flows = Conntrack::new(host::addresses);
    let forgotten = flows.forget(packet.mark.proto, packet.from, packet.to);
    let knock = knocked?;
    forgotten.map_err(|e| ExplainError::Flow(chain(&e)))?;
    table.remove(Instant::now() + PATIENCE)?;
    Ok(knock)
}

fn knock_with(
    table: &mut ProbeTable,
    packet: &Packet,
    link: &Link,
    patience: Duration,
) -> Result<Knock, ExplainError> {
    let sent = inject::send(link, packet)?;
    let answer = wait(patience, || Ok(table.knocked(Instant::now() + PATIENCE)?.0))?;
    drop(sent);
    if answer != Some(Knocked::Open) {
        return Ok(Knock {
            answer,
            is_left: false,
        });
    }
    let has_left = wait(THROUGH, || {
        let (_, has_left) = table.knocked(Instant::now() + PATIENCE)?;
        Ok(has_left.then_some(()))
    })?;
    Ok(Knock {
        answer,
        is_left: has_left.is_none(),
    })
}

/// Asks again and again for `limit`.
fn wait<T>(
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, ExplainError>,
) -> Result<Option<T>, ExplainError> {
    let deadline = Instant::now() + limit;
    loop {
        let found = ask()?;
        if found.is_some() || Instant::now() >= deadline {
            return Ok(found);
        }
        thread::sleep(PERIOD);
    }
}
