//! `run`: the daemon.

use std::env::VarError;
use std::sync::Arc;
use std::time::Instant;

use slog::{Level, Logger, crit, info, warn};

use super::args::{self, LogArgs, LogFormat, LogLevel, OnExit, RunArgs};
use super::backends::{self, Chosen};
use super::places;
use super::{Exit, Failure, cleanup};
use crate::actors::journal::Tenure;
use crate::backend::compile;
use crate::config::{self, Warning};
use crate::control::server::ServerError;
use crate::daemon::{self, Left, Parts, StartError};
use crate::docker::host::DockerHost;
use crate::docker::stream;
use crate::docker_nat::watch::Watch;
use crate::journal::recover::{OpenError, Opened};
use crate::logging::{self, Format};
use crate::mapper::compute::{HairpinMode, MapperOptions};
use crate::model::intent::{Outgoing, Unpublished};
use crate::sys::causes::chain;
use crate::sys::{host, panics, privilege};

pub(super) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let usage = |e: config::ConfigError| Failure::new(Exit::Usage, &e);
    config::require_both(&args.dev, &args.prefix).map_err(usage)?;
    let devices = config::devices(&args.dev).map_err(usage)?;
    let (prefixes, warnings) = config::prefixes(&args.prefix).map_err(usage)?;
    let docker_host = docker_host(args.docker_host.as_deref())?;
    // It is written into the lock, for commands in other directories.
    let control = std::path::absolute(&args.control)
        .map_err(|e| Failure::because(Exit::Usage, format!("--control: {e}")))?;

    let log = logger(&args.log);
    panics::install_hook(log.clone());
    let not_started = |e: StartError| Failure::new(Exit::Failed, &e);
    let runtime = daemon::Runtime::new().map_err(not_started)?;
    for warning in &warnings {
        let Warning::PrefixReadAs { text, prefix, why } = warning;
        warn!(log, "--prefix {text:?} is read as {prefix}: {why}");
    }
    require_privilege()?;
    privilege::keep_files_private();

    let mut locks = places::lock(&args.state.state_dir, Some(&control), &log)?;
    let signals = runtime.signals().map_err(not_started)?;
    locks.wait_for_tools(&args.state.state_dir, &log);
    let Chosen {
        backend,
        others,
        docker_nat,
    } = backends::choose(args.backend, &locks, &log)?;
    // The tools and the kernel's modules have been found by now.
    if let Err(e) = privilege::give_up_all_else() {
        warn!(log, "capabilities that are not needed could not be given up"; "reason" => chain(&e));
    }
    let journal = match cleanup::open_journal(&args.state.state_dir, &locks) {
        Ok(journal) => journal,
        // Nobody will keep the rules of an earlier run in step.
        Err(failure) if failure.exit != Exit::Usage && args.on_exit == OnExit::Remove => {
            cleanup::without_journal(backend, others, &log)?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    log_opened(&journal, &log);
    let parts = Parts {
        options: MapperOptions {
            devices,
            prefixes,
            unpublished: match args.unpublished {
                args::Unpublished::Drop => Unpublished::Drop,
                args::Unpublished::Accept => Unpublished::Accept,
            },
            outgoing: match args.outgoing {
                args::Outgoing::Accept => Outgoing::Accept,
                args::Outgoing::Leave => Outgoing::Leave,
            },
            hairpin: match args.hairpin {
                args::Hairpin::Auto => HairpinMode::Auto,
                args::Hairpin::On => HairpinMode::On,
                args::Hairpin::Off => HairpinMode::Off,
            },
            limit: compile::rule_limit(backend.kind()),
        },
        backend,
        others,
        journal,
        tenure: Tenure {
            dir: args.state.state_dir.clone(),
            lock: Arc::clone(&locks.in_state_dir()?.daemon),
        },
        boot_id: host::boot_id().map_err(|e| Failure::new(Exit::Failed, &e))?,
        docker: stream::Settings::new(docker_host),
        started,
        stale_grace: args.stale_grace,
        verify_interval: args.verify_interval,
        keep_rules: args.on_exit == OnExit::Keep,
        docker_nat: (args.native == args::Native::Standby)
            .then(|| Watch::new(docker_nat, log.clone())),
    };
    match daemon::run(&runtime, signals, parts, &control, &log) {
        Ok(Left::Clean) => Ok(Exit::Done),
        Ok(Left::JournalBehind) => {
            let rules = match args.on_exit {
                OnExit::Remove => "every rule is gone",
                OnExit::Keep => "the rules stay",
            };
            let behind = "but the journal does not say so; the next start finds out";
            Err(Failure::because(Exit::Failed, format!("{rules}, {behind}")))
        }
        Ok(Left::RulesLeft) => Err(Failure::because(
            Exit::Failed,
            "left without having removed everything; `docker-nat66 cleanup` does it, or the \
             next start",
        )),
        Err(e) => {
            crit!(log, "not started");
            let exit = match &e {
                // It will stand there at the next attempt too.
                StartError::Control(
                    ServerError::InUse { .. }
                    | ServerError::NotASocket { .. }
                    | ServerError::BadPath { .. },
                ) => Exit::Usage,
                StartError::Control(ServerError::Io { .. }) | StartError::Signals(_) => {
                    Exit::Failed
                }
            };
            Err(Failure::new(exit, &e))
        }
    }
}

pub(super) fn logger(args: &LogArgs) -> Logger {
    let format = match args.log_format {
        // systemd sets it for what it logs (systemd.exec(5)).
        LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => Format::Journald,
        LogFormat::Auto | LogFormat::Term => Format::Term,
        LogFormat::Json => Format::Json,
        LogFormat::Journald => Format::Journald,
    };
    let level = match args.log_level {
        LogLevel::Critical => Level::Critical,
        LogLevel::Error => Level::Error,
        LogLevel::Warning => Level::Warning,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
        LogLevel::Trace => Level::Trace,
    };
    logging::to_stderr(format, level)
}

fn docker_host(option: Option<&str>) -> Result<DockerHost, Failure> {
    let usage = |message| Failure::because(Exit::Usage, message);
    let inherited = match std::env::var("DOCKER_HOST") {
        Ok(host) => Some(host).filter(|host| !host.is_empty()),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => {
            return Err(usage(
                "DOCKER_HOST in the environment is not UTF-8".to_owned(),
            ));
        }
    };
    let tls = std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|v| !v.is_empty());
    let (url, origin) = match (option, &inherited) {
        (Some(url), _) => (url, "--docker-host"),
        (None, Some(url)) => (url.as_str(), "DOCKER_HOST"),
        (None, None) => return Ok(DockerHost::default()),
    };
    DockerHost::parse(url, tls).map_err(|e| usage(format!("{origin}: {e}")))
}

