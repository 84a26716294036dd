//! `explain`: why a published port is reached, or by whom it is not.

use std::net::Ipv6Addr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::Ipv6Net;

use super::ask::Place;
use super::defaults::Defaults;
use super::failure::{Exit, Failure};
use super::given::Given;
use super::host_args::{HostArgs, WHERE_FROM, fixed};
use super::output;
use super::screen::{self, Canvas};
use super::waiting::wait_for;
use crate::control::protocol::{Answer, Request};
use crate::docker::client::Engine;
use crate::docker::error::EngineError;
use crate::docker::host::DockerHost;
use crate::docker::survey;
use crate::explain::address;
use crate::explain::error::ExplainError;
use crate::explain::holder::{self, Listed};
use crate::explain::published::{FromDaemon, Publication};
use crate::explain::question::{Question, WayBack};
use crate::explain::unlisted;
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::netlink::interface;
use crate::sys::causes::chain;
use crate::sys::host::{self, InterfaceAddress};
use crate::sys::privilege;

/// How long one answer of the Engine may take.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(
    after_help = format!(
        "{WHERE_FROM} Where a daemon runs, its interface and its prefixes come before those of the \
         file.\n\nExit codes:\n  0  the port is reachable\n  1  it is not\n  2  wrong usage\n  \
         3  nothing publishes the port\n  4  a privilege or a feature of the kernel is missing"
    )
)]
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
    #[command(flatten)]
    host: Given<HostArgs>,
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
    /// Then an answer, such as the container would give, is followed back. Nobody gets a packet.
    Mirror,
    /// Then a packet goes through to the container, whose kernel answers it (TCP only). The
    /// connection is reset before the program there sees it; a firewall or a sniffer in the container
    /// may see the packet.
    Knock,
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
    let defaults = Defaults::read()?;
    let docker_host = args.host.docker_host(&defaults)?;
    let given = (args.host.devices_given()?, args.host.prefixes_given()?);
    let in_file = (
        fixed(args.host.devices(&defaults)?),
        fixed(args.host.prefixes(&defaults)?),
    );
    if !privilege::may_administer_network()? {
        return Err(Failure::new(
            Exit::Missing,
            "following a packet needs CAP_NET_ADMIN, and CAP_BPF or the like: run as root, or give \
             the capabilities",
        ));
    }
    let (port, proto) = args.port;
    let mut notes = Vec::new();
    let daemon = ask_daemon(&HostArgs::place(&args.host, &defaults), &mut notes)?;
    let docker = ask_docker(&docker_host, &mut notes);
    let prefixes = first_known([given.1, daemons_prefixes(daemon.as_ref()), in_file.1]);
    let mut publication = Publication::of(
        (proto, port),
        daemon.as_ref(),
        docker.as_ref(),
        &prefixes,
        &host::addresses()?,
    );
    let mut held = None;
    if let (false, Some(snapshot)) = (publication.is_anything(), &docker) {
        let listed = || listed(snapshot, &docker_host, &mut notes);
        let port = held.insert(holder::of_port(proto, port, listed)?);
        publication.add_unlisted(snapshot, port);
    }
    if publication.is_nobodys() {
        let message = unlisted::nobodys(&format!("{port}/{proto}"), held.as_ref());
        return Err(Failure::new(Exit::Held, message));
    }
    let all = assigned()?;
    let devices = [given.0, daemons_devices(daemon.as_ref()), in_file.0];
    let device = device(first_known(devices), args.addr, &all)?;
    let bound = publication
        .targets
        .iter()
        .find_map(|target| target.host_addr);
    let addr = args.addr.or(bound);
    let addr = addr.or_else(|| address::of_device(&all, device.as_str()));
    let addr = addr.ok_or_else(|| no_address(&device))?;
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
        pid_of: Box::new(move |id| pid_of(&docker_host, id)),
        way_back: match args.back {
            BackChoice::None => WayBack::None,
            BackChoice::Mirror => WayBack::Mirror,
            BackChoice::Knock => WayBack::Knock,
        },
        verbose: args.verbose,
        notes,
    };
    let report = question.answer()?;
    output::print(&match args.json {
        true => output::json_line(&report.json())?,
        false => screen::explain::screen(&report, &Canvas::of_stdout(false)),
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

/// The first list that has something in it.
fn first_known<T>(lists: [Vec<T>; 3]) -> Vec<T> {
    let mut lists = lists.into_iter();
    lists.find(|list| !list.is_empty()).unwrap_or_default()
}

/// What the daemon says; `None` where none runs, or none answers, unless the user has named it.
fn ask_daemon(place: &Place, notes: &mut Vec<String>) -> Result<Option<FromDaemon>, Failure> {
    let rows = match place.ask(Request::Dump) {
        Ok(Some(Answer::Dump(rows))) => rows,
        Ok(None) => return Ok(None),
        Ok(Some(_)) => {
            notes.push("the daemon answered something else".to_owned());
            return Ok(None);
        }
        // Exit code 3 means here that nothing publishes the port.
        Err(failure) if place.is_typed && failure.exit == Exit::Held => {
            return Err(Failure::new(Exit::Usage, failure.message));
        }
        Err(failure) => {
            notes.push(format!("the daemon could not be asked: {failure}"));
            return Ok(None);
        }
    };
    let status = match place.ask(Request::Status) {
        Ok(Some(Answer::Status(status))) => Some(*status),
        _ => None,
    };
    Ok(Some(FromDaemon { rows, status }))
}

/// What the Engine says; `None` where it does not answer.
fn ask_docker(docker_host: &DockerHost, notes: &mut Vec<String>) -> Option<Snapshot> {
    let asked = engine_says(docker_host);
    let unreachable = |why| notes.push(format!("Docker could not be asked: {why}"));
    asked.map_err(unreachable).ok()
}

fn engine_says(docker_host: &DockerHost) -> Result<Snapshot, String> {
    in_words(async {
        let engine = Engine::connect(docker_host, ENGINE_PATIENCE).await?;
        survey::snapshot(&engine).await
    })
}

/// The containers to which a process of the host may belong.
fn listed(snapshot: &Snapshot, docker_host: &DockerHost, notes: &mut Vec<String>) -> Listed {
    let mut first = |id: &String| {
        let asked = pid_of(docker_host, id);
        asked.unwrap_or_else(|why| {
            notes.push(format!(
                "whether it is that container's was not found: {why}"
            ));
            None
        })
    };
    let all = snapshot.containers.values();
    let on_host = all.filter(|container| unlisted::is_on_host(container));
    let on_host = on_host.map(|container| (container.id.clone(), first(&container.id)));
    Listed {
        on_host: on_host.collect(),
        ids: snapshot.containers.keys().cloned().collect(),
    }
}

/// The first process of a container.
fn pid_of(docker_host: &DockerHost, id: &str) -> Result<Option<u32>, String> {
    in_words(async {
        let engine = Engine::connect(docker_host, ENGINE_PATIENCE).await?;
        engine.pid(id).await
    })
}

/// Waits for the Engine's answer; the error is in words.
fn in_words<T>(answer: impl Future<Output = Result<T, EngineError>>) -> Result<T, String> {
    let answer = wait_for(answer).map_err(|e| chain(&e))?;
    answer.map_err(|e| chain(&e))
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

fn daemons_devices(daemon: Option<&FromDaemon>) -> Vec<Device> {
    let rows = daemon.map(|daemon| &daemon.rows[..]).unwrap_or_default();
    let names = rows.iter().filter_map(|row| row.dev.as_deref());
    names.filter_map(|name| name.parse().ok()).collect()
}

fn assigned() -> Result<Vec<InterfaceAddress>, Failure> {
    match host::has_ipv6() {
        true => Ok(host::interface_addresses()?),
        false => Err(Failure::new(
            Exit::Missing,
            "this kernel has no IPv6, or it is off",
        )),
    }
}

/// Where the packet arrives: of several interfaces that with the address, or the first.
fn device(
    mut devices: Vec<Device>,
    addr: Option<Ipv6Addr>,
    all: &[InterfaceAddress],
) -> Result<Device, Failure> {
    if devices.is_empty() {
        devices = host::default_devices()?;
    }
    let has_address = |device: &&Device| {
        let mut all = all.iter();
        all.any(|a| a.interface == device.as_str() && Some(a.addr) == addr)
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

/// Why `device` has no address to ask: it may not be there at all.
fn no_address(device: &Device) -> Failure {
    match interface::link(device.as_str()) {
        Ok(Some(_)) => {
            let message = format!("{device} has no global IPv6 address: give one after the port");
            Failure::new(Exit::Usage, message)
        }
        Ok(None) => ExplainError::NoDevice(device.as_str().to_owned()).into(),
        Err(error) => ExplainError::from(error).into(),
    }
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
