//! A knock: an opening packet that goes through to the container, whose kernel answers it.
//!
//! The answer is dropped as soon as connection tracking has seen it, so that the client gets nothing,
//! and a reset follows, which ends the connection before the program in the container is told of it.
//! Then the entry of connection tracking is deleted. The container's kernel sees two packets, and a
//! firewall or a sniffer there may note them. After a SIGKILL in between, the half-open connection
//! in the container ends by itself within a minute, and the entry within seconds.

use std::thread;
use std::time::{Duration, Instant};

use super::error::ExplainError;
use super::inject;
use super::packet::Packet;
use super::probe_chains::{End, Knocked};
use super::probe_table::ProbeTable;
use crate::conntrack::Conntrack;
use crate::model::forward::Proto;
use crate::netlink::interface::Link;
use crate::sys::causes::chain;
use crate::sys::host;

/// How long the container's kernel may take to answer. It does at once, unless the host has to look
/// for its hardware address first: up to three questions a second apart (`mcast_solicit` and
/// `retrans_time_ms` of the kernel's neighbour tables). The packet waits in the host until then, and
/// without the table its answer would go to the client.
const ANSWER: Duration = Duration::from_millis(3200);

/// How long the reset may take through the host.
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

/// Knocks with a packet like `asked`, sent into `link`.
///
/// # Errors
/// A capability or a feature of the kernel is missing; the kernel does not answer; the entry of
/// connection tracking could not be deleted.
pub(super) fn knock(asked: &Packet, link: &Link) -> Result<Knock, ExplainError> {
    let packet = Packet::draw(asked.mark.proto, asked.from.0, asked.to)?;
    let made = ProbeTable::make(
        packet.mark,
        &link.name,
        End::Knock,
        Instant::now() + PATIENCE,
    );
    let mut table = made.map_err(|refused| ExplainError::from(refused.0))?;
    let knocked = knock_with(&mut table, &packet, link);
    let mut flows = Conntrack::new(host::addresses);
    let forgotten = flows.forget(packet.mark.proto, packet.from, packet.to);
    let knock = knocked?;
    forgotten.map_err(|e| ExplainError::Flow(chain(&e)))?;
    table.remove(Instant::now() + PATIENCE)?;
    Ok(knock)
}

fn knock_with(table: &mut ProbeTable, packet: &Packet, link: &Link) -> Result<Knock, ExplainError> {
    let sent = inject::send(link, packet)?;
    let answer = wait(ANSWER, || Ok(table.knocked(Instant::now() + PATIENCE)?.0))?;
    drop(sent);
    if answer != Some(Knocked::Open) {
        return Ok(Knock {
            answer,
            is_left: false,
        });
    }
    let sent = inject::send(link, &packet.reset())?;
    let through = wait(THROUGH, || {
        let (_, has_left) = table.knocked(Instant::now() + PATIENCE)?;
        Ok(has_left.then_some(()))
    })?;
    drop(sent);
    Ok(Knock {
        answer,
        is_left: through.is_none(),
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
