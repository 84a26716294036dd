//! Reads what a check needs. Nothing is written: files are read, the kernel is asked to list, the
//! tools of ip6tables are run to list, and of Docker only GET requests are made.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::time::SystemTime;

use super::facts::{
    CheckFacts, Docker, Firewall, Host, JournalFault, Listing, Machine, PATIENCE, Settings, Tools,
};
use super::ruleset::read::{Unseen, nf_tables};
use super::ruleset::{Home, Ruleset, text};
use crate::backend::ip6tables::{Ip6tables, ToolSettings, Variant};
use crate::backend::{BackendError, ErrorKind};
use crate::docker::host::DockerHost;
use crate::docker::survey::survey;
use crate::docker_nat::observer::Observer;
use crate::journal::recover::{OpenError, examine};
use crate::mapper::compute::{Choice, HostFacts};
use crate::mapper::health;
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::rule::BackendKind;
use crate::netlink::message::IPV6;
use crate::netlink::{interface, route};
use crate::sys::causes::chain;
use crate::sys::{host, locks, privilege};

/// The tables of ip6tables. Only those in use are listed.
const TABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// The entries in the table of connections, and how many there may be
/// (Documentation/networking/nf_conntrack-sysctl.rst).
const CONNECTIONS: [&str; 2] = [
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "/proc/sys/net/netfilter/nf_conntrack_max",
];

/// It is there where the kernel has bpf(2) (Documentation/admin-guide/sysctl/kernel.rst).
const BPF: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// The host's own id (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// The Engine, asked once.
pub(super) async fn docker(at: &DockerHost) -> Docker {
    if let DockerHost::Unix(path) = at
        && let Err(error) = UnixStream::connect(path)
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        return Docker::NotPermitted(format!("{}: permission denied", path.display()));
    }
    match survey(at, PATIENCE).await {
        Ok(survey) => Docker::Here(Box::new(survey)),
        Err(error) => Docker::Away(error.to_string()),
    }
}

/// Everything else.
pub(super) fn facts(settings: &Settings, docker: Docker) -> CheckFacts {
    let snapshot = match &docker {
        Docker::Here(survey) => survey.snapshot.as_deref().ok(),
        _ => None,
    };
    let defaults = host::default_devices();
    let egress = match (&settings.options.devices, &defaults) {
        (Choice::Fixed(devices), _) => devices.clone(),
        (Choice::Auto, Ok(devices)) => devices.clone(),
        (Choice::Auto, Err(_)) => Vec::new(),
    };
    let host = defaults
        .map_err(|e| e.to_string())
        .and_then(|defaults| read_host(&egress, defaults, snapshot));
    CheckFacts {
        host,
        firewall: firewall(settings),
        machine: machine(settings),
        egress,
        docker,
        settings: settings.clone(),
    }
}

fn read_host(
    egress: &[Device],
    defaults: Vec<Device>,
    snapshot: Option<&Snapshot>,
) -> Result<Host, String> {
    let said = |e: io::Error| chain(&e);
    let mut links = std::collections::BTreeMap::new();
    let mut advertisements = std::collections::BTreeMap::new();
    for device in egress {
        let name = device.as_str();
        let found = interface::look_up(name).map_err(|e| chain(&e))?;
        links.extend(found.map(|found| (device.clone(), found)));
        let accept = host::router_advertisements(name).map_err(said)?;
        advertisements.extend(accept.map(|accept| (device.clone(), accept)));
    }
    Ok(Host {
        facts: HostFacts {
            host_addrs: host::addresses().map_err(said)?,
            routed: !defaults.is_empty(),
            default_devices: defaults,
            grace_over: true,
            ..HostFacts::default()
        },
        conditions: host::conditions(egress, &health::bridges(snapshot)).map_err(said)?,
        links,
        addresses: host::interface_addresses().map_err(said)?,
        routes: route::default_routes().map_err(|e| chain(&e))?,
        advertisements,
    })
}

