//! What is said of facts that no test can bring about on a real host, as tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::facts::{
    CheckFacts, Docker, Firewall, Host, JournalFault, Listing, Machine, Settings, Tools,
};
use super::finding::Outcome::{Fail, Ok as Fine, Skip, Warn};
use super::finding::{CheckId, Finding, Outcome};
use super::report;
use super::ruleset::Ruleset;
use super::ruleset::read::Unseen;
use crate::backend::ip6tables::Variant;
use crate::backend::{BackendError, ErrorKind};
use crate::docker::host::DockerHost;
use crate::docker::survey::Survey;
use crate::docker_nat::observation::DockerNat;
use crate::journal::recover::Examined;
use crate::mapper::compute::{Choice, HairpinMode, HostFacts, MapperOptions};
use crate::mapper::forwards::samples::snapshot;
use crate::model::conditions::Conditions;
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::intent::{Outgoing, Unpublished};
use crate::model::rule::BackendKind;

mod left;

/// A host of which nothing is wrong, without Docker.
fn facts() -> CheckFacts {
    let eth0: Device = "eth0".parse().expect("a name");
    CheckFacts {
        settings: Settings {
            options: MapperOptions {
                devices: Choice::Auto,
                prefixes: Choice::Auto,
                unpublished: Unpublished::Drop,
                outgoing: Outgoing::Accept,
                hairpin: HairpinMode::Auto,
                limit: None,
            },
            backend: None,
            docker: DockerHost::default(),
            state_dir: "/var/lib/docker-nat66".into(),
            running: None,
            tools: Tools::Run,
        },
        egress: vec![eth0.clone()],
        host: Ok(Host {
            facts: HostFacts {
                routed: true,
                default_devices: vec![eth0],
                ..HostFacts::default()
            },
            conditions: Conditions {
                forwarding: Some(true),
                interfaces: BTreeMap::new(),
            },
            links: BTreeMap::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            advertisements: BTreeMap::new(),
        }),
        docker: Docker::NotAsked,
        firewall: Firewall {
            tool: Ok(Variant::Nft),
            rules: Ok(Ruleset::default()),
            listings: Vec::new(),
            unlisted: Vec::new(),
            nat: Ok(DockerNat::default().into()),
            running: None,
            daemon: Some(false),
        },
        machine: Machine {
            identity: "a host".to_owned(),
            release: "6.12.0-1-amd64".to_owned(),
            connections: Some((10, 1000)),
            bpf: true,
            journal: Ok(Examined {
                free: 1 << 30,
                ..Examined::default()
            }),
            now: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            net_admin: true,
            net_raw: true,
            uid: 0,
            socket: None,
        },
    }
}

/// The only line with this id, once the facts are changed.
#[track_caller]
fn line(id: CheckId, change: impl FnOnce(&mut CheckFacts)) -> Finding {
    let mut facts = facts();
    change(&mut facts);
    let mut checks = report(&facts, &[]).checks;
    checks.retain(|finding| finding.id == id);
    assert_eq!(checks.len(), 1, "{checks:?}");
    checks.remove(0)
}

#[track_caller]
fn says(found: &Finding, result: Outcome, words: &str, remedy: Option<&str>) {
    assert_eq!(found.result, result, "{found:?}");
    assert!(found.found.contains(words), "{found:?}");
    assert_eq!(found.remedy.as_deref(), remedy, "{found:?}");
}

#[test]
fn a_full_table_of_connections_and_a_missing_subsystem_are_named() {
    let larger = Some("sysctl -w net.netfilter.nf_conntrack_max=2000");
    for (connections, result, words, remedy) in [
        (None, Fine, "no connection is tracked yet", None),
        (
            Some((899, 1000)),
            Fine,
            "899 of 1000 connections tracked",
            None,
        ),
        (
            Some((900, 1000)),
            Warn,
            "900 of 1000 connections are tracked",
            larger,
        ),
        (Some((1000, 1000)), Fail, "new ones are dropped", larger),
    ] {
        let found = line(CheckId::Kernel, |f| f.machine.connections = connections);
        says(&found, result, words, remedy);
    }
    for (release, words) in [
        ("6.9.0", "tables can be owned"),
        ("7.0", "tables can be owned"),
        ("6.8.12-generic", "tables cannot be owned"),
        ("odd", "tables cannot be owned"),
    ] {
        let found = line(CheckId::Kernel, |f| f.machine.release = release.to_owned());
        says(&found, Fine, words, None);
    }
    let found = line(CheckId::Kernel, |f| {
        f.firewall.tool = missing();
        f.firewall.rules = Err(Unseen::NoNfTables);
    });
    says(&found, Fail, "has no nf_tables", Some("modprobe nf_tables"));
}

fn missing() -> Result<Variant, BackendError> {
    Err(BackendError {
        operation: "search for ip6tables-save and ip6tables-restore".to_owned(),
        kind: ErrorKind::Unsupported,
        detail: "not in /usr/sbin; install the iptables package".to_owned(),
    })
}