/// Changing the firewall takes CAP_NET_ADMIN.
pub(super) fn require_privilege() -> Result<(), Failure> {
    match privilege::may_administer_network() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::because(
            Exit::Missing,
            "changing the firewall needs CAP_NET_ADMIN: run as root, or give the capability",
        )),
        Err(e) => Err(Failure::new(Exit::Failed, &e)),
    }
}

pub(super) fn state_failure(error: &OpenError) -> Failure {
    let exit = match error {
        OpenError::NotADirectory(_) | OpenError::Symlink(_) | OpenError::ForeignOwner { .. } => {
            Exit::Usage
        }
        OpenError::NewerVersion { .. } => Exit::Missing,
        OpenError::InUse(_) => Exit::Held,
        _ => Exit::Failed,
    };
    Failure::new(exit, error)
}

pub(super) fn log_opened(opened: &Opened, log: &Logger) {
    if let Some(q) = &opened.quarantined {
        let kept = q.path.as_ref().map_or_else(
            || "nothing was left to keep".to_owned(),
            |p| p.display().to_string(),
        );
        warn!(log, "the journal could not be used, a new one was begun; what is in the kernel \
            is kept in view by its comments"; "reason" => &q.reason, "kept_as" => kept);
    }
    if !opened.records.is_empty() {
        info!(log, "an earlier run left records"; "count" => opened.records.len());
    }
}
