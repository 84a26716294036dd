//! The bodies of an entry of the history. Frozen: never add or move a field or a variant. What they
//! cannot express needs a new version beside them, in the byte before the seal
//! ([`crate::journal::history::chain`]). An entry is written in the oldest version that can express it,
//! so that an earlier release can read it, too.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::parts::{HostPort, Owner, Prefix, cut, device, nonzero};
use super::{DecodeError, body, damaged, read};
use crate::journal::history::closing::{Closing, EndReason, HistoryEntry, Loss, PortRun};
use crate::model::forward;

/// Most characters of the reason of a loss: what the database says may quote anything.
const MOST_WHY: usize = 500;

/// Version 2.
#[derive(Serialize, Deserialize)]
enum EntryV2<'a> {
    /// The reason of the closing is not the one in its body.
    Closing(ClosingV1<'a>, ReasonV2),
    Correction {
        entry: u64,
        reason: ReasonV2,
    },
    Loss(LossV2),
}

/// Version 3: a closing whose container's image is known.
#[derive(Serialize, Deserialize)]
struct ClosingV3<'a> {
    v1: ClosingV1<'a>,
    /// Not the one in the body.
    reason: ReasonV2,
    image: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct LossV2 {
    entries: Option<(u64, u64)>,
    at: u64,
    why: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum ReasonV2 {
    V1(Reason),
    LeftNetwork,
    Setting,
}

impl From<EndReason> for ReasonV2 {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::LeftNetwork => Self::LeftNetwork,
            EndReason::Setting => Self::Setting,
            EndReason::ContainerEnded => Self::V1(Reason::ContainerEnded),
            EndReason::Unpublished => Self::V1(Reason::Unpublished),
            EndReason::Moved => Self::V1(Reason::Moved),
            EndReason::TakenOver => Self::V1(Reason::TakenOver),
            EndReason::Changed => Self::V1(Reason::Changed),
            EndReason::DockerNat => Self::V1(Reason::DockerNat),
            EndReason::Unconfirmed => Self::V1(Reason::Unconfirmed),
            EndReason::DaemonLeft => Self::V1(Reason::DaemonLeft),
            EndReason::Rebooted => Self::V1(Reason::Rebooted),
            EndReason::DaemonKilled => Self::V1(Reason::DaemonKilled),
            EndReason::RuleGone => Self::V1(Reason::RuleGone),
        }
    }
}

impl From<ReasonV2> for EndReason {
    fn from(reason: ReasonV2) -> Self {
        match reason {
            ReasonV2::V1(reason) => reason.into(),
            ReasonV2::LeftNetwork => Self::LeftNetwork,
            ReasonV2::Setting => Self::Setting,
        }
    }
}

/// The body of a closing of version 1.
#[derive(Serialize, Deserialize)]
struct ClosingV1<'a> {
    container: Option<Owner<'a>>,
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

#[derive(Clone, Copy, Serialize, Deserialize)]
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

/// The version and the body of an entry. Names are cut as those of records. A container whose id fits
/// into no body, which no Engine gives, is left out.
pub(crate) fn encode(entry: &HistoryEntry) -> (u8, Vec<u8>) {
    match entry {
        HistoryEntry::Closing(closing) => {
            let whole = encode_closing(closing, true);
            let whole = whole.or_else(|| encode_closing(closing, false));
            whole.unwrap_or_default()
        }
        HistoryEntry::Correction { entry, reason } => {
            let correction = EntryV2::Correction {
                entry: *entry,
                reason: (*reason).into(),
            };
            (2, body(&correction).unwrap_or_default())
        }
        HistoryEntry::Loss(loss) => {
            let loss = EntryV2::Loss(LossV2 {
                entries: loss.entries,
                at: loss.at,
                why: loss.why.chars().take(MOST_WHY).collect(),
            });
            (2, body(&loss).unwrap_or_default())
        }
    }
}

/// `None`: it is too large.
fn encode_closing(closing: &Closing, names_container: bool) -> Option<(u8, Vec<u8>)> {
    let container = closing.container.as_ref().filter(|_| names_container);
    let reason = ReasonV2::from(closing.reason);
    let v1 = ClosingV1 {
        container: container.map(Owner::from),
        addr: closing.addr.octets(),
        dev: closing.dev.as_ref().map(ToString::to_string),
        source: closing.source.map(Into::into),
        from: closing.from,
        to: closing.to,
        reason: match reason {
            ReasonV2::V1(reason) => reason,
            // Its own one is beside it.
            ReasonV2::LeftNetwork | ReasonV2::Setting => Reason::Unpublished,
        },
        ports: closing.ports.iter().map(Run::from).collect(),
    };
    if let Some(owner) = container.filter(|owner| !owner.image.is_empty()) {
        let image = cut(&owner.image);
        return Some((3, body(&ClosingV3 { v1, reason, image })?));
    }
    match reason {
        ReasonV2::V1(_) => Some((1, body(&v1)?)),
        reason => Some((2, body(&EntryV2::Closing(v1, reason))?)),
    }
}