#[test]
fn a_missing_tool_matters_to_its_backend() {
    let install = Some("apt-get install iptables");
    for (backend, rules, result, remedy) in [
        (None, Ok(Ruleset::default()), Fine, None),
        (
            Some(BackendKind::Nftables),
            Ok(Ruleset::default()),
            Fine,
            None,
        ),
        (
            Some(BackendKind::Ip6tables),
            Ok(Ruleset::default()),
            Fail,
            install,
        ),
        (None, Err(Unseen::NoNfTables), Fail, install),
    ] {
        let found = line(CheckId::Tools, |f| {
            f.firewall.tool = missing();
            f.firewall.rules = rules;
            f.settings.backend = backend;
        });
        says(&found, result, "", remedy);
    }
}

#[test]
fn the_findings_on_state_directory_and_clock_follow_from_what_was_read() {
    let full = Examined {
        free: 1024,
        ..Examined::default()
    };
    let found = line(CheckId::Journal, |f| f.machine.journal = Ok(full.clone()));
    says(&found, Fail, "1 KiB are free, about 2 MiB are needed", None);
    // A journal that is there makes room by itself.
    let exists = Examined {
        exists: true,
        ..full
    };
    let found = line(CheckId::Journal, |f| f.machine.journal = Ok(exists));
    says(&found, Fine, "/var/lib/docker-nat66 holds one", None);
    let found = line(CheckId::Journal, |f| {
        f.machine.journal = Err(JournalFault {
            what: "permission denied".to_owned(),
            denied: true,
            foreign: false,
        });
    });
    says(&found, Skip, "permission denied", None);
    let found = line(CheckId::Clock, |f| {
        f.machine.journal = Ok(Examined {
            changed: Some(f.machine.now + Duration::from_secs(3600)),
            ..Examined::default()
        });
    });
    let set = Some("timedatectl set-ntp true");
    says(
        &found,
        Warn,
        "the journal was last written at 2027-01-15T09:00:00Z",
        set,
    );
}

/// A container that publishes a port, on one network of this name without IPv6.
fn without_ipv6(name: &str, project: Option<&str>) -> Snapshot {
    let mut snapshot = snapshot();
    for network in snapshot.networks.values_mut() {
        network.name = name.into();
        network.driver = "bridge".into();
        network.subnets.clear();
    }
    for container in snapshot.containers.values_mut() {
        let label = project.map(|it| ("com.docker.compose.project".to_owned(), it.to_owned()));
        container.labels.extend(label);
        for endpoint in &mut container.endpoints {
            endpoint.network = name.into();
            endpoint.address = None;
        }
    }
    snapshot
}

#[test]
fn ipv6_is_turned_on_where_the_network_was_made() {
    for (name, project, api, begins, has_subnet) in [
        (
            "app_default",
            Some("app"),
            "1.41",
            "in compose.yaml: networks: {default: {enable_ipv6: true, ipam: {config: [{subnet: \"",
            true,
        ),
        (
            "app_default",
            Some("app"),
            "1.46",
            "in compose.yaml: networks: {default: {enable_ipv6: true}}",
            false,
        ),
        (
            "shared",
            Some("app"),
            "1.46",
            "docker network disconnect shared ",
            false,
        ),
        (
            "bridge",
            None,
            "1.46",
            "in /etc/docker/daemon.json: {\"ipv6\": true, \"fixed-cidr-v6\": \"",
            true,
        ),
        (
            "$(reboot)",
            None,
            "1.41",
            "docker network disconnect '$(reboot)' ",
            true,
        ),
    ] {
        let found = line(CheckId::DockerIpv6, |f| {
            let api = api.parse().expect("a version");
            f.docker = Docker::Here(Box::new(Survey {
                version: Some((api, "27".into())),
                refused: Vec::new(),
                snapshot: Ok(Arc::new(without_ipv6(name, project))),
            }));
        });
        assert_eq!(found.result, Fail, "{found:?}");
        assert!(
            found
                .found
                .starts_with(&format!("network {name} has IPv6 off")),
            "{found:?}"
        );
        let remedy = found.remedy.expect("a remedy");
        assert!(remedy.starts_with(begins), "{remedy}");
        assert_eq!(remedy.contains("::/64"), has_subnet, "{remedy}");
    }
    // No command can hold such a name.
    let found = line(CheckId::DockerIpv6, |f| {
        f.docker = Docker::Here(Box::new(Survey {
            version: None,
            refused: Vec::new(),
            snapshot: Ok(Arc::new(without_ipv6("it's\u{1b}", None))),
        }));
    });
    assert_eq!((found.result, found.remedy), (Fail, None));
}

#[test]
fn what_may_not_be_seen_is_skipped_with_the_reason() {
    let mut facts = facts();
    facts.machine.net_admin = false;
    facts.firewall.rules = Err(Unseen::NotPermitted);
    facts.docker = Docker::NotPermitted("permission denied".to_owned());
    let report = report(&facts, &[]);
    assert!(report.fails().next().is_none(), "{report:?}");
    for id in [
        CheckId::Docker,
        CheckId::ForwardDrop,
        CheckId::Ufw,
        CheckId::Privilege,
    ] {
        let found = report.checks.iter().find(|it| it.id == id);
        assert_eq!(found.map(|it| it.result), Some(Skip), "{report:?}");
    }
}
