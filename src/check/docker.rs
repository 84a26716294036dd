//! The Engine, its networks, the prefixes, and its own IPv6 NAT. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv6Net;

use super::facts::{CheckFacts, Docker};
use super::finding::{CheckId, Finding};
use super::host::failed;
use super::wording::{own_network, shown};
use crate::backend::shell::word;
use crate::docker::survey::{PATHS, PERMIT, Survey};
use crate::mapper::compute::Choice;
use crate::mapper::forwards::Resolved;
use crate::mapper::published::published;
use crate::mapper::skipped::Reason;
use crate::model::container::{Container, Network, Snapshot};
use crate::model::problem::{Problem, ProblemId};
use crate::model::published::HostForward;
use crate::sys::causes::chain;

/// The ranges for documentation (RFC 3849, RFC 9637).
const DOCUMENTATION: [&str; 2] = ["2001:db8::/32", "3fff::/20"];

/// The prefix in the documentation of docker-nat66.
const EXAMPLE: &str = "fdfd:5898:4917:1::/64";

/// From this version of the API on (Engine 27) Docker finds a subnet for a network by itself.
const FINDS_SUBNETS: &str = "1.46";

/// The label by which Compose names its project.
const PROJECT: &str = "com.docker.compose.project";

/// `netns` to `prefix`, and `docker-native`.
pub(super) fn findings(
    facts: &CheckFacts,
    resolved: &Resolved,
    problems: &[Problem],
) -> Vec<Finding> {
    let mut found = vec![engine(facts), socket(facts), netns(facts, problems)];
    found.extend(networks(facts, resolved));
    found.extend(prefix(facts, problems));
    found.extend(native(facts));
    found
}

fn engine(facts: &CheckFacts) -> Finding {
    let id = CheckId::Docker;
    match &facts.docker {
        Docker::NotAsked => Finding::skip(id, facts.no_snapshot()),
        Docker::NotPermitted(why) => Finding::skip(id, why),
        Docker::Away(why) => Finding::fail(id, why).with("systemctl start docker"),
        Docker::Here(survey) => match (&survey.version, &survey.snapshot) {
            (Some((api, engine)), Ok(snapshot)) => {
                let running = match snapshot.containers.len() {
                    1 => "1 container runs".to_owned(),
                    count => format!("{count} containers run"),
                };
                let engine = shown(engine.raw());
                let what = format!("Engine {engine}, API {api}, {running}");
                Finding::ok(id, what)
            }
            (_, Err(why)) if survey.refused.is_empty() => Finding::fail(id, why),
            _ => Finding::ok(id, "it answers, but not every question"),
        },
    }
}

fn socket(facts: &CheckFacts) -> Finding {
    let id = CheckId::DockerProxySocket;
    match &facts.docker {
        Docker::Here(survey) if survey.refused.is_empty() => {
            Finding::ok(id, format!("{} are permitted", PATHS.join(" ")))
        }
        Docker::Here(survey) => {
            let paths: Vec<&str> = survey.refused.iter().map(|(path, _)| *path).collect();
            let (_, first) = &survey.refused[0];
            let what = format!("{} refused: {first}", paths.join(" "));
            Finding::fail(id, what).with(PERMIT)
        }
        _ => Finding::skip(id, facts.no_snapshot()),
    }
}

fn netns(facts: &CheckFacts, problems: &[Problem]) -> Finding {
    let id = CheckId::Netns;
    match (
        problems.iter().find(|p| p.id == ProblemId::WrongNetns),
        facts.snapshot(),
    ) {
        (Some(problem), _) => failed(id, problem),
        (None, None) => Finding::skip(id, facts.no_snapshot()),
        (None, Some(_)) => Finding::ok(id, "every bridge to which a published port leads is here"),
    }
}

/// Published ports: the protocol's number and the host's port.
type Ports = BTreeSet<(u8, u16)>;

