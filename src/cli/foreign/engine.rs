//! What an Engine has left behind that drops what is forwarded, now that its own IPv6 NAT is off.

use std::collections::BTreeSet;

use super::super::engine_url::ask;
use super::super::failure::{Exit, Failure};
use super::super::output;
use super::tables::{self, listing};
use crate::backend::ip6tables::{Ip6tables, ToolSettings, Variant};
use crate::backend::nftables::foreign::remove_table;
use crate::docker::host::DockerHost;
use crate::docker_nat::observation::DockerNat;
use crate::docker_nat::observer::Observer;
use crate::docker_nat::since::SETTLES_AFTER;
use crate::mapper::published::published;
use crate::model::forward::Proto;
use crate::model::published::HostForward;

/// The table of an Engine that uses nftables, and the command that removes it.
const BRIDGES: &str = "docker-bridges";
const REMOVES_BRIDGES: &str = "nft delete table ip6 docker-bridges";

/// Lists the rules, and with `yes` removes them.
pub(super) fn run(docker: &DockerHost, yes: bool) -> Result<Exit, Failure> {
    // Our own rules may be in any table: what drops there counts.
    let mut observer = Observer::new(None, &ToolSettings::default());
    if observe(&mut observer)?.left_behind.is_empty() {
        return tables::conclude(0, yes);
    }
    let mut seen = observe_off(docker, &mut observer)?.left_behind;
    if yes {
        // A container that is just being started has no rule yet.
        std::thread::sleep(SETTLES_AFTER);
        let again = observe_off(docker, &mut observer)?.left_behind;
        seen.retain(|left| again.iter().any(|too| too.remedy == left.remedy));
    }
    let mut total = 0;
    let names = |command: &str| seen.iter().any(|left| left.remedy == command);
    if names(REMOVES_BRIDGES) {
        total += 1;
        output::print(&format!("{REMOVES_BRIDGES}\n"))?;
        if yes {
            remove_table(BRIDGES)?;
        }
    }
    let settings = ToolSettings::default();
    let variants = [Ip6tables::nft(&settings), Ip6tables::legacy(&settings)];
    for mut tables in variants.into_iter().flatten() {
        let changes = drops(&listing(&mut tables, "filter")?, tables.variant(), &names);
        if changes.is_empty() {
            continue;
        }
        total += changes.len();
        tables::print(tables.variant(), "filter", &changes)?;
        if yes {
            tables.change_foreign("filter", &changes)?;
        }
    }
    if yes && let left @ 1.. = observe(&mut observer)?.left_behind.len() {
        return Err(tables::again(left));
    }
    tables::conclude(total, yes)
}

/// The removals of the drops in a listing of the filter table that are named as left behind.
fn drops(listing: &str, variant: Variant, names: &impl Fn(&str) -> bool) -> Vec<String> {
    // So it may be named, whatever the tool is called that makes the change here.
    let tools: &[&str] = match variant {
        Variant::Nft => &["ip6tables", "ip6tables-nft"],
        Variant::Legacy => &["ip6tables-legacy"],
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " _-.!".contains(c);
    let rules = listing.lines().filter_map(|line| line.strip_prefix("-A "));
    let named = rules.filter(|rule| {
        let mut tools = tools.iter();
        tools.any(|tool| names(&format!("{tool} -t filter -D {rule}")))
    });
    let plain = named.filter(|rule| rule.chars().all(is_plain));
    plain.map(|rule| format!("-D {rule}")).collect()
}

/// Observes Docker's own IPv6 NAT, wherever it may stand.
///
/// # Errors
/// A part of it cannot be read, and what is removed would be decided without it.
fn observe(observer: &mut Observer) -> Result<DockerNat, Failure> {
    observer.observe().map_err(|error| {
        let failure = Failure::from(error);
        let message = format!(
            "what an Engine has left behind is not known for certain, so nothing is removed: {failure}"
        );
        Failure::new(failure.exit, message)
    })
}

/// Observes Docker's own IPv6 NAT, and makes sure that it serves no published port. Docker is asked
/// first: an Engine that is just starting answers when it has set its rules.
///
/// # Errors
/// It serves one, or that is not known.
fn observe_off(docker: &DockerHost, observer: &mut Observer) -> Result<DockerNat, Failure> {
    let refused = |why: String| Err(Failure::new(Exit::Failed, why));
    let snapshot = match ask(docker)? {
        Ok(survey) => survey.snapshot,
        Err(error) => Err(error.to_string()),
    };
    let snapshot = match snapshot {
        Ok(snapshot) => snapshot,
        Err(why) => {
            return refused(format!(
                "Docker cannot be asked whether its own IPv6 NAT is on, which uses these rules: \
                 {why}; start Docker, or name it with --docker-host"
            ));
        }
    };
    if !snapshot.unanswered.is_empty() {
        return refused(
            "Docker does not answer about every container, so whether its own IPv6 NAT is on is \
             not known: try again"
                .to_owned(),
        );
    }
    let published = published(&snapshot, true).unwrap_or_default().forwards;
    let seen = observe(observer)?;
    // Wherever it leads: what is published may lead to another address than we compute.
    let serving: BTreeSet<_> = seen.forwards.iter().chain(&seen.podman).map(port).collect();
    if let Some(forward) = published.iter().find(|it| serving.contains(&port(it))) {
        return refused(format!(
            "Docker's own IPv6 NAT is on (it serves {forward}), and these rules are in use: nothing \
             is removed. To turn it off, set \"ip6tables\": false in /etc/docker/daemon.json and \
             restart Docker"
        ));
    }
    if seen.chains && published.is_empty() {
        return refused(
            "no container publishes a port over IPv6, so whether Docker's own IPv6 NAT is on is not \
             known: start one that does, and try again"
                .to_owned(),
        );
    }
    Ok(seen)
}

fn port(forward: &HostForward) -> (Proto, u16) {
    (forward.proto, forward.host_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_drops_that_are_named_go_and_by_the_tool_of_their_variant() {
        let listing = "*filter\n:DOCKER - [0:0]\n-A DOCKER ! -i docker0 -o docker0 -j DROP\n\
            -A DOCKER ! -i br0 -o br0 -j DROP\n-A DOCKER -j DROP\nCOMMIT\n";
        let named = "ip6tables-legacy -t filter -D DOCKER ! -i docker0 -o docker0 -j DROP";
        let names = |command: &str| command == named;
        let expected = ["-D DOCKER ! -i docker0 -o docker0 -j DROP"];
        assert_eq!(drops(listing, Variant::Legacy, &names), expected);
        assert!(drops(listing, Variant::Nft, &names).is_empty());
    }
}