fn firewall(settings: &Settings) -> Firewall {
    let tools = ToolSettings::default();
    let not_run = |kind| BackendError {
        operation: "listing with ip6tables".to_owned(),
        kind,
        detail: "no tool is started".to_owned(),
    };
    let tool = match settings.tools {
        Tools::Run => Ip6tables::installed(&tools).map(|tool| tool.variant()),
        Tools::Spare(variant) => variant.ok_or_else(|| not_run(ErrorKind::Unsupported)),
    };
    let mut rules = nf_tables();
    let (mut listings, mut unlisted) = (Vec::new(), Vec::new());
    if rules != Err(Unseen::NotPermitted) && settings.tools == Tools::Run {
        for variant in [Variant::Nft, Variant::Legacy] {
            let found = match variant {
                Variant::Nft => Ip6tables::nft(&tools),
                Variant::Legacy => Ip6tables::legacy(&tools),
            };
            let in_use = |table: &str| match &rules {
                Ok(rules) => is_in_use(rules, table),
                Err(_) => false,
            };
            let Some(mut tool) = found else { continue };
            for table in TABLES {
                let listed = match variant {
                    Variant::Nft if !in_use(table) => continue,
                    Variant::Nft => tool.listing(table).map(Some),
                    Variant::Legacy => tool.legacy_listing(table).map(|listed| {
                        listed.map(|text| String::from_utf8_lossy(&text).into_owned())
                    }),
                };
                match listed {
                    Ok(Some(text)) => listings.push(Listing {
                        variant,
                        table: table.to_owned(),
                        text,
                    }),
                    Ok(None) => {}
                    Err(error) => {
                        unlisted.push((variant, error));
                        break;
                    }
                }
            }
        }
    }
    let mut legacy = Ruleset::default();
    for listing in listings.iter().filter(|it| it.variant == Variant::Legacy) {
        legacy.add(text::read(&listing.table, &listing.text));
    }
    match &mut rules {
        Ok(rules) => rules.add(legacy),
        Err(Unseen::NoNfTables) => rules = Ok(legacy),
        Err(_) => {}
    }
    let running = settings.running;
    let ours = match (settings.backend.or(running), &tool) {
        (Some(BackendKind::Nftables), _) | (_, Err(_)) => None,
        (_, Ok(variant)) => Some(*variant),
    };
    let nat = match rules {
        Err(Unseen::NotPermitted) => Err(BackendError {
            operation: "reading Docker's own IPv6 NAT".to_owned(),
            kind: ErrorKind::Denied,
            detail: "needs CAP_NET_ADMIN".to_owned(),
        }),
        _ if settings.tools != Tools::Run => Err(not_run(ErrorKind::Unsupported)),
        _ => Observer::new(ours, &tools).observe_what_can_be(),
    };
    Firewall {
        tool,
        rules,
        listings,
        unlisted,
        nat,
        running,
        daemon: daemon_is_here(),
    }
}

/// Whether nf_tables holds something in this table of ip6tables: without it, listing the table
/// would have nothing to list.
fn is_in_use(rules: &Ruleset, table: &str) -> bool {
    let home = Home::Nft(IPV6);
    let mut chains = rules.chains.iter().map(|chain| &chain.place);
    let mut of_rules = rules.rules.iter().map(|rule| &rule.place);
    chains.any(|place| place.home == home && place.table == table)
        || of_rules.any(|place| place.home == home && place.table == table)
}

fn daemon_is_here() -> Option<bool> {
    let lock = locks::netns_path(host::netns_inode().ok()?);
    locks::inspect(&lock).ok().map(|holder| holder.is_some())
}

fn machine(settings: &Settings) -> Machine {
    let connections = CONNECTIONS.map(|path| {
        let text = fs::read_to_string(path).ok()?;
        text.trim().parse::<u64>().ok()
    });
    let [count, most] = connections;
    let socket = match &settings.docker {
        DockerHost::Unix(path) => fs::metadata(path).ok().map(|it| (it.uid(), it.mode())),
        DockerHost::Tcp(_) => None,
    };
    let held = privilege::held().unwrap_or_default();
    let boot = || host::boot_id().map(|id| id.as_str().to_owned());
    Machine {
        identity: fs::read_to_string(MACHINE_ID)
            .or_else(|_| boot())
            .unwrap_or_default(),
        release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        connections: count.zip(most),
        bpf: fs::metadata(BPF).is_ok(),
        journal: examine(&settings.state_dir).map_err(|error| JournalFault {
            what: chain(&error),
            denied: matches!(error, OpenError::Denied { .. }),
            foreign: matches!(error, OpenError::ForeignOwner { .. }),
        }),
        now: SystemTime::now(),
        net_admin: held.net_admin,
        net_raw: held.net_raw,
        uid: rustix::process::geteuid().as_raw(),
        socket,
    }
}
