//! `run`: the daemon.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use ipnet::Ipv6Net;
use slog::{Logger, error, o, warn};

use super::args::{self, BackendChoice, OnExit, RunArgs};
use super::backends::{self, Chosen};
use super::cleanup;
use super::dry;
use super::engine_url::docker_host;
use super::failure::{Exit, Failure};
use super::lock::Locks;
use super::namespace::{self, Elsewhere};
use super::startup::{begin_log, open_journal, require_privilege};
use crate::actors::firewall_writer::FindDrops;
use crate::actors::journal::HeldStateDir;
use crate::backend::compile;
use crate::backend::ip6tables::Variant;
use crate::check;
use crate::config::{self, Warning};
use crate::daemon::{self, Left, Parts};
use crate::docker::stream;
use crate::docker_nat::watch::Watch;
use crate::mapper::compute::{Choice, HairpinMode, MapperOptions};
use crate::model::device::Device;
use crate::model::intent::{Outgoing, Unpublished};
use crate::model::text::escape;
use crate::sys::causes::chain;
use crate::sys::panics::guard::guarded;
use crate::sys::{host, memory, privilege};

pub(super) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    memory::keep_little();
    let log = begin_log(&args.log);
    config::require_both(&args.dev, &args.prefix)?;
    let devices = config::devices(&args.dev)?;
    let (prefixes, warnings) = config::prefixes(&args.prefix)?;
    let docker_host = docker_host(args.docker_host.as_deref())?;
    // It goes into the lock, for commands that run in other directories.
    let control = std::path::absolute(&args.control)
        .map_err(|e| Failure::new(Exit::Usage, format!("--control: {e}")))?;

    let runtime = daemon::Runtime::new()?;
    warn_of(&warnings, args, &log);
    require_privilege()?;

    let state_dir = &args.state.state_dir;
    let mut options = mapper_options(args, devices, prefixes);
    let stands_by = args.native == args::NativeMode::Standby;
    if args.dry_run {
        return dry::run(args.backend, &docker_host, state_dir, options, stands_by);
    }
    let mut locks = Locks::take(state_dir, Some(&control), &log)?;
    let signals = runtime.signals()?;
    locks.wait_for_tools(state_dir, &log);
    let chosen = backends::choose(args.backend, &locks, &log)?;
    // Only the search for the tools and for the kernel's modules needed them.
    if let Err(e) = privilege::drop_unneeded() {
        warn!(log, "cannot give up the capabilities that are not needed"; "reason" => chain(&e));
    }
    let journal = match open_journal(state_dir, &locks, &log) {
        Ok(journal) => journal,
        // Without a daemon nobody removes a rule whose container ends.
        Err(failure) if failure.exit != Exit::Usage && args.on_exit == OnExit::Remove => {
            cleanup::without_journal(chosen.backend, chosen.others, &log)?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    let boot_id = host::boot_id()?;
    if let Some(elsewhere) = Elsewhere::of(state_dir, &journal.records, &boot_id)? {
        warn!(
            log,
            "{elsewhere} --state-dir DIRECTORY, with an empty directory"
        );
    }
    if let Err(e) = namespace::note(state_dir, &boot_id) {
        warn!(log, "a cleanup in another network namespace will not notice that it is one";
            "reason" => chain(&e));
    }
    let Chosen {
        backend,
        others,
        docker_nat,
        variant,
        about,
    } = match args.backend {
        BackendChoice::Auto => backends::with_many(chosen, &journal.records, &locks, &log)?,
        BackendChoice::Ip6tables | BackendChoice::Nftables => chosen,
    };
    options.limit = compile::rule_limit(backend.kind());
    let settings = check::Settings {
        options: options.clone(),
        backend: Some(backend.kind()),
        docker: docker_host.clone(),
        state_dir: state_dir.clone(),
        running: Some(backend.kind()),
        tools: check::Tools::Spare(variant),
    };
    let log_of_check = log.new(o!("actor" => "check"));
    let parts = Parts {
        options,
        backend,
        others,
        about_backend: about,
        journal,
        state_dir: HeldStateDir {
            dir: state_dir.clone(),
            lock: Arc::clone(&locks.in_state_dir()?.daemon),
        },
        boot_id,
        docker: stream::FollowSettings::new(docker_host),
        find_drops: find_drops(variant, log_of_check.clone()),
        metrics: args.metrics.clone(),
        metrics_connections: args.metrics_connections == args::MetricsConnections::On,
        at_ready: Box::new(move || log_fails(settings, log_of_check)),
        started,
        stale_grace: args.stale_grace,
        verify_interval: args.verify_interval,
        keep_rules: args.on_exit == OnExit::Keep,
        docker_nat: stands_by.then(|| Watch::new(docker_nat, log.clone())),
    };
    match daemon::run(&runtime, signals, parts, &control, &log) {
        Ok(left) => ending(left, args.on_exit),
        Err(error) => Err(error.into()),
    }
}

/// Warns of options that are not taken literally, or that show something to others.
fn warn_of(warnings: &[Warning], args: &RunArgs, log: &Logger) {
    for warning in warnings {
        let Warning::PrefixReadAs { text, prefix, why } = warning;
        warn!(log, "--prefix {text:?} is read as {prefix}: {why}");
    }
    if let Some(address) = args.metrics.as_ref().filter(|address| address.is_public()) {
        warn!(log, "--metrics: other hosts may read the metrics"; "address" => %address);
    }
}

/// The options that decide what is open.
fn mapper_options(
    args: &RunArgs,
    devices: Choice<Device>,
    prefixes: Choice<Ipv6Net>,
) -> MapperOptions {
    MapperOptions {
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
        limit: None,
    }
}

/// Finds the rules of other programs that drop what we forward. A bug in that does not end the daemon.
fn find_drops(tool: Option<Variant>, log: Logger) -> FindDrops {
    Box::new(move |devices, prefixes| {
        let look = AssertUnwindSafe(|| check::foreign_rules(devices, prefixes, tool));
        guarded(look).unwrap_or_else(|panic| {
            error!(log, "the rules of other programs were not read: a bug"; "panic" => panic);
            None
        })
    })
}

/// What the process says at its end, after it has `left` that.
fn ending(left: Left, on_exit: OnExit) -> Result<Exit, Failure> {
    match left {
        Left::Clean => Ok(Exit::Done),
        Left::JournalBehind => {
            let rules = match on_exit {
                OnExit::Remove => "every rule is gone",
                OnExit::Keep => "the rules stay",
            };
            let behind = "but the journal does not say so; the next start corrects it";
            Err(Failure::new(Exit::Failed, format!("{rules}, {behind}")))
        }
        Left::RulesLeft => Err(Failure::new(
            Exit::Failed,
            "left without having removed everything; `docker-nat66 cleanup` does it, or the \
             next start",
        )),
    }
}

/// Logs once what does not work on this host, beyond what `status` reports. It runs in a thread of its
/// own, because other programs may have many rules, and a bug in it does not end the daemon, which
/// works without it.
fn log_fails(settings: check::Settings, log: Logger) {
    let check = move || {
        let found = guarded(AssertUnwindSafe(|| check::fails_beside_status(&settings)));
        let fails = found.unwrap_or_else(|panic| {
            error!(log, "the host was not checked: a bug"; "panic" => panic);
            Vec::new()
        });
        for failed in fails {
            let found = escape(failed.found.chars());
            let remedy = failed.remedy.map(|remedy| escape(remedy.chars()));
            error!(log, "check: {}: {found}", failed.id; "do" => remedy);
        }
    };
    // Where no thread can be started, the host is not checked: the daemon needs its own threads more.
    let _ = thread::Builder::new().name("check".to_owned()).spawn(check);
}
