//! `check`: what the host must have, each line with its remedy.

use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::args::BackendChoice;
use super::ask::Place;
use super::defaults::Defaults;
use super::failure::{Exit, Failure};
use super::given::Given;
use super::host_args::{HostArgs, WHERE_FROM};
use super::output;
use super::screen::{self, Canvas};
use super::waiting::wait_for;
use crate::check::{CheckId, Settings, Tools, check};
use crate::control::protocol::{Answer, Request};
use crate::control::status::Status;
use crate::mapper::compute::{Choice, HairpinMode, MapperOptions};
use crate::model::intent::{Outgoing, Unpublished};
use crate::model::rule::BackendKind;

/// Options of `check`.
#[derive(Debug, Args)]
#[command(
    after_help = format!(
        "{WHERE_FROM} Where a daemon runs, its own interfaces and prefixes come before these two.\n\n\
         Exit codes:\n  0  no line says fail\n  1  at least one does\n  2  wrong usage, \
         or no daemon listens at the --control that was given"
    )
)]
pub(super) struct CheckArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Leave a check out; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    ignore: Vec<String>,
    #[command(flatten)]
    host: Given<HostArgs>,
    /// Which part of the kernel's firewall holds the rules, as for `run`
    #[arg(long, value_enum, env = "DOCKER_NAT66_BACKEND")]
    backend: Option<BackendChoice>,
}

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let ignored = args.ignore.iter().map(|name| id(name));
    let ignored: Vec<CheckId> = ignored.collect::<Result<_, _>>()?;
    let defaults = Defaults::read()?;
    let place = HostArgs::place(&args.host, &defaults);
    let daemon = daemon(&place)?;
    let settings = settings(args, &defaults, place, daemon.as_ref())?;
    let report = wait_for(check(&settings, &ignored))?;
    let text = if args.json {
        output::json_line(&report)?
    } else {
        screen::check::screen(&report, &Canvas::of_stdout(false))
    };
    output::print(&text)?;
    Ok(match report.fails().next() {
        None => Exit::Done,
        Some(_) => Exit::Failed,
    })
}

fn id(name: &str) -> Result<CheckId, Failure> {
    let known = CheckId::ALL.into_iter().find(|id| id.as_str() == name);
    known.ok_or_else(|| {
        let names = CheckId::ALL.map(CheckId::as_str).join(", ");
        let message = format!("--ignore {name:?}: there is no such check; there are {names}");
        Failure::new(Exit::Usage, message)
    })
}

/// What the daemon says that runs; `None` where none runs, or none answers, unless the user has named
/// it.
fn daemon(place: &Place) -> Result<Option<Status>, Failure> {
    match place.ask(Request::Status) {
        Ok(Some(Answer::Status(status))) => Ok(Some(*status)),
        // `check` knows no exit code for it, as it works without a daemon.
        Err(mut failure) if place.is_typed => {
            failure.exit = Exit::Usage;
            Err(failure)
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

/// What was chosen, or where that is left open what the daemon has, unless `auto` is meant: it was typed,
/// or the daemon has it.
fn or_daemons<'d, T: FromStr>(
    chosen: Choice<T>,
    is_meant: bool,
    daemons: impl Iterator<Item = &'d str>,
) -> Choice<T> {
    let daemons: Vec<T> = daemons.filter_map(|text| text.parse().ok()).collect();
    match chosen {
        Choice::Auto if !is_meant && !daemons.is_empty() => Choice::Fixed(daemons),
        chosen => chosen,
    }
}

fn settings(
    args: &CheckArgs,
    defaults: &Defaults,
    place: Place,
    running: Option<&Status>,
) -> Result<Settings, Failure> {
    let follows =
        |option: &str| running.is_some_and(|status| status.auto.iter().any(|it| it == option));
    let egress = running.into_iter().flat_map(|status| &status.egress);
    let egress = egress.map(|figures| figures.dev.as_str());
    let prefixes = running.into_iter().flat_map(|status| &status.prefixes);
    let prefixes = prefixes.map(String::as_str);
    let kinds = [BackendKind::Ip6tables, BackendKind::Nftables];
    let backend = match (args.backend, defaults.get("BACKEND")) {
        (Some(backend), _) => Some(backend),
        (None, Some(name)) => Some(<BackendChoice as ValueEnum>::from_str(name, false).map_err(
            |_| {
                let message =
                    format!("DOCKER_NAT66_BACKEND={name:?}: give auto, ip6tables or nftables");
                Failure::new(Exit::Usage, message)
            },
        )?),
        (None, None) => None,
    };
    Ok(Settings {
        options: MapperOptions {
            devices: or_daemons(
                args.host.devices(defaults)?,
                args.host.is_typed("dev") || follows("dev"),
                egress,
            ),
            prefixes: or_daemons(
                args.host.prefixes(defaults)?,
                args.host.is_typed("prefix") || follows("prefix"),
                prefixes,
            ),
            unpublished: Unpublished::Drop,
            outgoing: Outgoing::Accept,
            hairpin: HairpinMode::Auto,
            limit: None,
        },
        backend: match backend {
            None | Some(BackendChoice::Auto) => None,
            Some(BackendChoice::Ip6tables) => Some(BackendKind::Ip6tables),
            Some(BackendChoice::Nftables) => Some(BackendKind::Nftables),
        },
        docker: args.host.docker_host(defaults)?,
        state_dir: place.state_dir,
        running: running.and_then(|status| {
            let mut kinds = kinds.into_iter();
            kinds.find(|kind| kind.as_str() == status.backend)
        }),
        tools: Tools::Run,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::Device;

    #[test]
    fn beside_a_daemon_what_is_left_open_is_what_the_daemon_has() {
        let device = |name: &str| -> Device { name.parse().expect("a name") };
        let auto = || Choice::<Device>::Auto;
        let of = |chosen, is_meant, daemons: &[&str]| {
            or_daemons(chosen, is_meant, daemons.iter().copied())
        };
        let given = Choice::Fixed(vec![device("wan")]);
        assert_eq!(of(given.clone(), false, &["eth0"]), given);
        let daemons = Choice::Fixed(vec![device("eth0"), device("eth1")]);
        assert_eq!(of(auto(), false, &["eth0", "eth1"]), daemons);
        assert_eq!(of(auto(), true, &["eth0"]), auto());
        assert_eq!(of(auto(), false, &[]), auto());
    }
}
