//! What the host must have so that published ports are reachable, checked from all sides, with a
//! remedy for what is missing.
//!
//! ```text
//!   /proc, netlink, ip6tables-save, Docker ──gather──▶ CheckFacts ──host, docker, tools, firewall,
//!                                                                   machine, leftovers──▶ Report
//! ```
//!
//! [`gather`] and the readers that it calls only read, and [`finding`] says how the report looks; the
//! rest is pure. What `status` reports as a problem is found by the same functions
//! ([`crate::mapper::health`], [`crate::docker_nat`]). No task or thread runs here, and nothing stays.

mod docker;
mod drops;
mod facts;
mod finding;
mod firewall;
mod gather;
mod host;
mod leftovers;
mod machine;
pub(crate) mod ruleset;
pub(crate) mod shapes;
mod tools;
mod wording;

pub(crate) use self::facts::{Settings, Tools};
pub(crate) use self::finding::{CheckId, Finding, Report};
pub(crate) use self::leftovers::{does_nat, is_of_go};

use ipnet::Ipv6Net;

use self::facts::{CheckFacts, Docker};
use self::ruleset::read::Unseen;
use self::ruleset::{Packet, Place, Ruleset};
use crate::backend::authors::OWN_FORWARD;
use crate::backend::ip6tables::Variant;
use crate::mapper::compute::{Computed, DockerState};
use crate::mapper::forwards::Resolved;
use crate::mapper::health;
use crate::model::conditions::ForeignRules;
use crate::model::device::Device;
use crate::model::problem::{Problem, ProblemId};

/// Looks at everything, Docker included.
pub(crate) async fn check(settings: &Settings, ignored: &[CheckId]) -> Report {
    let docker = gather::docker(&settings.docker).await;
    report(&gather::facts(settings, docker), ignored)
}

/// What does not work on this host, beyond what `status` reports as a problem, for a daemon that
/// begins. Asks no tool, and not Docker.
pub(crate) fn fails_beside_status(settings: &Settings) -> Vec<Finding> {
    let facts = gather::facts(settings, Docker::NotAsked);
    let (problems, resolved) = problems(&facts);
    let all = Report::new(findings(&facts, &resolved, &problems), &[]);
    // The last three are the problem `forward-drop`.
    let reported = [CheckId::ForwardDrop, CheckId::Ufw, CheckId::Firewalld];
    let is_reported = |it: &&Finding| {
        reported.contains(&it.id) || problems.iter().any(|problem| problem.what == it.found)
    };
    all.fails().filter(|it| !is_reported(it)).cloned().collect()
}

/// What the rules of others do to the packets that we forward, as far as ours cannot overrule it; ours are
/// in the tables of this variant of ip6tables, or with `None` in a table of their own. `None` if that
/// is not known now. Reads nf_tables alone: the legacy variant's tables need a tool.
pub(crate) fn foreign_rules(
    devices: &[Device],
    prefixes: &[Ipv6Net],
    variant: Option<Variant>,
) -> Option<ForeignRules> {
    let ours = variant.map(drops::home);
    // Of the chain that ours stands in, nothing else matters.
    let follows =
        |place: &Place, chain: &str| !drops::overrules(ours, place) || chain == drops::DOCKER_USER;
    let mut rules = match ruleset::read::forwarding(drops::is_of_others, follows) {
        Ok(rules) => rules,
        Err(Unseen::NoNfTables) => return Some(ForeignRules::default()),
        Err(Unseen::NotPermitted | Unseen::Failed(_)) => return None,
    };
    // What an earlier run has accepted there need not be accepted by the next one.
    rules.leave_out_calls(OWN_FORWARD);
    let packet = Packet {
        from: devices.iter().map(|it| it.as_str().to_owned()).collect(),
        to: prefixes.to_vec(),
    };
    let context = drops::DropContext {
        packet: &packet,
        tool: Some(variant.unwrap_or(Variant::Nft)),
        unlisted: Vec::new(),
    };
    let all = drops::all(&rules, &packet, ours);
    let certain = all.iter().filter(|it| !it.dropped.unless_accepted);
    let problem = |found| Problem {
        id: ProblemId::ForwardDrop,
        what: drops::what(found),
        remedy: drops::remedy(found, &context),
    };
    Some(ForeignRules {
        drops: certain.map(problem).collect(),
        strict_way_back: rules.is_strict().is_some(),
    })
}

fn report(facts: &CheckFacts, ignored: &[CheckId]) -> Report {
    let (problems, resolved) = problems(facts);
    Report::new(findings(facts, &resolved, &problems), ignored)
}

/// The problems that `status` would report, and what becomes of the published ports.
fn problems(facts: &CheckFacts) -> (Vec<Problem>, Resolved) {
    let options = &facts.settings.options;
    let Ok(host) = &facts.host else {
        return Default::default();
    };
    let snapshot = facts.snapshot();
    let docker = snapshot.map_or(DockerState::NotYet, |it| DockerState::Snapshot(it));
    let Computed { resolved, .. } = options.compute(docker, &host.facts);
    let docker = snapshot.map(|snapshot| (&**snapshot, &resolved));
    let mut problems = health::problems(options, &host.facts, &host.conditions, docker, false);
    let rules = facts.firewall.rules.as_ref();
    if let (Some(snapshot), Ok(Some(_))) = (snapshot, rules.map(Ruleset::is_strict)) {
        problems.extend(health::prefix_partial(options, snapshot, &resolved));
    }
    (problems, resolved)
}

fn findings(facts: &CheckFacts, resolved: &Resolved, problems: &[Problem]) -> Vec<Finding> {
    let mut found = host::findings(facts, problems);
    found.extend(docker::findings(facts, resolved, problems));
    found.extend(tools::findings(facts));
    found.extend(firewall::findings(facts));
    found.extend(machine::findings(facts));
    found.extend(leftovers::findings(facts));
    found
}

#[cfg(test)]
mod tests;