/// Reads a body of this version back.
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn decode(version: u8, body: &[u8]) -> Result<HistoryEntry, DecodeError> {
    let (entry, reason, image) = match version {
        1 => (read::<ClosingV1<'_>>(body)?, None, None),
        2 => match read::<EntryV2<'_>>(body)? {
            EntryV2::Closing(entry, reason) => (entry, Some(reason), None),
            EntryV2::Correction { entry, reason } => {
                let reason = reason.into();
                return Ok(HistoryEntry::Correction { entry, reason });
            }
            EntryV2::Loss(LossV2 { entries, at, why }) => {
                return Ok(HistoryEntry::Loss(Loss { entries, at, why }));
            }
        },
        3 => {
            let ClosingV3 { v1, reason, image } = read(body)?;
            (v1, Some(reason), Some(image))
        }
        0 => return Err(damaged("version 0")),
        newer => return Err(DecodeError::NewerVersion(newer.into())),
    };
    let closing = || {
        Ok::<_, String>(Closing {
            container: entry.container.map(|owner| {
                forward::Owner::from(owner).of_image(image.as_deref().unwrap_or_default())
            }),
            addr: entry.addr.into(),
            dev: entry.dev.as_deref().map(device).transpose()?,
            source: entry.source.map(TryInto::try_into).transpose()?,
            from: entry.from,
            to: entry.to,
            reason: reason.map_or_else(|| entry.reason.into(), Into::into),
            ports: entry
                .ports
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    };
    closing().map(HistoryEntry::Closing).map_err(damaged)
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

    fn again(entry: &HistoryEntry) -> HistoryEntry {
        let (version, body) = encode(entry);
        decode(version, &body).expect("it fits")
    }

    #[test]
    fn an_entry_reads_back_as_it_was() {
        for reason in EndReason::ALL {
            let mut of_image = closing(reason);
            of_image.container = of_image.container.map(|owner| owner.of_image("nginx:1.27"));
            for (closing, image) in [(closing(reason), ""), (of_image, "nginx:1.27")] {
                let closing = HistoryEntry::Closing(closing);
                let read = again(&closing);
                assert_eq!(read, closing);
                let HistoryEntry::Closing(read) = read else {
                    panic!("a closing");
                };
                assert_eq!(read.container.expect("one").image.raw(), image);
            }
            let correction = HistoryEntry::Correction { entry: 7, reason };
            assert_eq!(again(&correction), correction);
        }
        for entries in [None, Some((7, 9))] {
            let (at, why) = (1_767_400_000, "the database has vanished".to_owned());
            let loss = HistoryEntry::Loss(Loss { entries, at, why });
            assert_eq!(again(&loss), loss);
        }
        let bare = Closing {
            container: None,
            dev: None,
            source: None,
            ..closing(EndReason::Moved)
        };
        let bare = HistoryEntry::Closing(bare);
        assert_eq!(again(&bare), bare);
    }

    #[test]
    fn an_earlier_release_can_read_what_it_has_a_reason_for() {
        for reason in EndReason::ALL {
            let version = encode(&HistoryEntry::Closing(closing(reason))).0;
            let is_new = matches!(reason, EndReason::LeftNetwork | EndReason::Setting);
            assert_eq!(version, if is_new { 2 } else { 1 }, "{reason}");
        }
        let (_, body) = encode(&HistoryEntry::Closing(closing(EndReason::Moved)));
        assert_eq!(decode(4, &body), Err(DecodeError::NewerVersion(4)));
        assert!(matches!(decode(0, &body), Err(DecodeError::Damaged { .. })));
    }

    #[test]
    fn the_largest_entry_fits_and_an_impossible_container_is_left_out() {
        let run = closing(EndReason::Moved).ports[0];
        let large = Closing {
            container: Some(
                forward::Owner::new(
                    "c".repeat(64),
                    "é".repeat(5000).as_str(),
                    "n".repeat(5000).as_str(),
                )
                .of_image("i".repeat(5000).as_str()),
            ),
            ports: vec![run; 64],
            ..closing(EndReason::Moved)
        };
        let HistoryEntry::Closing(read) = again(&HistoryEntry::Closing(large.clone())) else {
            panic!("a closing");
        };
        assert_eq!((read.ports.len(), read.container.is_some()), (64, true));
        let impossible = Closing {
            container: Some(forward::Owner::new("c".repeat(10_000), "web", "bridge")),
            ..large
        };
        let HistoryEntry::Closing(read) = again(&HistoryEntry::Closing(impossible)) else {
            panic!("a closing");
        };
        assert_eq!((read.ports.len(), read.container), (64, None));
    }

    #[test]
    fn no_bytes_make_it_panic_and_a_run_is_one() {
        let moved = encode(&HistoryEntry::Closing(closing(EndReason::Moved)));
        let left = encode(&HistoryEntry::Closing(closing(EndReason::LeftNetwork)));
        for (version, body) in [moved, left] {
            for length in 0..body.len() {
                assert!(decode(version, &body[..length]).is_err(), "{length}");
            }
            for bit in 0..body.len() * 8 {
                let mut flipped = body.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(HistoryEntry::Closing(read)) = decode(version, &flipped) {
                    for run in read.ports {
                        assert!(run.first.port > 0 && run.to > 0 && run.last >= run.first.port);
                    }
                }
            }
        }
    }
}
