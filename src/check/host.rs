//! Forwarding, addresses, routes and interfaces. Pure.

use super::facts::{CheckFacts, Host};
use super::finding::{CheckId, Finding};
use crate::model::device::{Device, sysctl_key};
use crate::model::problem::{Problem, ProblemId};

/// Unique local addresses: fc00::/7 (RFC 4193).
fn is_unique_local(addr: std::net::Ipv6Addr) -> bool {
    addr.segments()[0] & 0xfe00 == 0xfc00
}

/// The first five ids: what the host itself must have. `problems` are those that `status` would
/// report.
pub(super) fn findings(facts: &CheckFacts, problems: &[Problem]) -> Vec<Finding> {
    const IDS: [CheckId; 5] = [
        CheckId::Forwarding,
        CheckId::AcceptRa,
        CheckId::Address,
        CheckId::DefaultRoute,
        CheckId::Device,
    ];
    let host = match &facts.host {
        Ok(host) => host,
        Err(why) => return IDS.map(|id| Finding::skip(id, why)).into(),
    };
    let mut found = vec![forwarding(host, problems)];
    found.extend(default_route(facts, host, problems));
    if facts.egress.is_empty() {
        let why = "no egress interface is known";
        let rest = [CheckId::AcceptRa, CheckId::Address, CheckId::Device];
        found.extend(rest.map(|id| Finding::skip(id, why)));
        return found;
    }
    for device in &facts.egress {
        let device_found = interface(host, device, problems);
        if host.links.contains_key(device) {
            found.push(accept_ra(host, device));
            found.push(address(host, device));
        } else {
            let why = format!("there is no interface {device}");
            found.push(Finding::skip(CheckId::AcceptRa, &why));
            found.push(Finding::skip(CheckId::Address, why));
        }
        found.push(device_found);
    }
    found
}

/// The finding for a problem of `status`.
pub(super) fn failed(id: CheckId, problem: &Problem) -> Finding {
    let finding = Finding::fail(id, &problem.what);
    match &problem.remedy {
        Some(remedy) => finding.with(remedy),
        None => finding,
    }
}

fn forwarding(host: &Host, problems: &[Problem]) -> Finding {
    let is_whole_kernel = |p: &&Problem| {
        p.id == ProblemId::Forwarding
            || p.id == ProblemId::Ipv6Disabled && host.conditions.forwarding.is_none()
    };
    match (
        problems.iter().find(is_whole_kernel),
        host.conditions.forwarding,
    ) {
        (Some(problem), _) => failed(CheckId::Forwarding, problem),
        (None, Some(true)) => Finding::ok(CheckId::Forwarding, "net.ipv6.conf.all.forwarding = 1"),
        (None, _) => Finding::ok(
            CheckId::Forwarding,
            "force_forwarding = 1 on the egress interfaces and Docker's bridges",
        ),
    }
}

fn accept_ra(host: &Host, device: &Device) -> Finding {
    let id = CheckId::AcceptRa;
    let Some(settings) = host.advertisements.get(device) else {
        return Finding::skip(id, format!("{device} has no settings for IPv6"));
    };
    let index = host.links.get(device).map(|link| link.index);
    let advertised = host
        .routes
        .iter()
        .any(|route| Some(route.interface) == index && route.from_advertisement);
    let accept = settings.accept;
    if settings.forwards && accept == 1 && advertised {
        let what = format!(
            "net.ipv6.conf.{}.accept_ra = 1: the host forwards, so the kernel hears no router \
             any more, and its default route through {device} ends",
            sysctl_key(device.as_str())
        );
        let remedy = format!(
            "sysctl -w net.ipv6.conf.{}.accept_ra=2",
            sysctl_key(device.as_str())
        );
        return Finding::warn(id, what).with(remedy);
    }
    let route = match advertised {
        true => "its default route comes from a router",
        false => "its default route does not come from a router",
    };
    Finding::ok(id, format!("{device}: accept_ra = {accept}, {route}"))
}

fn address(host: &Host, device: &Device) -> Finding {
    let id = CheckId::Address;
    let of_device =
        |a: &&crate::sys::host::InterfaceAddress| a.is_global && a.interface == device.as_str();
    let all: Vec<_> = host.addresses.iter().filter(of_device).collect();
    let usable = all.iter().filter(|a| !a.is_duplicate && !a.is_tentative);
    // One that is reached from everywhere says more than a local one.
    if let Some(best) = usable.min_by_key(|a| is_unique_local(a.addr)) {
        let addr = best.addr;
        let reach = match is_unique_local(addr) {
            true => ", a unique local address: reached only from within the site",
            false => "",
        };
        return Finding::ok(id, format!("{device} has {addr}{reach}"));
    }
    if let Some(duplicate) = all.iter().find(|a| a.is_duplicate) {
        let addr = duplicate.addr;
        let length = duplicate.length;
        let what = format!("another host on the link of {device} has {addr}: it is not used");
        let again = format!("{addr}/{length} dev {device}");
        let remedy = format!("once that host has another: ip -6 addr replace {again}");
        return Finding::fail(id, what).with(remedy);
    }
    if let Some(tentative) = all.first() {
        let addr = tentative.addr;
        let what = format!("{addr} of {device} is still being checked for duplicates");
        return Finding::warn(id, what);
    }
    Finding::fail(id, format!("{device} has no address that others can reach"))
        .with(format!("ip -6 addr add ADDRESS/64 dev {device}"))
}

fn default_route(facts: &CheckFacts, host: &Host, problems: &[Problem]) -> Vec<Finding> {
    let id = CheckId::DefaultRoute;
    if let Some(problem) = problems.iter().find(|p| p.id == ProblemId::NoEgress) {
        return vec![failed(id, problem)];
    }
    let defaults = &host.facts.default_devices;
    let remedy = |device: &Device| format!("ip -6 route add default via ROUTER dev {device}");
    let mut found = Vec::new();
    for device in &facts.egress {
        if defaults.contains(device) {
            continue;
        }
        let what = match defaults.first() {
            None => {
                "no IPv6 default route: only clients on links of this host get an answer".to_owned()
            }
            Some(other) => format!(
                "the default route leaves by {other}: answers to clients behind a router of \
                 {device} go that way"
            ),
        };
        found.push(Finding::warn(id, what).with(remedy(device)));
    }
    if found.is_empty() {
        let names: Vec<&str> = defaults.iter().map(Device::as_str).collect();
        found.push(Finding::ok(id, format!("through {}", names.join(", "))));
    }
    found
}

fn interface(host: &Host, device: &Device, problems: &[Problem]) -> Finding {
    let id = CheckId::Device;
    let names = |problem: &&Problem| {
        let about = [
            ProblemId::NoDevice,
            ProblemId::BridgePort,
            ProblemId::Ipv6Disabled,
        ];
        let mut words = problem.what.split([' ', ':']);
        about.contains(&problem.id) && words.any(|word| word == device.as_str())
    };
    if let Some(problem) = problems.iter().find(names) {
        return failed(id, problem);
    }
    match host.links.get(device) {
        Some(link) if !link.is_up => {
            Finding::fail(id, format!("{device} is down")).with(format!("ip link set {device} up"))
        }
        Some(_) => Finding::ok(id, format!("{device} is up")),
        None => Finding::skip(id, format!("{device} is not there any more")),
    }
}
