//! The rules of docker-ipv6nat, as distinct from those of an Engine ([`shapes`]).

use super::super::engine_url::ask;
use super::super::failure::{Exit, Failure};
use super::super::output;
use super::tables::{self, listing};
use crate::backend::ip6tables::Ip6tables;
use crate::backend::shell::tool_of;
use crate::check::does_nat;
use crate::check::shapes::{self, Found};
use crate::docker::host::DockerHost;
use crate::docker::survey::Survey;
use crate::sys::{host, locks};

/// Lists the rules, and with `yes` removes them: nat first, so that nothing is forwarded meanwhile
/// that the filter table no longer knows.
pub(super) fn run(docker: &DockerHost, yes: bool) -> Result<Exit, Failure> {
    leaves_nat_to_others(docker)?;
    let mut variants = tables::variants()?;
    let mut total = 0;
    // Before anything goes, all is known to be theirs.
    let found: Vec<_> = variants.iter_mut().map(changes).collect::<Result<_, _>>()?;
    for (tables, changes) in variants.iter_mut().zip(found) {
        for (table, changes) in changes.iter().filter(|(_, changes)| !changes.is_empty()) {
            total += changes.len();
            tables::print(tables.variant(), table, changes)?;
            if yes {
                tables.change_foreign(table, changes)?;
            }
        }
        if yes && total > 0 {
            let left: usize = self::changes(tables)?
                .iter()
                .map(|(_, left)| left.len())
                .sum();
            if left > 0 {
                return Err(tables::again(left));
            }
        }
    }
    if total > 0 && !yes && !daemon_runs() {
        output::print(
            "no docker-nat66 runs here: without these rules published ports are closed over IPv6 \
             until it does\n",
        )?;
    }
    tables::conclude(total, yes)
}

/// Makes sure that no Engine runs that does IPv6 NAT unless its settings forbid it, which its API does
/// not show. It uses the same chains; what it found of docker-ipv6nat's in them when it started it has left
/// in that order, so that its own rules may look like docker-ipv6nat's. One that does not run makes its
/// rules anew when it starts.
///
/// # Errors
/// One runs.
fn leaves_nat_to_others(docker: &DockerHost) -> Result<(), Failure> {
    let Ok(Survey { version, .. }) = ask(docker)? else {
        return Ok(());
    };
    let Some((_, engine)) = version else {
        return Ok(());
    };
    match does_nat(engine.raw()) {
        true => Err(Failure::new(
            Exit::Failed,
            format!(
                "Engine {engine} runs, which does IPv6 NAT itself in the same chains as docker-ipv6nat \
                 unless its settings forbid it: nothing is removed. Stop Docker, do this, and start \
                 Docker again"
            ),
        )),
        false => Ok(()),
    }
}

/// What removes their rules from each table.
///
/// # Errors
/// A table cannot be listed, or rules of an Engine are among them.
fn changes(tables: &mut Ip6tables) -> Result<[(&'static str, Vec<String>); 2], Failure> {
    let nat = listing(tables, "nat")?;
    let filter = listing(tables, "filter")?;
    match shapes::find(&nat, &filter) {
        Found::Nothing => Ok([("nat", Vec::new()), ("filter", Vec::new())]),
        Found::Theirs { nat, filter } => Ok([("nat", nat), ("filter", filter)]),
        Found::Engine(sign) => {
            let tool = tool_of(tables.variant());
            let message = format!(
                "{sign} ({tool}) is a Docker Engine's, which uses the same chains as docker-ipv6nat: \
                 nothing is removed. `docker-nat66 check` says whether the Engine \
                 does IPv6 NAT itself (docker-native); then stop docker-ipv6nat and restart Docker"
            );
            Err(Failure::new(Exit::Failed, message))
        }
    }
}

/// Whether a daemon holds this network namespace.
fn daemon_runs() -> bool {
    let lock = host::netns_inode().map(locks::netns_path);
    lock.is_ok_and(|lock| matches!(locks::inspect(&lock), Ok(Some(_))))
}