/// Containers that publish ports and have no IPv6 address, by what would give them one.
fn networks(facts: &CheckFacts, resolved: &Resolved) -> Vec<Finding> {
    let id = CheckId::DockerIpv6;
    let Some(snapshot) = facts.snapshot() else {
        return vec![Finding::skip(id, facts.no_snapshot())];
    };
    let mut found = Vec::new();
    // The ports of each network that has IPv6 off, and the containers that publish them.
    let mut off: BTreeMap<&str, (Ports, Vec<&Container>)> = BTreeMap::new();
    let mut without: BTreeMap<&str, Ports> = BTreeMap::new();
    for skipped in &resolved.skipped {
        if let (Reason::NoAddress(has), Some((proto, port))) = (&skipped.reason, skipped.port)
            && has.is_empty()
        {
            let ports = without.entry(&skipped.container_id).or_default();
            ports.insert((proto.number(), port));
        }
    }
    for (container, ports) in without {
        let Some(container) = snapshot.containers.get(container) else {
            continue;
        };
        let bridges: Vec<&Network> = container
            .endpoints
            .iter()
            .filter_map(|endpoint| snapshot.networks.get(&endpoint.network_id))
            .filter(|network| network.driver.raw() == "bridge" && !network.internal)
            .collect();
        let count = ports.len();
        if bridges.is_empty() {
            continue;
        }
        if bridges.iter().all(|network| network.subnets.is_empty()) {
            let (all, containers) = off.entry(bridges[0].id.as_str()).or_default();
            all.extend(ports);
            containers.push(container);
        } else {
            let name = shown(container.name.raw());
            let what = format!(
                "container {name} was started before its network had IPv6: {} closed",
                stay(count)
            );
            let warning = Finding::warn(id, what);
            found.push(match word(container.name.raw()) {
                Some(name) => warning.with(format!("docker restart {name}")),
                None => warning,
            });
        }
    }
    for (network, (ports, containers)) in off {
        let network = &snapshot.networks[network];
        let name = shown(network.name.raw());
        let what = format!("network {name} has IPv6 off: {} closed", stay(ports.len()));
        let failed = Finding::fail(id, what);
        found.push(match turn_on(facts, snapshot, network, &containers) {
            Some(remedy) => failed.with(remedy),
            None => failed,
        });
    }
    if found.is_empty() {
        found.push(Finding::ok(
            id,
            "every container that publishes a port has IPv6",
        ));
    }
    found
}

fn stay(ports: usize) -> String {
    match ports {
        1 => "1 published port stays".to_owned(),
        ports => format!("{ports} published ports stay"),
    }
}

/// What turns IPv6 on for a network; `None` where its name fits into no command.
fn turn_on(
    facts: &CheckFacts,
    snapshot: &Snapshot,
    network: &Network,
    containers: &[&Container],
) -> Option<String> {
    let name = network.name.raw();
    let subnet = free_network(facts, snapshot, name);
    let finds = match &facts.docker {
        Docker::Here(survey) => finds_subnets(survey),
        _ => false,
    };
    let project = containers.iter().find_map(|it| it.labels.get(PROJECT));
    let in_project = project.and_then(|project| name.strip_prefix(project.as_str()));
    if let Some(key) = in_project.and_then(|rest| rest.strip_prefix('_')) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if key.is_empty() || !key.chars().all(is_plain) {
            return None;
        }
        let ipam = match finds {
            true => String::new(),
            false => format!(", ipam: {{config: [{{subnet: \"{subnet}\"}}]}}"),
        };
        return Some(format!(
            "in compose.yaml: networks: {{{key}: {{enable_ipv6: true{ipam}}}}}"
        ));
    }
    if name == "bridge" {
        return Some(format!(
            "in /etc/docker/daemon.json: {{\"ipv6\": true, \"fixed-cidr-v6\": \"{subnet}\"}}, then \
             systemctl restart docker"
        ));
    }
    let network = word(name)?;
    let on_it = snapshot.containers.values().filter(|container| {
        let mut endpoints = container.endpoints.iter();
        endpoints.any(|endpoint| endpoint.network.raw() == name)
    });
    let members: Vec<String> = on_it.map(|it| word(it.name.raw())).collect::<Option<_>>()?;
    let each = |verb: &str| {
        let all = members
            .iter()
            .map(|it| format!("docker network {verb} {network} {it}"));
        all.collect::<Vec<_>>().join(" && ")
    };
    let subnet = match finds {
        true => String::new(),
        false => format!(" --subnet {subnet}"),
    };
    Some(format!(
        "{} && docker network rm {network} && docker network create --ipv6{subnet} {network} && {}",
        each("disconnect"),
        each("connect"),
    ))
}

fn finds_subnets(survey: &Survey) -> bool {
    let since = FINDS_SUBNETS.parse().ok();
    survey
        .version
        .as_ref()
        .is_some_and(|(api, _)| since.is_some_and(|since| *api >= since))
}

