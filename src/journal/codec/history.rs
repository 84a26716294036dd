//! The body of an entry of the history. Frozen: never add or move a field or a variant. What it cannot
//! express needs a new version beside it, in the byte before the seal
//! ([`crate::journal::history::chain`]).

use serde::{Deserialize, Serialize};

use super::parts::{HostPort, Owner, Prefix, device, nonzero};
use super::{DecodeError, body, damaged, read};
use crate::journal::history::closing::{Closing, EndReason, PortRun};

#[derive(Serialize, Deserialize)]
struct ClosingV1 {
    container: Option<Owner>,
    addr: [u8; 16],
    dev: Option<String>,
    source: Option<Prefix>,
    from: u64,
    to: u64,
    reason: Reason,
    ports: Vec<Run>,
}

#[derive(Serialize, Deserialize)]
struct Run {
    first: HostPort,
    last: u16,
    to: u16,
}

#[derive(Serialize, Deserialize)]
enum Reason {
    ContainerEnded,
    Unpublished,
    Moved,
    TakenOver,
    Changed,
    DockerNat,
    Unconfirmed,
    DaemonLeft,
    Rebooted,
    DaemonKilled,
    RuleGone,
}

impl From<EndReason> for Reason {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::ContainerEnded => Self::ContainerEnded,
            EndReason::Unpublished => Self::Unpublished,
            EndReason::Moved => Self::Moved,
            EndReason::TakenOver => Self::TakenOver,
            EndReason::Changed => Self::Changed,
            EndReason::DockerNat => Self::DockerNat,
            EndReason::Unconfirmed => Self::Unconfirmed,
            EndReason::DaemonLeft => Self::DaemonLeft,
            EndReason::Rebooted => Self::Rebooted,
            EndReason::DaemonKilled => Self::DaemonKilled,
            EndReason::RuleGone => Self::RuleGone,
        }
    }
}

impl From<Reason> for EndReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::ContainerEnded => Self::ContainerEnded,
            Reason::Unpublished => Self::Unpublished,
            Reason::Moved => Self::Moved,
            Reason::TakenOver => Self::TakenOver,
            Reason::Changed => Self::Changed,
            Reason::DockerNat => Self::DockerNat,
            Reason::Unconfirmed => Self::Unconfirmed,
            Reason::DaemonLeft => Self::DaemonLeft,
            Reason::Rebooted => Self::Rebooted,
            Reason::DaemonKilled => Self::DaemonKilled,
            Reason::RuleGone => Self::RuleGone,
        }
    }
}

/// The body of an entry. Names are cut as those of records. A container whose id fits into no body,
/// which no Engine gives, is left out.
pub(crate) fn encode(closing: &Closing) -> Vec<u8> {
    let mut entry = ClosingV1 {
        container: closing.container.as_ref().map(Owner::from),
        addr: closing.addr.octets(),
        dev: closing.dev.as_ref().map(ToString::to_string),
        source: closing.source.map(Into::into),
        from: closing.from,
        to: closing.to,
        reason: closing.reason.into(),
        ports: closing.ports.iter().map(Run::from).collect(),
    };
    body(&entry).unwrap_or_else(|| {
        entry.container = None;
        body(&entry).unwrap_or_default()
    })
}

/// Reads a body back.
///
/// # Errors
/// [`DecodeError::Damaged`].
pub(crate) fn decode(body: &[u8]) -> Result<Closing, DecodeError> {
    let entry = read::<ClosingV1>(body)?;
    let closing = || {
        Ok::<_, String>(Closing {
            container: entry.container.map(Into::into),
            addr: entry.addr.into(),
            dev: entry.dev.as_deref().map(device).transpose()?,
            source: entry.source.map(TryInto::try_into).transpose()?,
            from: entry.from,
            to: entry.to,
            reason: entry.reason.into(),
            ports: entry
                .ports
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    };
    closing().map_err(damaged)
}

impl From<&PortRun> for Run {
    fn from(run: &PortRun) -> Self {
        Self {
            first: run.first.into(),
            last: run.last,
            to: run.to,
        }
    }
}

impl TryFrom<Run> for PortRun {
    type Error = String;

    /// The ports of a run are in order, and none is 0 on either side.
    fn try_from(run: Run) -> Result<Self, String> {
        let first: crate::model::rule::HostPort = run.first.try_into()?;
        let (last, to) = (run.last, nonzero(run.to)?);
        let more = last.checked_sub(first.port);
        match more.and_then(|more| to.checked_add(more)) {
            Some(_) => Ok(Self { first, last, to }),
            None => Err(format!("ports {} to {last} are no run", first.port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::rule;
    use crate::model::forward;

    fn closing(reason: EndReason) -> Closing {
        let (first, target) = rule(8080).dnat().expect("a port");
        Closing {
            container: Some(forward::Owner::new("c".repeat(64), "web", "bridge")),
            addr: target.addr,
            dev: "eth0".parse().ok(),
            source: "2001:db8::/32".parse().ok(),
            from: 1_767_323_045,
            to: 1_767_400_000,
            reason,
            ports: vec![PortRun {
                first,
                last: 8090,
                to: 80,
            }],
        }
    }

    #[test]
    fn an_entry_reads_back_as_it_was() {
        for reason in EndReason::ALL {
            let closing = closing(reason);
            assert_eq!(decode(&encode(&closing)), Ok(closing));
        }
        let bare = Closing {
            container: None,
            dev: None,
            source: None,
            ..closing(EndReason::Moved)
        };
        assert_eq!(decode(&encode(&bare)), Ok(bare));
    }

    #[test]
    fn the_largest_entry_fits_and_an_impossible_container_is_left_out() {
        let run = closing(EndReason::Moved).ports[0];
        let large = Closing {
            container: Some(forward::Owner::new(
                "c".repeat(64),
                "é".repeat(5000).as_str(),
                "n".repeat(5000).as_str(),
            )),
            ports: vec![run; 64],
            ..closing(EndReason::Moved)
        };
        let read = decode(&encode(&large)).expect("it fits");
        assert_eq!((read.ports.len(), read.container.is_some()), (64, true));
        let impossible = Closing {
            container: Some(forward::Owner::new("c".repeat(10_000), "web", "bridge")),
            ..large
        };
        let read = decode(&encode(&impossible)).expect("it fits");
        assert_eq!((read.ports.len(), read.container), (64, None));
    }

    #[test]
    fn no_bytes_make_it_panic_and_a_run_is_one() {
        let body = encode(&closing(EndReason::Moved));
        for length in 0..body.len() {
            assert!(decode(&body[..length]).is_err(), "{length}");
        }
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = decode(&flipped) {
                for run in read.ports {
                    assert!(run.first.port > 0 && run.to > 0 && run.last >= run.first.port);
                }
            }
        }
    }
}
