//! The kernel, the journal's directory, the clock and privileges. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::facts::{CheckFacts, Machine};
use super::finding::{CheckId, Finding};
use super::ruleset::read::Unseen;
use crate::backend::ip6tables::Variant;
use crate::backend::shell::word;

/// From this kernel on a table can be owned and yet outlive its owner
/// (`NFT_TABLE_F_PERSIST`).
const OWNED_SINCE: (u32, u32) = (6, 9);

/// What a new journal needs, in bytes.
const ROOM: u64 = 2 * 1024 * 1024;

/// 2025-01-01, before any release of this program: a clock that shows less was never set. Seconds
/// since the epoch.
const NOT_BEFORE: u64 = 1_735_689_600;

/// By how much the clock may be behind the journal's last change.
const BEHIND: Duration = Duration::from_secs(60);

/// Kernel, journal, clock, privilege.
pub(super) fn findings(facts: &CheckFacts) -> Vec<Finding> {
    let mut found = vec![kernel(facts)];
    found.extend(journal(facts));
    found.push(clock(&facts.machine));
    found.extend(privilege(facts));
    found
}

fn kernel(facts: &CheckFacts) -> Finding {
    let id = CheckId::Kernel;
    let Machine {
        release,
        connections,
        bpf,
        ..
    } = &facts.machine;
    let no_tables = facts.firewall.rules == Err(Unseen::NoNfTables);
    if no_tables && facts.firewall.tool.is_err() {
        let what = format!("Linux {release} has no nf_tables, and there is no ip6tables");
        return Finding::fail(id, what).with("modprobe nf_tables");
    }
    if let Some((count, most)) = connections
        && *count >= most - most / 10
        && *most > 0
    {
        let what = format!("{count} of {most} connections are tracked: new ones are dropped");
        let remedy = format!("sysctl -w net.netfilter.nf_conntrack_max={}", 2 * most);
        return match count >= most {
            true => Finding::fail(id, what),
            false => Finding::warn(id, format!("{count} of {most} connections are tracked")),
        }
        .with(remedy);
    }
    let owned = match version(release) >= Some(OWNED_SINCE) {
        true => "tables can be owned",
        false => "tables cannot be owned: changes by others are put right",
    };
    let bpf = if *bpf { "has bpf(2)" } else { "has no bpf(2)" };
    let tracked = match connections {
        Some((count, most)) => format!("{count} of {most} connections tracked"),
        None => "no connection is tracked yet".to_owned(),
    };
    Finding::ok(id, format!("Linux {release}: {owned}, {bpf}, {tracked}"))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

fn journal(facts: &CheckFacts) -> Vec<Finding> {
    let id = CheckId::Journal;
    let dir = facts.settings.state_dir.display().to_string();
    let quoted = word(&dir);
    let seen = match &facts.machine.journal {
        Ok(seen) => seen,
        Err(fault) if fault.denied => return vec![Finding::skip(id, &fault.what)],
        Err(fault) => {
            let failed = Finding::fail(id, &fault.what);
            return vec![match quoted.filter(|_| fault.foreign) {
                Some(dir) => failed.with(format!("chown root {dir}")),
                None => failed,
            }];
        }
    };
    let mut found = Vec::new();
    if seen.read_only {
        let what = format!("{dir}: the file system is read-only, it must be writable");
        let remedy = quoted
            .as_ref()
            .map(|dir| format!("mount -o remount,rw \"$(findmnt -no TARGET -T {dir})\""));
        let failed = Finding::fail(id, what);
        found.push(match remedy {
            Some(remedy) => failed.with(remedy),
            None => failed,
        });
    } else if seen.free < ROOM && !seen.exists {
        let what = format!(
            "{dir}: {} KiB are free, about 2 MiB are needed",
            seen.free / 1024
        );
        found.push(Finding::fail(id, what));
    }
    for path in &seen.quarantined {
        let path = path.display().to_string();
        let what = format!("a damaged journal was put aside: {path}");
        let kept = Finding::warn(id, what);
        found.push(match word(&path) {
            Some(path) => kept.with(format!("rm -r {path}")),
            None => kept,
        });
    }
    if found.is_empty() {
        let what = match seen.exists {
            true => format!("{dir} holds one"),
            false => format!("{dir} holds none: the daemon makes one at its first start"),
        };
        found.push(Finding::ok(id, what));
    }
    found
}

fn clock(machine: &Machine) -> Finding {
    let id = CheckId::Clock;
    let remedy = "timedatectl set-ntp true";
    let now = machine.now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let shown = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    if now.as_secs() < NOT_BEFORE {
        let what = format!("it shows {}: it was never set", shown(machine.now));
        return Finding::warn(id, what).with(remedy);
    }
    let changed = machine.journal.as_ref().ok().and_then(|seen| seen.changed);
    if let Some(changed) = changed
        && changed.duration_since(machine.now).unwrap_or_default() > BEHIND
    {
        let what = format!(
            "it shows {}, and the journal was last written at {}",
            shown(machine.now),
            shown(changed)
        );
        return Finding::warn(id, what).with(remedy);
    }
    Finding::ok(id, shown(machine.now))
}

fn privilege(facts: &CheckFacts) -> Vec<Finding> {
    let id = CheckId::Privilege;
    let machine = &facts.machine;
    if !machine.net_admin {
        let what = "without CAP_NET_ADMIN no rules can be seen, and none changed";
        return vec![Finding::skip(id, what).with("sudo docker-nat66 check")];
    }
    let mut found = Vec::new();
    if !machine.net_raw && facts.variant() == Some(Variant::Legacy) {
        let what = "the legacy variant of ip6tables needs CAP_NET_RAW, too";
        found.push(Finding::fail(id, what).with("sudo docker-nat66 check"));
    }
    // The daemon gives up the capability to pass over permissions.
    if let (Some((owner, mode)), crate::docker::host::DockerHost::Unix(path)) =
        (machine.socket, &facts.settings.docker)
        && machine.uid == 0
    {
        let may = match owner == 0 {
            true => mode & 0o600 == 0o600,
            false => mode & 0o006 == 0o006,
        };
        if !may {
            let path = path.display().to_string();
            let what = format!(
                "{path} is not root's own: root's daemon cannot open it, for it gives up the \
                 capability that passes over permissions"
            );
            let failed = Finding::fail(id, what);
            found.push(match word(&path) {
                Some(path) => failed.with(format!("chown root {path} && chmod u+rw {path}")),
                None => failed,
            });
        }
    }
    if found.is_empty() {
        let what = match machine.net_raw {
            true => "CAP_NET_ADMIN and CAP_NET_RAW",
            false => "CAP_NET_ADMIN",
        };
        found.push(Finding::ok(id, what));
    }
    found
}
