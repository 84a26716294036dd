//! `check`: what the host must have, each line with its remedy.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::BackendChoice;
use super::defaults::Defaults;
use super::failure::{Exit, Failure};
use super::output;
use super::run::docker_host;
use crate::check::{CheckId, Settings, Tools, check};
use crate::config;
use crate::mapper::compute::{Choice, HairpinMode, MapperOptions};
use crate::model::intent::{Outgoing, Unpublished};
use crate::model::rule::BackendKind;

/// Where the journal is, unless an option or the file says otherwise.
const STATE_DIR: &str = "/var/lib/docker-nat66";

/// Options of `check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Options that are not given are taken from the environment, then from \
                  /etc/default/docker-nat66; then the interface is that of the default route, and \
                  the prefixes are those of Docker's networks.\n\n\
                  Exit codes:\n  0  no line says fail\n  1  at least one does\n  2  wrong usage"
)]
pub(super) struct CheckArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Leave a check out; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Egress interface, as for `run`
    #[arg(
        long,
        value_name = "IF",
        env = "DOCKER_NAT66_DEV",
        value_delimiter = ','
    )]
    dev: Vec<String>,
    /// IPv6 prefix of the containers' addresses, as for `run`
    #[arg(
        long,
        value_name = "PREFIX",
        env = "DOCKER_NAT66_PREFIX",
        value_delimiter = ','
    )]
    prefix: Vec<String>,
    /// Which part of the kernel's firewall holds the rules, as for `run`
    #[arg(long, value_enum, env = "DOCKER_NAT66_BACKEND")]
    backend: Option<BackendChoice>,
    /// Address of the Docker Engine, as for `run`
    #[arg(long, value_name = "URL", env = "DOCKER_NAT66_DOCKER_HOST")]
    docker_host: Option<String>,
    /// Directory of the journal
    #[arg(long, value_name = "DIR", env = "DOCKER_NAT66_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let ignored = args.ignore.iter().map(|name| id(name));
    let ignored: Vec<CheckId> = ignored.collect::<Result<_, _>>()?;
    let settings = settings(args, &Defaults::read()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(check(&settings, &ignored));
    let text = if args.json {
        output::json_line(&report)?
    } else {
        report.to_string()
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

fn settings(args: &CheckArgs, defaults: &Defaults) -> Result<Settings, Failure> {
    let devices = defaults.list("DEV", &args.dev);
    let prefixes = defaults.list("PREFIX", &args.prefix);
    let devices = match devices.is_empty() {
        true => Choice::Auto,
        false => config::devices(&devices)?,
    };
    let prefixes = match prefixes.is_empty() {
        true => Choice::Auto,
        false => config::prefixes(&prefixes)?.0,
    };
    let backend = match (args.backend, defaults.get("BACKEND")) {
        (Some(backend), _) => Some(backend),
        (None, Some(name)) => Some(BackendChoice::from_str(name, false).map_err(|_| {
            let message =
                format!("DOCKER_NAT66_BACKEND={name:?}: give auto, ip6tables or nftables");
            Failure::new(Exit::Usage, message)
        })?),
        (None, None) => None,
    };
    let host = args.docker_host.as_deref();
    let state_dir = defaults.get("STATE_DIR").unwrap_or(STATE_DIR);
    Ok(Settings {
        options: MapperOptions {
            devices,
            prefixes,
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
        docker: docker_host(host.or(defaults.get("DOCKER_HOST")))?,
        state_dir: args.state_dir.clone().unwrap_or_else(|| state_dir.into()),
        tools: Tools::Run,
    })
}
