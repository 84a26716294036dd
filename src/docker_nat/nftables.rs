//! Reads Docker's own IPv6 NAT, and Podman's, from nf_tables over netlink.
//!
//! It reads the table `ip6 docker-bridges`, the chain `DOCKER` that Docker keeps by way of
//! ip6tables (nft variant) in `ip6 nat`, and netavark's `inet netavark`. Only rules that a packet
//! reaches count: from a base chain on, by jumps and verdict maps. Between two readings only the
//! socket stays.

mod decode;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/docker_nat.rs"]
pub(crate) mod oracle;
mod walk;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use self::walk::Reader;
use super::observation::{DOCKER, DockerNat, LeftBehind};
use crate::backend::nftables::error::Fault;
use crate::backend::{BackendError, ErrorKind};
use crate::netlink::shown::ShownChain;
use crate::netlink::socket::Socket;

/// The table of an Engine that uses nftables (moby, `daemon/libnetwork/drivers/bridge`).
const BRIDGES: &str = "docker-bridges";

/// The comment of the rule with which that Engine drops packets for unpublished ports.
const UNPUBLISHED: &str = "UNPUBLISHED PORT DROP";

/// The table and the base chain in which an Engine that uses ip6tables puts its jump.
const NAT: &str = "nat";
const PREROUTING: &str = "PREROUTING";

/// The table and the base chain in which such an Engine jumps to its drops.
const FILTER: &str = "filter";
const FORWARD: &str = "FORWARD";

/// The table of netavark (containers/netavark, `src/firewall/nft.rs`).
const NETAVARK: &str = "netavark";

/// `NF_INET_PRE_ROUTING`, `NF_INET_FORWARD` (linux/netfilter.h).
const HOOK_PREROUTING: u32 = 0;
const HOOK_FORWARD: u32 = 2;

/// How long the kernel may take. It answers in microseconds, unless a commit holds its mutex.
const PATIENCE: Duration = Duration::from_secs(2);

/// The reader, with its socket.
#[derive(Debug, Default)]
pub(super) struct NftablesReader {
    socket: Option<Socket>,
}

impl NftablesReader {
    /// Reads the NAT as it is now; nothing in a kernel without nf_tables. `in_filter`: drops in
    /// `ip6 filter` count, and `tool` names the one that removes them.
    ///
    /// # Errors
    /// The kernel did not answer, or its rules kept changing meanwhile; the NAT is unknown.
    pub(super) fn read(
        &mut self,
        in_filter: bool,
        tool: impl FnOnce() -> &'static str,
    ) -> Result<DockerNat, BackendError> {
        match self.try_read(Instant::now() + PATIENCE, in_filter, tool) {
            Err(fault) if fault.kind == ErrorKind::Unsupported => Ok(DockerNat::default()),
            Err(fault) => {
                self.socket = None;
                Err(fault.during("reading Docker's own IPv6 NAT".to_owned()))
            }
            Ok(seen) => Ok(seen),
        }
    }

    fn try_read(
        &mut self,
        deadline: Instant,
        in_filter: bool,
        tool: impl FnOnce() -> &'static str,
    ) -> Result<DockerNat, Fault> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::netfilter()?),
        };
        let mut seen = DockerNat::default();
        let mut reader = Reader::ip6(socket, deadline);
        let base = reader.base_chains()?;
        let has = |table: &str, name: &str| {
            let mut chains = base.iter();
            chains.any(|chain| chain.table == table && chain.name == name)
        };
        if has(NAT, PREROUTING) {
            dockers_nat(&mut reader, &mut seen)?;
        }
        if base.iter().any(|chain| chain.table == BRIDGES) {
            bridges(&mut reader, &base, &mut seen)?;
        }
        if in_filter && has(FILTER, FORWARD) {
            dockers_filter(&mut reader, &mut seen, tool)?;
        }
        let mut reader = Reader::inet(socket, deadline);
        let base = reader.base_chains()?;
        let starts = nat_starts(&base, NETAVARK);
        if !starts.is_empty() {
            let rules = reader.rules(NETAVARK, None)?;
            let reached = reader.reached(NETAVARK, &starts, &rules)?;
            seen.netavark = !reached.is_empty();
            seen.podman = reached.iter().filter_map(|rule| rule.forward).collect();
        }
        Ok(seen)
    }
}

/// Adds the chain `DOCKER` of ip6tables' nat table.
fn dockers_nat(reader: &mut Reader<'_>, seen: &mut DockerNat) -> Result<(), Fault> {
    let rules = reader.rules(NAT, Some(PREROUTING))?;
    if rules.iter().any(|rule| rule.jumps_to(DOCKER)) {
        seen.chains = true;
        let rules = reader.rules(NAT, Some(DOCKER))?;
        seen.forwards
            .extend(rules.iter().filter_map(|rule| rule.forward));
    }
    Ok(())
}

/// Adds the table `ip6 docker-bridges`.
fn bridges(
    reader: &mut Reader<'_>,
    base: &[ShownChain],
    seen: &mut DockerNat,
) -> Result<(), Fault> {
    let rules = reader.rules(BRIDGES, None)?;
    let reached = reader.reached(BRIDGES, &nat_starts(base, BRIDGES), &rules)?;
    seen.chains |= !reached.is_empty();
    seen.forwards
        .extend(reached.iter().filter_map(|rule| rule.forward));
    let starts = starts(base, BRIDGES, |chain| chain.hook() == Some(HOOK_FORWARD));
    let mut reached = reader.reached(BRIDGES, &starts, &rules)?.into_iter();
    if let Some(rule) = reached.find(|rule| rule.drops && rule.comment == UNPUBLISHED) {
        seen.left_behind.insert(LeftBehind {
            place: format!("chain {} of table ip6 {BRIDGES}", rule.chain),
            remedy: format!("nft delete table ip6 {BRIDGES}"),
        });
    }
    Ok(())
}

/// Adds what the chain `DOCKER` of ip6tables' filter table drops.
fn dockers_filter(
    reader: &mut Reader<'_>,
    seen: &mut DockerNat,
    tool: impl FnOnce() -> &'static str,
) -> Result<(), Fault> {
    let drops = reader.rules(FILTER, Some(DOCKER))?;
    if !drops.iter().any(|rule| rule.drops) {
        return Ok(());
    }
    let rules = reader.rules(FILTER, None)?;
    let reached = reader.reached(FILTER, &[FORWARD], &rules)?.into_iter();
    let drops = reached.filter(|rule| rule.chain == DOCKER && rule.drops);
    let bridges: BTreeSet<&str> = drops.filter_map(|rule| rule.bridge.as_deref()).collect();
    if !bridges.is_empty() {
        let tool = tool();
        let left = bridges.into_iter();
        seen.left_behind
            .extend(left.map(|bridge| LeftBehind::drop_of(bridge, tool)));
    }
    Ok(())
}

/// The base chains of a table that can rewrite the destination of what comes in.
fn nat_starts<'b>(base: &'b [ShownChain], table: &str) -> Vec<&'b str> {
    starts(base, table, |chain| {
        chain.kind == NAT && chain.hook() == Some(HOOK_PREROUTING)
    })
}

fn starts<'b>(
    base: &'b [ShownChain],
    table: &str,
    which: impl Fn(&ShownChain) -> bool,
) -> Vec<&'b str> {
    let chains = base
        .iter()
        .filter(|chain| chain.table == table && which(chain));
    chains.map(|chain| chain.name.as_str()).collect()
}