/// A subnet that no network has: in a prefix that was given and that no network uses, else one
/// of this host's own.
fn free_network(facts: &CheckFacts, snapshot: &Snapshot, name: &str) -> Ipv6Net {
    let used = || {
        snapshot
            .networks
            .values()
            .flat_map(|network| &network.subnets)
    };
    let free = |net: &Ipv6Net| used().all(|it| !it.contains(net) && !net.contains(it));
    let given = match &facts.settings.options.prefixes {
        Choice::Fixed(prefixes) => prefixes.as_slice(),
        Choice::Auto => &[],
    };
    let mut fits = given.iter().filter(|prefix| prefix.prefix_len() <= 64);
    match fits.find_map(|prefix| prefix.subnets(64).ok()?.take(1024).find(free)) {
        Some(net) => net,
        None => own_network(facts.identity(), name),
    }
}

fn prefix(facts: &CheckFacts, problems: &[Problem]) -> Vec<Finding> {
    let id = CheckId::Prefix;
    let about = [
        ProblemId::NoPrefixMatch,
        ProblemId::PrefixOverlap,
        ProblemId::PrefixPartial,
    ];
    let mut found: Vec<Finding> = problems
        .iter()
        // Without a remedy it is the network that has no IPv6: see `docker-ipv6`.
        .filter(|problem| about.contains(&problem.id) && problem.remedy.is_some())
        .map(|problem| failed(id, problem))
        .collect();
    let snapshot = facts.snapshot();
    let prefixes = facts.prefixes();
    if prefixes.is_empty() && snapshot.is_none() {
        return vec![Finding::skip(id, facts.no_snapshot())];
    }
    let own = own_network(facts.identity(), "bridge");
    let remedy = format!(
        "dockerd --ipv6 --fixed-cidr-v6={own}, and docker-nat66 --dev {} --prefix {own}",
        facts
            .egress
            .first()
            .map_or("auto", |device| device.as_str())
    );
    for prefix in &prefixes {
        let inside = |range: &&str| {
            let range: Option<Ipv6Net> = range.parse().ok();
            range.is_some_and(|range| range.contains(prefix))
        };
        let what = if let Some(range) = DOCUMENTATION.iter().find(|range| inside(range)) {
            format!("{prefix} lies in {range}, the range for documentation")
        } else if prefix.to_string() == EXAMPLE {
            format!("{prefix} is the example of the documentation: others have it, too")
        } else {
            continue;
        };
        found.push(Finding::warn(id, what).with(&remedy));
    }
    if found.is_empty() {
        let names: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        found.push(match names.is_empty() {
            true => Finding::warn(
                id,
                "Docker has no network with IPv6 that it would masquerade",
            ),
            false => Finding::ok(id, names.join(", ")),
        });
    }
    found
}

fn native(facts: &CheckFacts) -> Vec<Finding> {
    let id = CheckId::DockerNative;
    let (nat, unread) = match &facts.firewall.nat {
        Ok(seen) => (&seen.nat, seen.unread.as_ref()),
        Err(error) => return vec![Finding::skip(id, chain(error))],
    };
    if !nat.chains && nat.podman.is_empty() {
        return vec![match unread {
            None => Finding::ok(id, "Docker's own IPv6 NAT is off"),
            Some(error) => Finding::skip(id, chain(error)),
        }];
    }
    let Some(snapshot) = facts.snapshot() else {
        let what = format!(
            "chains of Docker's own IPv6 NAT are here; {}",
            facts.no_snapshot()
        );
        return vec![Finding::skip(id, what)];
    };
    let published = published(snapshot, true).unwrap_or_default().forwards;
    let serving = &nat.forwards | &nat.podman;
    let served = published.intersection(&serving).count();
    let unserved: Vec<&HostForward> = published.difference(&serving).collect();
    let what = match (served, unserved.len()) {
        (0, 0) => "Docker's own IPv6 NAT has its chains here, and nothing is published",
        (0, _) => "Docker's own IPv6 NAT is off; an Engine has left its chains",
        (_, 0) => {
            "Docker's own IPv6 NAT is on and serves every published port: docker-nat66 \
                   stands by"
        }
        _ => {
            let each = unserved.iter().map(|forward| {
                let what = format!("Docker's own IPv6 NAT is on, but has no rule for {forward}");
                Finding::warn(id, what).with("systemctl restart docker")
            });
            return each.collect();
        }
    };
    vec![Finding::ok(id, what)]
}
