//! Which backend to use, and which others an earlier run may have used.
//!
//! `auto` takes ip6tables where its tool works and lists its tables with certainty, because an
//! accept in a table of our own would not overrule a drop in FORWARD; else nftables. For more than
//! [`MANY`] published ports it takes nftables where nothing drops what the host forwards: the tools of
//! ip6tables take long for so many rules.

use std::collections::BTreeSet;

use slog::{Logger, info, warn};

use super::args::BackendChoice;
use super::failure::Failure;
use super::lock::Locks;
use crate::backend::ip6tables::{Ip6tables, ToolSettings, Variant};
use crate::backend::nftables::{Nftables, TableSettings};
use crate::backend::{Backend, BackendError, ErrorKind};
use crate::check;
use crate::control::status::AboutBackend;
use crate::docker_nat::observer::Observer;
use crate::docker_nat::watch::Observe;
use crate::journal::record::Record;
use crate::model::device::Device;
use crate::model::rule::BackendKind;
use crate::sys::causes::chain;

/// How many published ports `auto` leaves to ip6tables. Its tools read and write the whole table for
/// each change: 10,000 ports of one container took 12 s to put in, and 3 s with nftables
/// (`benches/system/scale.rs`).
pub(super) const MANY: usize = 2_000;

/// What `status` says of a backend that the user has asked for.
pub(super) const ASKED_FOR: &str = "by --backend";

/// What was chosen.
pub(super) struct Chosen {
    /// The backend in use.
    pub(super) backend: Box<dyn Backend>,
    /// Those that an earlier run may have used.
    pub(super) others: Vec<Box<dyn Backend>>,
    /// Reads Docker's own IPv6 NAT.
    pub(super) docker_nat: Observe,
    /// The variant of ip6tables that holds our rules; `None`: nftables does.
    pub(super) variant: Option<Variant>,
    /// What `status` says of it.
    pub(super) about: AboutBackend,
}

/// Finds the backend that the user asked for, and makes sure that it works.
pub(super) fn choose(
    choice: BackendChoice,
    locks: &Locks,
    log: &Logger,
) -> Result<Chosen, Failure> {
    let tools = tools(locks)?;
    let asked_for = |mut chosen: Chosen| {
        chosen.about.reason = ASKED_FOR.to_owned();
        chosen
    };
    let chosen = match choice {
        BackendChoice::Ip6tables => ip6tables(tools).map(asked_for),
        BackendChoice::Nftables => nftables(tools, log).map(asked_for),
        BackendChoice::Auto => automatic(tools, log),
    };
    Ok(chosen?)
}

/// So many published ports that the tools of ip6tables are slow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Many {
    /// How many an earlier run published.
    ports: usize,
    /// Why ip6tables keeps them; `None`: nftables is to take them, where it works.
    pub(super) why_not: Option<String>,
}

impl Many {
    /// What `auto` does about the ports that an earlier run left, where it has chosen `used`; `None`:
    /// nothing, because they are few, or nftables is in use.
    pub(super) fn of(
        used: BackendKind,
        variant: Option<Variant>,
        records: &[Record],
    ) -> Option<Self> {
        let rules = records.iter().map(|record| &record.owned.rule);
        let published = rules.clone().filter_map(|rule| rule.dnat());
        let published: BTreeSet<_> = published.map(|(port, _)| port).collect();
        let ports = published.len();
        if used != BackendKind::Ip6tables || ports <= MANY {
            return None;
        }
        let devices = rules.clone().filter_map(|rule| rule.facts.dev.clone());
        let devices: BTreeSet<Device> = devices.collect();
        let prefixes = rules.filter_map(|rule| rule.facts.prefix);
        let prefixes: BTreeSet<_> = prefixes.collect();
        let (devices, prefixes): (Vec<_>, Vec<_>) = (
            devices.into_iter().collect(),
            prefixes.into_iter().collect(),
        );
        let why_not = match variant {
            // Its tables are not read by that check.
            Some(Variant::Legacy) => Some("the legacy variant of ip6tables may drop".to_owned()),
            _ => match check::foreign_rules(&devices, &prefixes, None) {
                None => Some("what other programs drop cannot be read".to_owned()),
                Some(found) => found.drops.first().map(|problem| problem.what.clone()),
            },
        };
        Some(Self { ports, why_not })
    }
}

/// What `auto` chooses, knowing what an earlier run left: nftables in place of ip6tables for very many
/// published ports. The rules of ip6tables go when those of nftables are there.
pub(super) fn with_many(
    chosen: Chosen,
    records: &[Record],
    locks: &Locks,
    log: &Logger,
) -> Result<Chosen, Failure> {
    let Some(many) = Many::of(chosen.backend.kind(), chosen.variant, records) else {
        return Ok(chosen);
    };
    let count = many.ports;
    let other = match many.why_not {
        Some(why_not) => Err(why_not),
        None => nftables(tools(locks)?, log).map_err(|error| chain(&error)),
    };
    match other {
        Ok(mut other) => {
            other.about.reason = format!(
                "an earlier run published {count} ports, and for more than {MANY} the tools of \
                 ip6tables are slow"
            );
            info!(log, "backend chosen"; "backend" => "nftables", "why" => &other.about.reason);
            Ok(other)
        }
        Err(why_not) => {
            info!(log, "ip6tables is kept for very many ports, which makes changes slow";
                "ports" => count, "why_not_nftables" => why_not);
            Ok(chosen)
        }
    }
}

