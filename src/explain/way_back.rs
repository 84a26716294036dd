//! The way back, tried: an answer such as the container would give, sent into the bridge and
//! followed like the packet before.
//!
//! For that the connection must be known to connection tracking, so a second opening packet goes as
//! far as the bridge and is dropped where it leaves the host. The entry is deleted afterwards; its
//! timeouts are two seconds, so that after a SIGKILL in between the kernel drops it by itself.
//! Neither the container nor the client sees a packet, but the kernel may look
//! for the container's hardware address.

use std::time::{Duration, Instant};

use super::error::ExplainError;
use super::neighbour;
use super::packet::Packet;
use super::place;
use super::probe::Probe;
use super::probe_chains::End;
use super::trace::Decision;
use super::verdict::{Course, Endpoint};
use crate::conntrack::Conntrack;
use crate::netlink::interface::Link;
use crate::sys::causes::chain;
use crate::sys::host;

/// After how long the packet's entry in connection tracking may have ended: half of its timeout.
const LATE: Duration = Duration::from_secs(1);

/// How long the kernel may take to remove the table.
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Back {
    /// The packet did not leave by the bridge: nobody there says that he has the address.
    NoNeighbour,
    /// This packet did not get as far as the one before.
    Unsteady,
    /// The answer's course.
    Answer(Course),
}

/// Sends a packet like `asked` into `link`, which leaves by `out`, and then its answer into `out`.
///
/// # Errors
/// As [`Probe::follow`]; an entry of connection tracking could not be deleted.
pub(super) fn try_back(asked: &Packet, link: &Link, out: &Link) -> Result<Back, ExplainError> {
    let begun = Instant::now();
    let back = attempt(asked, link, out)?;
    // The entry may have ended while the kernel was looking for the neighbour, who is known by now.
    match &back {
        Back::Answer(_) if begun.elapsed() > LATE => attempt(asked, link, out),
        _ => Ok(back),
    }
}

fn attempt(asked: &Packet, link: &Link, out: &Link) -> Result<Back, ExplainError> {
    let packet = Packet::draw(asked.mark.proto, asked.from.0, asked.to)?;
    let there = Probe {
        packet,
        link: link.clone(),
    };
    // The table stays until the entry is deleted: while it does, the entry ends by itself.
    let followed = there.follow_to(End::Away(&out.name), neighbour::patience(&out.name));
    let back = followed.and_then(|(followed, table)| {
        let back = answer_to(&packet, &followed.course, out)?;
        Ok((back, table))
    });
    let mut flows = Conntrack::new(host::addresses);
    let forgotten = flows.forget(packet.mark.proto, packet.from, packet.to);
    let (back, table) = back?;
    forgotten.map_err(|e| ExplainError::Flow(chain(&e)))?;
    table.remove(Instant::now() + PATIENCE)?;
    Ok(back)
}

/// Sends the answer to a packet that went this way.
fn answer_to(packet: &Packet, course: &Course, out: &Link) -> Result<Back, ExplainError> {
    let Some((from, to)) = left(course) else {
        return Ok(match course.passed.contains(&place::LAST_OUT) {
            true => Back::NoNeighbour,
            false => Back::Unsteady,
        });
    };
    let answer = Probe {
        packet: packet.answer(from, to)?,
        link: out.clone(),
    };
    Ok(Back::Answer(answer.follow()?.course))
}

/// The packet's ends as it left; `None` where it did not.
fn left(course: &Course) -> Option<(Endpoint, Endpoint)> {
    let last = course.events.last()?;
    let is_ours = last.chain.table == course.own && last.decision == Decision::Drop;
    let ends = last.source.zip(last.destination);
    ends.filter(|_| is_ours)
}
