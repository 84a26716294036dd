//! `explain`: why a published port is reached, or by whom it is not.

use std::net::Ipv6Addr;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::Ipv6Net;

use super::args::StateArgs;
use super::ask::ask;
use super::defaults::{self, Defaults};
use super::failure::{Exit, Failure};
use super::output;
use super::run::docker_host;
use crate::config;
use crate::control::protocol::{Answer, Request};
use crate::docker::client::Engine;
use crate::docker::error::EngineError;
use crate::docker::host::DockerHost;
use crate::docker::once;
use crate::explain::address::{self, Assigned};
use crate::explain::error::ExplainError;
use crate::explain::published::{FromDaemon, Publication};
use crate::explain::question::Question;
use crate::mapper::compute::Choice;
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::sys::causes::chain;
use crate::sys::{host, privilege};

/// How long one answer of the Engine may take.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);

/// The host's addresses, in the network namespace of the calling thread.
const IF_INET6: &str = "/proc/thread-self/net/if_inet6";

/// Options of `explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The published port: 8080, 8080/tcp, 53/udp, 3868/sctp
    #[arg(value_name = "PORT[/PROTO]", value_parser = port)]
    port: (u16, Proto),
    /// The host's address to ask [default: the one the port is bound to, or one of the interface]
    #[arg(value_name = "ADDR")]
    addr: Option<Ipv6Addr>,
    /// The client's address [default: one that no client has]
    #[arg(long, value_name = "SRC")]
    from: Option<Ipv6Addr>,
    /// The interface where the client's packet arrives [default: that of the daemon, of
    /// /etc/default/docker-nat66, or of the default route]
    #[arg(
        long,
        value_name = "IF",
        env = "DOCKER_NAT66_DEV",
        value_delimiter = ','
    )]
    dev: Vec<String>,
    /// IPv6 prefix of the containers' addresses; may be repeated [default: that of the daemon, or of
    /// Docker's networks]
    #[arg(
        long,
        value_name = "PREFIX",
        env = "DOCKER_NAT66_PREFIX",
        value_delimiter = ','
    )]
    prefix: Vec<String>,
    /// Address of the Docker Engine: unix:///PATH or tcp://HOST:PORT [default: DOCKER_HOST, or
    /// unix:///var/run/docker.sock]
    #[arg(long, value_name = "URL", env = "DOCKER_NAT66_DOCKER_HOST")]
    docker_host: Option<String>,
    #[command(flatten)]
    state: StateArgs,
    /// Whether to try the way back of an answer, too
    #[arg(long, value_enum, default_value_t = BackChoice::Mirror)]
    back: BackChoice,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Show every rule that matched
    #[arg(long)]
    verbose: bool,
}

/// `--back`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackChoice {
    /// Only the packet of the client is followed.
    None,
    /// Then an answer, such as the container would give, is followed back.
    Mirror,
}