/// Every backend there is, to remove the rules of all. Where ip6tables is installed, its tables
/// must show with certainty that nothing is left.
pub(super) fn all(locks: &Locks, log: &Logger) -> Result<Chosen, Failure> {
    let tools = tools(locks)?;
    Ok(ip6tables(tools.clone()).or_else(|why_not| nftables(tools, log).map_err(|_| why_not))?)
}

fn tools(locks: &Locks) -> Result<ToolSettings, Failure> {
    Ok(ToolSettings {
        inherit: locks.descriptors()?,
        ..ToolSettings::default()
    })
}

fn automatic(tools: ToolSettings, log: &Logger) -> Result<Chosen, BackendError> {
    let why_not = match Ip6tables::detect(tools.clone()) {
        Ok(mut backend) => match backend.list() {
            // A process that holds the tables now will let go of them.
            Ok(_)
            | Err(BackendError {
                kind: ErrorKind::Busy,
                ..
            }) => {
                let why = "the tool works and its tables can be listed";
                info!(log, "backend chosen"; "backend" => "ip6tables", "why" => why);
                let mut chosen = using(backend, &tools);
                chosen.about.reason = why.to_owned();
                return Ok(chosen);
            }
            Err(e) => e,
        },
        Err(e) => e,
    };
    match nftables(tools.clone(), log) {
        Ok(mut chosen) => {
            let why = chain(&why_not);
            info!(log, "backend chosen"; "backend" => "nftables",
                "why" => format!("ip6tables cannot be used: {why}"));
            chosen.about.reason = match why_not.kind {
                ErrorKind::Unsupported => "no ip6tables tool works here".to_owned(),
                _ => format!("ip6tables cannot be used: {why}"),
            };
            Ok(chosen)
        }
        Err(also) => {
            warn!(log, "nftables cannot be used either"; "reason" => chain(&also));
            // Uncertainty may pass; then the rules can be listed again.
            match why_not.kind {
                ErrorKind::Uncertain => ip6tables(tools),
                _ => Err(why_not),
            }
        }
    }
}

fn ip6tables(tools: ToolSettings) -> Result<Chosen, BackendError> {
    let backend = Ip6tables::detect(tools.clone())?;
    Ok(using(backend, &tools))
}

fn using(backend: Ip6tables, tools: &ToolSettings) -> Chosen {
    let other = backend.other().map(boxed);
    let table = boxed(Nftables::left_over(TableSettings::default()));
    Chosen {
        docker_nat: docker_nat(Some(backend.variant()), tools),
        variant: Some(backend.variant()),
        about: AboutBackend::variant(match backend.variant() {
            Variant::Nft => "nf_tables",
            Variant::Legacy => "legacy",
        }),
        backend: boxed(backend),
        others: other.into_iter().chain([table]).collect(),
    }
}

fn nftables(tools: ToolSettings, log: &Logger) -> Result<Chosen, BackendError> {
    let backend = Nftables::detect(TableSettings::default())?;
    if !backend.is_owning() {
        info!(
            log,
            "this kernel cannot keep others from changing our table"
        );
    }
    let others = Ip6tables::left_over(&tools).into_iter().map(boxed);
    let about = AboutBackend::variant(match backend.is_owning() {
        true => "owned table",
        false => "table without an owner",
    });
    Ok(Chosen {
        about,
        backend: boxed(backend),
        others: others.collect(),
        docker_nat: docker_nat(None, &tools),
        variant: None,
    })
}

fn docker_nat(ours: Option<Variant>, tools: &ToolSettings) -> Observe {
    let mut observer = Observer::new(ours, tools);
    Box::new(move || observer.observe_in_part())
}

fn boxed(backend: impl Backend + 'static) -> Box<dyn Backend> {
    Box::new(backend)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::RangeInclusive;

    use super::*;
    use crate::journal::record::RecordState;
    use crate::model::boot::BootId;
    use crate::model::forward::Owner;
    use crate::model::rule::OwnedRule;

    fn records(ports: RangeInclusive<u16>) -> Vec<Record> {
        let record = |port| {
            let text = format!(
                "nat PREROUTING -i eth0 -p tcp --dport {port} -j DNAT --to-destination \
                 [fd00::2]:80 ! -s fe80::/10 -m addrtype --dst-type LOCAL"
            );
            Record {
                owned: OwnedRule {
                    rule: crate::backend::compile::rule(BackendKind::Ip6tables, &text)
                        .expect("a rule of ours"),
                    owners: BTreeSet::from([Owner::new("0".repeat(64), "web", "bridge")]).into(),
                },
                state: RecordState::Intended,
                inserted_at: 0,
                boot_id: BootId::new("6d2e4b1c-0000-4000-8000-000000000000"),
            }
        };
        ports.map(record).collect()
    }

    #[test]
    fn only_very_many_ports_of_ip6tables_are_a_reason_to_choose_anew() {
        let legacy = Some(Variant::Legacy);
        let few = records(1..=2000);
        assert_eq!(Many::of(BackendKind::Ip6tables, legacy, &few), None);
        let many = records(1..=2001);
        assert_eq!(Many::of(BackendKind::Nftables, None, &many), None);
        let found = Many::of(BackendKind::Ip6tables, legacy, &many).expect("many");
        assert_eq!(found.ports, 2001);
        let why_not = found.why_not.expect("legacy tables are not read");
        assert!(why_not.contains("legacy"), "{why_not}");
    }
}