fn port(text: &str) -> Result<(u16, Proto), String> {
    let (port, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    let proto = proto.parse().map_err(|e| format!("{e}, as in 53/udp"))?;
    match port.parse() {
        Ok(port @ 1..) => Ok((port, proto)),
        _ => Err("expected a port from 1 to 65535, as in 8080 or 53/udp".to_owned()),
    }
}

pub(super) fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let docker_host = docker_host(args.docker_host.as_deref())?;
    let prefixes = prefixes(&args.prefix)?;
    let given = devices(&args.dev, "--dev")?;
    if !privilege::may_administer_network()? {
        return Err(Failure::new(
            Exit::Missing,
            "following a packet needs CAP_NET_ADMIN, and CAP_BPF or the like: run as root, or give \
             the capabilities",
        ));
    }
    let (port, proto) = args.port;
    let mut notes = Vec::new();
    let daemon = ask_daemon(&args.state.state_dir, &mut notes);
    let docker = ask_docker(&docker_host, &mut notes);
    let is_published_known = daemon.is_some() || docker.is_some();
    let prefixes = match &prefixes[..] {
        [] => daemons_prefixes(daemon.as_ref()),
        given => given.to_vec(),
    };
    let publication = Publication::of(
        (proto, port),
        daemon.as_ref(),
        docker.as_ref(),
        &prefixes,
        &host::addresses()?,
    );
    if is_published_known && !publication.is_anything() {
        let message = format!("nothing publishes {port}/{proto}");
        return Err(Failure::new(Exit::Held, message));
    }
    let all = assigned()?;
    let device = device(given, daemon.as_ref(), args.addr, &all)?;
    let bound = publication
        .targets
        .iter()
        .find_map(|target| target.host_addr);
    let addr = args.addr.or(bound);
    let addr = addr.or_else(|| address::of_device(&all, device.as_str()));
    let addr = addr.ok_or_else(|| {
        let message = format!("{device} has no global IPv6 address: give one after the port");
        Failure::new(Exit::Usage, message)
    })?;
    let from = match args.from {
        Some(from) => from,
        None => {
            let has_route = host::default_devices()?.contains(&device);
            let sources = publication.targets.first().map(|t| &t.sources[..]);
            let sources = sources.unwrap_or_default();
            address::source(&all, device.as_str(), addr, has_route, sources)?
        }
    };
    let question = Question {
        proto,
        sent: (addr, port),
        from,
        device: device.as_str().to_owned(),
        publication,
        is_published_known,
        pid_of: Box::new(move |id| pid_of(&docker_host, id)),
        tries_back: args.back == BackChoice::Mirror,
        verbose: args.verbose,
        notes,
    };
    let report = question.answer()?;
    output::print(&match args.json {
        true => output::json_line(&report.json())?,
        false => report.text(),
    })?;
    Ok(match report.diagnosis.is_reachable {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        let exit = match &error {
            ExplainError::NoDevice(_) => Exit::Usage,
            error if error.is_missing() => Exit::Missing,
            _ => Exit::Failed,
        };
        Self::new(exit, chain(&error))
    }
}

fn prefixes(given: &[String]) -> Result<Vec<Ipv6Net>, Failure> {
    Ok(match config::prefixes(given)? {
        (Choice::Fixed(prefixes), _) => prefixes,
        (Choice::Auto, _) => Vec::new(),
    })
}

/// The interfaces in a list of names; none with `auto`.
fn devices(names: &[String], what: &str) -> Result<Vec<Device>, Failure> {
    match config::devices(names) {
        Ok(Choice::Fixed(devices)) => Ok(devices),
        Ok(Choice::Auto) => Ok(Vec::new()),
        Err(error) if what == "--dev" => Err(error.into()),
        Err(error) => Err(Failure::new(Exit::Usage, format!("{what}: {error}"))),
    }
}

/// What the daemon says; `None` where none runs, or none answers.
fn ask_daemon(state_dir: &Path, notes: &mut Vec<String>) -> Option<FromDaemon> {
    let rows = match ask(state_dir, Request::Dump) {
        Ok(Some(Answer::Dump(rows))) => rows,
        Ok(None) => return None,
        Ok(Some(_)) => {
            notes.push("the daemon answered something else".to_owned());
            return None;
        }
        Err(failure) => {
            notes.push(format!("the daemon could not be asked: {failure}"));
            return None;
        }
    };
    let status = match ask(state_dir, Request::Status) {
        Ok(Some(Answer::Status(status))) => Some(*status),
        _ => None,
    };
    Some(FromDaemon { rows, status })
}

/// What the Engine says; `None` where it does not answer.
fn ask_docker(docker_host: &DockerHost, notes: &mut Vec<String>) -> Option<Snapshot> {
    let asked = engine_says(docker_host);
    let unreachable = |why| notes.push(format!("Docker could not be asked: {why}"));
    asked.map_err(unreachable).ok()
}

fn engine_says(docker_host: &DockerHost) -> Result<Snapshot, String> {
    wait_for(async {
        let engine = Engine::connect(docker_host, ENGINE_PATIENCE).await?;
        once::snapshot(&engine).await
    })
}

/// The first process of a container.
fn pid_of(docker_host: &DockerHost, id: &str) -> Result<Option<u32>, String> {
    wait_for(async {
        let engine = Engine::connect(docker_host, ENGINE_PATIENCE).await?;
        engine.pid(id).await
    })
}

/// Waits for the Engine's answer; the error is in words.
fn wait_for<T>(answer: impl Future<Output = Result<T, EngineError>>) -> Result<T, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(|e| chain(&e))?;
    runtime.block_on(answer).map_err(|e| chain(&e))
}

fn daemons_prefixes(daemon: Option<&FromDaemon>) -> Vec<Ipv6Net> {
    let rows = daemon.map(|daemon| &daemon.rows[..]).unwrap_or_default();
    let statics = rows.iter().filter(|row| row.kind != "dnat");
    let nets = statics.filter_map(|row| row.prefix.as_deref()?.parse().ok());
    let mut nets: Vec<Ipv6Net> = nets.collect();
    nets.sort();
    nets.dedup();
    nets
}

fn assigned() -> Result<Vec<Assigned>, Failure> {
    match std::fs::read_to_string(IF_INET6) {
        Ok(text) => Ok(address::assigned(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::new(
            Exit::Missing,
            "this kernel has no IPv6, or it is off",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Where the packet arrives: of several interfaces that with the address, or the first.
fn device(
    given: Vec<Device>,
    daemon: Option<&FromDaemon>,
    addr: Option<Ipv6Addr>,
    all: &[Assigned],
) -> Result<Device, Failure> {
    let mut devices = given;
    if devices.is_empty() {
        let rows = daemon.map(|daemon| &daemon.rows[..]).unwrap_or_default();
        let names = rows.iter().filter_map(|row| row.dev.as_deref());
        devices = names.filter_map(|name| name.parse().ok()).collect();
    }
    if devices.is_empty() {
        let names = Defaults::read()?.list("DEV", &[]);
        let names = names.iter().map(|name| name.trim().to_owned());
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        devices = self::devices(&names, defaults::FILE)?;
    }
    if devices.is_empty() {
        devices = host::default_devices()?;
    }
    let has_address = |device: &&Device| {
        let mut all = all.iter();
        all.any(|a| a.device == device.as_str() && Some(a.addr) == addr)
    };
    let found = devices.iter().find(has_address).or(devices.first());
    found.cloned().ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "no default route shows where requests arrive: name the interface with --dev, as in: \
             docker-nat66 explain 8080 --dev eth0",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_a_protocol_or_is_tcps() {
        assert_eq!(port("8080"), Ok((8080, Proto::Tcp)));
        assert_eq!(port("53/udp"), Ok((53, Proto::Udp)));
        for text in ["", "0", "65536", "web", "80/", "80/icmp", "/tcp", "-1"] {
            assert!(port(text).is_err(), "{text:?}");
        }
    }
}
